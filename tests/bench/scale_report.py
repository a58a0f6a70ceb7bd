"""Format the figures of the scale benchmark as a table and a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench import page, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHART = "performance-scale.svg"


class Step(NamedTuple):
    """What was measured with so many nodes."""

    nodes: int
    mebibytes: float  # of the larger replica
    idle_percent: float  # of one core, all replicas
    creations: float  # per second
    p50: float  # milliseconds of one creation
    p99: float
    milliseconds: float  # of the webhook's processor time, for each creation
    seconds_to_decision: float
    rollout: Rollout


class Rollout(NamedTuple):
    """A label of every node changed."""

    changes: float  # per second
    milliseconds: float  # of the webhook's processor time, for each change
    p50: float  # milliseconds of one creation meanwhile
    p99: float


def row(figures: Step) -> str:
    """Return the figures of one step as a row of the table."""
    rollout = figures.rollout
    cells = (
        f"{figures.nodes:,}",
        f"{figures.mebibytes:.0f}",
        f"{figures.idle_percent:.2f}",
        f"{figures.creations:.0f}",
        f"{figures.p50:.1f} / {figures.p99:.1f}",
        f"{figures.milliseconds:.2f}",
        f"{figures.seconds_to_decision:.2f}",
        f"{rollout.changes:.0f}",
        f"{rollout.milliseconds:.2f}",
        f"{rollout.p50:.1f} / {rollout.p99:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def write(steps: Sequence[Step], setup: Sequence[str]) -> None:
    """Write table and chart for docs/performance.md."""
    (page.DOCS / CHART).write_text(chart(steps))
    page.show("scale", table(steps, setup))


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
        "A pod creation, p99, ms": lambda each: each.p99,
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
    title = "The webhook against the number of nodes"
    return svg.document(2 * svg.PANEL_WIDTH, 2 * svg.PANEL_HEIGHT, title, parts)
