"""What was composed, as panels of parts: data and threat, each stage, and the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

Link = tuple[tuple[str, str], tuple[str, str], str]
"""From a part to a part, each by (kind, name), and what is carried: clean, adversarial, or plain."""

LETTERS = 34
"""About so many letters fit on a line of a box."""


@dataclass(frozen=True, slots=True)
class DiagramPart:
    """One box of a stage: a view, a generator, an encoder, a term, a protocol."""

    name: str
    kind: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """Parts of one kind, under a caption."""

    caption: str
    parts: tuple[DiagramPart, ...]


@dataclass(frozen=True, slots=True)
class DiagramPanel:
    """The data, a stage, or the evaluation; links join its parts."""

    title: str
    subtitle: str
    layers: tuple[Layer, ...]
    links: tuple[Link, ...] = ()


def panels(results: Mapping[str, Any]) -> list[DiagramPanel]:
    """Return the data, the stages and the evaluation as panels; what is not said is left out."""
    stages = (results.get("composition") or {}).get("stages") or []
    found = [_data(results), *(_stage(stage) for stage in stages), _evaluation(results)]
    return [panel for panel in found if panel.layers]


def _data(results: Mapping[str, Any]) -> DiagramPanel:
    data, threat = results.get("data") or {}, results.get("threat") or {}
    sizes = tuple(f"{data[key]} {key}" for key in ("train", "validation", "test") if data.get(key) is not None)
    shape = "×".join(str(side) for side in data.get("item") or ())
    facts = tuple(text for text in (f"{len(data['classes'])} classes" if data.get("classes") else "", shape) if text)
    layers = []
    if data:
        layers.append(Layer("data set", (DiagramPart(say(data.get("use")), "data", (*facts, *sizes)),)))
    if threat:
        layers.append(
            Layer("threat", (DiagramPart(say(threat.get("norm")), "adversarial", (f"eps {say(threat.get('eps'))}",)),))
        )
    return DiagramPanel("Data and threat", "", tuple(layers))


def _stage(stage: Mapping[str, Any]) -> DiagramPanel:
    routes = stage.get("routes") or {}
    branches = len(set(map(str, routes.values()))) > 1
    views = tuple(
        DiagramPart(
            str(name),
            "view",
            (say(value), *((f"route {routes[name]}",) if branches and name in routes else ())),
        )
        for name, value in (stage.get("views") or {}).items()
    )
    generators = tuple(
        DiagramPart(
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
    encoders = tuple(DiagramPart(str(name), "encoder", tuple(_encoder(stage, name))) for name in names)
    layers = [
        Layer("views", views),
        Layer("generators", generators),
        Layer("encoders", encoders),
        Layer("objectives", terms),
    ]
    if targets:
        rest = tuple(f"{key}: {say(value)}" for key, value in targets.items() if key != "use")
        layers.append(Layer("cluster targets", (DiagramPart(say(targets.get("use")), "target", rest[:3]),)))
    epochs = stage.get("epochs")
    words = [
        f"{epochs} epochs" if epochs is not None else "",
        f"from {stage['init']}" if stage.get("init") else "",
    ]
    return DiagramPanel(
        str(stage.get("name") or "stage"),
        ", ".join(w for w in words if w),
        tuple(layer for layer in layers if layer.parts),
        links,
    )


def _encoder(stage: Mapping[str, Any], name: str) -> list[str]:
    value = (stage.get("encoders") or {}).get(name)
    return [] if value is None or say(value) == name else [say(value)]


def _term(term: Mapping[str, Any]) -> DiagramPart:
    roles = tuple(f"{role}: {say(view)}" for role, view in (term.get("views") or {}).items())
    weights = " + ".join(f"{say(weight)} × {name}" for name, weight in (term.get("mix") or {}).items())
    plugin = say(term.get("use"))
    lines = (
        *((f"objective {plugin}",) if plugin != term.get("name") else ()),
        *roles,
        *((f"pairs: {say(term['selector'])}",) if term.get("selector") else ()),
        *((weights,) if weights else ()),
    )
    return DiagramPart(str(term.get("name") or plugin), "term", lines)


def _links(stage: Mapping[str, Any], generators: tuple[DiagramPart, ...]) -> tuple[tuple[Link, ...], list[str]]:
    """Follow each term's ``view@encoder`` back to the encoders, the views, and the generators."""
    links: dict[Link, None] = {}
    encoders: dict[str, None] = {}
    maker = {
        name: part.name
        for made, part in zip(stage.get("generators") or (), generators, strict=True)
        for name in made.get("writes") or [made.get("name")]
    }
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


def _evaluation(results: Mapping[str, Any]) -> DiagramPanel:
    protocols: dict[str, dict[str, dict[str, None]]] = {}
    for row in results["rows"]:
        attacks = protocols.setdefault(say(row.get("protocol")), {}).setdefault(say(row.get("route")), {})
        attacks[say(row.get("attack") or "clean")] = None
    parts = []
    for name, routes in protocols.items():
        lines = [
            line
            for route, attacks in routes.items()
            for line in (f"route {route}:", *wrap(", ".join(attacks), LETTERS))
        ]
        parts.append(DiagramPart(name, "evaluation", tuple(lines)))
    return DiagramPanel("Evaluation", "", (Layer("protocols", tuple(parts)),) if parts else ())


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
        + "; ".join(
            f"{layer.caption}: " + ", ".join(" ".join((part.name, *part.lines)) for part in layer.parts)
            for layer in panel.layers
        )
        + "."
        for panel in panels(results)
    )
