"""``python -m tests.bench.node_boot``: all pods of a node start at one moment.

How it works: 32 and 110 ADDs with one network each begin together, in network namespaces of their
own: once called directly, once through Genie, once through each kind of Multus, and once by each of
the programs that show the least that a plugin in Python costs (:mod:`tests.bench.floors`). This is
repeated, in an order that changes. A ratio is the median of the rounds' own ratios, since one round
sees the same machine.

Multus without a daemon ("thin") gets the network in its own configuration and no API server, so it
reads neither a pod nor a definition; Multus with a daemon ("thick") cannot run without one, and a
stand-in answers it from memory (:mod:`tests.bench.thick`). On a node both cost more. Nothing limits
how many run at once, while a kubelet and a runtime do. Writes its part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import debian_python, floors, page, startup, thick
from tests.bench.plugin import GENIE, Bench, timed
from tests.devcluster.build import gobuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.thick import Thick

    Call = Callable[[str, str, Path], float]
    """A command, a container and its namespace in; the processor's milliseconds out."""

COUNTS = (32, 110)
"""What a kubelet is likely to start after a boot, and the most pods that it allows on a node."""

DIRECT, MULTUS = "direct calls", "Multus, thin, without API server"
THICK = "Multus, thick, API server in memory"
FLOORS = {floors.BARE_START: "bare-start", floors.MINIMAL: "minimal"}
"""Name and program, in the folder of the bench."""

AIM = 1.8
"""The most that 32 ADDs may take, as a multiple of direct calls."""


class Round(NamedTuple):
    """One start of all pods, in milliseconds since its beginning.

    ``usual`` and ``slowest`` are when the median and the last pod were attached. ``processor`` is
    that of the plugins' processes, and of Multus' daemon, for each pod.
    """

    usual: float
    slowest: float
    processor: float


def main() -> int:
    """Measure in new namespaces, which the kernel removes when this process ends."""
    parser = argparse.ArgumentParser(description="Start all pods of a node at one moment.")
    parser.add_argument("--rounds", type=int, default=15, help="of each kind (default: 15)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        print("the bench makes network namespaces: run it as root", file=sys.stderr)
        return 1
    # Before the network namespace, which has no way to an archive.
    plugins, multus = gobuild.build(gobuild.CNI_PLUGINS), gobuild.build(gobuild.MULTUS)
    python = debian_python.command()
    if not chosen.inside:
        again = [sys.executable, "-m", "tests.bench.node_boot", "--rounds", str(chosen.rounds)]
        alone = ["unshare", "--net", "--mount", "--propagation", "private"]
        return subprocess.run([*alone, *again, "--inside"], check=False).returncode

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # for the API server's stand-in
    load = os.getloadavg()[0]
    text = table(_measure_all(plugins, multus, python, chosen.rounds), load)
    page.show("boot", text)
    print(text)
    return 0


def _measure_all(
    plugins: Path, multus: Path, python: list[str], rounds: int
) -> dict[int, dict[str, list[Round]]]:
    """Install everything in a folder that is removed afterwards, and measure each count."""
    with tempfile.TemporaryDirectory(prefix="genie-boot-") as name:
        folder = Path(name)
        (folder / "bench").mkdir()
        launchers = {GENIE: startup.installed(folder, python).launcher}
        bench = Bench(folder / "bench", launchers, plugins)
        _write_floors(bench, launchers[GENIE], f"{plugins}/bridge")
        spaces = {
            count: [bench.netns(f"{count}-{number}") for number in range(count)] for count in COUNTS
        }
        names = [space.name for each in spaces.values() for space in each]
        try:
            with thick.running(bench, multus, names) as daemon:
                return {
                    count: measure(bench, multus, daemon, spaces[count], rounds) for count in COUNTS
                }
        finally:
            for space in itertools.chain(*spaces.values()):
                subprocess.run(["umount", str(space)], check=True)


def _write_floors(bench: Bench, launcher: Path, delegate: str) -> None:
    bare_start, minimal = (bench.folder / program for program in FLOORS.values())
    floors.write_bare_start(bare_start, launcher, delegate)
    floors.write_minimal(minimal, launcher, delegate, bench.folder / "records")


def measure(
    bench: Bench, multus: Path, daemon: Thick, spaces: list[Path], rounds: int
) -> dict[str, list[Round]]:
    """Start a pod in each of *spaces* in each way, *rounds* times; a first round fills caches."""
    ways: dict[str, Call] = {
        DIRECT: lambda command, name, netns: bench.direct(command, name, netns, 1)[1],
        "Genie": lambda command, name, netns: bench.through(GENIE, command, name, netns, 1)[1],
        MULTUS: partial(through_multus, bench, multus / "multus"),
        THICK: daemon.call,
        **{name: partial(through_floor, bench, program) for name, program in FLOORS.items()},
    }
    figures: dict[str, list[Round]] = {who: [] for who in ways}
    order = list(ways)
    with ThreadPoolExecutor(len(spaces)) as pool:
        for number in range(rounds + 1):
            order.append(order.pop(0))
            for who in order:
                elsewhere = daemon.milliseconds if who == THICK else None
                name = f"{order.index(who)}-{number}"
                one = start_all(pool, ways[who], spaces, name, elsewhere)
                if number:
                    figures[who].append(one)
    return figures


def start_all(
    pool: ThreadPoolExecutor,
    way: Call,
    spaces: list[Path],
    name: str,
    elsewhere: Callable[[], float] | None = None,
) -> Round:
    """Attach a container in each of *spaces* at one moment, and release all of them.

    *elsewhere* returns the processor's milliseconds of what works for the callers so far.
    """
    before = elsewhere() if elsewhere else 0.0
    together = threading.Barrier(len(spaces) + 1)

    def add(space: Path) -> tuple[float, float]:
        together.wait()
        processor = way("ADD", f"{name}-{space.name}", space)
        return time.perf_counter(), processor

    pods = [pool.submit(add, space) for space in spaces]
    together.wait()
    start = time.perf_counter()
    ends, processor = zip(*(pod.result() for pod in pods), strict=True)
    beside = elsewhere() - before if elsewhere else 0.0

    list(pool.map(lambda space: way("DEL", f"{name}-{space.name}", space), spaces))
    time.sleep(0.3)  # the kernel deletes interfaces in the background
    times = [(end - start) * 1000 for end in ends]
    return Round(median(times), max(times), (sum(processor) + beside) / len(spaces))


def through_multus(bench: Bench, program: Path, command: str, container: str, netns: Path) -> float:
    """Call Multus for one network; return the processor's time in milliseconds."""
    conf = {
        "cniVersion": "1.0.0",
        "name": "multus",
        "type": "multus",
        "cniDir": str(bench.folder / "multus"),
        "delegates": [bench.confs[0]],
    }
    environ = bench.environ(command, container, netns, "eth0")
    return timed([str(program)], environ, json.dumps(conf).encode())[1]


def through_floor(bench: Bench, program: str, command: str, container: str, netns: Path) -> float:
    """Call the *program* of a floor for one network; return the processor's milliseconds."""
    environ = bench.environ(command, container, netns, "eth0")
    conf = json.dumps(bench.confs[0]).encode()
    return timed([str(bench.folder / program)], environ, conf)[1]


def table(rounds: dict[int, dict[str, list[Round]]], load: float) -> str:
    """Return the figures as Markdown."""
    rows = [
        "| ADDs at once | by | median pod | slowest pod | ÷ direct | processor, for each |",
        "|---|---|---|---|---|---|",
    ]
    for count, ways in rounds.items():
        for who, figures in ways.items():
            usual, slowest, processor = (median(column) for column in zip(*figures, strict=True))
            times = [f"{usual:.0f}", f"{slowest:.0f}"]
            cells = [str(count), who, *times, _spread(ratios(ways, who)), f"{processor:.1f}"]
            rows.append(f"| {' | '.join(cells)} |")

    met = "yes" if median(ratios(rounds[32], "Genie")) <= AIM else "no"
    turns = len(rounds[32][DIRECT])
    date = time.strftime("%Y-%m-%d")
    rows += ["", f"- All in milliseconds; medians of {turns} rounds. The slowest pod ends them."]
    rows += ["- ÷ direct: of the slowest pods of one round; median (least to most) of the rounds."]
    rows += [f"- Aim: 32 ADDs take at most {AIM} times as long as direct calls; met: {met}."]
    scheduling = "before other programs" if os.sched_getscheduler(0) else "ordinary"
    rows += [f"- {os.cpu_count()} processors; load average at the start: {load:.1f}; date: {date}."]
    rows += [f"- Scheduling: {scheduling}."]
    return "\n".join(rows)


def ratios(ways: dict[str, list[Round]], who: str) -> list[float]:
    """Return how much later than by direct calls the slowest pod was attached, by round."""
    pairs = zip(ways[who], ways[DIRECT], strict=True)
    return [one.slowest / direct.slowest for one, direct in pairs]


def _spread(values: list[float]) -> str:
    if set(values) == {1.0}:
        return "1.00"
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
