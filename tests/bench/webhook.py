"""``python -m tests.bench.webhook``: measure a review of the webhook beside a webhook in Go.

Each server is a process of its own behind TLS, all on one core; the client is on another, where
there is one. Rounds alternate between three:

- a bare ASGI application that answers with its own input, behind our server: what the server takes;
- our webhook, so that the difference is what the decision takes, with its log line and its metrics;
- a webhook in the usual style of Go (gomod/webhook-peer), for the pods that name networks.

Our servers run with Python of the image's version (:mod:`tests.bench.debian_python`).

Times are of the server's processor, so that a busy machine disturbs the ratios little; the latency
at half load is wall-clock time and is disturbed. The webhook's caches hold 5,000 namespaces and
5,000 nodes, which it lists from a stand-in for the API server in another process.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.bench import debian_python, page
from tests.bench.reviews import NAMED, WITH_PEER, Load, loads
from tests.bench.webhook_client import Client, cost, half_load, resident_mib
from tests.bench.webhook_processes import OBJECTS, ours, peer

CONNECTIONS = 8


class Row(NamedTuple):
    """The figures of one kind of review: medians of its rounds, microseconds; latencies in ms."""

    name: str
    review: float
    echo: float
    peer: float | None
    ratio: float | None
    """Of the peer's time to ours, in the same round: above 1, ours is faster."""
    p50: float
    p99: float

    def __str__(self) -> str:
        """Return the row of the table."""
        peer, ratio = ("-", "-") if self.peer is None else (f"{self.peer:.0f}", f"{self.ratio:.2f}")
        decision = self.review - self.echo
        return (
            f"| {self.name} | {1e6 / self.review:.0f} | {self.review:.0f} | {self.echo:.0f} "
            f"| {decision:.0f} | {peer} | {ratio} | {self.p50:.1f} / {self.p99:.1f} |"
        )


class Bench:
    """The three servers, and clients for them."""

    def __init__(self, folder: Path, rounds: int, seconds: float, python: list[str]) -> None:
        self._folder = folder
        self._python = python
        self._rounds = rounds
        self._seconds = seconds

    def run(self) -> str:
        """Return the figures as Markdown."""
        load = os.getloadavg()[0]
        cores = sorted(os.sched_getaffinity(0))
        with (
            ours("echo", self._folder, cores[0], self._python) as echoing,
            ours("webhook", self._folder, cores[0], self._python) as reviewing,
            peer(self._folder, cores[0]) as in_go,
            ours("route", self._folder, cores[0], self._python) as routing,
        ):
            os.sched_setaffinity(0, cores[1:] or cores)
            idle = resident_mib(reviewing[0])
            rows = [
                self._row(name, one, echoing, reviewing, in_go if name in WITH_PEER else None)
                for name, one in loads().items()
            ]
            extra = self._route_cost(echoing, routing)
            memory = f"{idle:.0f} MiB before, {resident_mib(reviewing[0]):.0f} MiB after the load"
            peers_memory = f"{resident_mib(in_go[0]):.0f} MiB"
        version = subprocess.check_output([*self._python, "--version"], text=True).strip()
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {version}"
        return "\n".join(
            [
                _HEAD,
                *map(str, rows),
                "",
                f"- A plain route of FastAPI takes {extra:.0f} µs more than the echo.",
                f"- Resident with {OBJECTS} namespaces and {OBJECTS} nodes cached: {memory}.",
                f"- Resident in Go, where nothing is cached: {peers_memory}.",
                f"- {self._rounds} rounds of {self._seconds:g} s; {machine}; load {load:.1f}.",
            ]
        )

    def _row(self, name: str, load: Load, *servers: tuple[int, int] | None) -> Row:
        running = [one for one in servers if one is not None]
        clients = [(pid, Client(port, self._folder, load, CONNECTIONS)) for pid, port in running]
        rounds = self._in_turn(clients)
        echo, review, *peers = (statistics.median(side) for side in zip(*rounds, strict=True))
        ratio = statistics.median(one[2] / one[1] for one in rounds) if peers else None

        waits = sorted(half_load(clients[1][1], 1e6 / review / 2, self._seconds * 2))
        p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        for _, client in clients:
            client.close()
        return Row(name, review, echo, peers[0] if peers else None, ratio, p50, p99)

    def _route_cost(self, *servers: tuple[int, int]) -> float:
        load = loads()[NAMED]
        clients = [(pid, Client(port, self._folder, load, CONNECTIONS)) for pid, port in servers]
        extra = statistics.median(route - echo for echo, route in self._in_turn(clients))
        for _, client in clients:
            client.close()
        return extra

    def _in_turn(self, clients: list[tuple[int, Client]]) -> list[list[float]]:
        """Return the costs of an answer of each server, round by round."""
        return [
            [cost(pid, client, self._seconds) for pid, client in clients]
            for _ in range(self._rounds)
        ]


_HEAD = """\
| review | per processor second | µs | of that the server | the decision | in Go, µs | ratio \
| p50 / p99 at half load, ms |
|---|---|---|---|---|---|---|---|"""


def main() -> int:
    """Measure, print, and write the figures into docs/performance.md."""
    parser = argparse.ArgumentParser(description="Measure the webhook beside one in Go.")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds of each sort of review (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="length of a round (default: %(default)s)"
    )
    parser.add_argument(
        "--python",
        help="interpreter of an environment with requirements/run.txt that runs our servers "
        f"(default: {debian_python.VERSION} of Debian {debian_python.SUITE}, as in the image)",
    )
    chosen = parser.parse_args()
    python = [chosen.python] if chosen.python else debian_python.command()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        leaf = authority.issue_cert("localhost")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "leaf.pem"))
        figures = Bench(folder, chosen.rounds, chosen.seconds, python).run()
    print(figures)
    page.show("webhook", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
