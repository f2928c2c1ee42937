"""Has a claim been seen? Contrasts of a study's numbers, tested over seeds or images, Holm's correction over claims.

Several seeds: the contrast of each seed, which all rows have, is one number, and the numbers are held against the
margin by Student's t. One seed: the same of each image that the cells of the contrast share, by McNemar's exact test
where it is one cell less another, else by Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from robustcl.claims.cells import Cell, Contrast, Shape, Ways
from robustcl.claims.contrasts import expand
from robustcl.claims.grammar import Claim, Least, Trend
from robustcl.claims.outcome import CONTRADICTED, NOT_RUN, NOT_SEEN, SEEN, ClaimOutcome, Found, Measured
from robustcl.claims.sampling import Numbers, Observed, sample
from robustcl.comparison.statistics import ALPHA, holm, mcnemar, one_sided, paired_t

T_SEEDS = "t over seeds"
T_IMAGES = "t over images"
MCNEMAR = "McNemar over images"


def decide(claims: Sequence[Claim], shape: Shape, numbers: Numbers) -> tuple[ClaimOutcome, ...]:
    """Return what each claim of a study came to; p-values are corrected for all those that could be tested."""
    finite = {cell: {seed: value for seed, value in by_seed.items() if math.isfinite(value)}
              for cell, by_seed in numbers.by_seed.items()}  # fmt: skip
    numbers = replace(numbers, by_seed=finite)  # an infinite or undefined number is none
    found = [_test(claim, shape, numbers) for claim in claims]
    tested = [outcome for outcome in found if outcome.p is not None]
    adjusted = iter(holm([outcome.p for outcome in tested if outcome.p is not None]))
    return tuple(outcome if outcome.p is None else _judged(outcome, next(adjusted)) for outcome in found)


def _judged(outcome: ClaimOutcome, adjusted: float) -> ClaimOutcome:
    sided = outcome.status if adjusted < ALPHA else NOT_SEEN
    return outcome.model_copy(update={"adjusted": adjusted, "status": sided})


def _test(claim: Claim, shape: Shape, numbers: Numbers) -> ClaimOutcome:
    """Return a claim's outcome before the correction; its status is the side to which the numbers point."""
    bare = ClaimOutcome(name=claim.name, says=claim.says, place=claim.place, asked=claim.asked(), status=NOT_RUN)
    parts = expand(claim, shape)
    if isinstance(parts, str):
        return bare.model_copy(update={"why": parts})
    cells = list(dict.fromkeys(cell for contrast in _all(parts) for _, cell in contrast.terms))
    seeds = sorted(set.intersection(*(set(numbers.by_seed.get(cell, ())) for cell in cells)))
    dropped = _dropped(cells, seeds, numbers)
    told = bare.model_copy(update={
        "numbers": [_measured(cell, numbers) for cell in cells], "seeds": len(seeds), "why": dropped,
        "unit": "points" if all(cell in numbers.percent for cell in cells) else "",
    })  # fmt: skip
    if below := _below(claim.least, cells, seeds, numbers) or _too_short(claim, shape, cells, numbers):
        return _hindered(told, below)
    samples: dict[Contrast, Observed] = {}
    for contrast in _all(parts):
        one = sample(contrast, seeds, numbers)
        if isinstance(one, str):
            return _hindered(told, one)
        if one.images is not None and one.images < claim.least.images:
            return _hindered(told, _too_few(claim.least, f"{one.images} are shared by all that it has"))
        samples[contrast] = one
    found = {contrast: _found(contrast, one, len(seeds), numbers) for contrast, one in samples.items()}
    seen, against, weakest = _combined(parts, found)
    return told.model_copy(update={
        "status": SEEN if seen <= against else CONTRADICTED, "p": min(1.0, 2 * min(seen, against)),
        "method": _method(found, len(seeds)), "images": None if len(seeds) > 1 else samples[weakest].images,
        "contrasts": [found[weakest], *(one for contrast, one in found.items() if contrast != weakest)],
    })  # fmt: skip


def _hindered(told: ClaimOutcome, why: str) -> ClaimOutcome:
    return told.model_copy(update={"why": "; ".join(filter(None, [why, told.why]))})


def _dropped(cells: Sequence[Cell], seeds: Sequence[int], numbers: Numbers) -> str:
    """Say which seeds are left out and what they lack: one row that failed takes its seed from all; "" where none."""
    every = {seed for cell in cells for seed in numbers.by_seed.get(cell, ())} if seeds else set()
    told = []
    for seed in sorted(every - {*seeds}):
        cell = next(cell for cell in cells if seed not in numbers.by_seed.get(cell, ()))
        told.append(f"the seed {seed} is left out: {cell.line} has no number in {cell.column}")
    return "; ".join(told)


def _all(parts: Sequence[Ways]) -> list[Contrast]:
    return [contrast for ways in parts for way in ways for contrast in way]


def _below(least: Least, cells: Sequence[Cell], seeds: Sequence[int], numbers: Numbers) -> str:
    """Say what is missing to the size from which on a claim is meant, "" where nothing is."""
    for cell in cells:
        if not numbers.by_seed.get(cell):
            return f"{cell.line} has no number in {cell.column}"
    if not seeds:
        return f"no seed has all of its numbers: {', '.join(dict.fromkeys(cell.line for cell in cells))}"
    order = ("smoke", "small", "paper")
    if order.index(numbers.budget if numbers.budget in order else "small") < order.index(least.budget):
        return f"it is meant from the budget {least.budget} on, and this is {numbers.budget}"
    if least.dataset and numbers.dataset not in least.dataset:
        return f"it is meant of {' or '.join(least.dataset)}, and this is {numbers.dataset}"
    if len(seeds) < least.seeds:
        return f"it is meant from {least.seeds} seeds on, and all of its numbers have {len(seeds)}"
    images = [numbers.images[cell] for cell in cells if cell in numbers.images]
    if images and min(images) < least.images:
        return _too_few(least, f"{min(images)} were judged")
    low = min(cells, key=lambda cell: _mean(cell, seeds, numbers))
    if least.above is not None and _mean(low, seeds, numbers) <= least.above:
        value = _mean(low, seeds, numbers)
        return f"it is meant of numbers above {least.above:g}, and {low.line} has {value:.4g} in {low.column}"
    return ""


def _too_short(claim: Claim, shape: Shape, cells: Sequence[Cell], numbers: Numbers) -> str:
    """Say which row was trained too shortly, "" where none was: at each point, or along a trend's axis wherever."""
    axis = claim.test.axis if isinstance(claim.test, Trend) else None
    lines = {line.label: line for line in shape.lines}
    most: dict[tuple[str, str], tuple[int, str]] = {}
    for label in dict.fromkeys(cell.line for cell in cells if cell.line in numbers.steps):
        point = {name: value for name, value in lines[label].point.items() if name != axis}
        key = (lines[label].row, str(point))
        most[key] = max(most.get(key, (0, label)), (numbers.steps[label], label))
    steps, short = min(most.values(), default=(claim.least.steps, ""))
    if steps >= claim.least.steps:
        return ""
    return f"it is meant from {claim.least.steps} optimiser steps on, and {short} had {steps}"


def _mean(cell: Cell, seeds: Sequence[int], numbers: Numbers) -> float:
    return math.fsum(numbers.by_seed[cell][seed] for seed in seeds) / len(seeds)


def _too_few(least: Least, there: str) -> str:
    return f"it is meant from {least.images} images on, and {there}"


def _found(contrast: Contrast, tested: Observed, seeds: int, numbers: Numbers) -> Found:
    """Test one contrast."""
    weights = [weight for weight, _ in contrast.terms]
    values = [math.fsum(weight * one for weight, one in zip(weights, there, strict=True))
              for there in zip(*tested.rows, strict=True)]  # fmt: skip
    mean = paired_t([value - contrast.margin for value in values])
    up, down = mean.up, mean.down
    if seeds == 1 and _is_pair(contrast):
        first, second = (np.array(row) > 0 for row in tested.rows)
        up, down = one_sided(mcnemar(first, second))
    low, high = (None if edge is None else edge + contrast.margin for edge in (mean.low, mean.high))
    papers = [(weight, numbers.paper.get(cell)) for weight, cell in contrast.terms]
    known = [weight * paper for weight, paper in papers if paper is not None]
    paper = math.fsum(known) if len(known) == len(papers) else None
    said = f"{contrast.said}, on the {tested.images} images that they share" if tested.shared else contrast.said
    return Found(said=said, value=mean.value + contrast.margin, margin=contrast.margin, low=low, high=high,
                 up=up, down=down, paper=paper)  # fmt: skip


def _is_pair(contrast: Contrast) -> bool:
    return [weight for weight, _ in contrast.terms] == [1.0, -1.0] and contrast.margin == 0


def _method(found: Mapping[Contrast, Found], seeds: int) -> str:
    if seeds > 1:
        return T_SEEDS
    return MCNEMAR if all(map(_is_pair, found)) else T_IMAGES


def _combined(parts: Sequence[Ways], found: Mapping[Contrast, Found]) -> tuple[float, float, Contrast]:
    """Return the p-values of a whole claim being true and being false, and the contrast on which the smaller stands.

    All parts have to hold: the claim is as certain as the least certain of them, and wrong where one of them is, which
    is asked as often as there are parts. Of several ways one has to hold, and the same is said the other way round.
    """
    told = [_ways(ways, found) for ways in parts]
    seen, _, weakest, _ = max(told, key=lambda one: one[0])
    _, against, _, worst = min(told, key=lambda one: one[1])
    wrong = min(1.0, len(told) * against)
    return seen, wrong, weakest if seen <= wrong else worst


def _ways(ways: Ways, found: Mapping[Contrast, Found]) -> tuple[float, float, Contrast, Contrast]:
    told = []
    for way in ways:
        weakest = max(way, key=lambda contrast: found[contrast].up)
        worst = min(way, key=lambda contrast: found[contrast].down)
        told.append((found[weakest].up, min(1.0, len(way) * found[worst].down), weakest, worst))
    best = min(told, key=lambda one: one[0])
    least = max(told, key=lambda one: one[1])
    return min(1.0, len(told) * best[0]), least[1], best[2], least[3]


def _measured(cell: Cell, numbers: Numbers) -> Measured:
    values = {str(seed): value for seed, value in numbers.by_seed.get(cell, {}).items()}
    return Measured(line=cell.line, column=cell.column, values=values, paper=numbers.paper.get(cell))
