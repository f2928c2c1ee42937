"""CIFAR-10 and CIFAR-100, through torchvision."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torchvision import datasets

from robustcl.data.arrays import ArraySource
from robustcl.data.moments import Statistics
from robustcl.protocols import Need
from robustcl_plugins.datasets import official
from robustcl_plugins.datasets.arrays import check_split

_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009"


class Cifar10:
    """50,000 training and 10,000 test images (3, 32, 32) of ten classes; the train split also pretrains.

    path: the folder that holds ``cifar-10-batches-py``. download: fetch the official archive where it is
    missing. The files are pickles; none is opened unless the MD5 of all matches the official ones.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-18"
    preset: ClassVar[str] = "path"
    citation: ClassVar[str] = _CITATION
    title: ClassVar[str] = "CIFAR-10"
    reader: ClassVar[Any] = datasets.CIFAR10
    corrupted: ClassVar[str] = "CIFAR-10-C"

    def __init__(self, *, path: str = "data", download: bool = False) -> None:
        self.path = path
        self.download = download

    def open(self, split: str) -> ArraySource:
        """Return a split. Raises DataError for missing or altered files."""
        check_split(split)
        reader = self.reader
        files = [name for name, _ in (*reader.train_list, *reader.test_list)] + [reader.meta["filename"]]
        found = official.opened(
            self.title,
            self.path,
            reader.base_folder,
            files,
            download=self.download,
            read=lambda root: reader(root, train=split != "test", download=self.download),
        )
        images = torch.from_numpy(found.data).movedim(-1, 1).contiguous()
        return ArraySource(images, torch.tensor(found.targets, dtype=torch.int64))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return (n, *item) of the splits."""
        return {"train": (50_000, 3, 32, 32), "test": (10_000, 3, 32, 32)}

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel of the train split, the field's constants."""
        return (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Cifar100(Cifar10):
    """50,000 training and 10,000 test images (3, 32, 32) of 100 classes; the train split also pretrains.

    path: the folder that holds ``cifar-100-python``. download: fetch the official archive where it is
    missing. The files are pickles; none is opened unless the MD5 of all matches the official ones.
    """

    title: ClassVar[str] = "CIFAR-100"
    reader: ClassVar[Any] = datasets.CIFAR100
    corrupted: ClassVar[str] = "CIFAR-100-C"

    def classes(self) -> tuple[str, ...]:
        """Return the names of the hundred fine classes, in the order of their labels."""
        return _FINE

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel of the train split, the field's constants."""
        return (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)


_FINE = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle"),
    *("bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle"),
    *("chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur"),
    *("dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard"),
    *(
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
    ),
    *(
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
    ),
    *("plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket"),
    *("rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider"),
    *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television"),
    *("tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf"),
    *("woman", "worm"),
)
