"""Format the figures of the scale benchmark as a table and a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench import page, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.bench.api_observer import Latencies

CHART = "performance-scale.svg"
_TITLE = "The webhook against the number of nodes"


class Step(NamedTuple):
    """What was measured with so many nodes."""

    nodes: int
    mebibytes: float  # of the larger replica
    idle_percent: float  # of one core, all replicas
    creations: float  # per second
    latencies: Latencies  # of the creations
    milliseconds: float  # of the webhook's processor time, for each creation
    seconds_to_decision: float
    rollout: Rollout


class Rollout(NamedTuple):
    """A label of every node changed."""

    changes: float  # per second
    milliseconds: float  # of the webhook's processor time, for each change
    latencies: Latencies  # of creations meanwhile


def row(figures: Step) -> str:
    """Return the figures of one step as a row of the table."""
    rollout = figures.rollout
    cells = (
        f"{figures.nodes:,}",
        f"{figures.mebibytes:.0f}",
        f"{figures.idle_percent:.2f}",
        f"{figures.creations:.0f}",
        str(figures.latencies),
        f"{figures.milliseconds:.2f}",
        f"{figures.seconds_to_decision:.2f}",
        f"{rollout.changes:.0f}",
        f"{rollout.milliseconds:.2f}",
        str(rollout.latencies),
    )
    return f"| {' | '.join(cells)} |"


def write(steps: Sequence[Step], setup: Sequence[str]) -> None:
    """Write table and chart for docs/performance.md."""
    (page.DOCS / CHART).write_text(chart(steps))
    page.show("scale", f"![{_TITLE}]({CHART})\n\n{table(steps, setup)}")


def table(steps: Sequence[Step], setup: Sequence[str]) -> str:
    """Return the figures as Markdown; *setup* are lines about how they were measured."""
    head = (
        "| nodes | webhook: MiB | idle, % of a core | pod creations a second | p50 / p99, ms "
        "| webhook's processor time for each, ms | label to decision, s "
        "| all nodes change: nodes a second | webhook's processor time for each, ms "
        "| creations meanwhile, p50 / p99, ms |"
    )
    rule = "|" + 10 * "---|"
    return "\n".join([head, rule, *map(row, steps), "", *setup])


def chart(steps: Sequence[Step]) -> str:
    """Return four curves over the number of nodes."""
    curves: dict[str, Callable[[Step], float]] = {
        "Memory of the webhook, MiB": lambda each: each.mebibytes,
        "Webhook without creations, % of a core": lambda each: each.idle_percent,
        "A pod creation, p99, ms": lambda each: each.latencies.p99,
        "Label to decision, s": lambda each: each.seconds_to_decision,
    }
    parts = [
        svg.panel(
            number % 2 * svg.PANEL_WIDTH,
            number // 2 * svg.PANEL_HEIGHT,
            title,
            [(each.nodes, figure(each)) for each in steps],
        )
        for number, (title, figure) in enumerate(curves.items())
    ]
    return svg.document(2 * svg.PANEL_WIDTH, 2 * svg.PANEL_HEIGHT, _TITLE, parts)
