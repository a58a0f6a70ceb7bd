"""Measure the plugin: the same real delegates called directly, and through Genie.

How it works: in each round, and for each number of networks, the same network namespace is
attached and freed once directly and once through Genie, in alternating order, and a bare
interpreter is started. What is compared is the paired difference, so a machine that is busy with
other things disturbs both sides alike. Direct means: the process `bridge` (with `host-local`), once
per network, with the same configuration that Genie hands it. Genie is installed as the agent does
it, with the interpreter that the image brings; with one network it is called a third time, built
for the system's interpreter. With two networks it is called a third time, too, for a pod whose
second network is a NetworkAttachmentDefinition with the same content. Everything happens in
namespaces of this process.

Between an ADD and its DEL there is a pause, for both ways. Without it the direct DEL is some
milliseconds faster than it ever is on a node: to delete an interface the kernel waits for a grace
period, and the ADD that ended just now has begun one. No pod lives so shortly.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.nad import definition_copy
from dispatcher.nad.definition import Definition

if TYPE_CHECKING:
    from collections.abc import Callable

    Time = tuple[float, float]

PYTHON = "/usr/bin/python3"
GENIE, BY_SYSTEM = "genie", "genie by the system's python3"
BY_DEFINITION = "genie with a definition"
COUNTS = (1, 2, 4)
ONLY = {BY_SYSTEM: 1, BY_DEFINITION: 2}
"""Callers that are measured with one number of networks."""
PAUSE = 0.05
"""Between an ADD and its DEL, in seconds."""


@dataclass(slots=True)
class Series:
    """Times of one series of calls, in milliseconds: elapsed, and processor time.

    The processor's time is that of all processes of a call together. It leaves out waiting (for
    the disk above all), and says more than the clock does on a machine that is busy.
    """

    values: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        """The 95th percentile."""
        return statistics.quantiles(self.values, n=20)[-1]


@dataclass(slots=True)
class Figures:
    """All measurements: ``times`` by (caller, command, number of networks)."""

    pairs: int
    machine: dict[str, str]
    times: dict[tuple[str, str, int], Series] = field(default_factory=dict)
    resident_kib: int = 0

    def series(self, who: str, command: str, networks: int) -> Series:
        """Return one series; create it if it is new."""
        return self.times.setdefault((who, command, networks), Series())

    def over(self, who: str, command: str, networks: int) -> tuple[float, float]:
        """Return the medians of the differences between *who* and direct calls: elapsed, CPU."""
        genie, direct = (self.times[each, command, networks] for each in (who, "direct"))
        return (
            _median_difference(genie.values, direct.values),
            _median_difference(genie.processor, direct.processor),
        )

    @property
    def definition_ms(self) -> float:
        """The median of what a definition costs more than a network of ``cni`` in an ADD, in ms."""
        ways = (self.times[who, "ADD", 2] for who in (BY_DEFINITION, GENIE))
        return _median_difference(*(each.values for each in ways))

    @property
    def bare(self) -> tuple[float, float]:
        """The medians of the start of a bare interpreter: elapsed, CPU."""
        series = self.times["python3 -I -S", "start", 0]
        return series.median, statistics.median(series.processor)

    def as_json(self) -> str:
        """Return the raw values."""
        times = {" ".join(map(str, key)): asdict(each) for key, each in self.times.items()}
        return json.dumps({"pairs": self.pairs, "machine": self.machine, "times": times})


def _median_difference(more: list[float], less: list[float]) -> float:
    return statistics.median(one - other for one, other in zip(more, less, strict=True))


class Bench:
    """Networks of real plugins in a folder, and timed calls of them."""

    def __init__(self, folder: Path, launchers: dict[str, Path], plugins: Path) -> None:
        self.folder = folder
        self.launchers = launchers
        self.plugins = plugins
        (folder / "conf").mkdir()
        self.confs = [self._network(number) for number in range(1, max(COUNTS) + 1)]
        self.definition = self._define()

    def _define(self) -> Definition:
        """Write the copy of a definition with the second network, as the agent does."""
        definition = Definition("bench", "n2", uid="u", config=json.dumps(self.confs[1]))
        copy = self.folder / "state" / definition_copy.DIRECTORY / definition.full_name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(definition_copy.encode(definition, ""))
        return definition

    def _network(self, number: int) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "dataDir": str(self.folder / "ipam"),
            "ranges": [[{"subnet": f"10.{90 + number}.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],  # as real networks have: the primary's alone stays
        }
        plugin = {"type": "bridge", "bridge": f"bench{number}", "isGateway": True, "ipam": ipam}
        conf = {"cniVersion": "1.0.0", "name": f"n{number}", "plugins": [plugin]}
        (self.folder / "conf" / f"n{number}.conflist").write_text(json.dumps(conf))
        return {"cniVersion": "1.0.0", "name": f"n{number}", **plugin}

    def netns(self, name: str) -> Path:
        """Create a network namespace."""
        path = self.folder / f"netns-{name}"
        path.touch()
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        return path

    def environ(self, command: str, container: str, netns: Path, interface: str) -> dict[str, str]:
        """Return the environment that a runtime sets."""
        return {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(netns),
            "CNI_IFNAME": interface,
            "CNI_PATH": str(self.plugins),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={container}",
        }

    def direct(self, command: str, container: str, netns: Path, networks: int) -> Time:
        """Call the delegates as a runtime without Genie does; return the sum of their times."""
        clock = processor = 0.0
        numbers = range(networks) if command == "ADD" else reversed(range(networks))
        for number in numbers:
            environ = self.environ(command, container, netns, f"eth{number}")
            program = [str(self.plugins / "bridge")]
            one = timed(program, environ, json.dumps(self.confs[number]).encode())
            clock, processor = clock + one[0], processor + one[1]
        return clock, processor

    def through(self, who: str, command: str, container: str, netns: Path, networks: int) -> Time:
        """Call the Genie of *who* for a number of networks."""
        choice = ",".join(f"n{number}" for number in range(1, networks + 1))
        return self._genie(who, command, container, netns, {keys.ANNOTATION: choice})

    def with_definition(self, command: str, container: str, netns: Path, networks: int) -> Time:
        """Call Genie for a pod on two networks, the second of which is a definition."""
        assert networks == 2, "the definition is the second network"
        permitted = f"{self.definition.full_name}:{self.definition.short_hash}"
        annotations = {
            keys.ANNOTATION: "n1",
            keys.NETWORKS: "n2@eth1",
            keys.ATTACHMENTS: permitted,
        }
        return self._genie(GENIE, command, container, netns, annotations)

    def _genie(
        self, who: str, command: str, container: str, netns: Path, annotations: dict[str, str]
    ) -> Time:
        conf = {
            "cniVersion": "1.0.0",
            "name": "genie",
            "type": "genie",
            "default": "n1",
            "confDirs": [str(self.folder / "conf")],
            "stateDir": str(self.folder / "state"),
            "args": {keys.CONF_ARGS: {"attachmentDefinitions": "enforce"}},
            "runtimeConfig": {keys.POD_ANNOTATIONS: annotations},
        }
        environ = self.environ(command, container, netns, "eth0")
        return timed([str(self.launchers[who])], environ, json.dumps(conf).encode())

    def resident_kib(self, netns: Path) -> int:
        """Return the peak memory of an ADD, which a delegate reads of its parent process."""
        probe = self.folder / "probe"
        probe.mkdir()
        script = probe / "bridge"
        script.write_text(
            f"#!/bin/sh\ngrep VmHWM /proc/$PPID/status > {probe}/peak\nexec {self.plugins}/bridge\n"
        )
        script.chmod(0o755)
        plugins, self.plugins = self.plugins, probe
        (probe / "host-local").symlink_to(plugins / "host-local")
        for command in ("ADD", "DEL"):
            self.through(GENIE, command, "resident", netns, 1)
        self.plugins = plugins
        return int((probe / "peak").read_text().split()[1])


def timed(
    program: list[str], environ: dict[str, str], stdin_data: bytes, *, is_quiet: bool = False
) -> Time:
    """Run a program with *stdin_data* as its input; return its times in milliseconds.

    *is_quiet* discards what it logs.
    """
    stdin = os.memfd_create("stdin")
    try:
        os.write(stdin, stdin_data)
        os.lseek(stdin, 0, os.SEEK_SET)
        silent = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, stdin, 0), silent]
        if is_quiet:
            actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
        start = time.perf_counter()
        child = os.posix_spawn(program[0], program, environ, file_actions=actions)
        _, status, used = os.wait4(child, 0)
        seconds = time.perf_counter() - start
    finally:
        os.close(stdin)
    if status:
        raise SystemExit(f"{program[0]} {environ.get('CNI_COMMAND')} failed: status {status}")
    return seconds * 1000, (used.ru_utime + used.ru_stime) * 1000


def measure(launchers: dict[str, Path], plugins: Path, pairs: int) -> Figures:
    """Measure everything; print a line of progress for each part."""
    figures = Figures(pairs, _machine())
    with tempfile.TemporaryDirectory(prefix="genie-bench-") as name:
        bench = Bench(Path(name), launchers, plugins)
        _progress(f"{pairs} rounds with {', '.join(map(str, COUNTS))} networks")
        _rounds(bench, figures)
        figures.resident_kib = bench.resident_kib(bench.netns("resident"))
        for path in Path(name).glob("netns-*"):
            subprocess.run(["umount", str(path)], check=True)
    return figures


def _rounds(bench: Bench, figures: Figures) -> None:
    netns = {networks: bench.netns(f"pairs-{networks}") for networks in COUNTS}
    ways: list[tuple[str, Callable[..., Time]]] = [
        ("direct", bench.direct),
        *((who, partial(bench.through, who)) for who in bench.launchers),
        (BY_DEFINITION, bench.with_definition),
    ]
    environ = {"PATH": os.environ["PATH"], "CNI_COMMAND": "VERSION"}
    for number in range(figures.pairs + 5):
        ways.reverse()
        for networks in COUNTS:
            measured = {}
            for who, way in ways:
                if networks != ONLY.get(who, networks):
                    continue
                for command in ("ADD", "DEL"):
                    container = f"{networks}-{number}"
                    measured[who, command, networks] = way(
                        command, container, netns[networks], networks
                    )
                    time.sleep(PAUSE)
            bare = [PYTHON, "-I", "-S", "-c", "pass"]
            measured["python3 -I -S", "start", 0] = timed(bare, environ, b"")
            version = [str(bench.launchers[GENIE])]
            measured[GENIE, "VERSION", 0] = timed(version, environ, b"")
            if number >= 5:  # the first rounds fill caches and make the bridges
                for key, value in measured.items():
                    series = figures.series(*key)
                    series.values.append(value[0])
                    series.processor.append(value[1])


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if "model name" in line), "?")
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True)
    return {
        "processor": f"{os.cpu_count()} of {model}",
        "kernel": platform.release(),
        "system's interpreter": f"{PYTHON} ({version.stdout.strip()})",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "scheduling": "before other programs" if os.sched_getscheduler(0) else "ordinary",
        "niceness": str(os.nice(0)),
        "date": time.strftime("%Y-%m-%d"),
    }


def _progress(sentence: str) -> None:
    print(f"bench: {sentence}", file=sys.stderr, flush=True)
