"""STL-10, through torchvision."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torchvision import datasets

from robustcl.data.arrays import ArraySource
from robustcl.data.moments import Statistics
from robustcl.protocols import Need
from robustcl_plugins.datasets import official
from robustcl_plugins.datasets.arrays import check_split


class Stl10:
    """5,000 training and 8,000 test images (3, 96, 96) of ten classes, and 100,000 images without labels.

    path: the folder that holds ``stl10_binary``. download: fetch the official archive where it is missing.
    pretrain: what the pretrain split holds, the images without labels or these and the training images; the
    labels of the pretrain split are all -1.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-18"
    preset: ClassVar[str] = "path"
    citation: ClassVar[str] = (
        "A. Coates, H. Lee, A. Y. Ng, An Analysis of Single-Layer Networks in Unsupervised Feature Learning, "
        "AISTATS 2011"
    )

    def __init__(
        self,
        *,
        path: str = "data",
        download: bool = False,
        pretrain: Literal["unlabeled", "train+unlabeled"] = "unlabeled",
    ) -> None:
        self.path = path
        self.download = download
        self.pretrain = pretrain

    def open(self, split: str) -> ArraySource:
        """Return a split. Raises DataError for missing or altered files."""
        check_split(split)
        reader = datasets.STL10
        part = self.pretrain if split == "pretrain" else split
        found = official.opened(
            "STL-10",
            self.path,
            reader.base_folder,
            [name for name, _ in (*reader.train_list, *reader.test_list)],
            download=self.download,
            read=lambda root: reader(root, split=part, download=self.download),
        )
        images, labels = torch.from_numpy(found.data), torch.from_numpy(found.labels).long()
        return ArraySource(images, torch.full_like(labels, -1) if split == "pretrain" else labels)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return (n, *item) of the splits."""
        pretrain = 100_000 if self.pretrain == "unlabeled" else 105_000
        return {split: (n, 3, 96, 96) for split, n in (("train", 5_000), ("pretrain", pretrain), ("test", 8_000))}

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel of the train split, the field's constants."""
        return (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)
