"""One's own image files, a folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import torch
from torch import Tensor

from robustcl.data.moments import Statistics, statistics_of
from robustcl.errors import DataError
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl_plugins.datasets.arrays import by_path, check_split, expanded
from robustcl_plugins.datasets.folders import Listing, list_images
from robustcl_plugins.datasets.pictures import decode, empty, read_header

_SAMPLE = 512
"""Images that the statistics look at, evenly spread over the train split."""

_READERS = 16
"""Threads that look at headers: the disk is waited for, not the processor."""


class ImageFolder:
    """Files ``path/train/CLASS/*`` and ``path/test/CLASS/*`` (or ``val``), decoded when they are asked for.

    path: the folder above ``train``. size: every image is resized until its shorter side has this many pixels and cut
    to the square in its middle: (3, size, size), uint8. Classes are the folders' names in alphabetical order, the same
    in both splits; hidden folders are none. The train split also pretrains.

    Files are read by what they hold, whatever their suffix: a camera's orientation is applied, 16 bits are scaled by
    65,535, floats must lie in [0, 1], and what is transparent is laid on white. Animations, images of more than 89
    million pixels and integers without a known full scale are refused, each in a sentence. Other suffixes, hidden
    files (as macOS writes) and what is no regular file are left out, and counted in a sentence.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-18"
    preset: ClassVar[str] = "path"
    citation: ClassVar[str] = "torchvision.datasets.ImageFolder (TorchVision maintainers, 2016)"

    def __init__(self, *, path: str, size: Count = 224) -> None:
        self.path = path
        self.size = size

    def open(self, split: str) -> FileSource:
        """Return a split. Raises DataError: no folder, no images, other classes than in train."""
        check_split(split)
        found = self._list(split)
        if split == "test" and (train := self.classes()) != found.classes:
            raise DataError(
                f"{found.folder} has the classes {_brief(found.classes)} but train has {_brief(train)}: "
                "give both the same folders"
            )
        return FileSource(found, self.size)

    def classes(self) -> tuple[str, ...]:
        """Return the names of the folders below train. Raises DataError."""
        return self._list("train").classes

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel over 512 images of train. Raises DataError."""
        source = self.open("train")
        n = len(source.labels)
        index = torch.arange(min(n, _SAMPLE)) * n // min(n, _SAMPLE)
        return statistics_of(
            source.fetch(part) for part in [index[start : start + _READERS] for start in range(0, len(index), _READERS)]
        )

    def _list(self, split: str) -> Listing:
        root = expanded(self.path)
        folders = [root / name for name in (("test", "val") if split == "test" else ("train",))]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise DataError(
                f"there is no folder {' or '.join(map(str, folders))}: put the images into "
                f"{root}/train/CLASS/ and {root}/test/CLASS/, or name another folder by the option path "
                f"{by_path('FOLDER')}"
            )
        return list_images(folder)


class FileSource:
    """Image files, decoded by whoever fetches them; ``remarks`` and ``left_out`` say what is none of them."""

    decodes = True

    def __init__(self, listing: Listing, size: int) -> None:
        self.files = listing.files
        self.labels = torch.tensor(listing.labels)
        self.size = size
        self.item: tuple[int, ...] = (3, size, size)
        self.remarks = listing.remarks()
        self.left_out = listing.left_out.facts()

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, 3, size, size) uint8. Raises DataError, naming a file that is broken."""
        images = [decode(self.files[i], self.size) for i in index.tolist()]
        return torch.stack(images) if images else empty(self.size)

    def check(self) -> None:
        """Look at the header of every file. Raises DataError, naming the first that is broken."""
        with ThreadPoolExecutor(_READERS) as readers:
            for _ in readers.map(read_header, self.files):
                pass

    def name(self, index: int) -> str:
        """Return the file of an image."""
        return str(self.files[index])

    def identity(self) -> str:
        """Return what tells this split from another before it is decoded: names and sizes of all files."""
        try:
            return "\n".join(f"{file.parent.name}/{file.name} {file.stat().st_size}" for file in self.files)
        except OSError as error:
            raise DataError(f"{error.filename} was there a moment ago ({error.strerror}): put it back") from None


def _brief(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
