"""``python -m tests.bench.agent``: measure agent and reaper on an idle node.

On a real node, with as many attachment records as a full node has: each is made by the installed
plugin, on two networks, for a network namespace of its own. kubelet asks its probes meanwhile.
After the node has come to rest, the processor time of both processes is counted, and at the end
their memory is read. The part of docs/performance.md between the two markers is written from it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.cluster import machine, run_benchmark
from tests.bench.process_cost import containers, memory, processor_seconds
from tests.cluster.support.agents import CONFLIST, LAUNCHER, agent_pod
from tests.devcluster.commands import step
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
REST = 45.0
"""Seconds before the measurement, in which the agent reads the records and asks for their pods."""

AIM_PERCENT, AIM_MEBIBYTES = 0.2, 90

EACH = """
genie() {{
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin CNI_COMMAND=$1 CNI_CONTAINERID=$2 \\
        CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin CNI_ARGS="$3" \\
        {launcher} </var/tmp/genie-bench.json >/dev/null
}}
cat >/var/tmp/genie-bench.json
for number in $(seq {count}); do {body}; done
rm /var/tmp/genie-bench.json
"""
MAKE = (
    "ip netns add bench-$number; genie ADD bench-$number "
    '"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=pod-$number;K8S_POD_UID=uid-$number"'
)
FREE = "genie DEL bench-$number IgnoreUnknown=1; ip netns delete bench-$number"


class Taken(NamedTuple):
    """One process: resident and proportional memory in MiB, and percent of one core."""

    resident: float
    share: float
    percent: float


def main() -> int:
    """Measure on a cluster of its own; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Measure agent and reaper on an idle node.")
    parser.add_argument(
        "--pods", type=int, default=200, help="number of pods with a record (default: 200)"
    )
    parser.add_argument(
        "--seconds", type=float, default=300, help="length of the measurement (default: 300)"
    )
    return run_benchmark("agent", parser, _figures)


def _figures(cluster: Cluster, chosen: argparse.Namespace) -> tuple[str, bool]:
    taken = _measure(cluster, chosen.pods, chosen.seconds)
    whole = _whole(taken)
    is_met = whole.percent < AIM_PERCENT and whole.resident <= AIM_MEBIBYTES
    return _table(taken, chosen.pods, chosen.seconds), is_met


def _measure(cluster: Cluster, pods: int, seconds: float) -> dict[str, Taken]:
    node = cluster.node(NODE)
    with step(f"making {pods} records"):
        _for_each(node, pods, MAKE)
    try:
        with step(f"waiting for {REST:.0f} s, then measuring for {seconds:.0f} s"):
            time.sleep(REST)
            running = processes(cluster)
            before = {name: processor_seconds(pid) for name, pid in running.items()}
            begun = time.monotonic()
            time.sleep(seconds)
            past = time.monotonic() - begun
            assert processes(cluster) == running, "one of them was started anew"
            return {
                name: Taken(*memory(pid), 100 * (processor_seconds(pid) - before[name]) / past)
                for name, pid in running.items()
            }
    finally:
        _for_each(node, pods, FREE)


def _for_each(node: Node, count: int, body: str) -> None:
    """Run *body* for each of these namespaces, with the runtime's configuration of the plugin."""
    own = json.loads(node.path(CONFLIST).read_text())["plugins"][0]
    chosen = {"io.kubernetes.cri.pod-annotations": {"cni": "weave,canal@net1"}}
    conf = {**own, "name": "genie", "cniVersion": "1.0.0", "runtimeConfig": chosen}
    script = EACH.format(launcher=LAUNCHER, count=count, body=body)
    node.run(["sh", "-ec", script], input=json.dumps(conf), timeout=600)


def processes(cluster: Cluster) -> dict[str, int]:
    """Return the process ids of agent and reaper, by container name."""
    pod = cluster.get("pod", agent_pod(cluster, NODE), "-n", NAMESPACE)
    return dict(containers(cluster, NODE, pod))


def _whole(taken: dict[str, Taken]) -> Taken:
    return Taken(*map(sum, zip(*taken.values(), strict=True)))


def _table(taken: dict[str, Taken], pods: int, seconds: float) -> str:
    rows = {**taken, "both": _whole(taken)}
    cells = [
        f"| {name} | {one.resident:.0f} | {one.share:.0f} | {one.percent:.2f} |"
        for name, one in rows.items()
    ]
    return "\n".join([
        "| process | resident, MiB | of that its own share, MiB | of one core, % |",
        "|---|---|---|---|",
        *cells,
        f"| aim | {AIM_MEBIBYTES} | | {AIM_PERCENT} |",
        "",
        f"- {pods} records of two networks each; {seconds:.0f} s without a pod coming or going.",
        f"- {machine()}.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
