"""Draw the charts of docs/performance.md as SVG, with colours for light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLE = """
  text { font: 13px sans-serif; fill: #1f2328 }
  .title { font-weight: bold } .small { font-size: 11px }
  .direct { fill: #8c959f } .genie { fill: #0969da } .bare { stroke: #bc4c00; stroke-width: 2 }
  .axis { stroke: #8c959f } .curve { fill: none; stroke: #0969da; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .direct { fill: #6e7681 } .genie { fill: #4493f8 }
    .bare { stroke: #f0883e } .curve { stroke: #4493f8 }
  }
"""

PANEL_WIDTH, PANEL_HEIGHT = 350, 170
_LEFT, _TOP, _RIGHT, _BOTTOM = 20, 46, 40, 28


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return an SVG file that contains *parts*; *title* is for readers who cannot see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{title}</title><style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> str:
    """Return a text at a point; *anchor* is the part of it that is there."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def bar(x: float, y: float, width: float, style: str) -> str:
    """Return a horizontal bar."""
    return f'<rect class="{style}" x="{x}" y="{y}" width="{width:.1f}" height="16"/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """Return a straight line."""
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def panel(x: float, y: float, title: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a curve through *points*, from zero on both axes, each with its value.

    The panel takes PANEL_WIDTH and PANEL_HEIGHT. The horizontal axis has the points' first numbers.
    """
    farthest = max(at for at, _ in points) or 1
    highest = max(value for _, value in points) or 1
    across = PANEL_WIDTH - _LEFT - _RIGHT
    upwards = PANEL_HEIGHT - _TOP - _BOTTOM
    ground = y + PANEL_HEIGHT - _BOTTOM

    places = [
        (x + _LEFT + across * at / farthest, ground - upwards * value / highest)
        for at, value in points
    ]
    parts = [
        text(x + _LEFT - 10, y + 20, title, "title"),
        line(x + _LEFT, ground, x + _LEFT + across, ground, "axis"),
        f'<polyline class="curve" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}"/>',
    ]
    for (at, value), (right, up) in zip(points, places, strict=True):
        parts.append(f'<circle class="genie" cx="{right:.1f}" cy="{up:.1f}" r="3"/>')
        parts.append(text(right, up - 8, f"{value:.3g}", "small", "middle"))
        parts.append(text(right, ground + 16, f"{at:,}", "small", "middle"))
    return "".join(parts)
