"""Helm, built like the other programs, and the project's chart.

`manifests/genie.yaml` is the chart, rendered with `PLAIN`: `make manifests` writes the file, and
tests/cluster/test_chart.py compares it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.devcluster.build import gobuild
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

CHART = PROJECT / "manifests" / "chart"
GENIE_YAML = PROJECT / "manifests" / "genie.yaml"
RELEASE = "genie"
NAMESPACE = "genie-system"

PLAIN: dict[str, Any] = {
    "image": {"repository": "cni-genie"},
    "createNamespace": True,
    "uninstall": {"hook": False},
}
"""The values of genie.yaml: the defaults, without what only Helm can use, and the name of the image
that kustomize replaces."""

OLDEST_KUBERNETES = "1.34.0"
"""The version for which a file is rendered that every supported cluster accepts."""

_HEAD = """\
# Genie with its defaults, for `kubectl apply`: the chart in chart/, rendered. Do not edit this
# file: `make manifests` writes it.
#
# Two things must be set, both by a kustomization (docs/install.md has it complete):
# - the image, which is called cni-genie here: images: [{name: cni-genie, newName: …, newTag: …}]
# - the network of pods that name none: a patch of the ConfigMap genie, key default-network. While
#   it is empty, nothing is installed on the nodes.
#
# Everything else that the chart's values.yaml offers needs Helm: `helm template` renders it.
"""


def helm() -> Path:
    """Return the path of the program."""
    return gobuild.build(gobuild.HELM) / "helm"


def template(
    values: dict[str, Any],
    namespace: str = NAMESPACE,
    kube_version: str = "",
    chart: Path = CHART,
    *,
    hooks: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Render the chart with *values*, as ``helm template``; the caller checks the exit code."""
    command: list[str | Path] = [helm(), "template", RELEASE, chart, "--namespace", namespace]
    if kube_version:
        command += ["--kube-version", kube_version]
    if not hooks:
        command.append("--no-hooks")
    return run([*command, "--values", "-"], input=json.dumps(values), check=False)


def render_text(
    values: dict[str, Any],
    namespace: str = NAMESPACE,
    kube_version: str = "",
    chart: Path = CHART,
    *,
    hooks: bool = True,
) -> str:
    """Return the chart with *values* as YAML. Raises RuntimeError with Helm's sentence."""
    result = template(values, namespace, kube_version, chart, hooks=hooks)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout


def render(
    values: dict[str, Any], namespace: str = NAMESPACE, kube_version: str = ""
) -> list[dict[str, Any]]:
    """Return the objects of the chart with *values*. Raises RuntimeError with Helm's sentence."""
    text = render_text(values, namespace, kube_version)
    return [each for each in yaml.safe_load_all(text) if each]


def genie_yaml() -> str:
    """Return what `manifests/genie.yaml` must contain."""
    return _HEAD + render_text(PLAIN, kube_version=OLDEST_KUBERNETES, hooks=False)


def install(cluster: Cluster, values: dict[str, Any], chart: Path = CHART) -> None:
    """Install the chart, or upgrade to it, also over objects that kubectl applied.

    Does not wait for the pods. Raises CommandError with Helm's sentence.
    """
    command: list[str | Path] = [helm(), "upgrade", "--install", RELEASE, chart, "--values", "-"]
    options = ["--namespace", NAMESPACE, "--create-namespace", "--take-ownership"]
    # Others may have written fields of the objects: `kubectl apply`, or an administrator.
    options += ["--force-conflicts"]
    run([*command, *options], input=json.dumps(values), env=cluster.environment)


def uninstall(cluster: Cluster) -> None:
    """Delete the objects of the release, at once: without its hooks, the nodes keep what they have.

    Without a release nothing happens. Raises CommandError.
    """
    command: list[str | Path] = [helm(), "uninstall", RELEASE, "--namespace", NAMESPACE]
    run([*command, "--no-hooks", "--wait", "--ignore-not-found"], env=cluster.environment)


def manifest(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the objects of the installed release. Raises CommandError if there is none."""
    command: list[str | Path] = [helm(), "get", "manifest", RELEASE, "--namespace", NAMESPACE]
    text = run(command, env=cluster.environment).stdout
    return [each for each in yaml.safe_load_all(text) if each]
