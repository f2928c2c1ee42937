"""What a study will cost: each of its runs, and all together, with what they share counted once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustcl.composition.lock import lock
from robustcl.cost import Cost, StageCost, estimate
from robustcl.cost.estimate import Timed
from robustcl.cost.network import Networks
from robustcl.cost.words import HEAD, NOTES, cells, how_timed, warn
from robustcl.errors import RobustclError
from robustcl.study.grid import Planned
from robustcl.study.run import shared_stages
from robustcl.terminal import align


def tell_costs(planned: Sequence[Planned], device: str, precision: str, *, timed: bool) -> str:
    """Return a table with a line for each run, of the stages that it does not take from an earlier one.

    ``timed``: with the hours that a few steps of each stage tell.
    """
    hours: dict[str, Timed] | None = {} if timed else None
    rows, every, said = list[tuple[str, ...]](), list[StageCost](), list[str]()
    for run, cost, own in _costs(planned, said):
        if hours is not None:
            hours |= _timed(run, cost, own, device, precision)
        named = [_named(run, stage) for stage in own]
        every += named
        rows.append((run.folder, *cells(named, hours)[1:]) if named else (run.folder, "all from earlier runs"))
    table = [(*row, *[""] * (len(HEAD) + timed - len(row))) for row in [*rows, ("in all", *cells(every, hours)[1:])]]
    lines = align(("run", *HEAD[1:], *(["hours"] if timed else [])), table).splitlines()
    notes = [*said, *NOTES, *(how_timed(hours) if hours else []), *warn(every, device, hours)]
    return "\n".join(["cost", *(f"  {line}" for line in [*lines, *notes])])


def _costs(planned: Sequence[Planned], said: list[str]) -> Iterator[tuple[Planned, Cost, tuple[StageCost, ...]]]:
    """Go through the runs that differ: each with its cost, and the stages of it that no earlier one has."""
    networks, known, donors = Networks(), dict[str, Cost](), list[Mapping[str, Any]]()
    for run in {run.folder: run for run in planned}.values():
        locked = lock(run.composition)
        key = repr({**locked, "seed": None, "lock": None, "name": None, "made": None})
        try:
            cost = known[key] = known.get(key) or estimate(run.composition, networks)
        except RobustclError as error:
            said.append(f"{run.folder}: unknown, a step on noise fails: {error}")
            continue
        shared = {name for donor in donors for name in shared_stages(locked, donor)}
        donors.append(locked)
        yield run, cost, tuple(stage for stage in cost.stages if stage.name not in shared)


def _timed(run: Planned, cost: Cost, own: Sequence[StageCost], device: str, precision: str) -> dict[str, Timed]:
    from robustcl.cost.timing import time_stages  # loads what trains

    only = {stage.name for stage in own}
    found = time_stages(run.composition, cost, device, precision, only)
    return {f"{run.folder}: {name}": value for name, value in found.items()}


def _named(run: Planned, stage: StageCost) -> StageCost:
    """Return a stage under a name that no other run has."""
    return dataclasses.replace(stage, name=f"{run.folder}: {stage.name}")
