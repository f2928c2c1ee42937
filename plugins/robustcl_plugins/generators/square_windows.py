"""Where the Square Attack paints and the shapes it paints with: windows of an image, and pyramids inside them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.errors import UsageError


@dataclass(frozen=True, slots=True)
class Canvas:
    """What an item is to a window: channels and frames of a plane of height x width pixels.

    A window reaches through all frames of a clip; a flat item is one line of pixels.
    """

    channels: int
    frames: int
    height: int
    width: int

    @classmethod
    def of(cls, item: tuple[int, ...]) -> Canvas:
        """Read (C, H, W), (C, T, H, W), (C, L), of height 1, or (d,); raises ``UsageError`` for others."""
        if len(item) == 1:
            return cls(1, 1, 1, item[0])
        if len(item) == 2:
            return cls(item[0], 1, 1, item[1])
        if len(item) == 3:
            return cls(item[0], 1, *item[1:])
        if len(item) == 4:
            return cls(*item)
        raise UsageError(f"square paints (C,H,W), (C,T,H,W), (C,L) and (d,), not items of shape {item}: reshape them")

    def view(self, x: Tensor) -> Tensor:
        """Return x (R, *item) as (R, C, T, H * W)."""
        return x.reshape(len(x), self.channels, self.frames, self.height * self.width)

    def window(self, share: float, smallest: int = 1, odd: bool = False) -> tuple[int, int]:
        """Return height and width of a window that covers the ``share`` p of the plane.

        A square of side round(sqrt(p H W)), at least ``smallest`` and, if asked, ``odd``. Where a side does not
        fit into the plane it is cut, and the other one grows to keep the area.
        """
        area = share * self.height * self.width
        side = max(round(math.sqrt(area)), smallest)
        side += odd and side % 2 == 0
        short, long = sorted((self.height, self.width))
        if side <= short:
            return side, side
        length = min(max(round(area / short), side), long)
        return (short, length) if self.height == short else (length, short)


@dataclass(frozen=True, slots=True)
class Window:
    """A window of one size at a place of its own in each row: ``top`` and ``left`` (R,) int64."""

    canvas: Canvas
    size: tuple[int, int]
    top: Tensor
    left: Tensor

    @classmethod
    def placed(cls, canvas: Canvas, size: tuple[int, int], numbers: Tensor) -> Window:
        """Place a window by two uniform numbers of each row (R, 2): every place that fits is equally likely."""
        top = (numbers[:, 0] * (canvas.height - size[0] + 1)).long()
        left = (numbers[:, 1] * (canvas.width - size[1] + 1)).long()
        return cls(canvas, size, top, left)

    def cells(self) -> Tensor:
        """Return the positions of its pixels in the plane, (R, 1, 1, h * w) int64."""
        line = self._lines()
        column = self._columns()
        return (line[:, :, None] * self.canvas.width + column[:, None, :]).flatten(1)[:, None, None]

    def covers(self, other: Window) -> Tensor:
        """Say of the other's pixels whether they are in this window too, (R, 1, 1, h * w) bool."""
        line, column = other._lines() - self.top[:, None], other._columns() - self.left[:, None]
        inside_line = (line >= 0) & (line < self.size[0])
        inside_column = (column >= 0) & (column < self.size[1])
        return (inside_line[:, :, None] & inside_column[:, None, :]).flatten(1)[:, None, None]

    def _lines(self) -> Tensor:
        return self.top[:, None] + torch.arange(self.size[0], device=self.top.device)

    def _columns(self) -> Tensor:
        return self.left[:, None] + torch.arange(self.size[1], device=self.left.device)


def take(plane: Tensor, cells: Tensor) -> Tensor:
    """Return the pixels (R, C, T, h * w) of a plane (R, C, T, H * W)."""
    return plane.gather(3, cells.expand(-1, *plane.shape[1:3], -1))


def put(plane: Tensor, cells: Tensor, pixels: Tensor) -> Tensor:
    """Return a copy of the plane with other pixels in the window."""
    return plane.scatter(3, cells.expand_as(pixels), pixels)


@functools.lru_cache(maxsize=64)
def bumps(size: tuple[int, int], order: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the two signed windows of a size, parted across and along, (2, h, w), of unit length in L1 or L2."""
    height, width = size
    both = torch.stack([_parted(height, width, order), _parted(width, height, order).T])
    return both.to(device, dtype)


def _parted(height: int, width: int, order: int) -> Tensor:
    """Return a window whose upper half is one pyramid and whose lower half is another of the opposite sign."""
    above, below = height // 2, height - height // 2
    halves = [_unit(_pyramid(above, width, order), order)] if above else []
    return _unit(torch.cat([*halves, -_unit(_pyramid(below, width, order), order)]), order)


def _pyramid(height: int, width: int, order: int) -> Tensor:
    """Return eta of equation (4): the sum of (k + 1)^-2, in L1 (k + 1)^-4, from the distance d to the middle on.

    d is the larger of the distances in lines and columns, k runs to half of the longer side.
    """
    steps = torch.arange(max(height, width) // 2 + 1, dtype=torch.float64)
    tail = (steps + 1).pow(-2.0 if order == 2 else -4.0).flip(0).cumsum(0).flip(0)
    line = (torch.arange(height) - height // 2).abs()
    column = (torch.arange(width) - width // 2).abs()
    return tail[torch.maximum(line[:, None], column[None, :])]


def _unit(window: Tensor, order: int) -> Tensor:
    unit: Tensor = window / torch.linalg.vector_norm(window, ord=order)
    return unit
