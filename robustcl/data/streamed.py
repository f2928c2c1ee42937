"""A split too large for the device: images are decoded in worker processes, ahead of the training step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from robustcl.data.promises import blame
from robustcl.errors import DataError, ProcessLost
from robustcl.processes.lost import WORKER
from robustcl.processes.lost import name_lost as process_lost
from robustcl.protocols import Source

WORKERS = min(8, os.cpu_count() or 1)
"""Processes that decode for one split."""


class Streamed:
    """A split whose images are fetched when they are asked for; the same members as ``Held``.

    ``batches`` reads ahead with ``workers`` processes; ``fetch`` reads in this one.
    """

    def __init__(self, source: Source, device: torch.device | str = "cpu", *, workers: int = WORKERS) -> None:
        self.source = source
        self.item = tuple(map(int, source.item))
        self.labels = source.labels.to(device)
        self.samples = len(source.labels)
        self.device = torch.device(device)
        self.workers = workers

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item), float32 in [0, 1], for index (B,) int64."""
        return as_pixels(fetch(self.source, index.cpu()).to(self.device))

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device; reads ahead."""
        pin = self.device.type == "cuda"
        for index, images in read_ahead(self.source, order, self.workers, pin=pin):
            moved = images.to(self.device, non_blocking=pin)
            yield index.to(self.device), as_pixels(moved)


def as_pixels(images: Tensor) -> Tensor:
    """Return uint8 images divided by 255, floats as they are: float32 in [0, 1]."""
    return images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32)


def decode(source: Source, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through a source once, (index, raw images), by workers if it says ``decodes = True``."""
    return read_ahead(source, order, WORKERS if getattr(source, "decodes", False) else 0)


def read_ahead(
    source: Source, order: Sequence[Tensor], workers: int, *, pin: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (index, raw images) in order, read by ``workers`` processes (0: by this one)."""
    for index, found in _loaded(_Batches(source, order), workers, pin=pin):
        if isinstance(found, str):
            raise DataError(found)
        yield index, found


def read_all(source: Source, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, dict[int, str]]]:
    """Go through a source once, whatever becomes of single images, by workers if it says ``decodes = True``.

    Yields (index of those that could be read, their raw images, the sentence of each other one by its index).
    """
    batches = _Batches(source, order)
    for index, found in _loaded(batches, WORKERS if getattr(source, "decodes", False) else 0):
        if isinstance(found, Tensor):
            yield index, found, {}
            continue
        single = [(number, batches.read(number)) for number in index[:, None]]
        kept = [(number, images) for number, images in single if isinstance(images, Tensor)]
        lost = {int(number): images for number, images in single if isinstance(images, str)}
        if not lost:  # one by one they can be read, and not as a run asks for them
            kept, lost = [], dict.fromkeys(index.tolist(), found)
        images = torch.cat([images for _, images in kept]) if kept else torch.empty(0, *source.item)
        yield torch.cat([number for number, _ in kept] or [index[:0]]), images, lost


def _loaded(batches: _Batches, workers: int, *, pin: bool = False) -> Iterator[tuple[Tensor, Tensor | str]]:
    # The loader would otherwise draw its workers' seeds from the global generator.
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=pin, generator=generator)
    try:
        yield from loader
    except (RuntimeError, OSError, EOFError) as error:  # the last two: cut off in the middle of a batch
        if workers and (process_lost(error, 1) is not None or isinstance(error, ConnectionError | EOFError)):
            raise ProcessLost(WORKER) from None
        raise


def fetch(source: Source, index: Tensor) -> Tensor:
    """Fetch raw images, uint8 or float in [0, 1] of the source's shape; DataError for anything else."""
    where = f"the data source {type(source).__name__}"
    with blame(f"{where} fails to give {_images(index)}"):
        images: Tensor = source.fetch(index)
    if not isinstance(images, Tensor):
        raise DataError(f"{where} gave a {type(images).__name__} where a tensor of images is due: mend its fetch")
    if images.dim() and len(images) != len(index):
        raise DataError(f"{where} gave {len(images)} images where it was asked for {len(index)}: mend its fetch")
    if tuple(images.shape[1:]) != tuple(source.item):
        raise DataError(
            f"{where} gave images of shape {tuple(images.shape[1:])} where it promised {tuple(source.item)}: "
            "make its item say what fetch gives"
        )
    if images.dtype != torch.uint8:
        if not images.is_floating_point():
            raise DataError(f"{where} gave images of type {images.dtype}: give uint8, or floats in [0, 1]")
        if len(index) and not (images.min() >= 0 and images.max() <= 1):
            raise DataError(
                f"{where} gave values from {float(images.min()):g} to {float(images.max()):g}: "
                "give floats in [0, 1], or uint8"
            )
    return images


def _images(index: Tensor) -> str:
    """Name the images of an index (B,) in a few words."""
    if len(index) == 1:
        return f"image {int(index[0])}"
    return f"{len(index)} images from {int(index.min())} to {int(index.max())}" if len(index) else "no image"


class _Batches(Dataset[tuple[Tensor, Tensor | str]]):
    """One item is one batch; a fault of the data crosses the process as its sentence, without a traceback."""

    def __init__(self, source: Source, order: Sequence[Tensor]) -> None:
        self.source, self.order = source, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor | str]:
        index = self.order[position].cpu()
        return index, self.read(index)

    def read(self, index: Tensor) -> Tensor | str:
        """Return raw images, or the sentence of the first that is none."""
        try:
            return fetch(self.source, index)
        except DataError as error:
            return str(error)
