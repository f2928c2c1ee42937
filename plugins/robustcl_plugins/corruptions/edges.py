"""Edges of grey images in 8 bits, the distance to them, and what evens out a histogram; all in integers, in batches.

Spatter is made with these filters of OpenCV in the published code. Here they are written from the papers, with OpenCV's
constants and rounding, so that the numbers are its own. Images are (B, H, W) int64 of 0 to 255.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

_TANGENT = 13573
"""Of 22.5 degrees, times 2 to the 15."""
UNIT = 1 << 16
"""Distances are whole multiples of 1 / UNIT of a pixel."""
_STEPS = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
"""Length of a step to a neighbour, of a diagonal one and of a knight's move: Borgefors' mask of 5 x 5."""


def find_edges(grey: Tensor, low: int, high: int) -> Tensor:
    """Return the edges (B, H, W) bool after Canny (1986), by Sobel's 3 x 3 and the sum of both absolute slopes.

    An edge is a ridge of slopes above ``high``, and what is joined to one by slopes above ``low``.
    """
    right, down = _slopes(grey)
    slope = right.abs() + down.abs()
    ridge = (slope > low) & _is_ridge(slope, right, down)
    edges = ridge & (slope > high)
    while True:
        reached = functional.max_pool2d(edges.float()[:, None], 3, 1, 1)[:, 0] > 0
        grown = ridge & reached
        if torch.equal(grown, edges):
            return edges
        edges = grown


def measure_distance(edges: Tensor, most: int) -> Tensor:
    """Return the distance of each pixel to the nearest edge, of Borgefors (1986), in 1 / UNIT; ``most`` pixels at most.

    Where an image has no edge it is ``most``.
    """
    far = most * UNIT
    distance = torch.where(edges, 0, far)
    while True:
        nearer = distance
        for (one, other), length in _STEPS.items():
            for y, x in {
                *itertools.product((one, -one), (other, -other)),
                *itertools.product((other, -other), (one, -one)),
            }:
                nearer = torch.minimum(nearer, shifted(distance, y, x, far) + round(length * UNIT))
        if torch.equal(nearer, distance):
            return distance
        distance = nearer


def shifted(images: Tensor, down: int, right: int, beyond: int = 0) -> Tensor:
    """Return images (B, H, W) of which each pixel is that ``down`` and ``right`` of it, ``beyond`` outside."""
    y, x = abs(down), abs(right)
    padded = functional.pad(images, (x, x, y, y), value=beyond)
    height, width = images.shape[1:]
    return padded[:, y + down : y + down + height, x + right : x + right + width]


def neighbourhood(images: Tensor, weights: Tensor) -> Tensor:
    """Return the sums of each pixel's 3 x 3 neighbourhood under weights (3, 3), mirrored at the border's pixel."""
    padded = functional.pad(
        images.double()[:, None], (1, 1, 1, 1), mode="reflect" if min(images.shape[1:]) > 1 else "replicate"
    )
    return functional.conv2d(padded, weights.to(padded)[None, None])[:, 0]


def even_out(grey: Tensor) -> Tensor:
    """Return images whose histograms are spread over 0 to 255: each value becomes the share of pixels up to it."""
    flat = grey.flatten(1)
    counts = torch.zeros((len(flat), 256), device=grey.device).scatter_add(
        1, flat, torch.ones_like(flat, dtype=torch.float32)
    )
    lowest = counts.gather(1, flat.amin(1, keepdim=True))
    total = float(flat.shape[1])
    spread = ((counts.cumsum(1) - lowest).clamp(min=0) * (255 / (total - lowest).clamp(min=1))).round().clamp(max=255)
    return torch.where(lowest == total, flat, spread.gather(1, flat).long()).reshape(grey.shape)


def _slopes(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return how images grow to the right and downwards."""
    padded = functional.pad(grey.double()[:, None], (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=padded.dtype, device=grey.device
    )
    right, down = functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).long().unbind(1)
    return right, down


def _is_ridge(slope: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Say where a slope is larger than both across the edge; of two that are equal, the first counts when level."""
    x, y = right.abs() * _TANGENT, down.abs() << 15
    level, steep = y < x, y > x + (right.abs() << 16)

    def across(rows: int, columns: int, *, strict: bool) -> Tensor:
        after = shifted(slope, rows, columns)
        return (slope > shifted(slope, -rows, -columns)) & (slope > after if strict else slope >= after)

    falling = (right ^ down) < 0
    diagonal = torch.where(falling, across(1, -1, strict=True), across(1, 1, strict=True))
    upright = torch.where(steep, across(1, 0, strict=False), diagonal)
    return torch.where(level, across(0, 1, strict=False), upright)
