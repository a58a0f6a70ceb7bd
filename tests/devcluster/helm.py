"""Helm, built like the other programs, and the project's chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.devcluster.build import gobuild
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run

if TYPE_CHECKING:
    import subprocess

CHART = PROJECT / "manifests" / "chart"
NAMESPACE = "genie-system"


def template(
    values: dict[str, Any], namespace: str = NAMESPACE, kube_version: str = ""
) -> subprocess.CompletedProcess[str]:
    """Render the chart with *values*, as ``helm template``; the caller checks the exit code."""
    helm = gobuild.build(gobuild.HELM) / "helm"
    command = [str(helm), "template", "genie", str(CHART), "--namespace", namespace]
    if kube_version:
        command += ["--kube-version", kube_version]
    return run([*command, "--values", "-"], input=json.dumps(values), check=False)


def render(
    values: dict[str, Any], namespace: str = NAMESPACE, kube_version: str = ""
) -> list[dict[str, Any]]:
    """Return the objects of the chart with *values*. Raises RuntimeError with Helm's sentence."""
    done = template(values, namespace, kube_version)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]
