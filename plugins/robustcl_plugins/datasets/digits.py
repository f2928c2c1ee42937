"""scikit-learn's handwritten digits: real images that need no download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import annotated_types
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from robustcl.data.arrays import ArraySource, blocks
from robustcl.data.moments import Statistics, statistics_of
from robustcl.data.split import holdout
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.datasets.arrays import check_split

Digit = Annotated[int, annotated_types.Ge(0), annotated_types.Le(9)]

_ENCODER = "resnet-small"
_NATURAL = {
    # Digits are black and white: 8/255 fools nobody, so the ball and its steps are four times as large.
    "threat": {
        "Linf": {
            "times": 4,
            "step_size": "8/255",
            "curve": ["8/255", "16/255", "32/255", "48/255", "64/255"],
        }
    },
    # Beside a smaller encoder a smaller head.
    "times": {"projector.widths": "1/8"},
    # A mirrored digit is none, and of 8 x 8 pixels a tenth of the area, two pixels of padding or a blur leave nothing.
    "at_least": {"projector.widths": 128, "view.scale": 0.4},
    "set": {
        "encoder.use": _ENCODER,
        "view.flip": 0.0,
        "view.blur": 0.0,
        "view.padding": 1,
        "protocol.lr": 0.1,  # of a linear classifier on its features
        "target.grid": [5, 8, 10, 12, 15, 20, 25, 30, 40, 50],  # there are fewer than 1300 images
    },
}
"""What becomes of recipes that were written for natural images of 32 x 32 pixels and more."""


class Digits:
    """1797 images (1, 8, 8) of ten digits; a fixed, stratified fifth is the test split.

    The rest trains and pretrains. The 17 grey levels 0 .. 16 become ``round(255 * level / 16)``: at most
    1/510 away from level / 16.

    only: the digits that are kept, all ten where it is empty. Their labels are their places in it, and the split of
        what is kept is that of all ten: ``[0, 1, 2, 3, 4]`` and ``[5, 6, 7, 8, 9]`` are two data sets without a class
        in common, for questions of transfer.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = _ENCODER
    adaptation: ClassVar[Mapping[str, Mapping[str, Any]]] = dict.fromkeys(("cifar10", "cifar100", "stl10"), _NATURAL)
    citation: ClassVar[str] = (
        "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998 (test part, as shipped with scikit-learn)"
    )

    def __init__(self, *, only: tuple[Digit, ...] = ()) -> None:
        self.only = only

    def open(self, split: str) -> ArraySource:
        """Return the split ``"pretrain"`` or ``"train"`` (1437 images of all digits), or ``"test"`` (360).

        Raises ``UsageError`` for a digit that is kept twice.
        """
        check_split(split)
        images, labels = _read()
        train, test = holdout(labels, 0.2, Rng(0, "digits", "test"))
        rows = test if split == "test" else train
        images, labels = images[rows], labels[rows]
        if not self.only:
            return ArraySource(images, labels)
        place = self._places()[labels]
        return ArraySource(images[place >= 0], place[place >= 0])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return (n, *item) of the splits; of some digits alone the data say."""
        return {} if self.only else {"train": (1437, 1, 8, 8), "test": (360, 1, 8, 8)}

    def classes(self) -> tuple[str, ...]:
        """Return the digits, in the order of their labels."""
        return tuple(map(str, self.only or range(10)))

    def statistics(self) -> Statistics:
        """Return mean and standard deviation over the train split."""
        return statistics_of(blocks(self.open("train").images))

    def _places(self) -> Tensor:
        """Return the label of each digit (10,), -1 for those that are not kept."""
        if len(set(self.only)) < len(self.only):
            raise UsageError(f"data.only = {list(self.only)}: a digit is named twice; name each once")
        places = torch.full((10,), -1)
        places[list(self.only)] = torch.arange(len(self.only))
        return places


def _read() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    levels = torch.from_numpy(bunch.images).unsqueeze(1)
    return (levels * (255 / 16)).round().to(torch.uint8), torch.from_numpy(bunch.target).long()
