"""One's own image files, a folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets
from torchvision.transforms.v2 import functional

from robustcl.errors import DataError
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl_plugins.datasets.arrays import Statistics, by_path, channel_statistics, check_split, expanded

_SAMPLE = 512
"""Images that the statistics look at, evenly spread over the train split."""


class ImageFolder:
    """Files ``path/train/CLASS/*`` and ``path/test/CLASS/*`` (or ``val``), decoded when they are asked for.

    path: the folder above ``train``. size: every image is resized until its shorter side has this many
    pixels and cut
    to the square in its middle: (3, size, size), uint8. Classes are the folders' names in alphabetical
    order, the same in both splits. The train split also pretrains.
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
        found = self._read(split)
        if split == "test" and (train := self.classes()) != tuple(found.classes):
            raise DataError(
                f"{found.root} has the classes {_brief(found.classes)} but train has {_brief(train)}: "
                "give both the same folders"
            )
        return FileSource([Path(name) for name, _ in found.samples], torch.tensor(found.targets), self.size)

    def classes(self) -> tuple[str, ...]:
        """Return the names of the folders below train. Raises DataError."""
        return tuple(self._read("train").classes)

    def statistics(self) -> Statistics:
        """Return mean and standard deviation per channel over 512 images of train. Raises DataError."""
        source = self.open("train")
        n = len(source.labels)
        return channel_statistics(source.fetch(torch.arange(min(n, _SAMPLE)) * n // min(n, _SAMPLE)))

    def _read(self, split: str) -> Any:
        root = expanded(self.path)
        folders = [root / name for name in (("test", "val") if split == "test" else ("train",))]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            raise DataError(
                f"there is no folder {' or '.join(map(str, folders))}: put the images into "
                f"{root}/train/CLASS/ and {root}/test/CLASS/, or name another folder by the option path "
                f"{by_path('FOLDER')}"
            )
        try:
            return datasets.ImageFolder(folder)
        except (FileNotFoundError, OSError) as error:
            raise DataError(f"{folder} cannot be used ({error}): give a folder of images per class") from error


class FileSource:
    """Image files, decoded by whoever fetches them."""

    decodes = True

    def __init__(self, files: list[Path], labels: Tensor, size: int) -> None:
        self.files = files
        self.labels = labels
        self.size = size
        self.item: tuple[int, ...] = (3, size, size)

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, 3, size, size) uint8. Raises DataError, naming a file that is broken."""
        images = [self._decode(self.files[i]) for i in index.tolist()]
        return torch.stack(images) if images else torch.empty((0, *self.item), dtype=torch.uint8)

    def _decode(self, file: Path) -> Tensor:
        try:
            picture = datasets.folder.pil_loader(str(file))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} cannot be decoded ({error}): replace or remove it") from error
        resized = functional.resize(picture, [self.size], antialias=True)
        image: Tensor = functional.pil_to_tensor(functional.center_crop(resized, [self.size, self.size]))
        return image


def _brief(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
