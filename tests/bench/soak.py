"""``python -m tests.bench.soak``: pods come and go for an hour while everything is killed.

Each lane creates a wave of pods on two networks each, waits until all are Ready, compares what
every pod holds on the node with what it asked for, and deletes them. Meanwhile, never more often
than every five seconds, one process is killed with SIGKILL, chosen at random: agent, reaper or
webhook, which the kubelet starts again, and containerd, kubelet or kube-apiserver, which this
program starts again. In the second and the last quarter of the time Genie's own processes are not
killed: they live long enough to show whether their memory grows. Requests to the API server are
repeated until they are answered.

Samples of the memory of agent, reaper and webhook give a slope per hour of life, over all processes
that lived a minute or longer: each process is compared with itself. At the end everything is
started again, and the node is searched for leftovers. A network namespace without an interface is
containerd's: see :data:`RUNTIMES_OWN`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import platform
import random
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dispatcher.kube.client import KubeError
from tests.bench.cluster import is_ready, run_benchmark
from tests.bench.process_cost import containers, memory, seconds_of_life
from tests.cluster.support.admission import api
from tests.cluster.support.agents import DAEMONSET
from tests.cluster.support.churn import (
    CHOICES,
    LANES,
    WAVE,
    attachments,
    remaining_leftovers,
)
from tests.cluster.support.pods import create_namespace, pod_manifest
from tests.devcluster.commands import ClusterError, step
from tests.devcluster.genie import DEFAULT_NETWORK, NAMESPACE, wait_until_working
from tests.devcluster.processes import kill, start_time
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dispatcher.kube.client import Kube
    from tests.cluster.support.churn import Attachments
    from tests.devcluster.cluster import Cluster
    from tests.devcluster.processes import Daemon

NODE = "node1"
SPACE = "bench-soak"
LEAST_PAUSE = 5.0
"""Least number of seconds between two kills."""

PATIENCE = 420.0
"""Seconds for a wave to be Ready, or gone; the kubelet waits up to five minutes in a crash loop."""

SAMPLE_EVERY = 15.0
LEAST_LIFE = 60.0
"""Seconds of life after which a process's memory counts: before, it is still loading."""

GENIE = ("agent", "reaper", "webhook")
HOST = ("containerd", "kubelet", "kube-apiserver")

RUNTIMES_OWN = "network namespaces"
"""What remains if containerd is killed after it has made one, and before it stores its name.

No plugin was called for it then (https://github.com/containerd/cri/issues/568). An interface of
such a namespace would remain as well, and is listed apart, as a veth.
"""

_NOT_FOUND, _CONFLICT = 404, 409


@dataclass
class SoakFigures:
    """What happened; ``samples`` has, by container and process id, seconds of life and MiB.

    ``loads`` has the load averages of the machine meanwhile.
    """

    pods: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    samples: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=dict)
    loads: list[float] = field(default_factory=list)


def targets(share: float) -> Sequence[str]:
    """Return what may be killed after that *share* of the time, from 0 to 1."""
    return HOST if int(4 * share) % 2 else [*GENIE, *HOST]


def slope(samples: Iterable[list[tuple[float, float]]]) -> float:
    """Return the common slope of several lines, in MiB per hour, from seconds and MiB of each.

    Each line keeps its own height, as in a regression with one constant for each process. Without
    two different moments of one process it is 0.
    """
    numerator = denominator = 0.0
    for line in samples:
        if not line:
            continue
        middle = [sum(values) / len(line) for values in zip(*line, strict=True)]
        numerator += sum((at - middle[0]) * (size - middle[1]) for at, size in line)
        denominator += sum((at - middle[0]) ** 2 for at, _ in line)
    return 3600 * numerator / denominator if denominator else 0.0


def main() -> int:
    """Run on a cluster of its own; return 1 if anything remained that is not containerd's."""
    parser = argparse.ArgumentParser(description="Kill everything at random while pods churn.")
    parser.add_argument("--minutes", type=float, default=60, help="length (default: 60)")
    parser.add_argument(
        "--longest-pause",
        type=float,
        default=25,
        help=f"seconds between two kills, at most; at least {LEAST_PAUSE:.0f} (default: 25)",
    )
    parser.add_argument("--lanes", type=int, default=LANES, help="default: %(default)s")
    parser.add_argument("--pods", type=int, default=WAVE, help="pods of a wave (default: 10)")
    parser.add_argument(
        "--rest", type=float, default=0, help="seconds between two waves of a lane (default: 0)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the kills (default: 1)")
    return run_benchmark("soak", parser, _figures, name="genie-soak")


def _figures(cluster: Cluster, chosen: argparse.Namespace) -> tuple[str, bool]:
    figures, remaining = _soak(cluster, chosen)
    return table(figures, chosen, remaining), not remaining.keys() - {RUNTIMES_OWN}


def _soak(cluster: Cluster, chosen: argparse.Namespace) -> tuple[SoakFigures, dict[str, list[str]]]:
    create_namespace(cluster, SPACE)
    figures = SoakFigures()
    rng = random.Random(chosen.seed)  # noqa: S311 - not for security
    end = time.monotonic() + 60 * chosen.minutes

    with (
        step(f"{chosen.minutes:g} minutes of churn and kills"),
        ThreadPoolExecutor(chosen.lanes) as executor,
        Workers(partial(_kill, cluster, figures, rng, chosen), partial(_sample, cluster, figures)),
    ):
        lanes = [
            executor.submit(_lane, cluster, figures, f"lane{number}", chosen, end)
            for number in range(chosen.lanes)
        ]
        for lane in lanes:
            lane.result()

    with step("starting everything again"):
        for workload in (DAEMONSET, "deployment/genie-webhook"):
            cluster.kubectl("rollout", "restart", workload, "-n", NAMESPACE)
        wait_until_working(cluster, DEFAULT_NETWORK)
        remaining = remaining_leftovers(cluster.node(NODE))
    return figures, remaining


# ---- pods


def _lane(
    cluster: Cluster, figures: SoakFigures, lane: str, chosen: argparse.Namespace, end: float
) -> None:
    """Create, check and delete waves of pods until *end*."""
    kube = api(cluster)
    for turn in itertools.count():
        if time.monotonic() > end:
            return
        _wave(cluster, kube, f"{lane}-{turn}", chosen.pods)
        figures.pods += chosen.pods
        time.sleep(chosen.rest)


def _wave(cluster: Cluster, kube: Kube, wave: str, size: int) -> None:
    wait = cluster.wait_for
    values = itertools.cycle(CHOICES)
    chosen = {f"{wave}-{number}": next(values) for number in range(size)}
    path = f"/api/v1/namespaces/{SPACE}/pods"
    for name, cni in chosen.items():
        _answered(kube.create, path, pod_manifest(name, cni, labels={"wave": wave}))

    query = {"labelSelector": f"wave={wave}"}

    def listed() -> list[dict[str, Any]]:
        pods: list[dict[str, Any]] = _answered(kube.get, path, query)["items"]
        return pods

    wait(lambda: sum(map(is_ready, listed())) == size, PATIENCE, f"the pods of {wave} to be Ready")
    expected = {name: CHOICES[cni] for name, cni in chosen.items()}
    wait(lambda: _attached(cluster, listed()) == expected, PATIENCE, f"the attachments of {wave}")

    for name in chosen:
        _answered(kube.delete, f"{path}/{name}")
    wait(lambda: not listed(), PATIENCE, f"the pods of {wave} to be gone")


def _attached(cluster: Cluster, pods: list[dict[str, Any]]) -> Attachments:
    """Return what the pods hold on the node; nothing while their status is older than that."""
    try:
        return attachments(cluster.node(NODE), pods)
    except (KeyError, ValueError):
        return {}


def _answered(call: Callable[..., Any], *arguments: Any) -> Any:
    """Make a request until the API server answers; a repetition of what was done is an answer."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call(*arguments)
        except KubeError as error:
            if error.status in {_NOT_FOUND, _CONFLICT}:
                return {}
            if time.monotonic() > deadline:
                raise ClusterError(f"the API server does not answer: {error}") from error
        time.sleep(0.5)


# ---- kills


def _kill(
    cluster: Cluster,
    figures: SoakFigures,
    rng: random.Random,
    chosen: argparse.Namespace,
    stopping: threading.Event,
) -> None:
    """Kill one process after another; each is started again before the next pause begins."""
    begin = time.monotonic()
    node = cluster.node(NODE)
    daemons = {name: node.services[name] for name in ("containerd", "kubelet")}
    daemons["kube-apiserver"] = cluster.control_plane.services["kube-apiserver"]

    while not stopping.wait(rng.uniform(LEAST_PAUSE, chosen.longest_pause)):
        target = rng.choice(targets((time.monotonic() - begin) / (60 * chosen.minutes)))
        if target in daemons:
            _kill_daemon(daemons[target])
            (cluster.control_plane if target == "kube-apiserver" else node).start(target)
        elif not _kill_container(cluster, target, rng):
            continue
        figures.kills[target] += 1


def _kill_daemon(daemon: Daemon) -> None:
    """Kill a daemon that the cluster tool started, and wait until it has ended."""
    pid = daemon.pid()
    if pid is not None and (started := start_time(pid)) is not None:
        kill({pid: started})


def _kill_container(cluster: Cluster, name: str, rng: random.Random) -> bool:
    """Kill one process of Genie's; return whether one was running."""
    running_now = [pid for each, pid in _processes(cluster) if each == name]
    if not running_now:
        return False
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(rng.choice(running_now), signal.SIGKILL)
    return True


def _processes(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """Yield container name and process id of what runs of agent, reaper and webhook."""
    try:
        pods = api(cluster).get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        for pod in pods:
            yield from containers(cluster, NODE, pod)
    except (KubeError, ClusterError):
        return  # the API server or containerd has just been killed


# ---- memory


def _sample(cluster: Cluster, figures: SoakFigures, stopping: threading.Event) -> None:
    """Add to the samples the memory of each of Genie's processes, again and again."""
    while not stopping.wait(SAMPLE_EVERY):
        figures.loads.append(os.getloadavg()[0])
        for name, pid in _processes(cluster):
            with contextlib.suppress(OSError, KeyError):  # it has just ended
                life = seconds_of_life(pid)
                if life >= LEAST_LIFE:
                    line = figures.samples.setdefault((name, pid), [])
                    line.append((life, memory(pid)[0]))


def table(figures: SoakFigures, chosen: argparse.Namespace, remaining: dict[str, list[str]]) -> str:
    """Return the figures as Markdown."""
    rows = []
    for name in GENIE:
        lines = [line for (each, _), line in figures.samples.items() if each == name]
        sizes = [size for line in lines for _, size in line]
        if sizes:
            least, most = min(sizes), max(sizes)
            rows.append(
                f"| {name} | {len(lines)} | {least:.0f} / {most:.0f} | {slope(lines):+.1f} |"
            )
    kills = ", ".join(f"{name} ({count})" for name, count in sorted(figures.kills.items()))
    left = "; ".join(f"{what}: {', '.join(names)}" for what, names in remaining.items())
    loads = figures.loads or [os.getloadavg()[0]]
    machine = f"{os.cpu_count()} processors, which all of Kubernetes shares; kernel"
    return "\n".join([
        "| process | lived a minute or longer | MiB: least / most | MiB per hour of life |",
        "|---|---|---|---|",
        *rows,
        "",
        f"- {figures.pods:,} pods on two networks each in {chosen.minutes:g} minutes.",
        f"- Left behind: {left or 'nothing'}.",
        f"- Killed with SIGKILL: {kills or 'nothing'}.",
        f"- {chosen.lanes} lanes of {chosen.pods} pods, {chosen.rest:g} s between two waves.",
        f"- {machine} {platform.release()}; date: {datetime.now(UTC).date()}.",
        f"- Load average meanwhile: mean {sum(loads) / len(loads):.1f}, most {max(loads):.1f}.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
