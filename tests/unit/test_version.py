"""The version has one source, ``pyproject.toml``; what cannot read it there repeats it."""

from __future__ import annotations

import tomllib

import yaml

from tests.devcluster.build.imagebuild import PROJECT

VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]


def test_the_chart_has_the_version_of_the_project() -> None:
    """Chart and image are released together."""
    chart = yaml.safe_load((PROJECT / "manifests/chart/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
