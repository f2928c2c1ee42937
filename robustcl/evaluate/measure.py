"""One number after the other: outcomes into the journal, and a row of results.json made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.data.subset import Images
from robustcl.evaluate import aim
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.rows import per_member, row, say_row
from robustcl.evaluate.work import Work
from robustcl.rng import Rng

_DRAWN = 500
"""Images whose representations the report draws."""

_HURRIED = 32
"""Samples that are attacked together when the time is limited: a block that has begun is finished."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What every number of one evaluation shares; ``say`` hears each of them.

    folder: where pictures and audits are kept, ``None`` where this is one share of several.
    remark: hears what the attacks met, where that is not ``say``: a worker's numbers are told by who concludes.
    """

    journal: Journal
    seed: int
    work: Work
    say: Callable[[str], None]
    folder: Path | None = None
    remark: Callable[[str], None] | None = None

    def row(
        self, judge: Judge, images: Images, key: Key, members: Members, samples: int | None, *, proven: bool = False
    ) -> dict[str, Any]:
        """Return the row of one question: an accuracy over the first ``samples`` images, or over all of them.

        ``spec`` in the row is the key's, without the hash of the model, which stands beside it; ``question`` is the
        digest of both, by which the journal's lines name what they answer. ``proven``: what fools is kept beside them.
        """
        index = self.index(images, samples)
        if key.attack is None:
            self._warn_of_sorted(images, index)
        outcomes = self.outcomes(judge, images, key, members, samples, proven=proven)
        spec = json.loads(key.spec)
        model = spec.pop("model")
        found = row(key, outcomes, len(index), spec=spec, model=model, question=key.digest)
        if len(members) > 1:
            found["members"] = per_member(self.journal, key, outcomes, [name for name, _ in members])
        target = next((aimed for _, generator in members if (aimed := aim.of(generator)) is not None), None)
        found |= {} if target is None else aim.counts(target, outcomes)
        self.say(
            " ".join(f"{key.protocol} {key.route} {key.split} {key.attack or 'clean'}".split()) + f": {say_row(found)}"
        )
        return found

    def outcomes(
        self, judge: Judge, images: Images, key: Key, members: Members, samples: int | None, *, proven: bool = False
    ) -> list[Outcome]:
        """Return what became of each image that is judged by now."""
        hurried = self.work.deadline is not None
        work = replace(self.work, block=min(self.work.block, _HURRIED)) if hurried else self.work
        index = self.index(images, samples)
        kept = self.journal.witnesses if proven and self.work.witnesses else None
        found = judge.judge(images, index, key, members, self.journal, self.seed, work, kept)
        if (remark := judge.remark()) is not None:
            who = " ".join(f"{key.protocol} {key.route} {key.attack or ''}".split())
            (self.remark or self.say)(f"{who}: {remark}")
        return found

    def drawn(self, images: Images, samples: int | None) -> Tensor:
        """Return which images are attacked once more for the report to draw: some of those judged; none in haste."""
        most = 0 if self.work.over else _DRAWN if self.work.deadline is None else _HURRIED
        return self.index(images, samples)[:most].to(images.device)

    def index(self, images: Images, samples: int | None) -> Tensor:
        """Return which images are judged: the first ones; in an order of chance where the time may be up early."""
        index = torch.arange(min(images.samples, samples or images.samples))
        if self.work.deadline is None:
            return index
        return index[Rng(self.seed, "evaluate", "order").permutation(len(index))]

    def _warn_of_sorted(self, images: Images, index: Tensor) -> None:
        judged = images.labels[index.to(images.device)]
        there, classes = len(set(judged.tolist())), len(set(images.labels.tolist()))
        if 2 * there <= classes <= len(index):
            self.say(
                f"the {len(index)} images that are judged are of {there} of the {classes} classes: if the data set is "
                "sorted by class, shuffle it or judge all of it"
            )


def accuracy(outcomes: list[Outcome]) -> float:
    """Return the share of correct outcomes, of one at least."""
    return sum(outcome.correct for outcome in outcomes) / len(outcomes)
