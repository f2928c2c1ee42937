"""How well a selector detects false negatives, by the labels that it does not see: precision and recall of an epoch.

``precision`` is the share of the detected pairs that are of one class, ``recall`` the share of the pairs of one class
that are detected. Labels serve the log alone; without them nothing is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robustcl import hooks, ranks
from robustcl.hooks import SelectorHooks
from robustcl.train.plan import TermPlan
from robustcl.types import UNLABELED, Scene

_COUNTS = ("detected", "false", "both")
_PREFIX = "false-negatives"


def detects(term: TermPlan) -> bool:
    """Say whether a term's selector detects false negatives."""
    return term.selector is not None and bool(hooks.of(term.selector.plugin, SelectorHooks).detects)


def logged(term: str) -> list[str]:
    """Return the names under which the last line of an epoch tells both shares."""
    return [f"{_PREFIX}/{term}/{share}" for share in ("precision", "recall")]


def tally(scenes: Sequence[tuple[TermPlan, Scene]]) -> dict[str, float]:
    """Return counts of pairs over all ranks, for each term that detects: detected, of one class, and both.

    A pair is an anchor and a column of another image, both labelled. It is detected as far as it is no negative: one of
    weight 0.25 is detected for 0.75.
    """
    found = {term.name: _counts(scene) for term, scene in scenes if detects(term) and scene.has("pairs")}
    if not found:
        return {}
    names = [f"{_PREFIX}/{name}/{count}" for name in found for count in _COUNTS]
    return dict(zip(names, ranks.total(torch.cat(list(found.values()))).tolist(), strict=True))


def shares(sums: Mapping[str, float]) -> dict[str, float]:
    """Return precision and recall of summed counts under their logged names, each where it is defined."""
    told = {}
    counted = [name.rpartition("/")[0] for name in sums if name.startswith(f"{_PREFIX}/")]
    for term in dict.fromkeys(counted):
        detected, false, both = (sums[f"{term}/{count}"] for count in _COUNTS)
        if detected > 0:
            told[f"{term}/precision"] = both / detected
        if false > 0:
            told[f"{term}/recall"] = both / false
    return told


def _counts(scene: Scene) -> Tensor:
    rows = scene.rows
    columns = scene.pairs.columns if scene.pairs.has("columns") else scene.columns
    known = (rows.label[:, None] != UNLABELED) & (columns.label != UNLABELED)
    known &= rows.sample[:, None] != columns.sample
    same = known & (rows.label[:, None] == columns.label)
    negative = scene.pairs.negative
    missing = ~negative if negative.dtype == torch.bool else (1 - negative).clamp(min=0)
    return torch.stack([pairs.sum(dtype=torch.float64) for pairs in (missing * known, same, missing * same)])
