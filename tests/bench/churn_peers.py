"""``python -m tests.bench.churn_peers``: pods through the real kubelet, without and with Genie.

In each round the same node serves the same pods in turn without Genie, with Genie, with Multus and
its daemon, and with no more than a start of the interpreter (:mod:`tests.bench.cni_setups`), in an
order that changes. The pods of a turn run in a closed loop (:mod:`tests.bench.pod_loop`). They
differ in the annotations that select their networks, and in nothing else. Before each loop, two
pods fill caches and do not count. One of them is checked on the node: it has its networks, and got
them in the way that is measured. The sandboxes of ended pods are removed within their turn
(:mod:`tests.bench.ended_sandboxes`). At the end the node is searched for what ended pods have left.

The aims are for one network. Pods on several networks run in the first rounds only, and fewer.

Reported are medians of the rounds. Ratios are medians of each round's own ratio, since one round
sees the same machine. Writes its part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import functools
import operator
import os
import sys
import time
from typing import TYPE_CHECKING

from tests.bench import churn_report, ended_sandboxes
from tests.bench.churn_report import Cost, Turn
from tests.bench.cluster import machine, run_benchmark
from tests.bench.cni_setups import (
    GENIE_SPACE,
    LAN,
    NETWORKS,
    NODE,
    ONE,
    OTHER_SPACE,
    VALUES,
    BareStart,
    Genie,
    Multus,
    NoGenie,
    Setup,
    check_pod,
    cost,
    select_node,
)
from tests.bench.pod_loop import PodLoop
from tests.cluster.support.admission import api
from tests.cluster.support.churn import remaining_leftovers
from tests.cluster.support.definitions import bridge, definition
from tests.cluster.support.pods import pod_manifest
from tests.devcluster.commands import step
from tests.devcluster.genie import DEFAULT_NETWORK
from tests.devcluster.network.multus_daemon import install_multus_daemon

if TYPE_CHECKING:
    from tests.bench.churn_report import Turns
    from tests.devcluster.cluster import Cluster

SETUPS: list[Setup] = [NoGenie(), Genie(), Multus(), BareStart()]
RUNTIME_SOCKET = "/run/containerd/containerd.sock"
WARM_UP = 2
"""Pods before each loop that do not count."""

REST = 2.0
"""Seconds after a switch, in which the runtime reads its configuration and daemons come to rest."""


def main() -> int:
    """Measure on a cluster of its own; return 1 if pods left anything on the node."""
    parser = argparse.ArgumentParser(
        description="Compare churn without Genie, with it, and Multus."
    )
    numbers = {
        "--rounds": (5, "of pods on one network"),
        "--pods": (40, "of each turn of these rounds"),
        "--other-rounds": (2, "of them also with pods on several networks"),
        "--other-pods": (20, "of each turn of those"),
        "--at-once": (10, "pods at a time"),
    }
    for option, (default, text) in numbers.items():
        parser.add_argument(option, type=int, default=default, help=f"{text} (default: {default})")
    figures = functools.partial(_figures, load=os.getloadavg()[0])
    return run_benchmark("churn peers", parser, figures, prepare=_prepare, values=VALUES)


def _figures(cluster: Cluster, chosen: argparse.Namespace, *, load: float) -> tuple[str, bool]:
    turns = _measure(cluster, chosen)
    remaining = remaining_leftovers(cluster.node(NODE))
    remark = f"Left behind on the node: {remaining or 'nothing'}; {machine(load)}"
    names = [setup.name for setup in SETUPS]
    return churn_report.table(turns, list(NETWORKS), names, remark), not remaining


def _prepare(cluster: Cluster) -> None:
    """Install what must be there before Genie."""
    install_multus_daemon(cluster, DEFAULT_NETWORK)
    select_node(cluster)


def _measure(cluster: Cluster, chosen: argparse.Namespace) -> Turns:
    _create_objects(cluster)
    with Genie().active(cluster):  # ends with the node as it is without Genie
        pass

    turns: Turns = {}
    order = list(SETUPS)
    for number in range(1, chosen.rounds + 1):
        counts = {ONE: chosen.pods}
        if number <= chosen.other_rounds:
            counts = {**dict.fromkeys(NETWORKS, chosen.other_pods), **counts}

        order.append(order.pop(0))
        with step(f"round {number} of {chosen.rounds}"):
            for setup in order:
                with setup.active(cluster):
                    time.sleep(REST)
                    for workload in filter(counts.get, setup.annotations):
                        one = _turn(cluster, setup, workload, counts[workload], chosen.at_once)
                        turns.setdefault((workload, setup.name), []).append(one)
    return turns


def _create_objects(cluster: Cluster) -> None:
    """Create the namespace of Genie's pods, and the definitions."""
    lan = {**bridge("lan0", 77), "name": LAN}
    for space in (GENIE_SPACE, OTHER_SPACE):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        has_account = functools.partial(cluster.exists, "serviceaccount", "default", "-n", space)
        cluster.wait_for(has_account, 120, f"the service account of {space}")
        cluster.apply(definition(space, LAN, lan))
    weave = definition(OTHER_SPACE, "weave", {})
    del weave["spec"]  # Multus takes the node's network of that name
    cluster.apply(weave)


def _turn(cluster: Cluster, setup: Setup, workload: str, count: int, at_once: int) -> Turn:
    annotations = {"annotations": dict(setup.annotations[workload])}
    pods = [pod_manifest(f"bench-{number}", None, **annotations) for number in range(count)]
    kube = api(cluster)
    check = functools.partial(check_pod, cluster, setup, workload)
    socket = cluster.node(NODE).path(RUNTIME_SOCKET)
    with ended_sandboxes.removal(socket) as remove:
        PodLoop(kube, setup.space, pods[:WARM_UP], check, remove).run(at_once)

    before = cost(cluster, setup)
    with ended_sandboxes.removal(socket) as remove:
        loop = PodLoop(kube, setup.space, pods, gone=remove)
        loop.run(at_once)
    used = map(operator.sub, cost(cluster, setup), before)
    return Turn(loop.pods_per_minute, list(loop.ready.values()), Cost(*used))


if __name__ == "__main__":
    sys.exit(main())
