"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from typing import ClassVar

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from robustcl.data.split import holdout
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.datasets.arrays import ArraySource, Statistics, channel_statistics, check_split


class Digits:
    """1797 images (1, 8, 8) of ten digits; a fixed, stratified fifth is the test split.

    The rest trains and pretrains. The 17 grey levels 0 .. 16 become ``round(255 * level / 16)``: at most
    1/510 away from level / 16.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-small"
    citation: ClassVar[str] = (
        "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998 (test part, as shipped with scikit-learn)"
    )

    def open(self, split: str) -> ArraySource:
        """Return the split ``"pretrain"`` or ``"train"`` (1437 images), or ``"test"`` (360)."""
        check_split(split)
        images, labels = _read()
        train, test = holdout(labels, 0.2, Rng(0, "digits", "test"))
        rows = test if split == "test" else train
        return ArraySource(images[rows], labels[rows])

    def classes(self) -> tuple[str, ...]:
        """Return the ten digits."""
        return tuple("0123456789")

    def statistics(self) -> Statistics:
        """Return mean and standard deviation over the train split."""
        return channel_statistics(self.open("train").images)


def _read() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    levels = torch.from_numpy(bunch.images).unsqueeze(1)
    return (levels * (255 / 16)).round().to(torch.uint8), torch.from_numpy(bunch.target).long()
