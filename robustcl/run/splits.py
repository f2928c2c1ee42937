"""The splits of a run: training images with a validation part held out, the test images, the unlabeled ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from robustcl.composition.plan import RecipePlan
from robustcl.data.held import keep, open_source
from robustcl.data.labelled import Labelled, choose_labelled
from robustcl.data.promises import blame, class_names, statistics
from robustcl.data.split import holdout
from robustcl.data.streamed import Streamed, fetch
from robustcl.data.subset import Images, Subset
from robustcl.errors import UsageError
from robustcl.protocols import Need, Source
from robustcl.rng import Rng
from robustcl.train.plan import StagePlan
from robustcl.types import UNLABELED


@dataclass(frozen=True, slots=True)
class Splits:
    """``pretrain`` is what stages without labels learn from; ``test`` is opened where an evaluation will follow."""

    pretrain: Images
    train: Images
    validation: Images | None
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int = 0
    test: Images | None = None
    whole: Mapping[str, Images] = field(default_factory=dict)
    """The splits as they were opened, validation images included: train, pretrain where it is another, test."""
    remarks: tuple[str, ...] = ()
    """What the sources left out, in sentences."""

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
            return Labelled(images, choose_labelled(images.labels, plan.labelled, Rng(self.seed, "labelled")))
        except UsageError as error:
            raise UsageError(f"{where}.labelled: {error}") from None


def open_splits(composition: RecipePlan, device: torch.device, *, test: bool = False) -> Splits:
    """Open the training images and hold a validation part out of them; the same part for the same seed.

    ``test``: open the test images too.
    """
    dataset = composition.dataset.plugin
    train_source = open_source(dataset, "train")
    pretrain_source = open_source(dataset, "pretrain")
    train = keep_looked_through(train_source, device)
    fraction = composition.recipe.data.validation
    rest: Images = train
    validation: Images | None = None
    if fraction > 0:
        labels = train.labels.cpu()
        kept, held_out = holdout(labels, fraction, Rng(composition.recipe.seed, "validation"))
        # What has no label can be neither right nor wrong.
        rest, validation = Subset(train, kept), Subset(train, held_out[labels[held_out] != UNLABELED])
    # The same labels in the same order: the same images, of which the validation part must stay out.
    same = same_images(pretrain_source, train_source)
    whole = {"train": train} if same else {"train": train, "pretrain": keep_looked_through(pretrain_source, device)}
    test_source = open_source(dataset, "test") if test else None
    if test_source is not None:
        whole["test"] = keep_looked_through(test_source, device)
    mean, std = statistics(dataset, int(train_source.item[0]))
    sources = (train_source, *(() if same else (pretrain_source,)), *(() if test_source is None else (test_source,)))
    return Splits(
        pretrain=rest if same else whole["pretrain"],
        train=rest,
        validation=validation,
        classes=class_names(dataset),
        mean=mean,
        std=std,
        seed=composition.recipe.seed,
        test=whole.get("test"),
        whole=whole,
        remarks=tuple(remark for source in sources for remark in getattr(source, "remarks", ())),
    )


def keep_looked_through(source: Source, device: torch.device) -> Images:
    """Keep a split; one that is decoded on the way is looked through first, if it can be, not in the middle of it."""
    images = keep(source, device)
    check = getattr(source, "check", None)
    if isinstance(images, Streamed) and check is not None:
        with blame(f"the data source {type(source).__name__} fails to look through its images"):
            check()
    return images


def same_images(first: Source, second: Source) -> bool:
    """Say whether two splits hold the same images: equal labels, and equal pixels wherever one looks."""
    n = len(first.labels)
    if not torch.equal(first.labels, second.labels):
        return False
    index = torch.arange(min(n, _LOOKED_AT)) * n // max(min(n, _LOOKED_AT), 1)
    return tuple(first.item) == tuple(second.item) and torch.equal(fetch(first, index), fetch(second, index))


_LOOKED_AT = 16
