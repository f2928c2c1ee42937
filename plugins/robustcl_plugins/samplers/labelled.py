"""Only the images that have a label, where a stage has no use for the others."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from robustcl.errors import UsageError
from robustcl.protocols import Need, Survey


class Labelled:
    """Every image with a label, once an epoch; an epoch is as short as there are few labels."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = "no source: supervised training on the labelled part of a data set"

    def check_images(self, labels: Tensor, batch: int) -> None:
        """Refuse labels (n,) of which none is there.

        Raises:
            UsageError: no image has a label.
        """
        if not bool((labels >= 0).any()):
            raise UsageError("sampler: no image has a label; take a data set that has labels, or leave the sampler out")

    def select(self, survey: Survey, epoch: int) -> Tensor:
        """Return the labelled images, (S,) int64 and ascending."""
        return (survey.labels.cpu() >= 0).nonzero()[:, 0]
