"""Format the figures of :mod:`tests.bench.churn_peers` as a table."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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

    *workloads* and *setups* are in the order of the rows; one without turns has no row. The aims
    are those of the second setup against the first, for the first workload.
    """
    measured = [name for name in workloads if any(workload == name for workload, _ in turns)]
    rows = []
    for workload in measured:
        names = [name for name in setups if (workload, name) in turns]
        base = turns[workload, names[0]]
        rows += [_row(workload, name, turns[workload, name], base) for name in names]

    base = turns[workloads[0], setups[0]]
    return "\n".join([
        HEAD,
        *rows,
        "",
        "Ratios are to the first row with the same networks, in the same round: median (least to",
        "most) of the rounds.",
        "",
        *_aims(turns[workloads[0], setups[1]], base),
        "",
        *(f"- {each}." for each in _counts(turns, measured)),
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
        _spread(turns, base, _rate),
        f"{statistics.median(ready):.2f} / {ready[int(0.95 * len(ready))]:.2f}",
        _spread(turns, base, _usual),
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


def _counts(turns: Turns, workloads: Sequence[str]) -> Iterator[str]:
    """Yield how many rounds and pods stand behind the rows of each workload."""
    for workload in workloads:
        rows = [row for (other, _), row in turns.items() if other == workload]
        yield f"{workload}: medians of {len(rows[0])} rounds of {len(rows[0][0].ready)} pods each"


def _spread(turns: Sequence[Turn], base: Sequence[Turn], value: Callable[[Turn], float]) -> str:
    """Return the rounds' ratios of *value* as a cell: their median, and what they lie between."""
    ratios = _ratios(turns, base, value)
    text = f"{statistics.median(ratios):.2f}"
    return text if turns is base else f"{text} ({min(ratios):.2f} to {max(ratios):.2f})"


def _ratio(turns: Sequence[Turn], base: Sequence[Turn], value: Callable[[Turn], float]) -> float:
    return statistics.median(_ratios(turns, base, value))


def _ratios(
    turns: Sequence[Turn], base: Sequence[Turn], value: Callable[[Turn], float]
) -> list[float]:
    """Return each round's ratio of *value* between two setups."""
    return [value(turn) / value(other) for turn, other in zip(turns, base, strict=True)]


def _rate(turn: Turn) -> float:
    return turn.rate


def _usual(turn: Turn) -> float:
    return statistics.median(turn.ready)
