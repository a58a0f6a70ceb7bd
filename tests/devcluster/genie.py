"""Installs Genie into a cluster, as an administrator would: kubectl and a small kustomize overlay.

The overlay adds to manifests/ only what every installation must choose: where the image is and
which network is the default. Installing again after a change of the tree rolls the change out.
"""

from __future__ import annotations

import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.devcluster.build import imagebuild

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

NAMESPACE = "genie-system"
DEFAULT_NETWORK = "canal"
_NAME_IN_MANIFESTS = "cni-genie"
_BUILD_ANNOTATION = "tests.cni-genie.io/build"
_PATIENCE = 60.0  # seconds for each thing to come true


@dataclass(frozen=True, slots=True)
class Release:
    """One version of Genie: its tree, and the name that its image gets."""

    tree: Path = imagebuild.PROJECT
    image: str = imagebuild.GENIE_IMAGE


THIS = Release()


def overlay(base: str, image: str, build: str, default_network: str) -> dict[str, Any]:
    """Return a kustomization of the folder `base`; a new `build` makes new pods."""
    name, _, tag = image.rpartition(":")
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "genie", "namespace": NAMESPACE},
        "data": {"default-network": default_network},
    }
    annotations = {"template": {"metadata": {"annotations": {_BUILD_ANNOTATION: build}}}}
    workload = {"apiVersion": "apps/v1", "kind": "any", "metadata": {"name": "any"}}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "images": [{"name": _NAME_IN_MANIFESTS, "newName": name, "newTag": tag}],
        "patches": [
            {"patch": json.dumps(settings)},
            {
                "target": {"kind": "Deployment|DaemonSet"},
                "patch": json.dumps({**workload, "spec": annotations}),
            },
        ],
    }


def install_genie(
    cluster: Cluster, default_network: str = DEFAULT_NETWORK, release: Release = THIS
) -> None:
    """Build the image, load it into every node, apply manifests/, and return when Genie works.

    Over another release it is an upgrade or a downgrade, as an administrator makes one. Genie
    works when everything is rolled out, each node has a label for each of its networks and Genie's
    conflist, and the webhook answers. Raises ClusterError where one of these does not come true.
    """
    archive = imagebuild.build_genie(release.tree, name=release.image)
    with ThreadPoolExecutor() as together:
        list(together.map(lambda node: node.import_image(archive), cluster.nodes.values()))
    folder = cluster.layout.state / "genie"
    folder.mkdir(exist_ok=True)
    base = os.path.relpath(release.tree / "manifests", folder)
    content = overlay(base, release.image, archive.parent.name, default_network)
    (folder / "kustomization.yaml").write_text(json.dumps(content, indent=1))
    cluster.kubectl("apply", "-k", os.fspath(folder))
    wait_until_working(cluster, default_network)


def wait_until_working(cluster: Cluster, default_network: str) -> None:
    """Return when what is installed is rolled out and does its work."""
    for kind in ("daemonset", "deployment"):
        for item in cluster.get(kind, "-n", NAMESPACE)["items"]:
            name = f"{kind}/{item['metadata']['name']}"
            rollout = ["rollout", "status", name, "-n", NAMESPACE, f"--timeout={_PATIENCE:.0f}s"]
            cluster.kubectl(*rollout)
    for name in cluster.nodes:
        ready = functools.partial(_attaches, cluster, name, default_network)
        cluster.wait_for(ready, _PATIENCE, f"the agent to make {name} ready")
    cluster.wait_for(functools.partial(_refuses, cluster), _PATIENCE, "the webhook to answer")


def _attaches(cluster: Cluster, name: str, default_network: str) -> bool:
    """Say whether a node is labelled with its networks, is Ready, and its runtime calls Genie.

    A node that lacks the default network keeps what it had.
    """
    node = cluster.get("node", name)
    labels = node["metadata"]["labels"]
    networks = cluster.networks(name)
    labelled = all(labels.get(f"network.cni-genie.io/{n}") == "true" for n in networks)
    ready = [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    conflist = cluster.node(name).path("/etc/cni/net.d/00-genie.conflist")
    return labelled and ready and (conflist.exists() or default_network not in networks)


def _refuses(cluster: Cluster) -> bool:
    """Say whether a pod with a value that can never be right is refused, by the webhook.

    The policy refuses it too, and calls it `The pods "probe"`.
    """
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "annotations": {"cni": "@"}},
        "spec": {"containers": [{"name": "probe", "image": "none"}]},
    }
    tried = cluster.apply(pod, "--dry-run=server", check=False)
    return tried.returncode != 0 and 'The Pod "probe" is invalid' in tried.stderr
