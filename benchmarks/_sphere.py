"""Features like those of a trained encoder: overlapping modes of unequal size, low rank, rectified."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.rng import Rng


def mixture(n: int, features: int, modes: int, *, seed: int = 0, rank: int = 64, spread: float = 1.2) -> Tensor:
    """Return features (n, F) float32 drawn from a seeded mixture; mode j has a share of 1 / sqrt(j + 1)."""
    rng = Rng(seed, "benchmark", "mixture")
    share = torch.arange(1, modes + 1, dtype=torch.float64).rsqrt().cumsum(0)
    mode = torch.searchsorted(share, rng.uniform((n,), dtype=torch.float64) * share[-1])
    scale = torch.arange(1, rank + 1).pow(-0.5)
    latent = (rng.normal((modes, rank))[mode] + spread * rng.normal((n, rank))) * scale
    return torch.relu(latent @ rng.normal((rank, features)) + 0.1 * rng.normal((n, features)))
