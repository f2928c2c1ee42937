"""Witnesses: inputs that fool a classifier, written as whole steps of a grid away from the image that they are made of.

The steps are of 1/255, the grid of 8-bit images, wherever what was rounded to it still lies in the ball and fools; else
of a finer grid. Rounded in float64 and back to float32, a witness is the same on every machine, to the bit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustcl.evaluate.classifier import LOGITS, Classifier
from robustcl.threat import Ball

GRIDS = (255, 255 << 4, 255 << 8)
"""Steps to a unit, tried from the coarsest on; each grid holds those before it."""

SURE = 1e-3
"""How far the largest logit must stand from the label's, as a share of the spread of all, to look no further: sums in
another order, as of another batch or machine, move logits by much less."""

_KINDS = ("<i1", "<i2", "<i4")


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """How a witness lies to its image: whole ``steps`` (d,) int32 of a grid with ``grid`` of them to a unit."""

    grid: int
    steps: NDArray[np.int32]

    def pack(self) -> tuple[int, bytes]:
        """Return how many bytes a step takes, 1, 2 or 4, and all of them compressed."""
        largest = int(np.abs(self.steps.astype(np.int64)).max(initial=0))
        kind = next(kind for kind in _KINDS if largest <= np.iinfo(kind).max)
        return np.dtype(kind).itemsize, zlib.compress(self.steps.astype(kind).tobytes(), 9)

    @classmethod
    def unpack(cls, grid: int, width: int, data: bytes, size: int) -> Move:
        """Return the move of ``size`` steps; raises ``ValueError`` for what is none."""
        kinds = {np.dtype(kind).itemsize: kind for kind in _KINDS}
        if grid not in GRIDS or width not in kinds:
            raise ValueError(f"there is no grid of {grid} steps to a unit with {width} bytes each")
        reader = zlib.decompressobj()
        try:
            found = reader.decompress(data, size * width + 1)
        except zlib.error as error:
            raise ValueError(f"its steps cannot be unpacked: {error}") from None
        if len(found) != size * width or not reader.eof or reader.unused_data:
            raise ValueError(f"it has other than the {size:,} steps of an image")
        return cls(grid, np.frombuffer(found, kinds[width]).astype(np.int32))


def find_moves(
    classifier: Classifier, ball: Ball, x: Tensor, label: Tensor, adversarial: Tensor
) -> list[Move | None]:  # fmt: skip
    """Return a witness for each of some adversarial inputs (R, *item), ``None`` where none could be confirmed.

    What is kept was looked at as it will be read: rounded, within the ball around x (R, *item) and the range, and wrong
    by more than the arithmetic of a batch; what is wrong by less is looked at alone as well.

    Args:
        classifier: who is fooled. ball: the threat.
        x: the images. label: (R,) int64. adversarial: what an attack has made of them.
    """
    found: list[Move | None] = [None] * len(x)
    close: dict[int, tuple[float, Move]] = {}
    left = torch.arange(len(x), device=x.device)
    for grid in GRIDS:
        if not len(left):
            break
        steps = _steps(ball, x[left], adversarial[left], grid)
        placed = place(steps, grid, x[left], ball)
        wrong, margin = _look(classifier, placed, label[left])
        good = wrong & ball.contains(placed, x[left])
        sure = good & (margin >= SURE) & (not _mingles(classifier, placed, label[left], margin))
        for at, row in enumerate(left.tolist()):
            by = float(margin[at])
            if sure[at]:
                found[row] = Move(grid, steps[at].numpy())
            elif good[at] and (row not in close or by > close[row][0]):
                close[row] = by, Move(grid, steps[at].numpy())
        left = left[~sure]
    for row, (_, move) in close.items():
        one = slice(row, row + 1)
        if found[row] is None and bool(_look(classifier, restore(move, x[one], ball), label[one])[0]):
            found[row] = move
    return found


def restore(move: Move, x: Tensor, ball: Ball) -> Tensor:
    """Return the witness (1, *item) of an image x (1, *item)."""
    return place(torch.from_numpy(move.steps)[None], move.grid, x, ball)


def place(steps: Tensor, grid: int, x: Tensor, ball: Ball) -> Tensor:
    """Return inputs (R, *item) so many ``steps`` (R, d) from images x (R, *item), clamped to the range."""
    moved = _exact(x).flatten(1) + steps.to("cpu", torch.float64) / grid
    moved = moved if ball.range is None else moved.clamp_(*ball.range)
    return moved.view(x.shape).to(torch.float32).to(x.device, x.dtype)


def confirm(classifier: Classifier, x: Tensor, label: Tensor) -> Tensor:
    """Say of each input x (R, *item) whether it is classified wrongly, (R,) bool, by itself where that is close.

    A model whose logits depend on the rest of the batch is asked about every row alone.
    """
    if not len(x):
        return torch.zeros(0, dtype=torch.bool, device=x.device)
    wrong, margin = _look(classifier, x, label)
    close = margin.abs() < (torch.inf if _mingles(classifier, x, label, margin) else SURE)
    for row in close.nonzero()[:, 0].tolist():
        wrong[row] = _look(classifier, x[row : row + 1], label[row : row + 1])[0]
    return wrong


def _mingles(classifier: Classifier, x: Tensor, label: Tensor, margin: Tensor) -> bool:
    """Say whether the first row by itself has another margin than among the others."""
    alone = _look(classifier, x[:1], label[:1])[1]
    return len(x) > 1 and not bool((alone - margin[:1]).abs() < SURE)


def _steps(ball: Ball, x: Tensor, adversarial: Tensor, grid: int) -> Tensor:
    """Return whole steps (R, d) int32 from the images to about the adversarial inputs, within the ball.

    The nearest ones, of inputs that are drawn toward the image by as much as rounding has put them out of the ball; and
    where that does not do, each coordinate is rounded toward the image.
    """
    exact = (adversarial.detach().to("cpu", torch.float64) - _exact(x)).flatten(1) * grid
    steps = exact.round()
    for drawn in (True, False):
        placed = place(steps, grid, x, ball)
        out = ~ball.contains(placed, x).cpu()
        if not bool(out.any()):
            break
        share = (ball.eps / ball.distance(placed, x).clamp_min(1e-12)).cpu().to(torch.float64)[:, None]
        steps = torch.where(out[:, None], (exact * share.clamp_max(1.0)).round() if drawn else exact.trunc(), steps)
    return steps.to(torch.int32)


def _exact(x: Tensor) -> Tensor:
    """Return images as float64, values of 8 bits as they were before they were rounded to float32."""
    wide = x.detach().to("cpu", torch.float64)
    grey = (wide * 255).round_() / 255
    return torch.where(grey.to(torch.float32) == wide.to(torch.float32), grey, wide)


@torch.no_grad()
def _look(classifier: Classifier, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Say of each row whether it is classified wrongly, and by how much: the largest logit beside the label's."""
    with torch.autocast(x.device.type, enabled=False):
        logits = classifier.embed(x, LOGITS).logits.to(torch.float32)
    finite = logits.isfinite().all(1)
    wrong = (logits.argmax(1) != label) | ~finite
    own = label.clamp_min(0)[:, None]
    others = logits.scatter(1, own, -torch.inf).amax(1)
    spread = (logits.amax(1) - logits.amin(1)).clamp_min(torch.finfo(torch.float32).tiny)
    margin = (others - logits.gather(1, own)[:, 0]) / spread
    return wrong, torch.where(finite, margin, 0.0)
