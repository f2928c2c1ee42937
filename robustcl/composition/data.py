"""The splits of a run: training images with a validation part held out, the test images, the unlabeled ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from robustcl.data.held import keep, opened
from robustcl.data.labelled import Labelled, chosen
from robustcl.data.split import holdout
from robustcl.data.subset import Images, Subset
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import UNLABELED

if TYPE_CHECKING:
    from robustcl.composition.api import Composition
    from robustcl.train.plan import StagePlan


@dataclass(frozen=True, slots=True)
class Splits:
    """``pretrain`` is what stages without labels learn from; test images are opened for evaluation alone."""

    pretrain: Images
    train: Images
    validation: Images | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int = 0

    def of(self, split: str, plan: StagePlan, where: str | None = None) -> Images:
        """Return a stage's images, with as many labels as it asks for; ``where`` is its place in the recipe.

        Raises:
            UsageError: the stage needs labels, or more of them, than its images have.
        """
        images = self.train if split == "train" else self.pretrain
        where = where or f"stage.{plan.name}"
        wants = plan.labels is None and any(Need.LABELS in part.needs for part in plan.parts())
        if wants and bool((images.labels == UNLABELED).all()):
            elsewhere = split != "train" and bool((self.train.labels != UNLABELED).any())
            raise UsageError(
                f"{where}: it needs labels, and the split {split!r} has none; "
                + ('set split = "train"' if elsewhere else "take a data set that has labels")
                + ", or parts that read none"
            )
        if plan.labelled is None:
            return images
        try:
            # Not keyed by the stage: stages that ask for the same number keep the same labels.
            return Labelled(images, chosen(images.labels, plan.labelled, Rng(self.seed, "labelled")))
        except UsageError as error:
            raise UsageError(f"{where}.labelled: {error}") from None


def open_splits(composition: Composition, device: torch.device) -> Splits:
    """Open the training images and hold a validation part out of them; the same part for the same seed."""
    dataset = composition.dataset.plugin
    train_source = opened(dataset, "train")
    pretrain_source = opened(dataset, "pretrain")
    train = keep(train_source, device)
    fraction = composition.recipe.data.validation
    rest: Images = train
    validation: Images | None = None
    if fraction > 0:
        labels = train.labels.cpu()
        kept, held_out = holdout(labels, fraction, Rng(composition.recipe.seed, "validation"))
        # What has no label can be neither right nor wrong.
        rest, validation = Subset(train, kept), Subset(train, held_out[labels[held_out] != UNLABELED])
    # The same labels in the same order: the same images, of which the validation part must stay out.
    same = torch.equal(pretrain_source.labels, train_source.labels)
    mean, std = dataset.statistics()
    return Splits(
        pretrain=rest if same else keep(pretrain_source, device),
        train=rest,
        validation=validation,
        classes=tuple(dataset.classes()),
        mean=tuple(mean),
        std=tuple(std),
        seed=composition.recipe.seed,
    )


def open_test(composition: Composition, device: torch.device) -> Images:
    """Open the test images; called by evaluation alone."""
    return keep(opened(composition.dataset.plugin, "test"), device)
