"""The bill of materials: complete, and the same for the same commit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from release import sbom
from release.lockfile import LockedPackage
from release.project import Project, read_project
from tests.devcluster.build.imagebuild import PROJECT

BASE = "docker.io/library/python:3.13-slim@sha256:" + "1" * 64


def bill(project: Project, locks: dict[str, list[LockedPackage]]) -> dict[str, Any]:
    """Return a bill of materials as an object."""
    content: dict[str, Any] = json.loads(sbom.bill_of_materials(project, locks, BASE))
    return content


def test_it_lists_every_package_of_the_lock_files_and_the_base() -> None:
    """By package URL; packages of what only builds or tests Genie are marked as excluded."""
    project = read_project(PROJECT)
    locks = sbom.read_locks(project)
    assert {f"{name}.txt" for name in locks} == {
        file.name for file in (PROJECT / "requirements").iterdir()
    }
    components = {each["bom-ref"]: each for each in bill(project, locks)["components"]}
    for name, packages in locks.items():
        for package in packages:
            component = components.pop(f"pkg:pypi/{package.name}@{package.version}", None)
            if component is None:
                continue  # of a lock file that was compared already
            shipped = any(package in locks[each] for each in sbom.SHIPPED)
            assert component["scope"] == ("required" if shipped else "excluded"), name
            hashes = component["externalReferences"][0]["hashes"]
            assert {each["content"] for each in hashes} >= set(package.hashes)
    assert components.keys() == {"base-image"}
    base = components["base-image"]
    assert f"{base['name']}@{base['version']}" == BASE


def test_a_package_in_two_versions_is_listed_twice() -> None:
    """With the lock files of each, and the systems that it is for."""
    project = Project(PROJECT, "1.0.0", "abc", 1_700_000_000)
    locks = {
        "run": [LockedPackage("a", "1", "", ("0" * 64,))],
        "image": [LockedPackage("a", "2", "sys_platform == 'win32'", ("1" * 64,))],
        "dev": [LockedPackage("a", "1", "", ("0" * 64,))],
    }
    components = {each["bom-ref"]: each for each in bill(project, locks)["components"]}
    first, second = components["pkg:pypi/a@1"], components["pkg:pypi/a@2"]
    assert first["properties"] == [
        {"name": "cni-genie:lock-files", "value": "requirements/run.txt, requirements/dev.txt"}
    ]
    assert {"name": "cni-genie:marker", "value": "sys_platform == 'win32'"} in second["properties"]


@pytest.mark.parametrize(("revision", "same"), [("abc", True), ("def", False)])
def test_its_number_and_time_are_those_of_the_commit(revision: str, *, same: bool) -> None:
    """So that two builds give the same file."""
    locks: dict[str, list[LockedPackage]] = {"run": []}
    one = sbom.bill_of_materials(Project(PROJECT, "1.0.0", "abc", 5), locks, BASE)
    two = sbom.bill_of_materials(Project(PROJECT, "1.0.0", revision, 5), locks, BASE)
    assert (one == two) == same
    assert json.loads(one)["metadata"]["timestamp"].startswith("1970-01-01T00:00:05")
