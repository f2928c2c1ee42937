"""What a study will cost: each of its runs, and all together, with what they share counted once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from robustcl.composition.lock import lock
from robustcl.cost import Cost, StageCost, estimate
from robustcl.cost.estimate import Timed
from robustcl.cost.judging import FEW, AttackCounts, Judged, add_judging
from robustcl.cost.network import Networks
from robustcl.cost.words import HEAD, NOTES, cells, how_timed, of_judging, warn
from robustcl.errors import RobustclError
from robustcl.report.grid import Grid, Text, fit, plain
from robustcl.study.plan.planned import Planned
from robustcl.study.runs.execution import shared_stages
from robustcl.terminal import align


def tell_costs(planned: Sequence[Planned], device: str, precision: str, *, timed: bool, room: int | None = None) -> str:
    """Return a table with a line for each run, of the stages that it does not take from an earlier one.

    ``timed``: with the hours that a few steps of each stage tell. ``room``: letters of a line of the terminal.
    """
    hours: dict[str, Timed] | None = {} if timed else None
    counters = Networks(), AttackCounts(None if timed else FEW)
    rows, every, attacks, said = list[tuple[str, ...]](), list[StageCost](), list[Judged](), list[str]()
    for run, cost, own, judged in _costs(planned, counters, said):
        if hours is not None:
            found = _timed(run, cost, own, judged, device, precision)
            hours |= {_name(run, name): value for name, value in found.items()}
        named = [dataclasses.replace(stage, name=_name(run, stage.name)) for stage in own]
        every += named
        attacks += judged
        rows.append((run.folder, *cells(named, hours)[1:]) if named else (run.folder, "all from earlier runs"))
    table = [(*row, *[""] * (len(HEAD) + timed - len(row))) for row in [*rows, ("in all", *cells(every, hours)[1:])]]
    lines = _align(("run", *HEAD[1:], *(["hours"] if timed else [])), table, room)
    notes = [*said, *NOTES, *of_judging(attacks), *(how_timed(hours) if hours else []), *warn(every, device, hours)]
    return "\n".join(["cost", *(f"  {line}" for line in [*lines, *notes])])


def _align(head: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """Return the lines of a table; one that is wider than the terminal is turned or cut, or has no columns."""
    grid = plain("", head, [list(map(Text, row)) for row in rows])
    parts = [grid] if room is None else fit(grid, room, _width)
    if room is not None and any(sum(_width(part, place) for place in range(len(part.head))) > room for part in parts):
        told = [
            ", ".join(f"{name} {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell) for row in rows
        ]
        return [line for row, cells in zip(rows, told, strict=True) for line in (row[0], f"  {cells}")]
    blocks = [align([one.whole for one in part.head], [[cell.text for cell in row] for row in part.rows])
              for part in parts]  # fmt: skip
    return "\n\n".join(blocks).splitlines()


def _width(grid: Grid, place: int) -> float:
    """Return how many letters a column takes, with the space before it: the first is set in as far as that."""
    return max(len(text) for text in (grid.head[place].whole, *(cell.text for cell in grid.column(place)))) + 2.0


_Counted: TypeAlias = tuple[Planned, Cost, tuple[StageCost, ...], list[Judged]]


def _costs(planned: Sequence[Planned], counters: tuple[Networks, AttackCounts], said: list[str]) -> Iterator[_Counted]:
    """Go through the runs that differ: each with its cost, what no earlier one has of it, and its attacks."""
    known, donors = dict[str, tuple[Cost, Cost, list[Judged]]](), list[Mapping[str, Any]]()
    for run in {run.folder: run for run in planned}.values():
        locked = lock(run.composition)
        key = repr({**locked, "seed": None, "lock": None, "name": None, "made": None})
        try:
            cost, whole, judged = known[key] = known.get(key) or _cost(run, *counters)
        except RobustclError as error:
            said.append(f"{run.folder}: unknown, a step on noise fails: {error}")
            continue
        shared = {name for donor in donors for name in shared_stages(locked, donor)}
        donors.append(locked)
        yield run, cost, tuple(stage for stage in whole.stages if stage.name not in shared), judged


def _cost(run: Planned, networks: Networks, attacks: AttackCounts) -> tuple[Cost, Cost, list[Judged]]:
    """Return what a run's stages cost, the same with the attacks that judge, and these."""
    cost = estimate(run.composition, networks)
    judged = attacks.count(run.composition, cost.sizes)
    return cost, add_judging(cost, run.composition, judged, networks), judged


def _timed(
    run: Planned, cost: Cost, own: Sequence[StageCost], judged: Sequence[Judged], device: str, precision: str
) -> dict[str, Timed]:
    from robustcl.cost.timing import time_judging, time_stages  # loads what trains

    found = time_stages(run.composition, cost, device, precision, {stage.name for stage in own})
    return found | time_judging(run.composition, cost, judged, device, precision)


def _name(run: Planned, stage: str) -> str:
    """Return a stage's name, as no other run has it."""
    return f"{run.folder}: {stage}"
