"""Every combination of parts, composed or refused: what ``robustcl compose --matrix`` prints. No tensor is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from robustcl import registry
from robustcl.composition.assembly import assemble
from robustcl.composition.choice import Flags, choose
from robustcl.errors import RobustclError
from robustcl.options import describe
from robustcl.protocols import Need
from robustcl.terminal.markdown import render_table

AXES = ("generator", "objective", "selector", "target")


@dataclass(frozen=True, slots=True)
class Combination:
    """Four flags of ``compose``, ``None`` where one is left out, and the sentence that refuses them, if any."""

    generator: str | None
    objective: str
    selector: str | None = None
    target: str | None = None
    refused: str | None = None

    @property
    def command(self) -> str:
        """The command line that composes it."""
        flags = ((axis, getattr(self, axis)) for axis in AXES)
        return " ".join(["robustcl compose", *(f"--{axis} {name}" for axis, name in flags if name is not None)])


def names(kind: str) -> list[str]:
    """Return the registered names that are a part by themselves: an adapter like ``art:NAME`` needs a name."""
    found = []
    for name in registry.names(kind):
        cls = registry.get(kind, name)
        if not any(option.required for option in describe(cls)):
            found.append(name)
    return found


def pairs() -> dict[str, list[Combination]]:
    """Return the three tables: generator x objective, objective x selector, generator x target.

    A generator that needs clusters is given the first target that serves it, a selector that needs more than the
    objective's own base recipe the first generator whose recipe has it. For the table of targets each generator takes
    the first objective that composes.
    """
    generators, objectives, targets = names("generator"), names("objective"), names("target")
    return {
        "generator x objective": [_with_any(g, o, targets) for g in generators for o in objectives],
        "objective x selector": [_under_any(o, s, generators) for o in objectives for s in names("selector")],
        "generator x target": [_of_any(g, t, objectives) for g in generators for t in targets],
    }


def _with_any(generator: str, objective: str, targets: Sequence[str]) -> Combination:
    alone = attempt(generator, objective)
    if alone.refused is None or Need.CLUSTERS not in registry.get("generator", generator).needs:  # type: ignore[attr-defined]
        return alone
    served = (attempt(generator, objective, None, target) for target in targets)
    return next((found for found in served if found.refused is None), alone)


def _under_any(objective: str, selector: str, generators: Sequence[str]) -> Combination:
    alone = attempt(None, objective, selector)
    if alone.refused is None or Need.PAIRS not in registry.get("objective", objective).needs:  # type: ignore[attr-defined]
        return alone
    found = (attempt(generator, objective, selector) for generator in generators)
    return next((combination for combination in found if combination.refused is None), alone)


def _of_any(generator: str, target: str, objectives: Sequence[str]) -> Combination:
    first = attempt(generator, objectives[0], None, target)
    if first.refused is None:
        return first
    found = (attempt(generator, objective, None, target) for objective in objectives[1:])
    return next((combination for combination in found if combination.refused is None), first)


def everything(
    generators: Sequence[str], objectives: Sequence[str], selectors: Sequence[str], targets: Sequence[str]
) -> Iterator[Combination]:
    """Try all combinations of four parts, a missing selector and a missing target among them."""
    for objective in objectives:
        for generator in generators:
            for selector in (None, *selectors):
                for target in (None, *targets):
                    yield attempt(generator, objective, selector, target)


def attempt(
    generator: str | None, objective: str, selector: str | None = None, target: str | None = None
) -> Combination:
    """Compose four parts as the command line does, and keep the sentence where they are refused."""
    flags = Flags(generator=generator, objective=objective, selector=selector, target=target, budget="smoke")
    try:
        tables, _ = choose(flags)
        tables.pop("evaluate", None)  # how a result is judged does not depend on these parts
        assemble(tables, "the recipe")
    except RobustclError as error:
        return Combination(generator, objective, selector, target, str(error))
    return Combination(generator, objective, selector, target)


def markdown(tables: dict[str, list[Combination]]) -> str:
    """Return the tables with a numbered list of the reasons why parts do not compose."""
    sentences: list[str] = []
    parts = []
    for title, cells in tables.items():
        down, across = title.split(" x ")
        columns = list(dict.fromkeys(str(getattr(cell, across)) for cell in cells))
        rows = [[down, *columns]]
        for name in dict.fromkeys(str(getattr(cell, down)) for cell in cells):
            marks = (_mark(cell, title, sentences) for cell in cells if str(getattr(cell, down)) == name)
            rows.append([name, *marks])
        parts.append(f"## {title}\n\n{render_table(rows, len(rows[0]))}")
    refusals = "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))
    return "\n\n".join([*parts, f"## Why not\n\n{refusals}"]) + "\n"


def _mark(cell: Combination, title: str, sentences: list[str]) -> str:
    if cell.refused is None:
        further = {axis: getattr(cell, axis) for axis in AXES if axis not in title}
        return next((f"with --{axis} {name}" for axis, name in further.items() if name), "yes")
    sentence = _reason(cell.refused)
    if sentence not in sentences:
        sentences.append(sentence)
    return f"no ({sentences.index(sentence) + 1})"


def _reason(refused: str) -> str:
    """Return a sentence without the place in the base recipe, so that one reason stands once in the list."""
    _, _, reason = refused.partition(": ")
    reason = re.sub(r"in stage\.\S+ reads pairs \([^)]*\)", "there reads pairs", reason)
    return re.sub(r"(?<!\[)stage\.[\w.-]+", "the stage", reason).replace("\n", " ")
