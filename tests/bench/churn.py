"""``python -m tests.bench.churn``: pods start and stop on a real node, in the long form.

It uses the code of tests/cluster/test_churn.py, first while processes and pods of agent and webhook
are killed and deleted at random, then without any agent. After each part it searches the node for
leftovers. It writes its part of docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tests.bench.cluster import machine, run_benchmark
from tests.cluster.support.churn import (
    LANES,
    WAVE,
    ChurnFigures,
    churn,
    disruption,
    failures,
    for_seconds,
    no_agents,
    remaining_leftovers,
)
from tests.cluster.support.pods import create_namespace
from tests.devcluster.commands import log_progress, step

if TYPE_CHECKING:
    from collections import Counter

    from tests.devcluster.cluster import Cluster

NODE = "node1"
PAUSE = (1.0, 4.0)

HEAD = """\
| meanwhile | pods | minutes | pods a minute | seconds to Ready: median / p95 / most \
| sandboxes not made, not freed | left behind |
|---|---|---|---|---|---|---|"""


def main() -> int:
    """Run both parts on a cluster of its own; return 1 if anything failed or remained."""
    parser = argparse.ArgumentParser(description="Let pods come and go on a real Kubernetes node.")
    parser.add_argument(
        "--pods", type=int, default=300, help="number of pods in the first part (default: 300)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=600,
        help="length of the part without an agent (default: 600)",
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the random disruptions (default: 1)"
    )
    return run_benchmark("churn", parser, _measure)


def _measure(cluster: Cluster, chosen: argparse.Namespace) -> tuple[str, bool]:
    """Return the table, and whether nothing failed and nothing remained."""
    namespace = "bench-churn"
    create_namespace(cluster, namespace)
    load = os.getloadavg()[0]
    node = cluster.node(NODE)
    with step(f"{chosen.pods} pods, agent and webhook killed at random"):
        with disruption(cluster, chosen.seed, PAUSE) as disruptions:
            waves = range(chosen.pods // WAVE // LANES)
            figures = churn(cluster, node, namespace, lambda: waves)
        outcomes = [_outcome(cluster, namespace)]
        rows = [_row("agent and webhook killed at random", figures, outcomes[-1])]
        # Shown now: the other half takes ten minutes.
        log_progress("\n".join([*rows, *_remarks(disruptions, load)]))
    with step(f"{chosen.seconds:.0f} s of pods without an agent"), no_agents(cluster):
        figures = churn(cluster, node, namespace, for_seconds(chosen.seconds))
        outcomes.append(_outcome(cluster, namespace))
        rows.append(_row("no agent at all", figures, outcomes[-1]))
    cluster.kubectl("delete", "namespace", namespace)
    table = [HEAD, *rows, "", *_remarks(disruptions, load)]
    return "\n".join(table), outcomes == [(0, 0), (0, 0)]


def _outcome(cluster: Cluster, namespace: str) -> tuple[int, int]:
    """Return the number of failed sandboxes and the number of leftovers."""
    failed, remaining = failures(cluster, namespace), remaining_leftovers(cluster.node(NODE))
    log_progress(f"failed sandboxes: {failed}; leftovers: {remaining}")
    return len(failed), sum(map(len, remaining.values()))


def _row(meanwhile: str, figures: ChurnFigures, outcome: tuple[int, int]) -> str:
    minutes = figures.seconds / 60
    quantiles = " / ".join(f"{figures.quantile(part):.0f}" for part in (0.5, 0.95, 1))
    cells = [meanwhile, figures.pods, f"{minutes:.1f}", f"{figures.pods / minutes:.0f}", quantiles]
    return "| " + " | ".join(map(str, [*cells, *outcome])) + " |"


def _remarks(disruptions: Counter[str], load: float) -> list[str]:
    done = ", ".join(f"{action} ({count})" for action, count in sorted(disruptions.items()))
    return [
        f"- Killed and deleted meanwhile, {PAUSE[0]:.0f} to {PAUSE[1]:.0f} s apart: {done}.",
        f"- {machine(load)}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
