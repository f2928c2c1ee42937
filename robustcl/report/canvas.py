"""Painting with matplotlib into inline SVG, PDF and PNG, and the look that all figures share."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

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
    "pdf.fonttype": 42,  # outlines that publishers take, not Type 3
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


@dataclass(frozen=True, slots=True)
class Sketch:
    """A figure before it is painted: ``size`` in inches, ``alt`` in words; ids of its SVG begin with ``name``.

    style: what differs from ``STYLE``.
    """

    name: str
    alt: str
    size: tuple[float, float]
    paint: Callable[[Figure], None] = field(repr=False)
    style: Mapping[RcKeyType, Any] = field(default_factory=dict, repr=False)

    def svg(self) -> Markup:
        """Return it as inline SVG."""
        return _inline(self._saved("svg", {"Date": None, "Creator": None}).decode("utf-8"), self.name, self.alt)

    def encode(self, kind: Literal["pdf", "png"]) -> bytes:
        """Return it as a file: PDF with its fonts, or PNG of 300 dots an inch on white; the same bytes each time."""
        return self._saved(kind, {"CreationDate": None} if kind == "pdf" else {})

    def _saved(self, kind: str, metadata: dict[str, Any]) -> bytes:
        """Paint it. Neither the global random state nor the caller's rcParams change."""
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update({**STYLE, **self.style})
            matplotlib.rcParams["svg.hashsalt"] = self.name
            figure = Figure(figsize=self.size, layout="constrained")
            self.paint(figure)
            stream = io.BytesIO()
            dots: dict[str, Any] = {"dpi": 300} if kind == "png" else {"transparent": True}
            figure.savefig(stream, format=kind, metadata=metadata, **dots)
        return stream.getvalue()


def draw(name: str, alt: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> Markup:
    """Paint a figure of ``size`` inches and return it as inline SVG whose ids begin with ``name``."""
    return Sketch(name, alt, size, paint).svg()


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
