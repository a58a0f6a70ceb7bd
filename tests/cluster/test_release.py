"""``make release``: what is in dist/ is complete, runs, can be built again, and installs Genie."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from release import __main__ as release
from release import chart, client, sums
from release.archives import read_tar_gz
from release.image import image_labels
from release.project import Project, read_project
from tests.cluster.support.names import name_of
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, temporary_namespace, wait_until_ready
from tests.devcluster import helm
from tests.devcluster.build import imagebuild, imagecompare
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.build.oci import image_config, image_digest, label_image
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster, take_down
from tests.devcluster.commands import run
from tests.devcluster.genie import wait_until_working

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = name_of("release")
WRONG = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    cni: weve
spec: {containers: []}
"""


@pytest.fixture(scope="module")
def project() -> Project:
    """Return what is released: this tree, whether its changes are committed or not."""
    return read_project(PROJECT)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `make release` fills."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    assert release.main(["--output", str(folder)]) == 0
    return folder


def kubectl_genie(dist: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the zipapp with an empty environment but for its folder of unpacked libraries."""
    [zipapp] = dist.glob("*.pyz")
    return subprocess.run(
        [sys.executable, "-I", zipapp, *words],
        input=stdin,
        env={"PATH": "/usr/bin:/bin", "SHIV_ROOT": str(dist.parent / "shiv"), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_has_every_file(dist: Path, project: Project) -> None:
    """And no other; RELEASING.md has a row for each."""
    version = project.version
    names = {file.name for file in dist.iterdir()}
    assert names == {
        f"genie-image-{version}-amd64.tar",
        f"genie-{version}.tgz",
        f"genie-{version}.yaml",
        f"kubectl-genie-{version}.pyz",
        f"kubectl-genie-{version}.tar.gz",
        f"cni_genie-{version}-py3-none-any.whl",
        "genie.yaml",
        f"genie-{version}.cdx.json",
        f"release-notes-{version}.md",
        "SHA256SUMS",
    }
    page = (PROJECT / "RELEASING.md").read_text()
    assert [name for name in names if f"`{name.replace(version, 'X.Y.Z')}`" not in page] == []


def test_the_sums_are_right(dist: Path) -> None:
    """By the program that users have."""
    run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist)
    assert sums.wrong_files(dist) == []


def test_the_bill_of_materials_lists_every_package_of_the_lock_files(dist: Path) -> None:
    """With its version; the lock files are read here without the program's reader."""
    [file] = dist.glob("*.cdx.json")
    listed = {
        (each["name"], each.get("version")) for each in json.loads(file.read_text())["components"]
    }
    for lock in (PROJECT / "requirements").glob("*.txt"):
        pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
        assert pins
        assert set(pins) - listed == set(), lock.name


def test_the_image_says_what_it_is(dist: Path, project: Project) -> None:
    """By the labels of org.opencontainers.image; the one file installs it by its digest."""
    [archive] = dist.glob("*.tar")
    labels = image_config(archive)["config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == project.version
    assert labels[f"{prefix}revision"] == project.revision
    assert labels[f"{prefix}created"] == f"{project.created:%Y-%m-%dT%H:%M:%SZ}"
    assert labels[f"{prefix}base.name"] == imagebuild.base_image_name()
    assert {f"{prefix}{name}" for name in ("title", "description", "licenses")} <= labels.keys()

    text = (dist / f"genie-{project.version}.yaml").read_text()
    images = set(re.findall(r"^ *image: (.*)$", text, re.MULTILINE))
    assert images == {f"cni-genie@{image_digest(archive)}"}


def test_a_pushed_image_is_installed_by_the_digest_of_its_index(
    dist: Path, project: Project, tmp_path: Path
) -> None:
    """What `make release IMAGE=… DIGEST=…` writes: the workflow pushes first."""
    digest = "sha256:" + "5" * 64
    package = tmp_path / f"genie-{project.version}.tgz"
    package.write_bytes((dist / package.name).read_bytes())
    file = chart.render_chart(project, package, "registry.example.org/cni-genie", digest)
    objects = list(yaml.safe_load_all(file.read_text()))
    pods = [
        each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})
    ]
    images = {c["image"] for p in pods for c in [*p["containers"], *p.get("initContainers", [])]}
    assert images == {f"registry.example.org/cni-genie@{digest}"}


def test_the_zipapp_runs(dist: Path) -> None:
    """With nothing but a Python; a mistake in a manifest ends it with 1."""
    assert "Usage: " in kubectl_genie(dist, "--help").stdout
    result = kubectl_genie(dist, "lint", "-f", "-", "--networks", "weave", stdin=WRONG)
    assert (result.returncode, result.stderr) == (1, "")
    assert "6:10: error" in result.stdout
    assert 'did you mean "weave"?' in result.stdout


def test_krew_gets_the_zipapp(dist: Path, project: Project) -> None:
    """By the digest in its manifest."""
    archive = dist / f"kubectl-genie-{project.version}.tar.gz"
    [program] = [each for each in read_tar_gz(archive) if each.name == "kubectl-genie"]
    assert program.content == (dist / f"kubectl-genie-{project.version}.pyz").read_bytes()
    manifest = yaml.safe_load((dist / "genie.yaml").read_text())
    assert {each["sha256"] for each in manifest["spec"]["platforms"]} == {sums.sha256(archive)}


@pytest.fixture(scope="module")
def wheel_program(dist: Path) -> Path:
    """Return the command of the wheel, in an environment of its own, as pipx makes it."""
    uv, folder = Path(sys.executable).with_name("uv"), dist.parent / "venv"
    [wheel] = dist.glob("*.whl")
    run([uv, "venv", "--quiet", "--python", sys.executable, folder])
    pins = PROJECT / "requirements" / "client.txt"
    run([uv, "pip", "install", "--quiet", "--python", folder, "--no-build", wheel,
         "--constraint", pins])  # fmt: skip
    return folder / "bin" / "kubectl-genie"


def test_the_wheel_installs_the_command(wheel_program: Path) -> None:
    """With its dependencies."""
    words = ["lint", "-f", "-", "--networks", "weave"]
    result = run([wheel_program, *words], input=WRONG, check=False)
    assert (result.returncode, result.stderr) == (1, "")
    assert 'did you mean "weave"?' in result.stdout


@pytest.fixture
def _private_libraries(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the zipapp from libraries that were installed under another umask."""
    libraries = tmp_path / "libraries"
    shutil.copytree(client.cached_libraries(project), libraries)
    for file in libraries.rglob("*"):
        file.chmod(0o700 if file.is_dir() else 0o600)
    monkeypatch.setattr(client, "cached_libraries", lambda _project: libraries)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Let this process and its programs create files with another umask."""
    previous = os.umask(mask)
    try:
        yield
    finally:
        os.umask(previous)


@pytest.mark.repeats
@pytest.mark.usefixtures("_private_libraries")
def test_two_builds_are_identical(
    dist: Path, project: Project, tmp_path: Path, *, full: bool
) -> None:
    """Also where files get other modes, as with another user's umask.

    In full, the image is built without a cache; in short, the second one is the first.
    """
    again = tmp_path / "again"
    with umask(0o077):
        assert release.main(["--output", str(again)]) == 0
    assert (again / sums.FILE).read_text() == (dist / sums.FILE).read_text()
    if full:
        (tmp_path / "image").mkdir()
        built = imagebuild.build_anew(tmp_path / "image")
        [archive] = dist.glob("*.tar")
        name = f"docker.io/library/cni-genie:{project.version}"
        labels = image_labels(project, imagebuild.base_image_name())
        label_image(built, tmp_path / "image.tar", name, labels)
        assert imagecompare.differences(archive, tmp_path / "image.tar") == []


@pytest.fixture(scope="module")
def released(dist: Path, project: Project) -> Iterator[Cluster]:
    """Yield a cluster on which Genie was installed from dist/ alone: image and one-file YAML."""
    take_down(NAME)
    cluster = Cluster.up(NAME, {"node1": BOTH_NETWORKS})
    try:
        [archive] = dist.glob("*.tar")
        cluster.node("node1").import_image(archive)
        text = (dist / f"genie-{project.version}.yaml").read_text()
        chosen = text.replace('default-network: ""', "default-network: canal")
        cluster.kubectl("apply", "--server-side", "-f", "-", input=chosen)
        wait_until_working(cluster, "canal")
        yield cluster
    finally:
        cluster.down()


def test_pods_start_on_two_networks_of_a_cluster_installed_from_it(
    released: Cluster, dist: Path
) -> None:
    """From the one file; then the chart takes the installation over, and nothing restarts."""
    for namespace in temporary_namespace(released):
        released.apply(pod_manifest("web", "weave,canal", namespace=namespace))
        wait_until_ready(released, namespace, "web")
        attached = interfaces(released, "web", namespace)
        bridges = {name: each.bridge for name, each in attached.items()}
        assert bridges == {"eth0": "weave0", "eth1": "canal0"}

    def pods() -> set[str]:
        items = released.get("pods", "-n", helm.NAMESPACE)["items"]
        return {each["metadata"]["uid"] for each in items}

    before = pods()
    [archive], [package] = dist.glob("*.tar"), dist.glob("genie-*.tgz")
    image = {"repository": "cni-genie", "digest": image_digest(archive)}
    helm.install(released, {"image": image, "defaultNetwork": "canal"}, package)
    wait_until_working(released, "canal")
    assert pods() == before


def test_the_zipapp_finds_that_installation_complete(released: Cluster, dist: Path) -> None:
    """With the cluster's kubeconfig alone; its networks and a node's report are there, too."""
    kubeconfig = released.environment["KUBECONFIG"]
    outputs = {}
    for command in ("status", "networks", "doctor"):
        result = kubectl_genie(dist, command, "--kubeconfig", kubeconfig)
        assert result.returncode == 0, result.stdout + result.stderr
        outputs[command] = result.stdout
    assert "error" not in outputs["status"]
    assert re.search(r"^canal +1/1 +the cluster", outputs["networks"], re.MULTILINE)


def test_zipapp_and_wheel_print_the_versions_of_all_parts(
    released: Cluster, dist: Path, wheel_program: Path, project: Project
) -> None:
    """Their own and the node's are the release's; agent and webhook have the archive's image."""
    words = ["version", "--output", "json", "--kubeconfig", released.environment["KUBECONFIG"]]
    parts = json.loads(kubectl_genie(dist, *words).stdout)
    assert json.loads(run([wheel_program, *words]).stdout) == parts
    versions = {each["part"]: each["version"] for each in parts}
    [archive] = dist.glob("*.tar")
    image = f"cni-genie@{image_digest(archive)}"
    assert versions.pop("plugin").startswith(f"{project.version}-")
    assert versions == {"client": project.version, "genie-agent": image, "genie-webhook": image}
    assert not [each for each in parts if each["problem"]]
