"""Send every kustomization of manifests/ to the real API server in a dry run.

With kubectl's strict validation and the server's own, admission included. Objects of the Prometheus
operator and of cert-manager need their kinds: they are defined here as no more than names, so the
server judges where such an object is put and what it is called, and not what stands in it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

MANIFESTS = Path(__file__).parents[2] / "manifests"
FOLDERS = [MANIFESTS, MANIFESTS / "monitoring", *sorted((MANIFESTS / "overlays").iterdir())]

OTHERS = ("cert-manager.io", "monitoring.coreos.com")
"""API groups that the cluster under test does not have."""


@functools.cache  # it takes a second each
def rendered(cluster: Cluster, folder: Path) -> list[dict[str, Any]]:
    text = cluster.kubectl("kustomize", str(folder)).stdout
    return [each for each in yaml.safe_load_all(text) if each]


def definition(group: str, version: str, kind: str) -> dict[str, Any]:
    """Return a CustomResourceDefinition that accepts any content."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def other_kinds(cluster: Cluster) -> Iterator[None]:
    """Create definitions for the kinds of other projects that manifests/ uses."""
    kinds = {
        (*each["apiVersion"].split("/"), each["kind"])
        for folder in FOLDERS
        for each in rendered(cluster, folder)
        if each["apiVersion"].partition("/")[0] in OTHERS
    }
    assert {group for group, _, _ in kinds} == set(OTHERS)
    made = [definition(*kind) for kind in sorted(kinds)]
    names = [f"customresourcedefinition/{each['metadata']['name']}" for each in made]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": made})
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    yield
    cluster.kubectl("delete", *names)


@pytest.mark.usefixtures("other_kinds")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_api_server_accepts_every_object_of(cluster: Cluster, folder: Path) -> None:
    """All objects, in one dry run, without a warning."""
    done = cluster.kubectl(
        "apply", "-k", str(folder), "--dry-run=server", "--validate=strict", "--output=json"
    )
    taken = json.loads(done.stdout)
    objects = taken["items"] if taken["kind"] == "List" else [taken]
    expected = [(each["kind"], each["metadata"]["name"]) for each in rendered(cluster, folder)]
    assert sorted((each["kind"], each["metadata"]["name"]) for each in objects) == sorted(expected)
    assert "Warning" not in done.stderr
