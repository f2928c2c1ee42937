"""The sample as the encoder sees it, clean and attacked: what the measures of the representation read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.analysis.measure.opened import MeasuredSubject
from robustcl.rng import Rng

_TRAINING = 2000
"""Training images that the linear classifier of the features is fitted to, at most."""

Told = Callable[[str, int, int], None]
"""Hears of progress: what, done, total."""


@dataclass(frozen=True, slots=True, eq=False)
class SampleViews:
    """n images in the order of the sample.

    x, moved: (n, *item), clean and attacked to the end. label, index: (n,). clean, after: features (n, F).
    logits, logits_after: (n, L). right, kept: (n,) bool, correct before, and still under the evaluation's attack.
    """

    x: Tensor
    moved: Tensor
    label: Tensor
    index: Tensor
    clean: Tensor
    after: Tensor
    logits: Tensor
    logits_after: Tensor
    right: Tensor
    kept: Tensor


def embed_sample(subject: MeasuredSubject, told: Told) -> SampleViews:
    """Attack the sample and embed it, block by block."""
    parts: list[tuple[Tensor, ...]] = []
    done = 0
    for rows in torch.split(subject.index, subject.block):
        x, label = subject.images.fetch(rows), subject.images.labels[rows]
        moved, _ = _attacked(subject, x, label, rows, onward=True)
        _, prediction = _attacked(subject, x, label, rows, onward=False)
        right = subject.judge.classifier.predict(x) == label
        with torch.no_grad():
            outputs = [of(view) for of in (subject.features, subject.logits) for view in (x, moved)]
        parts.append((x, moved, label, rows, *outputs, right, prediction == label))
        done += len(rows)
        told("attack", done, len(subject.index))
    return SampleViews(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def training(subject: MeasuredSubject, rng: Rng) -> tuple[Tensor, Tensor]:
    """Return features (m, F) and labels (m,) of labelled training images, at most 2000 drawn by ``rng``."""
    labelled = (subject.train.labels >= 0).nonzero()[:, 0].cpu()
    index = labelled[rng.permutation(len(labelled))[:_TRAINING]].sort().values
    batches = subject.train.batches(torch.split(index, subject.block))
    return torch.cat([subject.features(x) for _, x in batches]), subject.train.labels[
        index.to(subject.train.labels.device)
    ]


def _attacked(
    subject: MeasuredSubject, x: Tensor, label: Tensor, rows: Tensor, *, onward: bool
) -> tuple[Tensor, Tensor]:
    """Return adversarial inputs and the predictions (R,) on them.

    ``onward``: every image is attacked to the end, those that were wrong before too; otherwise as in evaluation, where
    an image is left alone once it is wrong.
    """
    subject.judge.onward = onward
    return subject.judge.attack(x, label, rows, subject.attack, subject.members)
