"""What a contrast is tested on: its cells' numbers of each seed, or of each image that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robustcl.claims.cells import Cell, Contrast
from robustcl.comparison.outcomes import Verdicts
from robustcl.comparison.pairing import share_images


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a study has measured, and at which size.

    by_seed: cell -> seed -> its number in the table's unit. verdicts: the outcomes behind a cell of one seed, or why
    there are none. percent: the cells that are shares. images: how many were judged, of cells that say so. apart: the
    cells whose images are their own by what they measure, as of those that an attack has fooled. others: the other data
    set of a line that is about one. steps: of the optimiser, by line. dataset: the name of the data set. paper: what
    the paper reports.
    """

    by_seed: Mapping[Cell, Mapping[int, float]]
    verdicts: Callable[[Cell, int], Verdicts | str]
    budget: str
    dataset: str
    percent: frozenset[Cell] = frozenset()
    images: Mapping[Cell, int] = field(default_factory=dict)
    apart: frozenset[Cell] = frozenset()
    others: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    paper: Mapping[Cell, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """The numbers of a contrast's terms, of the same seeds or of the same images, in the table's unit: (terms, n).

    images: how many its cells share, where they were not judged on the same ones or where one seed is looked at.
    shared: whether some cell was judged on others besides.
    """

    rows: Sequence[Sequence[float]]
    images: int | None = None
    shared: bool = False


def sample(contrast: Contrast, seeds: Sequence[int], numbers: Numbers) -> Observed | str:
    """Return what a contrast is tested on, or why it cannot be tested."""
    cells = [cell for _, cell in contrast.terms]
    return _over_images(cells, seeds[0], numbers) if len(seeds) == 1 else _over_seeds(cells, seeds, numbers)


def _over_images(cells: Sequence[Cell], seed: int, numbers: Numbers) -> Observed | str:
    right = _shared(cells, seed, numbers)
    if isinstance(right, str):
        return f"with one seed it is tested image by image, which cannot be done: {right}; give two seeds or more"
    n = right.shape[1]
    return Observed(
        [(100.0 * one).tolist() for one in right], n, any(numbers.images.get(cell, n) > n for cell in cells)
    )


def _over_seeds(cells: Sequence[Cell], seeds: Sequence[int], numbers: Numbers) -> Observed | str:
    """Return each seed's numbers: the means over the images that the cells share, where they have others besides."""
    whole = Observed([[numbers.by_seed[cell][seed] for seed in seeds] for cell in cells])
    if any(cell in numbers.apart for cell in cells) or len({numbers.others.get(cell.line) for cell in cells}) > 1:
        return whole
    counts = {numbers.images[cell]: cell for cell in cells if cell in numbers.images}
    if len(counts) < 2:
        return whole
    columns, fewest = [], min(counts)
    for seed in seeds:
        right = _shared(cells, seed, numbers)
        if isinstance(right, str):
            few, many = counts[min(counts)], counts[max(counts)]
            return (
                f"{few.line} has {min(counts)} images in {few.column} and {many.line} has {max(counts)} in "
                f"{many.column}, whose means cannot be held against each other, and those that both share are not "
                f"known: {right}"
            )
        columns.append(100.0 * right.mean(axis=1))
        fewest = min(fewest, right.shape[1])
    return Observed(np.stack(columns, axis=1).tolist(), fewest, shared=True)


def _shared(cells: Sequence[Cell], seed: int, numbers: Numbers) -> NDArray[np.bool_] | str:
    """Return the outcomes of each cell on the images that all of them share, (cells, n), or why there are none."""
    known = [numbers.verdicts(cell, seed) for cell in cells]
    there = [one for one in known if not isinstance(one, str)]
    return share_images(there) if len(there) == len(known) else next(one for one in known if isinstance(one, str))
