"""Upgrade, downgrade and upgrade again while pods run, start and stop: nothing is lost or left.

Image and manifests of the predecessor are built from the history (:mod:`tests.predecessor`). Each
version replaces the other as an administrator does it: this tree with Helm, which takes over what
the predecessor's kustomization installed, and the predecessor with `kubectl apply -k`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dispatcher.state.record import FORMAT
from tests import predecessor as of_history
from tests.cluster.support.agents import LAUNCHER
from tests.cluster.support.churn import (
    READY_WITHIN,
    attachments,
    churn,
    failures,
    remaining_leftovers,
)
from tests.cluster.support.definitions import definitions_untouched
from tests.cluster.support.pods import pod_manifest
from tests.devcluster import helm
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.genie import DEFAULT_NETWORK, hand_over_to_helm, install_genie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.support.churn import Attachments, ChurnFigures
    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
AT_ONCE = 4
"""Pods of one wave in each lane: enough to have some starting in every second of a rollout."""

CHOICES: dict[str, tuple[str | None, dict[str, str]]] = {
    "default": (None, {"eth0": DEFAULT_NETWORK}),
    "one": ("weave", {"eth0": "weave"}),
    "two": ("weave,canal@net1", {"eth0": "weave", "net1": "canal"}),
    "three": ("canal,weave@net1,canal@net2", {"eth0": "canal", "net1": "weave", "net2": "canal"}),
}
"""What the pods of each version ask for, and the attachments that each has from then on."""


@contextlib.contextmanager
def pods_come_and_go(cluster: Cluster, node: Node, namespace: str) -> Iterator[list[ChurnFigures]]:
    """Create and delete pods meanwhile; fail if one is refused, is not Ready or does not go."""
    stopping = threading.Event()
    results: list[ChurnFigures] = []

    def waves() -> Iterator[object]:
        return itertools.takewhile(lambda _: not stopping.is_set(), itertools.count())

    with ThreadPoolExecutor(1) as executor:
        churning = executor.submit(churn, cluster, node, namespace, waves, pods=AT_ONCE)
        try:
            yield results
        finally:
            stopping.set()
            results.append(churning.result())


def replace(cluster: Cluster, namespace: str, tree: Path, expected: Attachments) -> None:
    """Put the version of *tree* in place of the other while pods come and go.

    The pods that stay keep what they have, and none restarts.
    """
    node = cluster.node(NODE)
    launcher = node.path(LAUNCHER)
    former = launcher.read_text()
    with pods_come_and_go(cluster, node, namespace) as churned:
        if tree == PROJECT:
            hand_over_to_helm(cluster)
        install_genie(cluster, tree=tree)
    assert churned[0].pods
    assert launcher.read_text() != former
    assert held(cluster, node, namespace) == expected


def additions(rendered: Any, live: Any, path: str) -> Iterator[str]:
    """Yield what *live* has in its lists of named things, and *rendered* has not."""
    if isinstance(rendered, dict) and isinstance(live, dict):
        for key, value in rendered.items():
            yield from additions(value, live.get(key), f"{path}.{key}")
    if isinstance(rendered, list) and isinstance(live, list):
        expected, present = (
            {each["name"]: each for each in items if isinstance(each, dict) and "name" in each}
            for items in (rendered, live)
        )
        yield from (f"{path}.{name}" for name in present.keys() - expected.keys())
        for name in present.keys() & expected.keys():
            yield from additions(expected[name], present[name], f"{path}.{name}")


def left_of_kustomize(cluster: Cluster) -> list[str]:
    """Return the entries of installed objects that the chart's release does not have.

    Helm replaces what it applied itself; entries that only `kubectl apply` wrote might stay.
    """
    objects = helm.manifest(cluster)
    assert objects
    found: list[str] = []
    for each in objects:
        kind, name = each["kind"], each["metadata"]["name"]
        place = ("-n", each["metadata"]["namespace"]) if "namespace" in each["metadata"] else ()
        found += additions(each, cluster.get(kind, name, *place), f"{kind}/{name}")
    return found


def create(cluster: Cluster, namespace: str, prefix: str) -> Attachments:
    """Start a pod of each choice; return the attachments that each must have."""
    pods = [
        pod_manifest(f"{prefix}-{name}", cni, labels={"stays": "yes"})
        for name, (cni, _) in CHOICES.items()
    ]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": pods}, "-n", namespace)
    wait = ("wait", "pods", "-n", namespace, "-l", "stays=yes", "--for=condition=Ready")
    cluster.kubectl(*wait, f"--timeout={READY_WITHIN}s", timeout=2 * READY_WITHIN)
    return {f"{prefix}-{name}": interfaces for name, (_, interfaces) in CHOICES.items()}


def delete_one_of_each(cluster: Cluster, namespace: str, expected: Attachments) -> Attachments:
    """Delete the first pod of each version so far; return what the others must have."""
    first = {name.partition("-")[0]: name for name in reversed(expected)}
    cluster.kubectl("delete", "pod", *first.values(), "-n", namespace, "--wait=true")
    return {name: had for name, had in expected.items() if name not in first.values()}


def held(cluster: Cluster, node: Node, namespace: str) -> Attachments:
    """Return the attachments of the pods that stay; none may have restarted."""
    pods = cluster.get("pods", "-n", namespace, "-l", "stays=yes")["items"]
    for pod in pods:
        [container] = pod["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0), pod["metadata"]["name"]
    return attachments(node, pods)


def formats(node: Node) -> set[int]:
    """Return the formats of the records on the node."""
    records = node.path("/var/lib/cni/genie").glob("*.json")
    return {json.loads(record.read_bytes())["format"] for record in records}


def test_an_upgrade_that_is_taken_back_and_made_again_loses_nothing(
    cluster: Cluster, namespace: str, predecessor: Path
) -> None:
    """Pods of every version so far keep what they have; each version releases pods of the other.

    No creation fails meanwhile, and in the end no address, record, rule or veth remains. The
    uninstall before it leaves NetworkAttachmentDefinitions, which are the cluster's, as they are.
    """
    node = cluster.node(NODE)
    with definitions_untouched(cluster, namespace):
        helm.uninstall(cluster)  # there is no pod yet that could lose anything
    install_genie(cluster, tree=predecessor)
    try:
        expected = create(cluster, namespace, "old")
        assert held(cluster, node, namespace) == expected

        for prefix, tree in (("upgraded", PROJECT), ("downgraded", predecessor)):
            replace(cluster, namespace, tree, expected)
            if tree == PROJECT:
                assert left_of_kustomize(cluster) == []
            created = create(cluster, namespace, prefix)
            assert held(cluster, node, namespace) == expected | created
            assert formats(node) == {of_history.FORMAT, FORMAT}

            expected = delete_one_of_each(cluster, namespace, expected) | created
            assert held(cluster, node, namespace) == expected
            assert remaining_leftovers(node) == {}

        replace(cluster, namespace, PROJECT, expected)
    except BaseException:
        install_genie(cluster)  # the next tests need this version
        raise
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    assert failures(cluster, namespace) == []
    assert remaining_leftovers(node) == {}
    state = {file.name for file in node.path("/var/lib/cni/genie").iterdir()}
    assert [name for name in state if namespace in name or name.endswith(".corrupt")] == []
