"""``python -m tests.bench.client_command``: measure ``kubectl genie`` as a person waits for it.

``--help`` is started over and over, and so is the help of each command. ``networks`` reads a real
API server with 5,000 Node objects, as large as those of real nodes (labels, addresses, a list of
images), which this program creates and deletes. They carry no label of Linux, so that no DaemonSet
creates pods for them. All times are by the clock, from the start of the process to its end. Writes
its part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.app import COMMANDS
from dispatcher import keys
from tests.bench.cluster import run_benchmark
from tests.cluster.support.admission import api
from tests.devcluster.commands import step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODES = 5000
IMAGES = 50
HELP_AIM, NETWORKS_AIM = 0.3, 5.0
"""Aims for the median, in seconds."""

MARK = {"bench": "client-command"}
TREE = Path(__file__).parents[2]


def main() -> int:
    """Measure, print, and write the page; 1: an aim is missed."""
    parser = argparse.ArgumentParser(description="Measure kubectl genie.")
    parser.add_argument("--starts", type=int, default=40, help="starts of --help (default: 40)")
    return run_benchmark("command", parser, _measure)


def _measure(cluster: Cluster, chosen: argparse.Namespace) -> tuple[str, bool]:
    environ = {**os.environ, "KUBECONFIG": os.fspath(cluster.layout.kubeconfig)}
    help_times = [_time(["--help"], environ) for _ in range(chosen.starts)]
    each = {name: [_time([name, "--help"], environ) for _ in range(5)] for name in COMMANDS}
    with step(f"{NODES} nodes"), _nodes(cluster):
        network_times = [_time(["networks", "-o", "json"], environ) for _ in range(7)]

    slowest = max(each, key=lambda name: statistics.median(each[name]))
    rows = [
        ("`kubectl genie --help`", help_times, HELP_AIM),
        (f"`kubectl genie {slowest} --help`, the slowest of all commands", each[slowest], HELP_AIM),
        (f"`kubectl genie networks`, {NODES:,} nodes", network_times, NETWORKS_AIM),
    ]
    return _table(rows), all(statistics.median(times) <= aim for _, times, aim in rows)


def _time(words: list[str], environ: dict[str, str]) -> float:
    """Run a command once; return its seconds."""
    command = [sys.executable, "-m", "cli", *words]
    started = time.perf_counter()
    result = subprocess.run(command, env=environ, cwd=TREE, check=True, stdout=subprocess.PIPE)
    took = time.perf_counter() - started
    if "json" in words:
        networks = {each["name"]: each for each in json.loads(result.stdout)}
        assert len(networks["canal"]["ready"]) > NODES, "not every node was read"
    return took


@contextlib.contextmanager
def _nodes(cluster: Cluster) -> Iterator[None]:
    kube = api(cluster)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: kube.create("/api/v1/nodes", _node(number)), range(NODES)))
        yield
    finally:
        kube.delete("/api/v1/nodes?labelSelector=bench%3Dclient-command", timeout=120)


def _node(number: int) -> dict[str, Any]:
    """Return a node; every tenth cannot attach weave at present."""
    networks = {"canal": "true", "weave": "false" if number % 10 == 0 else "true"}
    images = [
        {"names": [f"registry.example/{n}@sha256:{n:064x}"], "sizeBytes": n} for n in range(IMAGES)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"bench-{number:05}",
            "labels": {**MARK, **{keys.network_label(k): v for k, v in networks.items()}},
            "annotations": {keys.PLUGIN_TYPES: "canal=calico,portmap;weave=weave-net,portmap"},
        },
        "status": {"images": images, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def _table(rows: list[tuple[str, list[float], float]]) -> str:
    lines = ["| seconds, by the clock | median | most | aim | met |", "|---|---|---|---|---|"]
    for name, times, aim in rows:
        median = statistics.median(times)
        met = "yes" if median <= aim else "no"
        lines.append(f"| {name} | {median:.2f} | {max(times):.2f} | {aim:g} | {met} |")
    load = os.getloadavg()[0]
    starts = ", ".join(str(len(times)) for _, times, _ in rows)
    machine = f"{os.cpu_count()} processors, which the API server shares; load average {load:.1f}"
    return "\n".join([*lines, "", f"- {starts} starts; {machine}."])


if __name__ == "__main__":
    sys.exit(main())
