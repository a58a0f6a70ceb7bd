"""``python -m tests.bench.peers``: a pod with one definition, through Genie and through Multus.

In each round the same network namespace is attached to the default network and to one
NetworkAttachmentDefinition, and freed, in three ways: the delegates called directly, Genie, and
Multus (thin). The direct calls are the delegates that both execute, with the same configurations.
:mod:`tests.bench.plugin` says how the times are taken, and why there is a pause before DEL.

Multus asks an API server; :mod:`tests.bench.kube_api` answers it from memory, at once, so that its
times are the least that they can be. The same stand-in counts the requests of all three.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher import keys
from tests.bench import debian_python, kube_api, page, startup
from tests.bench.plugin import BY_DEFINITION, GENIE, PAUSE, Bench, Figures, timed
from tests.devcluster.build import gobuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.kube_api import KubeApi
    from tests.bench.plugin import Time

    Way = Callable[[str, str, Path, int], Time]

MULTUS = "multus"
NETWORKS = 2
COMMANDS = ("ADD", "DEL")
WARM_UP = 5
"""Rounds that fill caches and create the bridges."""
EVENTS = 1.0
"""Seconds that a caller's Events have to arrive before its requests are counted."""


class Multus:
    """Multus' plugin, which asks the stand-in *api*."""

    def __init__(self, bench: Bench, program: Path, api: KubeApi) -> None:
        kubeconfig = bench.folder / "multus.kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(api.address)))
        conf = {
            "cniVersion": "1.0.0",
            "name": "multus-cni-network",
            "type": "multus",
            "kubeconfig": str(kubeconfig),
            "cniDir": str(bench.folder / "multus"),
            "delegates": [json.loads((bench.folder / "conf" / "n1.conflist").read_text())],
        }
        self._bench = bench
        self._program = program
        self._conf = json.dumps(conf).encode()

    def call(self, command: str, container: str, netns: Path, networks: int) -> Time:
        """Call it for a pod on the first network, with a definition of the second."""
        assert networks == NETWORKS
        environ = self._bench.environ(command, container, netns, "eth0")
        # It logs each of its Events.
        return timed([str(self._program)], environ, self._conf, is_quiet=True)


def _kubeconfig(address: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": address}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    }


def measure(bench: Bench, multus: Path, api: KubeApi, pairs: int) -> tuple[Figures, dict[str, str]]:
    """Return the times, and the requests of each way as ``ADD / DEL``."""
    figures = Figures(pairs, {})
    ways: list[tuple[str, Way]] = [
        ("direct", bench.direct),
        (BY_DEFINITION, bench.with_definition),
        (MULTUS, Multus(bench, multus, api).call),
    ]
    netns = bench.netns("peers")
    for number in range(pairs + WARM_UP):
        ways.reverse()
        for who, way in ways:
            for command in COMMANDS:
                clock, processor = way(command, f"peer-{number}", netns, NETWORKS)
                time.sleep(PAUSE)
                if number >= WARM_UP:
                    series = figures.series(who, command, NETWORKS)
                    series.values.append(clock)
                    series.processor.append(processor)

    requests = {who: " / ".join(_requests(way, api, netns)) for who, way in ways}
    subprocess.run(["umount", str(netns)], check=True)
    return figures, requests


def _requests(way: Way, api: KubeApi, netns: Path) -> list[str]:
    counts = []
    for command in COMMANDS:
        time.sleep(EVENTS)
        before = api.count()
        way(command, "counted", netns, NETWORKS)
        time.sleep(EVENTS)
        counts.append(str(api.count() - before))
    return counts


NAMES = {
    "direct": "the delegates, called directly",
    BY_DEFINITION: "Genie",
    MULTUS: f"Multus {gobuild.MULTUS.version}, thin",
}
HEAD = """\
| through | ADD: median / p95 | over direct | processor: over | DEL: median / p95 | over direct \
| processor: over | requests to the API server: ADD / DEL |
|---|---|---|---|---|---|---|---|"""


def table(figures: Figures, requests: dict[str, str]) -> str:
    """Return the figures as Markdown."""
    rows = [_row(figures, who, requests[who]) for who in NAMES]
    remark = (
        f"All in milliseconds; {figures.pairs} rounds; load average at the end "
        f"{os.getloadavg()[0]:.1f}, {os.cpu_count()} processors."
    )
    return "\n".join([HEAD, *rows, "", remark])


def _row(figures: Figures, who: str, requests: str) -> str:
    cells = [NAMES[who]]
    for command in COMMANDS:
        series = figures.times[who, command, NETWORKS]
        cells.append(f"{series.median:.1f} / {series.p95:.1f}")
        over = figures.over(who, command, NETWORKS)
        cells += ["-", "-"] if who == "direct" else [f"{each:.1f}" for each in over]
    return f"| {' | '.join([*cells, requests])} |"


def main() -> int:
    """Measure in new namespaces, which the kernel removes when this process ends."""
    parser = argparse.ArgumentParser(description="Measure a definition, beside Multus.")
    parser.add_argument("--pairs", type=int, default=60, help="rounds (default: 60)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    # Before the network namespace, which has no way to an archive.
    plugins, multus = gobuild.build(gobuild.CNI_PLUGINS), gobuild.build(gobuild.MULTUS) / "multus"
    python = debian_python.command()
    if not chosen.inside:
        alone = ["unshare", "--net", "--mount", "--propagation", "private"]
        again = [sys.executable, "-m", "tests.bench.peers", *sys.argv[1:], "--inside"]
        return subprocess.run([*alone, *again], check=False).returncode

    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="genie-bench-") as name:
        built, work = Path(name) / "built", Path(name) / "work"
        built.mkdir()
        work.mkdir()
        bench = Bench(work, {GENIE: startup.installed(built, python).launcher}, plugins)
        selected = {keys.NETWORKS: f"{bench.definition.name}@eth1"}
        with kube_api.running(selected, bench.definition.config) as api:
            figures, requests = measure(bench, multus, api, chosen.pairs)
    page.show("peers", table(figures, requests))
    print(table(figures, requests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
