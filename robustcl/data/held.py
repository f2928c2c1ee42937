"""A split that fits on the device lives there as one tensor: no loader, no workers."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robustcl.data.arrays import ArraySource
from robustcl.data.promises import open_split
from robustcl.data.streamed import Streamed, as_pixels, decode, fetch
from robustcl.errors import RobustclError
from robustcl.protocols import DatasetPlugin, Source
from robustcl.ranks import collect, rank, world

LIMIT = 2 * 1024**3
"""Bytes of a split up to which it is held on the device."""

_CHUNK = 1024


class Held:
    """All images of a split on the device, as the source gives them: uint8, or float32 in [0, 1].

    ``labels`` (n,) int64 on the device, -1 for none; ``samples`` is n, ``item`` the shape of one image.
    Raises DataError if the source's images have another shape or lie outside [0, 1].
    """

    def __init__(self, source: Source, device: torch.device | str = "cpu") -> None:
        self.item = tuple(map(int, source.item))
        self.labels = source.labels.to(device)
        self.samples = len(source.labels)
        self.device = torch.device(device)
        if isinstance(source, ArraySource) and self.device.type == "cpu":
            # What lies in memory already is not copied; it is looked at once all the same.
            for start in range(0, self.samples, _CHUNK):
                fetch(source, torch.arange(start, min(start + _CHUNK, self.samples)))
            self.images = source.images
            return
        first = fetch(source, torch.zeros(min(self.samples, 1), dtype=torch.int64))
        dtype = torch.uint8 if first.dtype == torch.uint8 else torch.float32
        self.images = torch.empty((self.samples, *self.item), dtype=dtype, device=device)
        rows = torch.arange(self.samples)
        chunks = [rows[start : start + _CHUNK] for start in range(0, self.samples, _CHUNK)]
        for index, images in decode(source, chunks):
            self.images[index[0] : index[-1] + 1] = images

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, *item), float32 in [0, 1], for index (B,) int64."""
        return as_pixels(self.images[index.to(self.device)].contiguous())

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, images), both on the device."""
        for index in order:
            index = index.to(self.device)
            yield index, self.fetch(index)


def keep(source: Source, device: torch.device | str = "cpu", *, limit: int = LIMIT) -> Held | Streamed:
    """Hold a split on the device if it takes at most ``limit`` bytes, and stream it otherwise.

    What says ``on_disk = True`` is quickly read there, row by row, and takes no second place in the CPU's memory.
    """
    if torch.device(device).type == "cpu" and getattr(source, "on_disk", False):
        return Streamed(source, device, workers=0)
    if torch.device(device).type == "cpu" and isinstance(source, ArraySource):
        return Held(source, device)
    probe = fetch(source, torch.zeros(min(len(source.labels), 1), dtype=torch.int64))
    width = 1 if probe.dtype == torch.uint8 else 4
    size = len(source.labels) * math.prod(source.item) * width
    return Held(source, device) if size <= limit else Streamed(source, device)


def open_source(dataset: DatasetPlugin, split: str) -> Source:
    """Open a split on rank 0, then on a rank of each other machine, then on all; all raise the same error.

    One process downloads at a time to a disk, be it shared by the machines or each machine's own.

    Raises:
        DataError: the plugin fails, or what it gives is no source.
    """
    if world() == 1:
        return open_split(dataset, split)
    hosts = collect(socket.gethostname())
    own = 0 if rank() == 0 else 1 + (hosts.index(hosts[rank()]) != rank())
    source, error = None, None
    for turn in range(3):
        if turn == own:
            try:
                source = open_split(dataset, split)
            except RobustclError as caught:
                error = caught
        for one in collect(error):
            if one is not None:
                raise one
    assert source is not None
    return source
