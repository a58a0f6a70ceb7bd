"""Upgrade, downgrade and upgrade again while pods run, come and go: none is lost, nothing stays.

The predecessor's image and manifests are made from the history (:mod:`tests.predecessor`), and each
version is put in place of the other as an administrator does it: the image swapped, the manifests
applied.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dispatcher.state.record import FORMAT
from tests import predecessor as of_history
from tests.cluster.support.churn import (
    READY_WITHIN,
    attachments,
    churn,
    failures,
    remaining_leftovers,
)
from tests.cluster.support.pods import pod_manifest
from tests.devcluster.genie import DEFAULT_NETWORK, THIS, Release, install_genie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.support.churn import Attachments, ChurnFigures
    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
AT_ONCE = 4
"""Pods that come and go together in each lane: enough to be at work in every second of a roll."""

CHOICES: dict[str, tuple[str | None, dict[str, str]]] = {
    "default": (None, {"eth0": DEFAULT_NETWORK}),
    "one": ("weave", {"eth0": "weave"}),
    "two": ("weave,canal@net1", {"eth0": "weave", "net1": "canal"}),
    "three": ("canal,weave@net1,canal@net2", {"eth0": "canal", "net1": "weave", "net2": "canal"}),
}
"""What the pods of each version ask for, and what each has from then on."""


@contextlib.contextmanager
def pods_come_and_go(cluster: Cluster, node: Node, namespace: str) -> Iterator[list[ChurnFigures]]:
    """Make and delete pods meanwhile; fails where one is refused, is not Ready, or does not go."""
    over = threading.Event()
    done: list[ChurnFigures] = []

    def waves() -> Iterator[object]:
        return itertools.takewhile(lambda _: not over.is_set(), itertools.count())

    with ThreadPoolExecutor(1) as together:
        churning = together.submit(churn, cluster, node, namespace, waves, pods=AT_ONCE)
        try:
            yield done
        finally:
            over.set()
            done.append(churning.result())


def create(cluster: Cluster, namespace: str, version: str) -> Attachments:
    """Start a pod of each choice; return what each is to have."""
    pods = [
        pod_manifest(f"{version}-{name}", cni, labels={"stays": "yes"})
        for name, (cni, _) in CHOICES.items()
    ]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": pods}, "-n", namespace)
    ours = ("pods", "-n", namespace, "-l", "stays=yes")
    wait = ("wait", *ours, "--for=condition=Ready", f"--timeout={READY_WITHIN}s")
    cluster.kubectl(*wait, timeout=2 * READY_WITHIN)
    return {f"{version}-{name}": interfaces for name, (_, interfaces) in CHOICES.items()}


def held(cluster: Cluster, node: Node, namespace: str) -> Attachments:
    """Return what the pods that stay have, all of which run as they were started."""
    pods = cluster.get("pods", "-n", namespace, "-l", "stays=yes")["items"]
    for pod in pods:
        [container] = pod["status"]["containerStatuses"]
        assert (container["ready"], container["restartCount"]) == (True, 0), pod["metadata"]["name"]
    return attachments(node, pods)


def first_of(pods: Attachments, turn: int) -> str:
    """Return the first of *pods* that was started at *turn*."""
    return next(name for name in pods if name.startswith(f"turn{turn}-"))


def formats(node: Node) -> set[int]:
    """Return the formats of the records on the node."""
    records = node.path("/var/lib/cni/genie").glob("*.json")
    return {json.loads(record.read_bytes())["format"] for record in records}


def test_an_upgrade_that_is_taken_back_and_made_again_loses_nothing(
    cluster: Cluster, namespace: str, predecessor: Path
) -> None:
    """At each turn pods of every version so far keep what they have, and some of each are deleted.

    No creation fails meanwhile, and in the end no address, record, rule or veth is left.
    """
    node = cluster.node(NODE)
    before = Release(predecessor, "localhost/cni-genie:predecessor")
    launcher = node.path("/opt/cni/bin/genie")
    expected: Attachments = {}
    try:
        for turn, release in enumerate((before, THIS, before, THIS)):
            version = launcher.read_text()
            with pods_come_and_go(cluster, node, namespace) as churned:
                install_genie(cluster, release=release)
            assert churned[0].pods
            assert launcher.read_text() != version
            assert held(cluster, node, namespace) == expected

            expected |= create(cluster, namespace, f"turn{turn}")
            assert held(cluster, node, namespace) == expected
            if turn:
                assert formats(node) == {of_history.FORMAT, FORMAT}

            # One pod of every earlier turn: those of the other version, too.
            gone = [first_of(expected, earlier) for earlier in range(turn)]
            if gone:
                cluster.kubectl("delete", "pod", *gone, "-n", namespace, "--wait=true")
            expected = {name: had for name, had in expected.items() if name not in gone}
            assert held(cluster, node, namespace) == expected
            assert remaining_leftovers(node) == {}
    finally:
        install_genie(cluster)
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    assert failures(cluster, namespace) == []
    assert remaining_leftovers(node) == {}
    state = {file.name for file in node.path("/var/lib/cni/genie").iterdir()}
    assert [name for name in state if namespace in name or name.endswith(".corrupt")] == []
