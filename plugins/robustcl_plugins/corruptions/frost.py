"""Frost: photographs of ice, which lie in a folder of the user's, laid over images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor

from robustcl.corruption import list_photographs
from robustcl.errors import DataError
from robustcl.rng import Rng
from robustcl_plugins.datasets.pictures import decode_whole

_SHRUNK = 5
"""A photograph is shrunk to a fifth by its every fifth pixel, which is what OpenCV reads without smoothing."""


def frost(x: Tensor, severity: int, rng: Rng, folder: Path) -> Tensor:
    """Return 1 to 0.75 of x with 0.2 to 0.45 of a photograph of ice: a random square, as large as x, of a random one.

    Images without colour get its grey. The benchmark's photographs are its frost1.png to frost5.jpg; its code never
    draws the sixth, frost6.jpg. Raises DataError: no photographs, or one that is too small.
    """
    kept, ice = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    files = list_photographs(folder)
    photographs = _read(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))
    height, width = x.shape[2:]
    for file, photograph in zip(files, photographs, strict=True):
        if photograph.shape[1] < height or photograph.shape[2] < width:
            raise DataError(
                f"{file} is {photograph.shape[2]} x {photograph.shape[1]} pixels after it was shrunk to a fifth, and "
                f"the images are {width} x {height}: give larger photographs"
            )
    which = rng.child("photograph").integers(len(files), (len(x), 1), device="cpu")[:, 0].tolist()
    corner = rng.child("corner").uniform((len(x), 2), device="cpu").tolist()
    layers = [_cut(photographs[one], height, width, *place) for one, place in zip(which, corner, strict=True)]
    layer = torch.stack(layers).to(x.device, x.dtype) / 255
    return kept * x + ice * (layer if x.shape[1] == 3 else rgb_to_grayscale(layer))


def _cut(photograph: Tensor, height: int, width: int, down: float, right: float) -> Tensor:
    """Return the square whose corner lies at a share of the room that there is, as published never at its very end."""
    top, left = int(down * (photograph.shape[1] - height)), int(right * (photograph.shape[2] - width))
    return photograph[:, top : top + height, left : left + width]


@functools.lru_cache(maxsize=2)
def _read(files: Sequence[tuple[Path, int, int]]) -> list[Tensor]:
    """Return photographs (3, H, W) uint8, shrunk; those that changed on disk are read anew."""
    return [decode_whole(file)[:, _SHRUNK // 2 :: _SHRUNK, _SHRUNK // 2 :: _SHRUNK].clone() for file, _, _ in files]
