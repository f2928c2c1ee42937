"""Noise: Gaussian, shot, impulse and speckle."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.rng import Rng


def gaussian_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x + n, n normal with deviation 0.04 to 0.10."""
    deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return x + deviation * rng.normal(x.shape, device=x.device)


def shot_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return a Poisson count of photons, 500 to 50 of them for a white pixel."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    # torch draws a batch from one generator; here a row must not depend on its neighbours, nor on the device.
    seeds = rng.integers(2**31, (len(x), 1), device="cpu")[:, 0].tolist()
    rates = (x * photons).cpu()
    counts = [
        torch.poisson(rate, generator=torch.Generator().manual_seed(seed))
        for rate, seed in zip(rates, seeds, strict=True)
    ]
    return torch.stack(counts).to(x.device) / photons


def impulse_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x with a share of 0.01 to 0.07 of its values black or white, either with probability 1/2."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    chance = rng.uniform(x.shape, device=x.device)
    return torch.where(chance < share / 2, 0.0, torch.where(chance < share, 1.0, x))


def speckle_noise(x: Tensor, severity: int, rng: Rng) -> Tensor:
    """Return x + x n, n normal with deviation 0.06 to 0.20."""
    deviation = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    return x + x * deviation * rng.normal(x.shape, device=x.device)
