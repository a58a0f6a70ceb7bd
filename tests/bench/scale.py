"""``python -m tests.bench.scale``: measure the webhook against the number of nodes.

A real control plane and one real node run Genie. Simulated nodes are added step by step
(:mod:`tests.devcluster.kwok`), each with the labels of 20 networks, beside 1,000 namespaces with a
default network and 1,000 NetworkAttachmentDefinitions. After each step the cluster comes to rest,
and then these are measured:

- memory of the webhook's replicas, and their processor time while no pod is created;
- creations of pods that name two networks, as many as the API server takes from eight clients, and
  the webhook's processor time for each;
- the time from a change of a node's label to the first decision that follows it;
- a label of every node changes, as fast as the API server takes it, as when agents start with a new
  network: the webhook's processor time for each change, and what creations take meanwhile.

No pod that is created here is ever scheduled. Everything shares the machine's processors: rates
belong to the machine, and what matters is how the figures change with the number of nodes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.kube.client import MERGE_PATCH, KubeError
from tests.bench import scale_report
from tests.bench.api_observer import Latencies, pod_creations
from tests.bench.cluster import is_ready
from tests.bench.process_cost import containers, memory, processor_seconds
from tests.bench.scale_report import Rollout, Step
from tests.cluster.support.admission import WEBHOOK_PODS, api, pod
from tests.cluster.support.definitions import CRD, OBSERVE, definition
from tests.devcluster.cluster import ONE_NODE, Cluster
from tests.devcluster.commands import ClusterError, log_progress, step
from tests.devcluster.genie import install_genie
from tests.devcluster.interrupts import as_interrupts
from tests.devcluster.kwok import LEASE_SECONDS, maintained_nodes, simulated_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dispatcher.kube.client import Kube

NETWORKS = [f"net{number}" for number in range(1, 21)]
NAMESPACES = 1000
DEFINITIONS = 1000
CLIENTS = 8
REST = 20.0
"""Seconds between a step and its measurements, in which caches and controllers follow."""

IDLE = 30.0
"""Seconds of the measurement without creations."""

CHANGES = 7
"""Changes of a label, of which the median counts."""

WAIT = 600.0
"""Seconds for the simulated nodes of one step to become Ready."""

_PODS = "/api/v1/namespaces/bench-0/pods"
_LATE = "late"
"""A network that one node gains and loses."""

_ROLLED_OUT = "rolled-out"
"""A network that all nodes gain."""


def main() -> int:
    """Measure on a cluster of its own, and write the part of docs/performance.md."""
    parser = argparse.ArgumentParser(description="Measure the webhook on simulated nodes.")
    parser.add_argument(
        "--nodes",
        type=int,
        nargs="+",
        default=[100, 1000, 3000, 5000],
        help="numbers of nodes to measure with, rising (default: 100 1000 3000 5000)",
    )
    parser.add_argument("--pods", type=int, default=1000, help="creations a step (default: 1000)")
    parser.add_argument("--name", default="genie-scale", help="cluster (default: %(default)s)")
    chosen = parser.parse_args()

    steps: list[Step] = []
    error = _measure_all(chosen.name, sorted(chosen.nodes), chosen.pods, steps)
    if error:
        print(f"error: {error}", file=sys.stderr)
    if steps:  # a later one may have failed
        setup = _setup(chosen.pods)
        scale_report.write(steps, setup)
        print(scale_report.table(steps, setup))
    return 1 if error else 0


def _measure_all(name: str, sizes: list[int], pods: int, steps: list[Step]) -> str:
    """Add what was measured to *steps*; return what ended it early, or ""."""
    cluster = None
    with as_interrupts():
        try:
            cluster = Cluster.up(name, ONE_NODE)
            for figures in _measure(cluster, sizes, pods):
                log_progress(scale_report.row(figures))
                steps.append(figures)
        except (ClusterError, KubeError) as error:
            return str(error)
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            if cluster is not None:
                cluster.down()
    return ""


def _setup(pods: int) -> list[str]:
    load = os.getloadavg()[0]
    return [
        f"- {len(NETWORKS)} networks, {NAMESPACES:,} namespaces with a default, {DEFINITIONS:,}",
        f"  definitions (mode `{OBSERVE}`), two replicas; {pods:,} creations, {CLIENTS} clients.",
        f"- Leases of simulated nodes last {LEASE_SECONDS} s, a kubelet's 40 s; all of it on",
        f"  {os.cpu_count()} processors; load average {load:.1f}.",
    ]


def _measure(cluster: Cluster, sizes: list[int], pods: int) -> Iterator[Step]:
    cluster.apply(CRD)
    only_real = {"agent": {"nodeSelector": {"bench": "real"}}}
    cluster.kubectl("label", "node", "node1", "bench=real")
    install_genie(cluster, values={"attachmentDefinitions": {"mode": OBSERVE}, **only_real})

    kube = api(cluster)
    with maintained_nodes(cluster):
        with step(f"{NAMESPACES} namespaces and {DEFINITIONS} definitions"):
            _each(lambda number: _create_space(kube, number), range(NAMESPACES))
        for number, (before, count) in enumerate(pairwise([0, *sizes])):
            with step(f"{count} nodes"):
                _each(
                    lambda number: kube.create("/api/v1/nodes", _node(number)), range(before, count)
                )
                _wait_for_nodes(cluster, kube, count)
                time.sleep(REST)
            with step(f"{count} nodes: measuring"):
                value = "true" if number % 2 else "false"  # each step changes all nodes
                figures = _measure_step(cluster, kube, count, pods, value)
            yield figures


def _each(action: Callable[[int], object], numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(action, numbers))


def _create_space(kube: Kube, number: int) -> None:
    """Create a namespace with a default network, and one definition in it."""
    name = f"bench-{number}"
    metadata = {"name": name, "annotations": {keys.ANNOTATION: NETWORKS[number % len(NETWORKS)]}}
    kube.create("/api/v1/namespaces", {"metadata": metadata})
    config = {"cniVersion": "1.0.0", "type": "bridge", "bridge": "br0", "ipam": {"type": "dhcp"}}
    path = f"/apis/k8s.cni.cncf.io/v1/namespaces/{name}/network-attachment-definitions"
    kube.create(path, definition(name, "lan", config))


def _node(number: int) -> dict[str, Any]:
    """Return a simulated node that has all networks; every tenth cannot attach one at present."""
    labels = {keys.network_label(name): "true" for name in NETWORKS}
    if number % 10 == 0:
        labels[keys.network_label(NETWORKS[number // 10 % len(NETWORKS)])] = "false"
    types = ";".join(f"{network}=bridge,portmap" for network in NETWORKS)
    return simulated_node(_node_name(number), labels, {keys.PLUGIN_TYPES: types})


def _node_name(number: int) -> str:
    return f"bench-{number:05}"


def _wait_for_nodes(cluster: Cluster, kube: Kube, count: int) -> None:
    """Return when kwok has made the last nodes Ready."""

    def are_ready() -> bool:
        names = (_node_name(number) for number in range(max(0, count - 50), count))
        return all(is_ready(kube.get(f"/api/v1/nodes/{name}")) for name in names)

    cluster.wait_for(are_ready, WAIT, f"{count} simulated nodes to be Ready")


def _measure_step(cluster: Cluster, kube: Kube, nodes: int, pods: int, value: str) -> Step:
    processes = _webhook_processes(cluster)

    def used() -> float:
        return sum(map(processor_seconds, processes))

    before, begun = used(), time.monotonic()
    time.sleep(IDLE)
    idle = 100 * (used() - before) / (time.monotonic() - begun)

    before, begun = used(), time.monotonic()
    created = _create_pods(kube, pods)
    rate = pods / (time.monotonic() - begun)
    milliseconds = 1000 * (used() - before) / pods
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda name: kube.delete(f"{_PODS}/{name}?gracePeriodSeconds=0"), created))

    return Step(
        nodes,
        max(memory(pid)[0] for pid in processes),
        idle,
        rate,
        Latencies([*created.values()]),
        milliseconds,
        _seconds_to_decision(kube),
        _roll_out(kube, nodes, used, value),
    )


def _webhook_processes(cluster: Cluster) -> list[int]:
    pods = cluster.get("pods", *WEBHOOK_PODS)["items"]
    return [pid for each in pods for _, pid in containers(cluster, "node1", each)]


def _create_pods(kube: Kube, count: int) -> dict[str, float]:
    """Create pods as fast as the API server takes them; return the milliseconds of each name."""
    value = pod("net3,net7@data", schedulerName="nobody")

    def create(_number: int) -> tuple[str, float]:
        begun = time.perf_counter()
        stored = kube.create(_PODS, value)
        return stored["metadata"]["name"], (time.perf_counter() - begun) * 1000

    with ThreadPoolExecutor(CLIENTS) as pool:
        return dict(pool.map(create, range(count)))


def _roll_out(kube: Kube, nodes: int, used: Callable[[], float], value: str) -> Rollout:
    """Give a label of every node the *value*, as agents do with a new network."""

    def change(number: int) -> None:
        path = f"/api/v1/nodes/{_node_name(number)}"
        labels = {keys.network_label(_ROLLED_OUT): value}
        kube.patch(path, {"metadata": {"labels": labels}}, MERGE_PATCH)

    before, begun = used(), time.monotonic()
    with pod_creations(kube, "bench-0", "net3,net7@data", 0.02) as creations:
        _each(change, range(nodes))
    seconds = time.monotonic() - begun
    milliseconds = 1000 * (used() - before) / nodes
    return Rollout(nodes / seconds, milliseconds, creations)


def _seconds_to_decision(kube: Kube) -> float:
    """Return the median time from a change of a label to a decision that follows it."""
    label = f"/metadata/labels/{keys.network_label(_LATE).replace('/', '~1')}"
    changes = ({"op": "add", "path": label, "value": "true"}, {"op": "remove", "path": label})
    times = []
    for number in range(CHANGES):
        is_added = number % 2 == 0
        kube.patch(f"/api/v1/nodes/{_node_name(1)}", [changes[number % 2]])
        begun = time.perf_counter()
        while _is_admitted(kube) is not is_added:
            if time.perf_counter() - begun > WAIT:
                raise ClusterError("the webhook's decisions do not follow the label of a node")
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _is_admitted(kube: Kube) -> bool:
    try:
        kube.create(f"{_PODS}?dryRun=All", pod(_LATE))
    except KubeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
