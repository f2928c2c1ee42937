"""Equal terms: what every run of a study gets the same of, whatever its recipe would take for itself."""

from __future__ import annotations

import copy
from typing import Any

from robustcl.api import Composition
from robustcl.errors import UsageError
from robustcl.recipe import Recipe
from robustcl.study.grammar.spots import Spot
from robustcl.study.grammar.study import Study
from robustcl.study.grammar.tuning import Tried
from robustcl.study.plan.amounts import count_per_epoch
from robustcl.study.plan.rows import Changes, compose_row
from robustcl.study.plan.setting import Setting
from robustcl.study.plan.timings import Timings

_OFF = 0.05
"""How far from the equal amount whole epochs may bring a row, as a share of it."""


class EqualTerms:
    """Composes the rows of a study on its terms: equal amounts, one optimiser, a value of what is tuned.

    Amounts are met by whole epochs, shared among a row's stages as its own budget shares them.
    """

    def __init__(self, name: str, study: Study, setting: Setting, first: Spot, timings: Timings) -> None:
        self.name, self.study, self.setting, self.timings = name, study, setting, timings
        self._costs: dict[tuple[str, Tried | None], dict[str, float]] = {}
        own = self._compose(first, 0, Changes()) if study.equal or study.optimizer == "shared" else None
        self.optimizer = _optimizer(own.recipe) if own is not None and study.optimizer == "shared" else {}
        self.amount = study.amount
        if study.equal is not None and self.amount is None:
            assert own is not None
            composition = self._compose(first, 0, self._changes(own, first, None))
            cost = self._cost(composition, first, None)
            self.amount = sum(cost[stage.name] * stage.epochs for stage in composition.stages if stage.epochs > 0)

    def compose(self, spot: Spot, seed: int, tried: Tried | None) -> Composition:
        """Compose the run of a row.

        Raises:
            UsageError: it does not compose, or whole epochs cannot bring it near to the equal amount.
        """
        if not self.optimizer and self.study.equal is None:
            return self._compose(spot, seed, Changes(tuned=_tables(tried)))
        changes = self._changes(self._compose(spot, seed, Changes()), spot, tried)
        composition = self._compose(spot, seed, changes)
        if self.study.equal is None:
            return composition
        epochs = self._epochs(composition, spot, tried)
        return self._compose(spot, seed, Changes(changes.optimizer, changes.tuned, epochs))

    def _compose(self, spot: Spot, seed: int, changes: Changes) -> Composition:
        return compose_row(self.name, self.study, spot, seed, self.setting, changes)

    def _changes(self, own: Composition, spot: Spot, tried: Tried | None) -> Changes:
        """Return one optimiser for every stage that learns, and the value that is tried."""
        stages = [stage.name for stage in own.recipe.stage]
        return Changes(self._shared(stages) if self.optimizer else {}, _tables(tried))

    def _shared(self, stages: list[str]) -> dict[str, Any]:
        batch = self.optimizer["batch"]
        each = {f"stage.{stage}.{key}": copy.deepcopy(value)
                for stage in stages for key, value in self.optimizer.items()}  # fmt: skip
        return {"data.batch": batch} | each

    def _epochs(self, composition: Composition, spot: Spot, tried: Tried | None) -> dict[str, int]:
        """Return the epochs of each stage that together come nearest to the equal amount.

        Raises:
            UsageError: they miss it by more than a twentieth.
        """
        unit, amount, where = self.study.equal, self.amount, self._where(spot)
        assert amount is not None
        own = {stage.name: stage.epochs for stage in composition.stages if stage.epochs > 0}
        cost = self._cost(composition, spot, tried)
        share = amount / sum(cost[name] * epochs for name, epochs in own.items())
        epochs = {name: max(1, round(share * count)) for name, count in own.items()}
        met = sum(cost[name] * count for name, count in epochs.items())
        if abs(met - amount) > _OFF * amount:
            each = ", ".join(f"{cost[name]:.4g} in an epoch of {name}" for name in own)
            raise UsageError(f"{where}: whole epochs do not bring it to {amount:.4g} {unit}: {met:.4g} are the nearest "
                             f"({each}); give another amount, or the row another batch")  # fmt: skip
        self._refuse_axis(where)
        return {f"stage.{name}.epochs": count for name, count in epochs.items()}

    def _refuse_axis(self, where: str) -> None:
        for axis in self.study.axis:
            if axis.path.endswith(".epochs"):
                raise UsageError(f"{where}: the axis {axis.name!r} changes {axis.path}, which equal = "
                                 f'"{self.study.equal}" sets; leave one of them out')  # fmt: skip

    def _cost(self, composition: Composition, spot: Spot, tried: Tried | None) -> dict[str, float]:
        """Return how much of the unit an epoch of each stage takes; the seeds of a row do not differ in it."""
        assert self.study.equal is not None
        key = spot.label, tried
        if key not in self._costs:
            unit, where = self.study.equal, self._where(spot)
            timed = unit == "seconds"
            self._costs[key] = (
                self.timings.per_epoch(composition, where) if timed else count_per_epoch(unit, composition, where)
            )
        return self._costs[key]

    def _where(self, spot: Spot) -> str:
        return f"the study {self.study.name}, row {spot.label!r}"


def _optimizer(recipe: Recipe) -> dict[str, Any]:
    """Return the optimiser, the batch and the clip of the last stage of a recipe that learns."""
    stage = next((stage for stage in reversed(recipe.stage) if stage.epochs > 0), recipe.stage[-1])
    clip = {} if stage.clip is None else {"clip": stage.clip}
    return {"optimizer": stage.optimizer.model_dump(), "batch": stage.batch or recipe.data.batch, **clip}


def _tables(tried: Tried | None) -> dict[str, Any]:
    return {} if tried is None else {tried.path: tried.value}
