"""The summary of docs/performance.md: its text, and the bars of its chart.

Both have references to cells of the tables that benchmarks wrote: the benchmark, the first cells of
the row, and the column, separated by " > ". :mod:`tests.bench.page` looks them up. In the text they
are in braces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.bench import svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHART = "performance-summary.svg"

NOT_MEASURED = "?"
"""In place of a figure of a section that has no table yet."""

TEXT = """\
| | without Genie | with Genie | with Multus, thin | with Multus, thick |
|---|---|---|---|---|
| ADD of a pod with one network, ms: median / p95 \
| {plugin > 1 > ADD > direct: median / p95} \
| {plugin > 1 > ADD > through Genie: median / p95} | | |
| ADD of a pod with four networks, ms: median / p95 \
| {plugin > 4 > ADD > direct: median / p95} \
| {plugin > 4 > ADD > through Genie: median / p95} | | |
| ADD of a pod with one definition, ms: median / p95 \
| {peers > the delegates, called directly > ADD: median / p95} \
| {peers > Genie > ADD: median / p95} \
| {peers > Multus 4.2.2, thin > ADD: median / p95} | |
| its requests to the API server: ADD / DEL \
| {peers > the delegates, called directly > requests to the API server: ADD / DEL} \
| {peers > Genie > requests to the API server: ADD / DEL} \
| {peers > Multus 4.2.2, thin > requests to the API server: ADD / DEL} | |
| 32 pods that start at one moment, ms until the last is attached \
| {boot > 32 > direct calls > slowest pod} \
| {boot > 32 > Genie > slowest pod} \
| {boot > 32 > Multus, thin, without API server > slowest pod} \
| {boot > 32 > Multus, thick, API server in memory > slowest pod} |
| pods a minute that become Ready and go, one network each \
| {churn peers > one network > no Genie > pods a minute} \
| {churn peers > one network > Genie > pods a minute} \
| | {churn peers > one network > Multus 4.2.2, thick > pods a minute} |

- Creating a pod that names networks takes \
{creation > added by all > pod with two networks: median} ms longer; \
a webhook in Go alone would take \
{creation > added by a webhook in Go > pod with two networks: median} ms. A plain pod takes \
{creation > added by all > plain pod: median} ms longer.
- A core answers {webhook > pod that names networks > per processor second} reviews a second, \
{webhook > pod that names networks > ratio} times as many as a webhook in Go.
- Agent and reaper have {agent > both > resident, MiB} MiB on a node, and take \
{agent > both > of one core, %} % of a core while no pod starts or stops.
- With 5,000 nodes the webhook has {scale > 5,000 > webhook: MiB} MiB, and decides by a changed \
label after {scale > 5,000 > label to decision, s} s."""


class Bars(NamedTuple):
    """One group of bars: a title and, by label, the cell whose first number is the length."""

    title: str
    cells: Mapping[str, str]


_WITHOUT, _GENIE, _THIN, _THICK = "without Genie", "Genie", "Multus, thin", "Multus, thick"

GROUPS = (
    Bars(
        "Attaching a pod with one definition, ms",
        {
            _WITHOUT: "peers > the delegates, called directly > ADD: median / p95",
            _GENIE: "peers > Genie > ADD: median / p95",
            _THIN: "peers > Multus 4.2.2, thin > ADD: median / p95",
        },
    ),
    Bars(
        "32 pods that start at one moment, ms until the last is attached",
        {
            _WITHOUT: "boot > 32 > direct calls > slowest pod",
            _GENIE: "boot > 32 > Genie > slowest pod",
            _THIN: "boot > 32 > Multus, thin, without API server > slowest pod",
            _THICK: "boot > 32 > Multus, thick, API server in memory > slowest pod",
        },
    ),
    Bars(
        "Pods a minute that become Ready and go, one network each",
        {
            _WITHOUT: "churn peers > one network > no Genie > pods a minute",
            _GENIE: "churn peers > one network > Genie > pods a minute",
            _THICK: "churn peers > one network > Multus 4.2.2, thick > pods a minute",
        },
    ),
)

_WIDTH, _LEFT, _ROW, _TITLE, _GAP = 720, 130, 22, 28, 10


def chart(groups: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """Return the chart: groups of bars, by title and label. Each group has a scale of its own."""
    parts: list[str] = []
    y = 0
    for title, values in groups:
        longest = max(values.values())
        parts.append(svg.text(10, y + 18, title, "title"))
        y += _TITLE
        for label, value in values.items():
            width = (_WIDTH - _LEFT - 60) * value / longest
            parts.append(svg.text(_LEFT - 8, y + 13, label, anchor="end"))
            parts.append(svg.bar(_LEFT, y, width, "genie" if label == _GENIE else "direct"))
            parts.append(svg.text(_LEFT + width + 5, y + 13, f"{value:g}", "small"))
            y += _ROW
        y += _GAP
    return svg.document(_WIDTH, y, "What Genie costs, beside Multus", parts)
