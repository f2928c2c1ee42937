"""Mean and standard deviation of each channel over images that come a few at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

LEAST = 1 / 255
"""The least deviation that is told, so that a constant channel can be normalised."""


class Moments:
    """Running moments of images in [0, 1]; Chan, Golub and LeVeque, Updating formulae for sample variances, 1979."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: list[float] = []
        self.spread: list[float] = []
        """Mean squared distance from the mean."""

    def add(self, images: Tensor) -> None:
        """Take in images (B, C, ...), uint8 or floats in [0, 1]."""
        if images.numel() == 0:
            return
        scale = 255.0 if not images.is_floating_point() else 1.0
        count = images[:, 0].numel()
        share = count / (self.count + count)
        for channel in range(images.shape[1]):
            values = images[:, channel].double() / scale
            mean, spread = float(values.mean()), float(values.std(correction=0)) ** 2
            if channel == len(self.mean):
                self.mean.append(mean)
                self.spread.append(spread)
                continue
            away = mean - self.mean[channel]
            self.mean[channel] += away * share
            self.spread[channel] += (spread - self.spread[channel]) * share + away**2 * share * (1 - share)
        self.count += count

    def statistics(self) -> Statistics:
        """Return mean and standard deviation of each channel; the deviation is at least 1/255."""
        return tuple(self.mean), tuple(max(math.sqrt(max(spread, 0.0)), LEAST) for spread in self.spread)


def statistics_of(blocks: Iterable[Tensor]) -> Statistics:
    """Return mean and deviation of each channel over blocks of images (B, C, ...), as ``Moments`` takes them."""
    moments = Moments()
    for images in blocks:
        moments.add(images)
    return moments.statistics()
