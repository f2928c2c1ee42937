"""How many positives and negatives an anchor has on average: at a step, and over an epoch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from robustcl import ranks
from robustcl.errors import UsageError
from robustcl.train import detection
from robustcl.train.plan import TermPlan
from robustcl.types import Scene


def counts(scenes: Sequence[tuple[TermPlan, Scene]], frozen: Collection[str] = ()) -> dict[str, float]:
    """Return each side's mean over the anchors of all ranks, for each term that reads pairs: of all, and by view.

    ``pairs/TERM/SIDE``, and ``pairs/TERM/SIDE/VIEW`` for the columns of each view where there are several; a selector's
    own columns are of no view. ``frozen``: encoders whose views make no rows.
    """
    sums: dict[str, Tensor] = {}
    anchors: list[int] = []
    for term, scene in scenes:
        if not scene.has("pairs"):
            continue
        views = [] if scene.pairs.has("columns") else list(term.anchors(frozen).values())
        for side, mask in (("positive", scene.pairs.positive), ("negative", scene.pairs.negative)):
            chosen, name = (mask > 0).sum(0), f"pairs/{term.name}/{side}"
            found = {name: chosen.sum()}
            if len(views) > 1:
                found |= {f"{name}/{view}": chosen[scene.columns.view == n].sum() for n, view in enumerate(views)}
            sums |= found
            anchors += [len(mask)] * len(found)
    if not sums:
        return {}
    chosen = torch.stack(list(sums.values())).double()
    means = ranks.total(chosen) / ranks.total(torch.tensor(anchors, dtype=chosen.dtype, device=chosen.device))
    return dict(zip(sums, means.tolist(), strict=True))


class EpochMeans:
    """The means over the steps of the epoch in progress. ``sums`` and ``steps`` go into the checkpoint.

    What ``detection.tally`` counts is summed beside them: of an epoch its shares are told.
    """

    def __init__(self, sums: Mapping[str, float] | None = None, steps: int = 0) -> None:
        self.sums, self.steps = dict(sums or {}), steps

    def add(self, numbers: Mapping[str, float]) -> None:
        """Take in one step's counts."""
        self.steps += 1
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means, ``pairs-of-epoch/TERM/SIDE`` and so on, and shares of detection; begin the next epoch."""
        means = {name.replace("pairs/", "pairs-of-epoch/", 1): value / self.steps
                 for name, value in self.sums.items() if name.startswith("pairs/")}  # fmt: skip
        told = detection.shares(self.sums)
        self.sums, self.steps = {}, 0
        return means | told


def refuse_without_positives(means: Mapping[str, float], stage: str) -> None:
    """Raise UsageError where no anchor of a term had a positive in a whole epoch: such a term is 0 and teaches nothing.

    ``means`` are those of an epoch.
    """
    for name, mean in means.items():
        _, term, *side = name.split("/")
        if side == ["positive"] and mean == 0:
            raise UsageError(
                f"stage.{stage}.term.{term}: no anchor had a positive in a whole epoch, so nothing was learnt from it; "
                "bind two views of each image to it, or take a selector that keeps an anchor's own other views"
            )
