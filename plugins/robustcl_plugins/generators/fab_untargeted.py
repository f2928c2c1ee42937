"""The fast adaptive boundary attack toward whichever class is nearest, chosen anew at each step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from robustcl import gradients
from robustcl.options import Count, Fraction, Positive
from robustcl.threat import Ball
from robustcl_plugins.generators.fab import FAB

_DUAL: Mapping[str, float] = MappingProxyType({"Linf": 1.0, "L2": 2.0, "L1": float("inf")})
_TINY = 1e-12


class FABUntargeted(FAB):
    """``fab``, but each step goes to the linearised boundary of the class s that is nearest to the iterate.

    s = argmin over l != y of |z_l - z_y| / ||grad (z_l - z_y)||_q, with q the dual of the ball's norm. That takes a
    backward pass for each wrong class, where ``fab`` takes one; so it is for few classes.

    steps: linearisations. restarts: walks; the first starts at x, the others at half the distance known or half of eps.
    alpha_max, eta, beta: as in ``fab``.
    """

    citation: ClassVar[str] = (
        "Croce and Hein, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020,"
        " algorithm 1"
    )

    def __init__(
        self,
        *,
        steps: Count = 100,
        restarts: Count = 1,
        alpha_max: Fraction = 0.1,
        eta: Positive = 1.05,
        beta: Fraction = 0.9,
    ) -> None:
        self.steps = steps
        self.restarts = restarts
        self.alpha_max = alpha_max
        self.eta = eta
        self.beta = beta

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, int]:
        """Return nothing: no option can be left open."""
        return {}

    def aims(self, likely: Tensor) -> Tensor:
        """Return one walk for each row; which class it aims at is seen on the way."""
        return likely.argmax(1, keepdim=True)

    def boundary(
        self, logits: Tensor, leaf: Tensor, label: Tensor, target: Tensor, norm: str, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return z_s - z_y (R,) of the nearest class at ``leaf`` (R, *item), and its gradient there (R, *item)."""
        margins = logits - logits.gather(1, label[:, None])
        best = torch.full_like(margins[:, 0], torch.inf, dtype=torch.float64)
        value, slope = torch.zeros_like(margins[:, 0]), torch.zeros_like(leaf)
        for other in range(logits.shape[1]):
            toward = gradients.toward(margins[:, other], leaf, places, again=True)
            steepness = torch.linalg.vector_norm(toward.flatten(1).double(), ord=_DUAL[norm], dim=1)
            distance = margins[:, other].detach().double().abs() / (steepness + _TINY)
            # A flat or broken direction leads nowhere as long as another one does.
            usable = (label != other) & distance.isfinite() & (steepness > 0)
            nearer = usable & (distance < best)
            best = torch.where(nearer, distance, best)
            value = torch.where(nearer, margins[:, other], value)
            slope = torch.where(nearer.reshape(-1, *[1] * (leaf.dim() - 1)), toward, slope)
        return value, slope.detach()
