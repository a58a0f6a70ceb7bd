"""The version has one source, ``pyproject.toml``; what cannot read it there repeats it."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.devcluster.build.imagebuild import PROJECT

VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def test_the_chart_has_the_version_of_the_project() -> None:
    """Chart and image are released together."""
    chart = yaml.safe_load((PROJECT / "manifests/chart/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_pages_name_files_of_this_version() -> None:
    """Commands can be copied from them; what a command prints may show other versions."""
    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    names = re.compile(r"(?:cni[_-]genie[-:]|kubectl-genie-|genie-image-|\bgenie-)(\d+\.\d+\.\d+)")
    outputs = re.compile(r"^ *```console\n.*?^ *```$", re.MULTILINE | re.DOTALL)
    texts = {str(page.relative_to(PROJECT)): outputs.sub("", page.read_text()) for page in pages}
    named = {(page, version) for page in texts for version in names.findall(texts[page])}
    assert named
    forgotten = sorted(page for page, version in named if version != VERSION)
    assert not forgotten, ", ".join(forgotten)


def test_manifests_name_the_version_of_the_project() -> None:
    """`make manifests` writes it there."""
    text = (PROJECT / "manifests" / "genie.yaml").read_text()
    images = set(re.findall(r"^ *image: (.*)$", text, re.MULTILINE))
    assert images == {f"cni-genie:{VERSION}"}
