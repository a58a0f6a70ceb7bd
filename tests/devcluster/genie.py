"""Install Genie into a cluster as an administrator does: from the Helm chart.

The values are only those that every installation must choose: the image and the default network.
The image's tag follows its content, so a second installation after a change of the tree rolls the
change out. A tree from before the chart has a kustomization, and gets a small overlay of it.
"""

from __future__ import annotations

import functools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.devcluster import helm
from tests.devcluster.build import imagebuild
from tests.devcluster.build.imagebuild import PROJECT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

NAMESPACE = helm.NAMESPACE
DEFAULT_NETWORK = "canal"
_NAME_IN_MANIFESTS = "cni-genie"
_QUICK: dict[str, Any] = {"agent": {"settingsDelaySeconds": 2}}
"""Agents apply changed settings after two seconds at most, since tests wait for that."""

_TIMEOUT = 120.0  # seconds for each rollout, each node and the webhook


def chart_values(image: str, default_network: str) -> dict[str, Any]:
    """Return the values of the chart that every installation must choose."""
    repository, _, tag = image.rpartition(":")
    return {"image": {"repository": repository, "tag": tag}, "defaultNetwork": default_network}


def overlay(base: str, image: str, default_network: str) -> dict[str, Any]:
    """Return a kustomization of the folder *base* with the same choices."""
    name, _, tag = image.rpartition(":")
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "genie", "namespace": NAMESPACE},
        "data": {"default-network": default_network},
    }
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "images": [{"name": _NAME_IN_MANIFESTS, "newName": name, "newTag": tag}],
        "patches": [{"patch": json.dumps(settings)}],
    }


def install_genie(
    cluster: Cluster,
    default_network: str = DEFAULT_NETWORK,
    *,
    tree: Path = PROJECT,
    values: Mapping[str, Any] | None = None,
    nodes: Collection[str] = (),
) -> None:
    """Build the image, import it on every node, install Genie, and wait until it works.

    *values* are further values of the chart, *nodes* those that it selects (empty: all). Over
    another version this is an upgrade or a downgrade; *tree* is its source. Genie works when
    everything is rolled out, each node has Genie's conflist and a label for each of its networks,
    and the webhook answers. Raises ClusterError when one of these does not happen within two
    minutes.
    """
    image = import_genie(cluster, tree)
    if tree == PROJECT:
        chosen = chart_values(image, default_network)
        helm.install(cluster, {**chosen, **_QUICK, **(values or {})})
    else:
        _apply_overlay(cluster, tree, image, default_network)
    wait_until_working(cluster, default_network, nodes)


def import_genie(cluster: Cluster, tree: Path = PROJECT) -> str:
    """Build the image of *tree* and import it on every node; return its name."""
    archive = imagebuild.build_genie(tree)
    image = imagebuild.image_name(archive)
    with ThreadPoolExecutor() as executor:
        imports = [
            executor.submit(node.import_image, archive, image) for node in cluster.nodes.values()
        ]
        for each in imports:
            each.result()
    return image


def hand_over_to_helm(cluster: Cluster) -> None:
    """Make Helm the manager of all fields of an installed kustomization; change nothing else.

    Otherwise Helm would replace what its chart has, and leave what only the kustomization had, such
    as a variable of a container, for ever.
    """
    apply = ("apply", "-k", os.fspath(_overlay_folder(cluster)), "--server-side")
    cluster.kubectl(*apply, "--field-manager=helm", "--force-conflicts")


def _overlay_folder(cluster: Cluster) -> Path:
    return cluster.layout.state / "genie"


def _apply_overlay(cluster: Cluster, tree: Path, image: str, default_network: str) -> None:
    folder = _overlay_folder(cluster)
    folder.mkdir(exist_ok=True)
    base = os.path.relpath(tree / "manifests", folder)
    content = overlay(base, image, default_network)
    (folder / "kustomization.yaml").write_text(json.dumps(content, indent=1))
    cluster.kubectl("apply", "-k", os.fspath(folder))


def wait_until_working(cluster: Cluster, default_network: str, nodes: Collection[str] = ()) -> None:
    """Return when Genie is rolled out and works on *nodes* (empty: all); see `install_genie`."""
    for kind in ("daemonset", "deployment"):
        for item in cluster.get(kind, "-n", NAMESPACE)["items"]:
            name = f"{kind}/{item['metadata']['name']}"
            rollout = ["rollout", "status", name, "-n", NAMESPACE, f"--timeout={_TIMEOUT:.0f}s"]
            cluster.kubectl(*rollout, timeout=_TIMEOUT + 30)
    for name in nodes or cluster.nodes:
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
