"""Train and judge every recipe with equally many passes: mean and standard deviation of SA and RA over seeds.

``python benchmarks/methods.py`` takes all recipes on digits with three seeds; ``--recipes``, ``--dataset``, ``--seeds``
and others change that. The whole takes hours; what is finished is not done again, what
was interrupted goes on, and docs/results.md is written anew after each run.

The budget is counted in passes: one pass sends every training image once through an encoder, forward and backward;
a forward alone counts as a third. Every recipe gets the same number, divided among its stages as its budget ``small``
divides them. Nothing is tuned: where a method does not beat another at this size, the table says so.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import torch
from results_page import write_page

from robustcl import compose, registry, resume
from robustcl.api import Composition
from robustcl.protocols import Need
from robustcl.train import loop
from robustcl.train.encoders import Encoders

RUNS = Path(__file__).parents[1] / "runs" / "methods"
RESULTS = Path(__file__).parent / "results" / "methods"


@click.command()
@click.option("--recipes", default="", help="Names with commas between them  [default: all]")
@click.option("--dataset", default="digits", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--passes", default=300, show_default=True, help="The budget: passes over the training images.")
@click.option("--set", "overrides", multiple=True, help="Dotted overrides of every recipe.")
@click.option("--precision", default="32-true", show_default=True)
@click.option("--name", default="digits", show_default=True, help="Of the table, and of the folder of its runs.")
def main(
    recipes: str, dataset: str, seeds: int, passes: int, overrides: tuple[str, ...], precision: str, name: str
) -> None:
    """Fill the table, a recipe and a seed at a time: all recipes with the first seed, then with the second."""
    chosen = recipes.split(",") if recipes else sorted(registry.recipes())
    command = shlex.join(["python", "benchmarks/methods.py", *sys.argv[1:]])
    for seed in range(seeds):
        for recipe in chosen:
            if _known(name, recipe, seed, command):
                continue
            try:
                row = _row(recipe, seed, dataset, passes, overrides, precision, RUNS / name)
            except Exception as error:  # one recipe that fails must not end a run of hours
                click.echo(f"{recipe} seed {seed}: {type(error).__name__}: {error}", err=True)
                continue
            _keep(name, recipe, seed, row | {"command": command})
            write_page(RESULTS)
            click.echo(f"{recipe} seed {seed}: SA {row['sa']:.2%} RA {row['ra']:.2%} on route {row['route']}")


def _row(
    recipe: str, seed: int, dataset: str, passes: int, overrides: tuple[str, ...], precision: str, folder: Path
) -> dict[str, Any]:
    out = folder / f"{recipe}-{seed}"
    if (out / "recipe.lock.toml").is_file():
        run = resume(out)
    else:
        epochs = _epochs(recipe, passes)
        given = [f"stage.{stage}.epochs={count}" for stage, count in epochs.items()]
        composition = compose(recipe=recipe, dataset=dataset, seed=seed, overrides=[*given, *overrides])
        run = composition.train(out=out, precision=precision)
    document = json.loads((run.path / "results.json").read_text(encoding="utf-8"))
    return _figures(document) | _facts(recipe) | {"seconds": _seconds(run.path)}


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    """Return SA and RA of the last route that the recipe judges: the adversarial one where there are two."""
    rows = [row for row in document["rows"] if row["split"] == "test"]
    route = rows[-1]["route"]
    clean = next(row for row in rows if row["route"] == route and row["attack"] is None)
    robust = next(row for row in rows if row["route"] == route and row["attack"] is not None)
    return {
        "sa": clean["value"], "ra": robust["value"], "n": clean["n"], "route": route,
        "protocol": clean["protocol"], "attack": robust["attack"], "eps": robust["spec"]["eps"],
    }  # fmt: skip


def _facts(recipe: str) -> dict[str, Any]:
    stages = compose(recipe=recipe).stages
    labelled = any(stage.labels is None and Need.LABELS in part.needs for stage in stages for part in stage.parts())
    return {"supervised": labelled}


def _seconds(folder: Path) -> float:
    finished = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("stages/*/finished.json")]
    return sum(facts["seconds"] for facts in finished)


def _epochs(recipe: str, passes: int) -> dict[str, int]:
    """Return the epochs of each stage that together make up the budget."""
    small = compose(recipe=recipe)
    cost = _passes_an_epoch(recipe, small)
    planned = {stage.name: stage.epochs for stage in small.stages if stage.epochs > 0}
    share = passes / sum(cost[name] * epochs for name, epochs in planned.items())
    return {name: max(1, round(share * epochs)) for name, epochs in planned.items()}


def _passes_an_epoch(recipe: str, composition: Composition) -> dict[str, float]:
    """Train every stage for one epoch on digits with a tiny encoder, and count what goes through the encoders."""
    counted = {stage.name: 0.0 for stage in composition.stages}
    images = {stage.name: 0 for stage in composition.stages}
    short = [f"stage.{stage.name}.epochs=1" for stage in composition.stages if stage.epochs > 0]
    tiny = compose(recipe=recipe, overrides=[*short, "encoder.use=resnet-small", "encoder.width=2", "evaluate=[]"])
    with _counting(counted, images), tempfile.TemporaryDirectory() as folder:
        tiny.train(out=Path(folder) / "run")
    return {name: counted[name] / images[name] for name in counted if images[name]}


@contextlib.contextmanager
def _counting(counted: dict[str, float], images: dict[str, int]) -> Iterator[None]:
    """Count the rows that every stage sends through its encoders."""
    train, embed, stage = loop.StageRun.train, Encoders.embed, [""]

    def watched_train(run: loop.StageRun) -> None:
        stage[0] = run.plan.name
        images[stage[0]] = run.images.samples
        train(run)

    def watched_embed(self: Encoders, x: torch.Tensor, *rest: Any, **named: Any) -> Any:
        counted[stage[0]] += len(x) * (1.0 if torch.is_grad_enabled() else 1 / 3)
        return embed(self, x, *rest, **named)

    loop.StageRun.train, Encoders.embed = watched_train, watched_embed  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.StageRun.train, Encoders.embed = train, embed  # type: ignore[method-assign]


def _known(name: str, recipe: str, seed: int, command: str) -> bool:
    """Say whether this very command has filled this place of the table already, be it on another machine."""
    path = RESULTS / f"{name}.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"recipes": {}}
    return bool(table["recipes"].get(recipe, {}).get(str(seed), {}).get("command") == command)


def _keep(name: str, recipe: str, seed: int, row: dict[str, Any]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"recipes": {}}
    table |= {"name": name, "versions": {"torch": str(torch.__version__)}}
    seeds = table["recipes"].setdefault(recipe, {})
    seeds[str(seed)] = row
    path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
