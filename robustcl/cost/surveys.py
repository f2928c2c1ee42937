"""What a stage's sampler looks at and chooses, found by asking it on noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from robustcl.cost.rates import Rates, counted
from robustcl.cost.rehearsal import Processor, Rehearsed, rehearse
from robustcl.nn.encoder import Encoder
from robustcl.protocols import EncoderPlugin
from robustcl.rng import Rng
from robustcl.train.passes import Passes
from robustcl.train.stage import StageState
from robustcl.train.survey import RunSurvey

Chosen: TypeAlias = tuple[tuple[int, float], ...]
"""For how many epochs which share of a data set is gone through, in whole batches."""

_BATCHES, _MOST = 20, 100
"""Batches among which a sampler chooses that embeds them: where the data set's size is unknown, and at most."""
_LARGEST = 4096
"""Images of a batch, where the data set's size is unknown."""


def survey_stage(asked: Rehearsed, small: Rehearsed, plugin: EncoderPlugin) -> tuple[Rates, Chosen]:
    """Return what a stage's sampler costs for each image and epoch, and what it chooses; of ``small`` the batches are.

    It is asked on as many images as there are, and where it embeds them on as many batches of a few images each.
    """
    sampler, length, batch = asked.plan.sampler, asked.plan.epochs, asked.plan.batch
    if sampler is None or length == 0:
        return Rates(), ()
    samples = asked.sizes.samples[asked.stage.split] or _BATCHES * min(batch, _LARGEST)
    whole = rehearse(asked, StageState, plugin, Processor(), samples)
    total, chosen = Rates(), [(min(sampler.after, length), _in_batches(whole, samples))]
    for part in _parts(whole, range(sampler.after, length, sampler.every)):
        answer = part.answer
        if answer is None:
            few = round(min(samples / batch, _MOST) * small.plan.batch)
            answer = _select(rehearse(small, StageState, plugin, Processor(), few), part.epochs[-1], Passes())
        total += answer[0] * len(part.epochs)
        chosen.append((sum(min(sampler.every, length - epoch) for epoch in part.epochs), answer[1]))
    return total * (1 / length), tuple(chosen)


@dataclass(frozen=True, slots=True)
class _Part:
    """Epochs at which a sampler's answer costs the same and is of one length; ``None`` where it embeds images."""

    epochs: Sequence[int]
    answer: tuple[Rates, float] | None


def _parts(run: StageState, asked: Sequence[int]) -> list[_Part]:
    """Ask at the first and the last of some epochs, and look for where the answer changes between the two."""
    if not asked:
        return []
    first, last = _quick(run, asked[0]), _quick(run, asked[-1])
    if first == last:
        return [_Part(asked, first)]
    low, high = 0, len(asked) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _quick(run, asked[middle]) == first else (low, middle)
    return [_Part(asked[:high], first), _Part(asked[high:], last)]


def _quick(run: StageState, epoch: int) -> tuple[Rates, float] | None:
    """Return what a sampler answers that embeds nothing; ``None`` as soon as it does."""
    try:
        return _select(run, epoch, _Nothing())
    except _Embedded:
        return None


def _select(run: StageState, epoch: int, passes: Passes) -> tuple[Rates, float]:
    assert run.plan.sampler is not None
    run.epoch, run.encoders.passes = epoch, passes
    rows = run.plan.sampler.part.plugin.select(RunSurvey(run, Rng(0, "cost", epoch)), epoch)
    share = rows.numel() / run.images.samples if rows.dim() == 2 else _in_batches(run, len(rows))
    return counted(run) * (1 / run.images.samples), share


def _in_batches(run: StageState, images: int) -> float:
    """Return which share of all images is seen by an epoch that goes through some."""
    batch = run.plan.batch
    return (images // batch * batch if run.plan.drop_last else images) / run.images.samples


class _Embedded(Exception):
    """A sampler looks at what the encoder says of images."""


class _Nothing(Passes):
    """A count that bears no image."""

    def count(self, x: Tensor, outputs: Sequence[Tensor], encoder: Encoder) -> None:
        raise _Embedded
