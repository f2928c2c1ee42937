"""A page for every installed recipe: what the method is, its parts, its known deviations, the recipe itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from robustcl import registry
from robustcl.api import Composition, compose
from robustcl.composition import matrix
from robustcl.recipe import inherit
from robustcl.train.plan import Part, StagePlan

FOLDER = Path(__file__).parent / "methods"

HEAD = """# Methods

Each is one command, `robustcl compose --recipe NAME`; with `--budget paper` as published. Any part of one can be put
into another: [what composes with what](matrix.md).

| recipe | what it is |
|---|---|
"""


def write() -> int:
    """Write the pages, their index and the matrix; returns how many recipes there are."""
    FOLDER.mkdir(exist_ok=True)
    names = list(registry.recipes())
    rows = []
    for name in names:
        composition = compose(recipe=name, budget="paper")
        (FOLDER / f"{name}.md").write_text(page(name, composition), encoding="utf-8")
        rows.append(f"| [{name}]({name}.md) | {inherit.summary(composition.recipe.about)} |")
    (FOLDER / "index.md").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    head = "# What composes with what\n\nPrinted by `robustcl compose --matrix`.\n\n"
    (FOLDER / "matrix.md").write_text(head + matrix.markdown(matrix.pairs()), encoding="utf-8")
    return len(names)


def page(name: str, composition: Composition) -> str:
    """Return the page of one recipe."""
    recipe = composition.recipe
    tables = {key: value for key, value in inherit.read_installed(name).items() if key not in ("about", "deviations")}
    deviations = "\n".join(f"- {line}" for line in recipe.deviations) or "None that we know of."
    parts = [
        f"# {name}",
        recipe.about.strip(),
        f"Source: {recipe.cite}",
        f"```\nrobustcl compose --recipe {name}\n```",
        "## Parts",
        "\n".join(line for stage in composition.stages for line in _stage(stage)),
        "## Known deviations",
        deviations,
        "## The recipe",
        f"```toml\n{tomli_w.dumps(tables)}```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _stage(stage: StagePlan) -> Iterator[str]:
    yield f"- stage `{stage.name}`, {stage.epochs} epochs, optimizer {_link('optimizer', stage.optimizer)}"
    for generator in stage.generators:
        flow = f"`{', '.join(generator.reads)}` to `{', '.join(generator.writes)}`"
        yield f"    - generator {_link('generator', generator.part)}, {flow}"
    for term in stage.terms:
        reads = ", ".join(str(ref).removesuffix("@online") for _, ref in term.roles)
        selector = f", selector {_link('selector', term.selector)}" if term.selector else ""
        yield f"    - term {_link('objective', term.objective)} of `{reads}`{selector}{_weights(term.weights)}"
    if stage.targets is not None:
        yield f"    - targets {_link('target', stage.targets.part)}"
    if stage.sampler is not None:
        yield f"    - sampler {_link('sampler', stage.sampler.part)}"


def _weights(weights: Mapping[str, Any]) -> str:
    return ", weight " + ", ".join(f"{name} {weight}" for name, weight in weights.items())


def _link(kind: str, part: Part) -> str:
    return f"[{part.name}](../kinds/{kind}.md#{part.name})"
