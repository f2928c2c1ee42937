"""Batches of labelled and unlabelled images, for semi-supervised training."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options import Count
from robustcl.protocols import Need, Survey
from robustcl.rng import Rng


class Mixed:
    """Each batch holds so many images with a label and, behind them, so many without.

    Both pools are gone through in an order of their own, drawn anew after each round, so that no image comes twice
    before all have come once; what does not fill a batch is left out of its round. No image is twice in a batch.

    labelled: images with a label in each batch.
    unlabelled: images without a label in each batch.
    batches: batches of an epoch; None for one round of the unlabelled images.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = (
        "Miyato, Maeda, Koyama and Ishii, Virtual Adversarial Training, IEEE TPAMI 2019, section 4.3: "
        "mini-batches of 32 labelled and 128 unlabelled images"
    )

    def __init__(self, *, labelled: Count = 32, unlabelled: Count = 128, batches: Count | None = None) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.batches = batches

    def check_images(self, labels: Tensor, batch: int) -> None:
        """Refuse labels (n,) of which no batch can be made, and a stage whose batch is of another size.

        Raises:
            UsageError: which images are too few, or how large the batches are.
        """
        self._pools(labels)
        if batch != self.labelled + self.unlabelled:
            raise UsageError(
                f"sampler: its batches hold {self.labelled} + {self.unlabelled} images, but the stage's batch is "
                f"{batch}; write batch = {self.labelled + self.unlabelled}, or other numbers for the sampler"
            )

    def select(self, survey: Survey, epoch: int) -> Tensor:
        """Return the epoch's batches, (batches, labelled + unlabelled) int64."""
        pools = self._pools(survey.labels)
        count = self.batches or len(pools["unlabelled"]) // self.unlabelled
        parts = [
            _rounds(pools["labelled"], self.labelled, count, survey.rng.child("labelled")),
            _rounds(pools["unlabelled"], self.unlabelled, count, survey.rng.child("unlabelled")),
        ]
        return torch.cat(parts, dim=1)

    def _pools(self, labels: Tensor) -> dict[str, Tensor]:
        """Return the images with and those without a label; refuse fewer than a batch takes."""
        labels = labels.cpu()
        pools = {"labelled": (labels >= 0).nonzero()[:, 0], "unlabelled": (labels < 0).nonzero()[:, 0]}
        for name, asked in (("labelled", self.labelled), ("unlabelled", self.unlabelled)):
            if len(pools[name]) < asked:
                raise UsageError(
                    f"sampler.{name} = {asked}: there are only {len(pools[name])} {name} images; take fewer a batch, "
                    "or say with the stage's key labelled how many images keep their labels"
                )
        return pools


def _rounds(pool: Tensor, size: int, count: int, rng: Rng) -> Tensor:
    """Return ``count`` rows of ``size`` members of the pool, round after round in a new order."""
    each = len(pool) // size
    orders = [rng.child(number).permutation(len(pool)) for number in range(math.ceil(count / each))]
    return torch.cat([pool[order[: each * size]] for order in orders]).reshape(-1, size)[:count]
