"""The composition as a picture: data and threat, the stages with their parts, and the evaluation, left to right.

Only places are computed here; the template draws them, so that every name passes through its escaping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH, GAP, MARGIN = 244.0, 34.0, 2.0
PAD, LANE, CHIP_GAP, ROW, LAYER_GAP = 14.0, 18.0, 8.0, 16.0, 40.0
GLYPH = 6.3
"""The mean width of a letter at the size of the picture's text; longer texts are cut and keep a tooltip."""


@dataclass(frozen=True, slots=True)
class Part:
    """One box of a stage: a view, a generator, an encoder, a term, a protocol."""

    name: str
    kind: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """Parts of one kind, under a caption."""

    caption: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """The data, a stage, or the evaluation; links are (from part, to part, kind) by kind and name."""

    title: str
    subtitle: str
    layers: tuple[Layer, ...]
    links: tuple[tuple[tuple[str, str], tuple[str, str], str], ...] = ()


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
    arrows: list[tuple[float, float, float, float]] = field(default_factory=list)


def picture(panels: Sequence[Panel], columns: int) -> Picture:
    """Place the panels in rows of ``columns``, each row as high as its highest panel."""
    drawn, top, previous = Picture(), MARGIN, None
    for start in range(0, len(panels), columns):
        row = panels[start : start + columns]
        height = max(_height(panel) for panel in row)
        for place, panel in enumerate(row):
            x = MARGIN + place * (WIDTH + GAP)
            tall = _height(panel) if columns == 1 else height
            _place(drawn, panel, x, top, tall)
            if previous is not None:
                drawn.arrows.append(_arrow(previous, x, top))
            previous = (x, top, tall)
        top += height + GAP
    drawn.width = 2 * MARGIN + min(columns, len(panels)) * (WIDTH + GAP) - GAP
    drawn.height = top - GAP + MARGIN
    return drawn


def _arrow(previous: tuple[float, float, float], x: float, top: float) -> tuple[float, float, float, float]:
    left, above, tall = previous
    if x > left:
        return left + WIDTH + 5, top + 30, x - 5, top + 30
    return x + WIDTH / 2, above + tall + 5, x + WIDTH / 2, top - 5


def _height(panel: Panel) -> float:
    y = 62.0
    for layer in panel.layers:
        y += 12 + sum(max(_tall(part) for part in row) + CHIP_GAP for row in _rows(layer)) + LAYER_GAP - CHIP_GAP
    return y - LAYER_GAP + PAD


def _tall(part: Part) -> float:
    return 12 + ROW * (1 + len(part.lines))


def _rows(layer: Layer) -> list[list[Part]]:
    """Put short parts two abreast, long ones alone."""
    rows: list[list[Part]] = []
    room = (WIDTH - 2 * PAD - LANE - CHIP_GAP) / 2 - 16
    short = [all(len(text) * GLYPH <= room for text in (part.name, *part.lines)) for part in layer.parts]
    for place, part in enumerate(layer.parts):
        if rows and len(rows[-1]) == 1 and short[place] and short[place - 1]:
            rows[-1].append(part)
        else:
            rows.append([part])
    return rows


def _place(drawn: Picture, panel: Panel, x: float, top: float, height: float) -> None:
    drawn.cards.append((x, top, height, _cut(panel.title, WIDTH - 2 * PAD, 8.0), _cut(panel.subtitle, WIDTH - 2 * PAD)))
    y, boxes = top + 62.0, {}
    for layer in panel.layers:
        drawn.captions.append((x + PAD + LANE, y, layer.caption))
        y += 12
        for row in _rows(layer):
            wide = (WIDTH - 2 * PAD - LANE - CHIP_GAP * (len(row) - 1)) / len(row)
            tall = max(_tall(part) for part in row)
            for place, part in enumerate(row):
                box = _box(part, x + PAD + LANE + place * (wide + CHIP_GAP), y - 4, wide, tall)
                boxes[part.kind, part.name] = box
                drawn.boxes.append(box)
            y += tall + CHIP_GAP
        y += LAYER_GAP - CHIP_GAP
    for start, end, kind in panel.links:
        if start in boxes and end in boxes:
            between = any(boxes[start].y < box.y - 1 and box.y < boxes[end].y - 1 for box in boxes.values())
            drawn.edges.append((_path(boxes[start], boxes[end], x + PAD / 2 + 2 if between else None), kind))


def _box(part: Part, x: float, y: float, width: float, height: float) -> Box:
    texts = (part.name, *part.lines)
    lines = tuple((_cut(text, width - 14), y + 19 + ROW * place, text) for place, text in enumerate(texts))
    return Box(x, y, width, height, part.kind, lines)


def _path(start: Box, end: Box, lane: float | None) -> str:
    """Connect two boxes: straight down where nothing lies between, else along the lane at the panel's left."""
    if lane is None:
        x0, y0, x1, y1 = start.x + start.width / 2, start.y + start.height, end.x + end.width / 2, end.y
        middle = (y0 + y1) / 2
        return f"M{x0:.1f} {y0:.1f} C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    x0, y0, x1, y1 = start.x, start.y + start.height / 2, end.x, end.y + end.height / 2
    return f"M{x0:.1f} {y0:.1f} Q{lane:.1f} {y0:.1f} {lane:.1f} {y0 + 14:.1f} V{y1 - 14:.1f} Q{lane:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def _cut(text: str, room: float, glyph: float = GLYPH) -> str:
    fits = max(3, int(room / glyph))
    return text if len(text) <= fits else text[: fits - 1] + "…"


def panels(results: Mapping[str, Any]) -> list[Panel]:
    """Return the data, the stages and the evaluation as panels; what results.json does not say is left out."""
    stages = (results.get("composition") or {}).get("stages") or []
    found = [_data(results), *(_stage(stage) for stage in stages), _evaluation(results)]
    return [panel for panel in found if panel.layers]


def _data(results: Mapping[str, Any]) -> Panel:
    data, threat = results.get("data") or {}, results.get("threat") or {}
    sizes = tuple(f"{data[key]} {key}" for key in ("train", "validation", "test") if data.get(key) is not None)
    shape = "×".join(str(side) for side in data.get("item") or ())
    facts = tuple(text for text in (f"{len(data['classes'])} classes" if data.get("classes") else "", shape) if text)
    layers = []
    if data:
        layers.append(Layer("data set", (Part(say(data.get("use")), "data", (*facts, *sizes)),)))
    if threat:
        layers.append(Layer("threat", (Part(say(threat.get("norm")), "adversarial", (f"eps {say(threat.get('eps'))}",)),)))
    return Panel("Data and threat", "", tuple(layers))


def _stage(stage: Mapping[str, Any]) -> Panel:
    routes = stage.get("routes") or {}
    branches = len(set(map(str, routes.values()))) > 1
    views = tuple(
        Part(str(name), "view", (say(value), *((f"route {routes[name]}",) if branches and name in routes else ())))
        for name, value in (stage.get("views") or {}).items()
    )
    generators = tuple(
        Part(
            ", ".join(map(str, made.get("writes") or [made.get("name")])),
            "adversarial",
            (
                f"{say(made.get('use'))}, reads {', '.join(map(str, made.get('reads') or ['-']))}",
                *(f"route {routes[name]}" for name in (made.get("writes") or [])[:1] if branches and name in routes),
            ),
        )
        for made in stage.get("generators") or ()
    )
    terms = tuple(_term(term) for term in stage.get("terms") or ())
    targets = stage.get("targets")
    links, used = _links(stage, generators)
    names = dict.fromkeys([*(stage.get("encoders") or {}), *used])
    encoders = tuple(Part(str(name), "encoder", tuple(_encoder(stage, name))) for name in names)
    layers = [Layer("views", views), Layer("perturbation generators", generators), Layer("encoders", encoders), Layer("objectives", terms)]
    if targets:
        rest = tuple(f"{key}: {say(value)}" for key, value in targets.items() if key != "use")
        layers.append(Layer("cluster targets", (Part(say(targets.get("use")), "target", rest[:3]),)))
    epochs = stage.get("epochs")
    words = [f"{epochs} epochs" if epochs is not None else "", f"from {stage['init']}" if stage.get("init") else ""]
    return Panel(str(stage.get("name") or "stage"), ", ".join(w for w in words if w), tuple(layer for layer in layers if layer.parts), links)


def _encoder(stage: Mapping[str, Any], name: str) -> list[str]:
    value = (stage.get("encoders") or {}).get(name)
    return [] if value is None or say(value) == name else [say(value)]


def _term(term: Mapping[str, Any]) -> Part:
    roles = tuple(f"{role}: {say(view)}" for role, view in (term.get("views") or {}).items())
    weights = " + ".join(f"{say(weight)} × {name}" for name, weight in (term.get("mix") or {}).items())
    plugin = say(term.get("use"))
    lines = (
        *((f"objective {plugin}",) if plugin != term.get("name") else ()),
        *roles,
        *((f"pairs: {say(term['selector'])}",) if term.get("selector") else ()),
        *((weights,) if weights else ()),
    )
    return Part(str(term.get("name") or plugin), "term", lines)


def _links(stage: Mapping[str, Any], generators: tuple[Part, ...]) -> tuple[tuple[tuple[tuple[str, str], tuple[str, str], str], ...], list[str]]:
    """Follow each term's ``view@encoder`` back to the encoders, the views, and the generators."""
    links: dict[tuple[tuple[str, str], tuple[str, str], str], None] = {}
    encoders: dict[str, None] = {}
    maker = {name: part.name for made, part in zip(stage.get("generators") or (), generators, strict=True) for name in made.get("writes") or [made.get("name")]}
    for made, part in zip(stage.get("generators") or (), generators, strict=True):
        for name in made.get("reads") or ():
            links[("view", str(name)), ("adversarial", part.name), "clean"] = None
    for term in stage.get("terms") or ():
        for bound in (term.get("views") or {}).values():
            view, _, encoder = say(bound).partition("@")
            encoder = encoder or "online"
            encoders[encoder] = None
            kind = "adversarial" if view in maker else "clean"
            source = ("adversarial", maker[view]) if view in maker else ("view", view)
            links[source, ("encoder", encoder), kind] = None
            links[("encoder", encoder), ("term", str(term.get("name") or say(term.get("use")))), "plain"] = None
    return tuple(links), list(encoders)


def _evaluation(results: Mapping[str, Any]) -> Panel:
    protocols: dict[str, dict[str, dict[str, None]]] = {}
    for row in results["rows"]:
        attacks = protocols.setdefault(say(row.get("protocol")), {}).setdefault(say(row.get("route")), {})
        attacks[say(row.get("attack") or "clean")] = None
    parts = [
        Part(name, "evaluation", tuple(f"route {route}: {', '.join(attacks)}" for route, attacks in routes.items()))
        for name, routes in protocols.items()
    ]
    return Panel("Evaluation", "", (Layer("protocols", tuple(parts)),) if parts else ())


def say(value: object) -> str:
    """Return an option's value in a word or two: a plugin by its name, a number without trailing zeros."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        if "use" in value:
            return say(value["use"])
        return ", ".join(f"{key} {say(part)}" for key, part in value.items())
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence):
        return ", ".join(say(part) for part in value)
    return str(value)


def words(results: Mapping[str, Any]) -> str:
    """Return the composition as one text, for those who do not see the picture."""
    return " ".join(
        f"{panel.title}{f' ({panel.subtitle})' if panel.subtitle else ''}: "
        + "; ".join(f"{layer.caption}: " + ", ".join(" ".join((part.name, *part.lines)) for part in layer.parts) for layer in panel.layers)
        + "."
        for panel in panels(results)
    )
