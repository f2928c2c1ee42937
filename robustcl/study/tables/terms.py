"""What the runs of a study took: epochs, optimiser steps, passes, optimiser, seconds and memory of each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.report.grid import MISSING, Grid, Text, plain
from robustcl.study.grammar.study import Study
from robustcl.study.plan.planned import Planned
from robustcl.train import stage_files

HEAD = ("optimiser", "epochs", "steps", "passes", "seconds", "peak MiB")
TITLE = (
    "What each row took in training alone, the mean over seeds. A pass sends every training image through an encoder "
    "once, forward and backward."
)


@dataclass(frozen=True, slots=True)
class RowTerms:
    """What a line of the table took in training, the mean over its seeds; evaluation is not in it.

    passes: every image of a batch once through an encoder, forward and backward, counts as a pass of it; forward alone
    as a third. They are in units of the stage's training images. memory: the most that a stage held, in MiB: of the
    accelerator, or of the whole process on a CPU. ``None``: nobody counted.
    """

    label: str
    epochs: float
    steps: float
    passes: float | None
    optimizer: str
    seconds: float
    memory: float | None

    def texts(self) -> list[str]:
        """Return the cells of a table, in the order of ``HEAD``."""
        numbers = [f"{self.epochs:g}", f"{self.steps:g}", _short(self.passes, ".4g")]
        return [self.optimizer, *numbers, f"{self.seconds:.4g}", _short(self.memory, ".0f")]


def make_grid(study: Study, terms: Sequence[RowTerms]) -> Grid:
    """Return the table of what each line of a study took."""
    rows = [[Text(one.label), *map(Text, one.texts())] for one in terms]
    made = plain(TITLE, ["", *HEAD], rows, words=2)
    return dataclasses.replace(made, name=f"{study.name}-terms", heading="What each row took")


def sum_up_all(runs: Sequence[tuple[Planned, Path]]) -> tuple[RowTerms, ...]:
    """Return what each line of a study took, of its finished runs."""
    labels = dict.fromkeys(run.label for run, _ in runs)
    return tuple(sum_up(label, [one for one in runs if one[0].label == label]) for label in labels)


def sum_up(label: str, runs: Sequence[tuple[Planned, Path]]) -> RowTerms:
    """Return what was taken by a line's runs, of which there is one at least."""
    each = [_of_run(run, folder) for run, folder in runs]
    optimizers = dict.fromkeys(name for run, _ in runs for name in _optimizers(run))
    return RowTerms(
        label, _mean([one["epochs"] for one in each]) or 0.0, _mean([one["steps"] for one in each]) or 0.0,
        _mean([one["passes"] for one in each]), "; ".join(optimizers), _mean([one["seconds"] for one in each]) or 0.0,
        _mean([one["memory"] for one in each]),
    )  # fmt: skip


def describe_equal(study: Study, planned: Sequence[Planned]) -> list[str]:
    """Return in words what is equal between the rows of a study, and what is each recipe's own."""
    if len({run.label for run in planned}) < 2:
        return []
    recipes = [run.composition.recipe for run in planned]
    same = [f"{study.equal} of training, within 5 %"] if study.equal else []
    same += ["optimiser"] if study.optimizer == "shared" else []
    same += [f"{len(study.tuned.values)} values tried of {study.tuned.path}"] if study.tuned else []
    found: dict[str, set[Any]] = {
        "batch": {plan.batch for run in planned for plan in run.composition.stages if plan.epochs > 0},
        "data": {recipe.data.use for recipe in recipes},
        "encoder": {repr(recipe.encoder and recipe.encoder.model_copy(update=_ALONE)) for recipe in recipes},
        "projector": {repr(recipe.encoder and recipe.encoder.projector) for recipe in recipes},
        "threat": {repr(recipe.threat) for recipe in recipes},
    }
    same += [name for name, values in found.items() if len(values) == 1]
    own = ["amount of training"] if not study.equal else []
    own += ["optimiser"] if study.optimizer == "own" else []
    own += [name for name, values in found.items() if len(values) > 1]
    return [f"equal for every row: {', '.join(same)}" + (f"; each row's own: {', '.join(own)}" if own else "")]


_ALONE = {"projector": None}
"""A backbone without its head."""


def _of_run(run: Planned, folder: Path) -> dict[str, float | None]:
    """Return what the training stages of a run took together; memory is that of the largest."""
    stages = [stage for stage in run.composition.stages if stage.epochs > 0]
    facts: list[Mapping[str, Any]] = [stage_files.facts(folder, stage.name) or {} for stage in stages]
    memory = [found["memory"] for found in facts if isinstance(found.get("memory"), int | float)]
    return {
        "epochs": float(sum(stage.epochs for stage in stages)),
        "steps": _sum(facts, "steps"),
        "passes": _sum(facts, "passes"),
        "seconds": _sum(facts, "seconds"),
        "memory": max(memory) / 2**20 if memory else None,
    }


def _optimizers(run: Planned) -> list[str]:
    """Return the optimisers of a run's stages in words, each with its rate and batch, once."""
    recipe, found = run.composition.recipe, []
    for table, plan in zip(recipe.stage, run.composition.stages, strict=True):
        if plan.epochs > 0:
            rate = table.optimizer.options.get("lr", getattr(plan.optimizer.plugin, "lr", ""))
            found.append(f"{table.optimizer.use}, lr {_rate(rate)}, batch {plan.batch}")
    return list(dict.fromkeys(found))


def _rate(value: Any) -> str:
    """Return a learning rate, a schedule by its shape and its numbers."""
    if not isinstance(value, Mapping):
        return f"{value:g}" if isinstance(value, int | float) else str(value)
    shape = next(iter(value))
    numbers = value[shape] if isinstance(value[shape], Sequence) else [value[shape]]
    return f"{shape} {' to '.join(f'{number:g}' for number in (numbers[0], numbers[-1]))}"


def _sum(facts: Sequence[Mapping[str, Any]], key: str) -> float | None:
    found = [one.get(key) for one in facts]
    return float(sum(found)) if all(isinstance(number, int | float) for number in found) else None  # type: ignore[arg-type]


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _short(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
