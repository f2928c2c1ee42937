"""The composition as a picture: panels from left to right, or stacked where the page is narrow.

Only places are computed here; the template draws them, so that every name passes through its escaping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from robustcl.report.composition import DiagramPanel, DiagramPart, Layer, Link

WIDTH, GAP, MARGIN = 256.0, 30.0, 2.0
PAD, LANE, CHIP_GAP, ROW, LAYER_GAP = 14.0, 16.0, 8.0, 16.0, 40.0
LANES = {"clean": 8.0, "adversarial": 14.0, "plain": 20.0}
"""How far from the panel's left each kind of line runs where it passes other boxes."""

GLYPH = 5.9
"""The mean width of a letter at the size of the picture's text; longer texts are cut and keep a tooltip."""


@dataclass(frozen=True, slots=True)
class Box:
    """A placed part: its corner, its size, and its lines of text as (text, y, full text)."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    lines: tuple[tuple[str, float, str], ...]


@dataclass(slots=True)
class Picture:
    """Everything that the template draws, in user units."""

    width: float = 0.0
    height: float = 0.0
    cards: list[tuple[float, float, float, str, str]] = field(default_factory=list)  # x, y, height, title, subtitle
    captions: list[tuple[float, float, str]] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)  # SVG path, kind
    arrows: list[tuple[str, str]] = field(default_factory=list)  # SVG path, head


def draw_picture(panels: Sequence[DiagramPanel], columns: int) -> Picture:
    """Place the panels in rows of ``columns``, aligned at their tops."""
    drawn, top, previous = Picture(), MARGIN, None
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        height = max(_height(panel) for panel in row)
        for place, panel in enumerate(row):
            x = MARGIN + place * (WIDTH + GAP)
            _place(drawn, panel, x, top)
            if previous is not None:
                drawn.arrows.append(_arrow(previous, x, top))
            previous = (x, top, _height(panel))
        top += height + GAP
    drawn.width = 2 * MARGIN + min(columns, len(panels)) * (WIDTH + GAP) - GAP
    drawn.height = top - GAP + MARGIN
    return drawn


def _arrow(previous: tuple[float, float, float], x: float, top: float) -> tuple[str, str]:
    """Lead from a card to the next, to the right or down into the next row; the second path is the head."""
    left, above, tall = previous
    if x > left:
        tip = x - 3
        return f"M{left + WIDTH + 5:.1f} {top + 30:.1f} H{tip - 6:.1f}", f"M{tip:.1f} {top + 30:.1f}l-8 -4v8z"
    tip, middle = top - 3, x + WIDTH / 2
    line = f"M{left + WIDTH / 2:.1f} {above + tall + 5:.1f} V{top - GAP / 2:.1f} H{middle:.1f} V{tip - 6:.1f}"
    return line, f"M{middle:.1f} {tip:.1f}l-4 -8h8z"


def _height(panel: DiagramPanel) -> float:
    y = _head(panel)
    for layer in panel.layers:
        y += 12 + sum(max(_tall(part) for part in row) + CHIP_GAP for row in _rows(layer)) + LAYER_GAP - CHIP_GAP
    return y - LAYER_GAP + PAD


def _head(panel: DiagramPanel) -> float:
    return 68.0 if panel.subtitle else 54.0


def _tall(part: DiagramPart) -> float:
    return 12 + ROW * (1 + len(part.lines))


def _rows(layer: Layer) -> list[list[DiagramPart]]:
    """Put short parts two abreast, long ones alone."""
    rows: list[list[DiagramPart]] = []
    room = (WIDTH - 2 * PAD - LANE - CHIP_GAP) / 2 - 14
    short = [all(len(text) * GLYPH <= room for text in (part.name, *part.lines)) for part in layer.parts]
    for place, part in enumerate(layer.parts):
        if rows and len(rows[-1]) == 1 and short[place] and short[place - 1]:
            rows[-1].append(part)
        else:
            rows.append([part])
    return rows


def _place(drawn: Picture, panel: DiagramPanel, x: float, top: float) -> None:
    title, subtitle = _cut(panel.title, WIDTH - 2 * PAD, 8.0), _cut(panel.subtitle, WIDTH - 2 * PAD)
    drawn.cards.append((x, top, _height(panel), title, subtitle))
    boxes = _boxes(panel, x + PAD, top, LANE)
    bypass = {link for link in panel.links if _between(boxes, link)}
    indent = LANE if bypass else 0.0
    boxes = boxes if bypass else _boxes(panel, x + PAD, top, 0.0)
    drawn.boxes += boxes.values()
    for layer in panel.layers:
        first = boxes[layer.parts[0].kind, layer.parts[0].name]
        drawn.captions.append((x + PAD + indent, first.y - 8, layer.caption))
    for link in panel.links:
        start, end, kind = link
        if link in bypass:
            beneath = any(box.kind == end[0] and box.y < boxes[end].y - 1 for box in boxes.values())
            lane, left = x + LANES[kind], x + PAD + indent
            drawn.edges.append((_around(boxes[start], boxes[end], lane, left, beneath), kind))
        elif start in boxes and end in boxes:
            drawn.edges.append((_straight(boxes[start], boxes[end]), kind))


def _between(boxes: dict[tuple[str, str], Box], link: Link) -> bool:
    """Say whether other boxes lie between the two that a link joins."""
    start, end, _ = link
    if start not in boxes or end not in boxes:
        return False
    return any(boxes[start].y < box.y - 1 and box.y < boxes[end].y - 1 for box in boxes.values())


def _boxes(panel: DiagramPanel, x: float, top: float, lane: float) -> dict[tuple[str, str], Box]:
    """Place a panel's parts below each other, right of the lane."""
    y, boxes = top + _head(panel), {}
    for layer in panel.layers:
        y += 12
        for row in _rows(layer):
            wide = (WIDTH - 2 * PAD - lane - CHIP_GAP * (len(row) - 1)) / len(row)
            tall = max(_tall(part) for part in row)
            for place, part in enumerate(row):
                left = x + lane + place * (wide + CHIP_GAP)
                boxes[part.kind, part.name] = _box(part, left, y - 4, wide, tall)
            y += tall + CHIP_GAP
        y += LAYER_GAP - CHIP_GAP
    return boxes


def _box(part: DiagramPart, x: float, y: float, width: float, height: float) -> Box:
    texts = (part.name, *part.lines)
    lines = tuple((_cut(text, width - 14), y + 19 + ROW * place, text) for place, text in enumerate(texts))
    return Box(x, y, width, height, part.kind, lines)


def _straight(start: Box, end: Box) -> str:
    x0, y0, x1, y1 = start.x + start.width / 2, start.y + start.height, end.x + end.width / 2, end.y
    middle = (y0 + y1) / 2
    return f"M{x0:.1f} {y0:.1f} C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"


def _around(start: Box, end: Box, lane: float, left: float, beneath: bool) -> str:
    """Lead along the lane, and into a box at its left where others stand above it."""
    if start.x <= left + 1:
        y0 = start.y + start.height / 2
        out = f"M{start.x:.1f} {y0:.1f} Q{lane:.1f} {y0:.1f} {lane:.1f} {y0 + 12:.1f}"
    else:
        y0 = start.y + start.height + CHIP_GAP / 2
        out = f"M{start.x + start.width / 2:.1f} {y0 - CHIP_GAP / 2:.1f} V{y0:.1f} H{lane + 8:.1f}"
        out += f" Q{lane:.1f} {y0:.1f} {lane:.1f} {y0 + 8:.1f}"
    if beneath:
        y1 = end.y + end.height / 2
        return f"{out} V{y1 - 12:.1f} Q{lane:.1f} {y1:.1f} {end.x:.1f} {y1:.1f}"
    x1, turn = end.x + min(0.8 * end.width, 76.0), end.y - 28
    over = f"V{turn - 10:.1f} Q{lane:.1f} {turn:.1f} {lane + 10:.1f} {turn:.1f} H{x1 - 10:.1f}"
    return f"{out} {over} Q{x1:.1f} {turn:.1f} {x1:.1f} {turn + 10:.1f} V{end.y:.1f}"


def _cut(text: str, room: float, glyph: float = GLYPH) -> str:
    fits = max(3, int(room / glyph))
    return text if len(text) <= fits else text[: fits - 1] + "…"
