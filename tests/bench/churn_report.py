"""Format the figures of :mod:`tests.bench.churn_peers` as a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AIM = 0.05
"""How much slower than without Genie a pod on one network may be."""


class Cost(NamedTuple):
    """Processor seconds of all pods of a turn.

    ``plugins`` are all processes that the runtime or Multus' daemon executed and waited for:
    plugins, their delegates, and the short starts of the runtime's own shims.
    """

    plugins: float
    containerd: float
    kubelet: float
    daemons: float  # agent and reaper, or Multus' daemon
    admission: float  # API server and webhook


class Turn(NamedTuple):
    """The pods of one loop."""

    rate: float  # pods a minute
    ready: list[float]  # seconds to Ready, of each pod
    cost: Cost


Turns = dict[tuple[str, str], list[Turn]]
"""The turns of all rounds, by workload and setup."""

HEAD = """\
| pods on | through | pods a minute | ratio | seconds to Ready: median / p95 | ratio \
| processor, ms for each pod: plugins | containerd | kubelet | agent or daemon | all of the node \
| API server, webhook |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def table(turns: Turns, workloads: Sequence[str], setups: Sequence[str], machine: str) -> str:
    """Return the figures as Markdown.

    *workloads* and *setups* are in the order of the rows. The aims are those of the second setup
    against the first, for the first workload.
    """
    rows = []
    for workload in workloads:
        names = [name for name in setups if (workload, name) in turns]
        base = turns[workload, names[0]]
        rows += [_row(workload, name, turns[workload, name], base) for name in names]

    base = turns[workloads[0], setups[0]]
    return "\n".join([
        HEAD,
        *rows,
        "",
        "Ratios are to the first row with the same networks.",
        "",
        *_aims(turns[workloads[0], setups[1]], base),
        "",
        f"- Medians of {len(base)} rounds of {len(base[0].ready)} pods each.",
        f"- {machine}.",
    ])  # fmt: skip


def _row(workload: str, name: str, turns: Sequence[Turn], base: Sequence[Turn]) -> str:
    ready = sorted(seconds for turn in turns for seconds in turn.ready)
    per_pod = [[1000 * seconds / len(turn.ready) for seconds in turn.cost] for turn in turns]
    *parts, admission = map(statistics.median, zip(*per_pod, strict=True))
    node = statistics.median(sum(each[:-1]) for each in per_pod)
    cells = [
        workload,
        name,
        f"{statistics.median(turn.rate for turn in turns):.0f}",
        f"{_ratio(turns, base, _rate):.2f}",
        f"{statistics.median(ready):.2f} / {ready[int(0.95 * len(ready))]:.2f}",
        f"{_ratio(turns, base, _usual):.2f}",
        *(f"{each:.0f}" for each in (*parts, node, admission)),
    ]
    return f"| {' | '.join(cells)} |"


def _aims(genie: Sequence[Turn], base: Sequence[Turn]) -> list[str]:
    rate, ready = (_ratio(genie, base, value) for value in (_rate, _usual))
    rows = [
        ("pods a minute", f"at least {1 - AIM:.2f}", rate, rate >= 1 - AIM),
        ("seconds to Ready", f"at most {1 + AIM:.2f}", ready, ready <= 1 + AIM),
    ]
    return [
        "| one network, with Genie ÷ without | aim | seen | met |",
        "|---|---|---|---|",
        *(
            f"| {what} | {aim} | {seen:.2f} | {'yes' if is_met else 'no'} |"
            for what, aim, seen, is_met in rows
        ),
    ]


def _ratio(turns: Sequence[Turn], base: Sequence[Turn], value: Callable[[Turn], float]) -> float:
    """Return the median of the rounds' ratios of *value* between two setups."""
    pairs = zip(turns, base, strict=True)
    return statistics.median(value(turn) / value(other) for turn, other in pairs)


def _rate(turn: Turn) -> float:
    return turn.rate


def _usual(turn: Turn) -> float:
    return statistics.median(turn.ready)
