"""Painting with matplotlib into inline SVG, and the look that all figures share."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

PALETTE = (
    "#2b5c8a",
    "#b5542b",
    "#3d7a57",
    "#7a5195",
    "#8a6d1d",
    "#3f7f8f",
    "#a03e5e",
    "#5b6470",
    "#5a8f29",
    "#1f2933",
)
"""Colours of series and classes, each with a contrast of at least 3 to white."""

DASHES = ("", "6 3", "2 2", "8 3 2 3")
INK, MUTED, LINE = "#1f2933", "#52606d", "#cbd2d9"
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.unicode_minus": False,
    "axes.formatter.useoffset": False,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One entry of a legend: label, colour, SVG dash pattern, and the mark (line, dot, ring or square)."""

    label: str
    colour: str
    dash: str = ""
    mark: str = "line"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure of the page: the SVG, its caption, and its legend."""

    svg: Markup
    caption: str
    legend: tuple[LegendEntry, ...] = ()


def draw(name: str, alt: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Markup:
    """Paint a figure of ``size`` inches and return it as inline SVG whose ids begin with ``name``.

    Neither the global random state nor the caller's rcParams change. ``alt`` describes the figure in words.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["svg.hashsalt"] = name
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name, alt)


def _inline(text: str, name: str, alt: str) -> Markup:
    """Cut the prologue, the metadata and the style that would reach the whole page; prefix the ids."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return Markup(f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{body}')
