"""Format the figures of the plugin's benchmark as tables and a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench import page, svg
from tests.bench.plugin import BY_DEFINITION, BY_SYSTEM, COUNTS, GENIE

if TYPE_CHECKING:
    from tests.bench.plugin import Figures

CHART = "performance-plugin.svg"

_WIDTH, _ROW, _LEFT, _TOP = 720, 26, 210, 44


def write(figures: Figures) -> None:
    """Write tables and chart for docs/performance.md."""
    (page.DOCS / CHART).write_text(chart(figures))
    page.show("plugin", table(figures))


HEAD = """\
| networks | command | direct: median / p95 | through Genie: median / p95 \
| over | ÷ bare start | processor: over | ÷ bare start |
|---|---|---|---|---|---|---|---|"""


def table(figures: Figures) -> str:
    """Return the figures as Markdown."""
    calls = [(count, command) for count in COUNTS for command in ("ADD", "DEL")]
    rows = [_row(figures, GENIE, command, count) for count, command in calls]
    rows += [_row(figures, BY_SYSTEM, command, 1) for command in ("ADD", "DEL")]
    rows += [_row(figures, BY_DEFINITION, command, 2) for command in ("ADD", "DEL")]
    parts = [HEAD, *rows, "", "All in milliseconds.", "", *_remarks(figures), "", *_aims(figures)]
    return "\n".join(parts)


_WAYS = {
    GENIE: "",
    BY_SYSTEM: ", by the system's `python3`",
    BY_DEFINITION: ", the second by a NetworkAttachmentDefinition",
}


def _row(figures: Figures, who: str, command: str, networks: int) -> str:
    direct = figures.times["direct", command, networks]
    genie = figures.times[who, command, networks]
    clock, processor = figures.over(who, command, networks)
    bare_clock, bare_processor = figures.bare
    cells = [
        str(networks),
        command + _WAYS[who],
        f"{direct.median:.1f} / {direct.p95:.1f}",
        f"{genie.median:.1f} / {genie.p95:.1f}",
        f"{clock:.1f}",
        f"{clock / bare_clock:.2f}",
        f"{processor:.1f}",
        f"{processor / bare_processor:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _version(figures: Figures) -> float:
    return figures.times[GENIE, "VERSION", 0].median / figures.bare[0]


def _further(figures: Figures) -> dict[int, float]:
    """Return what each secondary adds to an ADD, in ms, by the number of networks."""
    first = figures.over(GENIE, "ADD", 1)[0]
    return {more: (figures.over(GENIE, "ADD", more)[0] - first) / (more - 1) for more in COUNTS[1:]}


def _remarks(figures: Figures) -> list[str]:
    clock, processor = figures.bare
    version = figures.times[GENIE, "VERSION", 0].median
    further = ", ".join(
        f"{cost:.1f} ms or {cost / clock:.2f} bare starts (of {more})"
        for more, cost in _further(figures).items()
    )
    machine = [f"{name}: {value}" for name, value in figures.machine.items()]
    return [
        f"- Bare `python3 -I -S -c pass`: median {clock:.1f}, of the processor {processor:.1f}.",
        f"- `VERSION` by Genie: median {version:.1f}, {_version(figures):.2f} of a bare start.",
        f"- Each further network in an ADD, over its direct call: {further}.",
        f"- Peak resident memory of an ADD: {figures.resident_kib / 1024:.1f} MiB.",
        f"- {figures.pairs} pairs of each kind. {'; '.join(machine)}.",
    ]


def _aims(figures: Figures) -> list[str]:
    """Return the targets with the measured elapsed times."""
    bare = figures.bare[0]
    seen = [
        (
            "ADD with one network, over the direct call",
            1.25,
            figures.over(GENIE, "ADD", 1)[0] / bare,
            _S,
        ),
        (
            "DEL with one network, over the direct call",
            1.25,
            figures.over(GENIE, "DEL", 1)[0] / bare,
            _S,
        ),
        (
            "each further network, over its direct call",
            0.14,  # 1.0 ms where a bare start takes 7.3 ms, as where the aim was set
            max(_further(figures).values()) / bare,
            _S,
        ),
        ("a definition, over a network of `cni`", 0.5, figures.definition_ms, "ms"),
        ("`VERSION`", 1.2, _version(figures), _S),
        ("peak resident memory", 12, figures.resident_kib / 1024, "MiB"),
    ]
    rows = (
        f"| {what} | at most {aim} {unit} | {value:.2f} | {'yes' if value <= aim else 'no'} |"
        for what, aim, value, unit in seen
    )
    return ["| what | aim | seen | met |", "|---|---|---|---|", *rows]


_S = "bare starts"


def chart(figures: Figures) -> str:
    """Return a chart of the medians."""
    keys = [(command, networks) for command in ("ADD", "DEL") for networks in COUNTS]
    longest = max(figures.times[GENIE, *key].median for key in keys)
    scale = (_WIDTH - _LEFT - 70) / longest
    height = _TOP + len(keys) * 2 * _ROW + 30
    bare = figures.bare[0]
    x = _LEFT + bare * scale
    colours = '<tspan class="direct">direct</tspan> and <tspan class="genie">through Genie</tspan>'
    parts = [
        svg.text(10, 20, f"Milliseconds, median: {colours}", "title"),
        *(_bars(figures, key, _TOP + at * 2 * _ROW, scale) for at, key in enumerate(keys)),
        svg.line(x, _TOP - 6, x, height - 34, "bare"),
        svg.text(x, height - 18, f"bare interpreter {bare:.1f}", "small", "middle"),
    ]
    return svg.document(_WIDTH, height, "Time of ADD and DEL, direct and through Genie", parts)


def _bars(figures: Figures, key: tuple[str, int], y: int, scale: float) -> str:
    command, networks = key
    label = f"{command}, {networks} network{'s' if networks > 1 else ''}"
    parts = [svg.text(_LEFT - 10, y + 20, label, anchor="end")]
    for line, who in enumerate(("direct", GENIE)):
        value = figures.times[who, command, networks].median
        top, end = y + line * 18, _LEFT + value * scale
        parts.append(svg.bar(_LEFT, top, end - _LEFT, who))
        parts.append(svg.text(end + 5, top + 12, f"{value:.1f}", "small"))
    return "".join(parts)
