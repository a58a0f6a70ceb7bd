"""What goes into the zipapp of ``kubectl genie``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from release import client, lockfile
from release.project import ReleaseError
from tests.devcluster.build.imagebuild import PROJECT


def tree(folder: Path, **files: str) -> Path:
    """Return a folder with files; in their names, "__" stands for "/"."""
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_info", ".dist-info")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())
    return folder


def test_trees_of_two_systems_become_one(tmp_path: Path) -> None:
    """Ends of lines may differ; records of the installation and programs are left out."""
    one = tree(tmp_path / "1", m__a="x\n", m__so="1", bin__p="", d_info__METADATA="1")
    two = tree(tmp_path / "2", m__a="x\r\n", m__pyd="2", d_info__METADATA="2", d_info__RECORD="2")
    for source in (one, two):
        client.merge_tree(source, tmp_path / "all")
    files = {file.relative_to(tmp_path / "all").as_posix() for file in tmp_path.glob("all/*/*")}
    assert files == {"m/a", "m/so", "m/pyd", "d.dist-info/METADATA"}


def test_what_the_command_does_not_use_is_left_out(tmp_path: Path) -> None:
    """The asynchronous client, and compiled copies of modules that exist in Python, too."""
    names = ("kubernetes__aio__a.py", "yaml___yaml.x.so", "charset_normalizer__md.x.pyd")
    unused = tree(tmp_path / "1", **dict.fromkeys(names, ""), yaml__a="", orjson__orjson="")
    client.merge_tree(unused, tmp_path / "all")
    files = {file.relative_to(tmp_path / "all").as_posix() for file in tmp_path.glob("all/*/*")}
    assert files == {"yaml/a", "orjson/orjson"}


def test_a_module_that_differs_between_systems_is_an_error(tmp_path: Path) -> None:
    """One of the systems would get the other's."""
    client.merge_tree(tree(tmp_path / "1", m__a="x"), tmp_path / "all")
    with pytest.raises(ReleaseError, match="m/a differs"):
        client.merge_tree(tree(tmp_path / "2", m__a="y"), tmp_path / "all")


def test_licences_are_kept(tmp_path: Path) -> None:
    """The zipapp distributes other people's work."""
    client.merge_tree(tree(tmp_path / "1", d_info__licenses__LICENSE="x"), tmp_path / "all")
    assert (tmp_path / "all" / "d.dist-info" / "licenses" / "LICENSE").exists()


def test_packages_with_compiled_modules_are_known_by_their_records(tmp_path: Path) -> None:
    """Only they differ between Pythons."""
    records = {
        "pydantic_core-2.1.dist-info": "pydantic_core/_x.cpython-311-darwin.so,sha256=1,2\n",
        "orjson-3.dist-info": "orjson/orjson.cp311-win_amd64.pyd,sha256=1,2\n",
        "rich-15.dist-info": "rich/so,.py,1\n",
    }
    for name, record in records.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "RECORD").write_text(record)
    assert client.compiled_packages(tmp_path) == {"pydantic-core", "orjson"}


def test_pure_packages_are_installed_once_for_each_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled ones for each Python, and so are those that a marker names. The index is a fake."""
    locked = [
        lockfile.LockedPackage("pure", "1", "", ("0" * 64,)),
        lockfile.LockedPackage("fast", "1", "", ("1" * 64,)),
        lockfile.LockedPackage("windows-only", "1", "sys_platform == 'win32'", ("2" * 64,)),
    ]
    installed = []

    def install(target: Path, *options: str | Path) -> Path:
        system, python, lock = options[1], options[3], Path(options[-1])
        names = [each.name for each in lockfile.read_lock(lock.read_text())]
        installed.append((system, python, names))
        if "pure" in names:
            tree(target, pure__a="x", pure_info__RECORD="pure/a,,\n")
        so = f"fast/x.{python}-{system}.so"
        return tree(target, **{so: "", "fast-1_info__RECORD": f"{so},sha256=1,2\n"})

    monkeypatch.setattr(client, "_installed", install)
    client.install_libraries(locked, tmp_path / "all")
    first, others = ["pure", "fast", "windows-only"], ["fast", "windows-only"]
    assert installed == [
        (system, python, first if python == client.PYTHONS[0] else others)
        for system in client.SYSTEMS
        for python in client.PYTHONS
    ]
    compiled = list((tmp_path / "all" / "fast").iterdir())
    assert len(compiled) == len(client.SYSTEMS) * len(client.PYTHONS)


def test_the_lock_file_of_the_client_agrees_with_that_of_the_tests() -> None:
    """The zipapp contains the versions that the tests have run with."""
    packages = {
        name: {
            each.name: each.version
            for each in lockfile.read_lock((PROJECT / f"requirements/{name}.txt").read_text())
        }
        for name in ("client", "dev")
    }
    assert packages["client"].items() <= packages["dev"].items()


def test_the_client_supports_every_python_that_the_project_does() -> None:
    """The first of them is the oldest; the wheel takes later ones, too."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={client.PYTHONS[0]}"
