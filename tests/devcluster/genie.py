"""Install Genie into a cluster as an administrator does: kubectl and a small kustomize overlay.

The overlay adds to manifests/ only what every installation must choose: the image and the default
network. A second installation after a change of the tree rolls the change out.
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
_TIMEOUT = 60.0  # seconds for each rollout, each node and the webhook


@dataclass(frozen=True, slots=True)
class Release:
    """One version of Genie: its source tree, and the name for its image."""

    tree: Path = imagebuild.PROJECT
    image: str = imagebuild.GENIE_IMAGE


THIS = Release()


def overlay(base: str, image: str, build: str, default_network: str) -> dict[str, Any]:
    """Return a kustomization of the folder `base`; a new value of `build` replaces all pods."""
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
    """Build the image, import it on every node, apply manifests/, and wait until Genie works.

    Over another release this is an upgrade or a downgrade. Genie works when everything is rolled
    out, each node has Genie's conflist and a label for each of its networks, and the webhook
    answers. Raises ClusterError when one of these does not happen within a minute.
    """
    archive = imagebuild.build_genie(release.tree, name=release.image)
    with ThreadPoolExecutor() as executor:
        imports = [
            executor.submit(node.import_image, archive, release.image)
            for node in cluster.nodes.values()
        ]
        for each in imports:
            each.result()

    folder = cluster.layout.state / "genie"
    folder.mkdir(exist_ok=True)
    base = os.path.relpath(release.tree / "manifests", folder)
    content = overlay(base, release.image, archive.parent.name, default_network)
    (folder / "kustomization.yaml").write_text(json.dumps(content, indent=1))
    cluster.kubectl("apply", "-k", os.fspath(folder))
    wait_until_working(cluster, default_network)


def wait_until_working(cluster: Cluster, default_network: str) -> None:
    """Return when the installed Genie is rolled out and works; see `install_genie`."""
    for kind in ("daemonset", "deployment"):
        for item in cluster.get(kind, "-n", NAMESPACE)["items"]:
            name = f"{kind}/{item['metadata']['name']}"
            rollout = ["rollout", "status", name, "-n", NAMESPACE, f"--timeout={_TIMEOUT:.0f}s"]
            cluster.kubectl(*rollout)
    for name in cluster.nodes:
        ready = functools.partial(_attaches, cluster, name, default_network)
        cluster.wait_for(ready, _TIMEOUT, f"the agent to make {name} ready")
    cluster.wait_for(functools.partial(_refuses, cluster), _TIMEOUT, "the webhook to answer")


def _attaches(cluster: Cluster, name: str, default_network: str) -> bool:
    """Return whether a node is Ready, has its networks' labels, and its runtime calls Genie.

    A node without the default network keeps its former CNI configuration.
    """
    node = cluster.get("node", name)
    labels = node["metadata"]["labels"]
    networks = cluster.networks(name)
    labelled = all(labels.get(f"network.cni-genie.io/{n}") == "true" for n in networks)
    ready = [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"] == ["True"]
    conflist = cluster.node(name).path("/etc/cni/net.d/00-genie.conflist")
    return labelled and ready and (conflist.exists() or default_network not in networks)


def _refuses(cluster: Cluster) -> bool:
    """Return whether the webhook refuses a pod whose annotation is always invalid.

    The policy refuses the pod too, but its message begins with `The pods "probe"`.
    """
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "annotations": {"cni": "@"}},
        "spec": {"containers": [{"name": "probe", "image": "none"}]},
    }
    result = cluster.apply(pod, "--dry-run=server", check=False)
    return result.returncode != 0 and 'The Pod "probe" is invalid' in result.stderr
