from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from tests.devcluster.build import imagecompare, pipconf
from tests.devcluster.build.imagebuild import PROJECT, context_files, image_name
from tests.devcluster.build.oci import (
    image_config,
    image_digest,
    image_files,
    label_image,
    pack_layout,
    write_image,
)
from tests.devcluster.commands import ClusterError
from tests.devcluster.genie import chart_values, overlay


def read_archive(archive: Path) -> dict[str, bytes]:
    """Return the files of an image archive, by name."""
    with tarfile.open(archive) as tar:
        return {m.name: (tar.extractfile(m) or pytest.fail(m.name)).read() for m in tar}


def test_an_archive_is_an_oci_layout_with_true_digests(tmp_path: Path) -> None:
    """Every blob has the digest that it is called by; the layer holds the program."""
    program = tmp_path / "pause"
    program.write_bytes(b"\x7fELF")
    write_image(tmp_path / "image.tar", "localhost/pause:local", program, ports=["80/tcp"])
    files = read_archive(tmp_path / "image.tar")
    blobs = {n.rpartition("/")[2]: blob for n, blob in files.items() if n.startswith("blobs/")}
    assert all(hashlib.sha256(blob).hexdigest() == name for name, blob in blobs.items())
    manifest_entry = json.loads(files["index.json"])["manifests"][0]
    assert manifest_entry["annotations"]["io.containerd.image.name"] == "localhost/pause:local"
    manifest = json.loads(blobs[manifest_entry["digest"].removeprefix("sha256:")])
    config = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]


def test_an_image_may_have_more_programs(tmp_path: Path) -> None:
    """Each at its path, executable; the first is the one that the image runs."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    archive = tmp_path / "image.tar"
    write_image(archive, "localhost/two:local", first, others={"usr/bin/other": second})
    programs = {}
    for layer, member in image_files(archive):
        content = layer.extractfile(member)
        programs[member.name] = (member.mode, content.read() if content else b"")
    assert programs == {"first": (0o755, b"1"), "usr/bin/other": (0o755, b"2")}
    assert image_config(archive)["config"]["Entrypoint"] == ["/first"]


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
    actual = pipconf.files(tmp_path, {"PIP_CONFIG_FILE": "/given/pip.conf"})
    assert actual[0] == Path("/etc/pip.conf")
    assert actual[-1] == Path("/given/pip.conf")


def test_the_projects_build_context_is_what_its_image_is_made_of() -> None:
    """The code is in it; tests and caches are not."""
    files = {str(file.relative_to(PROJECT)) for file in context_files(PROJECT)}
    modules = {f"{each}/__main__.py" for each in ("webhook", "certs", "lifecycle")}
    assert {"pyproject.toml", "requirements/run.txt", *modules} <= files
    assert not [f for f in files if f.startswith(("tests/", ".")) or "__pycache__" in f]


def test_an_ignore_file_of_another_form_is_an_error(tmp_path: Path) -> None:
    """A pattern that is not understood must not become a wrong key of the cache."""
    (tmp_path / ".dockerignore").write_text("*\n!src\n*.log\n")
    with pytest.raises(ClusterError, match="has a pattern that this tool does not support"):
        context_files(tmp_path)


def test_an_installation_sets_image_and_default_network() -> None:
    """And nothing that an administrator would not set; a kustomization sets the same."""
    image = "localhost/cni-genie:abc"
    assert chart_values(image, "canal") == {
        "image": {"repository": "localhost/cni-genie", "tag": "abc"},
        "defaultNetwork": "canal",
    }
    content = overlay("../manifests", image, "canal")
    assert content["images"] == [
        {"name": "cni-genie", "newName": "localhost/cni-genie", "newTag": "abc"}
    ]
    [settings] = (json.loads(patch["patch"]) for patch in content["patches"])
    assert settings["data"] == {"default-network": "canal"}


def test_the_tag_of_an_image_is_the_digest_of_its_content() -> None:
    """The folder of an archive in the cache has that digest as its name."""
    assert image_name(Path("/cache/images/genie/0123abcd/image.tar")) == (
        "localhost/cni-genie:0123abcd"
    )


def image(folder: Path, program: bytes, name: str = "x:1") -> Path:
    """Return the archive of an image with one program, whose layout was a folder on the way."""
    folder.mkdir()
    (folder / "pause").write_bytes(program)
    write_image(folder / "one.tar", "other:0", folder / "pause")
    with tarfile.open(folder / "one.tar") as tar:
        tar.extractall(folder / "layout", filter="data")
    pack_layout(folder / "layout", folder / "image.tar", name)
    return folder / "image.tar"


def test_an_archive_of_a_layout_has_its_image_under_another_name(tmp_path: Path) -> None:
    """The blobs stay, so that the digest does; the index has the new name only."""
    archive = image(tmp_path / "a", b"1", "localhost/cni-genie:dev")
    assert image_digest(archive) == image_digest(tmp_path / "a" / "one.tar")
    assert image_config(archive)["config"]["Entrypoint"] == ["/pause"]
    [(_, member)] = image_files(archive)
    assert member.name == "pause"
    index = read_archive(archive)["index.json"].decode()
    assert "localhost/cni-genie:dev" in index
    assert "other:0" not in index


def test_a_labelled_image_keeps_its_layers(tmp_path: Path) -> None:
    """Only its labels, its name and its digest are new; the archive names no blob it lacks."""
    source, labelled = image(tmp_path / "a", b"1", "x:1"), tmp_path / "labelled.tar"
    label_image(source, labelled, "y:2", {"version": "1", "title": "Genie"})
    label_image(labelled, tmp_path / "twice.tar", "y:2", {"version": "2"})

    old, new, twice = map(image_config, (source, labelled, tmp_path / "twice.tar"))
    assert new.pop("config") == {**old.pop("config"), "Labels": {"version": "1", "title": "Genie"}}
    assert new == old
    assert twice["config"]["Labels"] == {"version": "2", "title": "Genie"}
    assert imagecompare.content(labelled) == imagecompare.content(source)

    files = read_archive(labelled)
    blobs = {name: data for name, data in files.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    assert all(f"blobs/sha256/{hashlib.sha256(d).hexdigest()}" == n for n, d in blobs.items())
    index = json.loads(files["index.json"])
    names = [each["annotations"]["io.containerd.image.name"] for each in index["manifests"]]
    assert names == ["y:2", f"y@{image_digest(labelled)}"]
    assert {each["digest"] for each in index["manifests"]} == {image_digest(labelled)}
    assert image_digest(labelled) != image_digest(source)


def test_the_same_labels_give_the_same_image(tmp_path: Path) -> None:
    """Byte by byte, in whichever order they are given."""
    for name, labels in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"})):
        label_image(image(tmp_path / name, b"1"), tmp_path / f"{name}.tar", "y:2", labels)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_archives_of_equal_images_are_equal(tmp_path: Path) -> None:
    """Byte by byte, whenever and wherever they are packed."""
    one, two = (image(tmp_path / name, b"1") for name in ("a", "b"))
    assert imagecompare.differences(one, two) == []
    assert imagecompare.differences(one, image(tmp_path / "c", b"2"))[1].startswith("pause: first")


@pytest.mark.parametrize(("programs", "code"), [((b"1", b"1"), 0), ((b"1", b"2"), 1)])
def test_the_comparison_of_images_ends_with_1_if_they_differ(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    programs: tuple[bytes, bytes],
    code: int,
) -> None:
    """The builds are replaced by archives; a real comparison takes minutes."""
    archives = [
        image(tmp_path / name, program) for name, program in zip("ab", programs, strict=True)
    ]
    build = "tests.devcluster.build.imagecompare.imagebuild.build_anew"
    monkeypatch.setattr(build, lambda _: archives.pop())
    assert imagecompare.main([]) == code
    assert ("identical" in capsys.readouterr().out) == (code == 0)


def test_the_comparison_of_images_prints_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question about the command does not start two builds of several minutes."""
    monkeypatch.setattr(
        "tests.devcluster.build.imagecompare.imagebuild.build_anew", lambda _: pytest.fail("built")
    )
    with pytest.raises(SystemExit, match="0"):
        imagecompare.main(["--help"])
    assert "Print each difference" in capsys.readouterr().out
