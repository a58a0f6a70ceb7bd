import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from tests.devcluster.build import imagecompare, pipconf
from tests.devcluster.build.imagebuild import PROJECT, context_files
from tests.devcluster.build.oci import write_image
from tests.devcluster.commands import ClusterError
from tests.devcluster.genie import overlay


def test_an_archive_is_an_oci_layout_with_true_digests(tmp_path: Path) -> None:
    """Every blob has the digest that it is called by; the layer holds the program."""
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    write_image(tmp_path / "image.tar", "localhost/pause:local", program, ports=["80/tcp"])
    with tarfile.open(tmp_path / "image.tar") as tar:
        files = {m.name: (tar.extractfile(m) or pytest.fail(m.name)).read() for m in tar}
    blobs = {n.rpartition("/")[2]: blob for n, blob in files.items() if n.startswith("blobs/")}
    assert all(hashlib.sha256(blob).hexdigest() == name for name, blob in blobs.items())
    manifest_entry = json.loads(files["index.json"])["manifests"][0]
    assert manifest_entry["annotations"]["io.containerd.image.name"] == "localhost/pause:local"
    manifest = json.loads(blobs[manifest_entry["digest"].removeprefix("sha256:")])
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]


def test_pips_variables_win_over_its_files() -> None:
    """As pip itself does; what would break a build inside an image is left out."""
    files = ["[global]\nindex-url = one\ncert = a.pem\n", "[global]\nindex-url = two\n"]
    env = {"PIP_CERT": "b.pem", "PIP_FIND_LINKS": "/wheels", "PIP_USER": "1", "HOME": "/root"}
    merged = pipconf.merge(files, env)
    assert "index-url = two" in merged
    assert "cert = b.pem" in merged
    assert "find-links = /wheels" in merged
    assert "user" not in merged
    assert "HOME" not in merged


def test_paths_that_pips_settings_name_reach_the_build(tmp_path: Path) -> None:
    """Those that exist; URLs and what is missing are not paths to mount."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    configuration = pipconf.merge(
        [], {"PIP_FIND_LINKS": f"{wheels} /no/such", "PIP_INDEX_URL": "https://index.invalid/x"}
    )
    mounted = pipconf.mounted_paths(configuration)
    assert str(wheels) in mounted
    assert set(mounted) <= {str(wheels), str(pipconf.MACHINE_CERTIFICATES)}


def test_pips_files_are_read_weakest_first(tmp_path: Path) -> None:
    """The machine's, the user's, then the one that PIP_CONFIG_FILE names."""
    found = pipconf.files(tmp_path, {"PIP_CONFIG_FILE": "/given/pip.conf"})
    assert found[0] == Path("/etc/pip.conf")
    assert found[-1] == Path("/given/pip.conf")


def test_the_projects_build_context_is_what_its_image_is_made_of() -> None:
    """The code is in it; tests and caches are not."""
    files = {str(file.relative_to(PROJECT)) for file in context_files(PROJECT)}
    assert {"pyproject.toml", "webhook/__main__.py", "requirements/run.txt"} <= files
    assert not [f for f in files if f.startswith(("tests/", ".")) or "__pycache__" in f]


def test_an_ignore_file_of_another_form_is_an_error(tmp_path: Path) -> None:
    """A pattern that is not understood must not become a wrong key of the cache."""
    (tmp_path / ".dockerignore").write_text("*\n!src\n*.log\n")
    with pytest.raises(ClusterError, match="has a pattern that this tool does not support"):
        context_files(tmp_path)


def test_an_overlay_sets_image_default_network_and_build() -> None:
    """And nothing that an administrator would not set."""
    made = overlay("../manifests", "localhost/cni-genie:dev", "abc", "canal")
    assert made["images"] == [
        {"name": "cni-genie", "newName": "localhost/cni-genie", "newTag": "dev"}
    ]
    settings, workloads = (json.loads(patch["patch"]) for patch in made["patches"])
    assert settings["data"] == {"default-network": "canal"}
    assert list(workloads["spec"]["template"]["metadata"]["annotations"].values()) == ["abc"]


def test_the_comparison_of_images_prints_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question about the command does not start two builds of several minutes."""
    monkeypatch.setattr(
        "tests.devcluster.build.imagecompare.imagebuild.build_anew", lambda _: pytest.fail("built")
    )
    with pytest.raises(SystemExit, match="0"):
        imagecompare.main(["--help"])
    assert "compare what it adds to" in capsys.readouterr().out
