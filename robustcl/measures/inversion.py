"""Images that are optimised until their features are what was asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl import gradients
from robustcl.clustering.rows import wide
from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.options.arrays import tensor
from robustcl.ratio import plain
from robustcl.rng import Rng
from robustcl.threat import Ball

Encode = Callable[[Tensor], Tensor]
"""Maps images (R, *item) to features (R, F); rows must not depend on each other (a model in eval mode)."""


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """Optimised images and what they reached.

    images: (R, *item), inside the range of valid values.
    start: (R,) float64, the value of the images that the search began with.
    value: (R,) float64, the value of ``images``; never worse than ``start``.
    """

    images: Tensor
    start: Tensor
    value: Tensor


def feature_inversion(
    encode: Encode,
    x: Tensor,
    rng: Rng,
    *,
    start: Tensor | None = None,
    steps: int = 1000,
    step_size: float = 0.1,
    range: tuple[float, float] = (0.0, 1.0),
    block: int = 256,
) -> Inversion:
    """Return images with the features of x, found by descent from elsewhere; ``value`` is how far they still are.

    Source: Engstrom et al., Adversarial robustness as a prior for learned representations, 2019: minimise
    ||f(x') - f(x)||_2 / ||f(x)||_2 from noise or from another image. Where features are robust, x' looks like x.
    ``value`` is that relative distance (the plain one where f(x) = 0), in [0, inf); each image keeps the closest of
    its steps. Every step moves by ``step_size`` in L2 along the gradient and is clamped to the range.

    Args:
        encode: images -> features (R, F).
        x: (R, *item) floats, the images whose features are to be matched.
        rng: draws the noise to start from; rows that it is bound to name the images, otherwise their positions do.
        start: (R, *item) images to start from instead of uniform noise in the range.
        steps, step_size: how many, and their length in L2; larger images ask for longer ones.
        range: lowest and highest valid value.
        block: images optimised at once.

    Raises:
        UsageError: shapes that do not fit, features that are not finite, or an option out of its range.
    """
    low, high = range
    x = checked.images(x)
    if start is None:
        start = checked.bound(rng, x).uniform(x.shape, low, high, device=x.device, dtype=x.dtype)
    start = checked.images(start, "a start")
    if start.shape != x.shape:
        raise UsageError(f"a start of shape {tuple(start.shape)} cannot become images of {tuple(x.shape)}")
    found = []
    width = checked.at_least_one(block, "block")
    for part, begin in zip(torch.split(x, width), torch.split(start.to(x), width), strict=True):
        with torch.no_grad():
            target = checked.matrix(encode(part))
        length = torch.linalg.vector_norm(target, dim=1)
        length = torch.where(length > 0, length, 1.0)

        def distance(at: Tensor, target: Tensor = target, length: Tensor = length) -> Tensor:
            off: Tensor = torch.linalg.vector_norm(encode(at).to(target.dtype) - target, dim=1)
            return off / length

        found.append(_descend(distance, begin, steps, step_size, (low, high)))
    return _joined(found)


def component_maximum(
    encode: Encode,
    start: Tensor,
    component: int | Tensor,
    *,
    steps: int = 1000,
    step_size: float = 0.1,
    range: tuple[float, float] = (0.0, 1.0),
    block: int = 256,
) -> Inversion:
    """Return images that make one component of their features large, found by ascent; ``value`` is the component.

    Source: Li et al., Adversarial supervised contrastive learning, 2022, eq. 11 and figure 2: x' = argmax g(x_0 +
    delta)_i from seed images or noise. The search is that of ``feature_inversion``.

    Args:
        encode: images -> features (R, F).
        start: (R, *item) floats, the seeds x_0; clamped to the range before the search.
        component: i, 0 to F - 1, one for all or (R,).

    Raises:
        UsageError: shapes that do not fit, no such component, or an option out of its range.
    """
    start = checked.images(start, "seeds")
    which = tensor(plain(component), "components")
    if which.is_floating_point() or which.dtype == torch.bool:
        raise UsageError(f"components of {which.dtype} are no places: give whole numbers from 0")
    which = which.to(start.device, torch.int64)
    if which.dim() > 1 or (which.dim() == 1 and len(which) != len(start)):
        raise UsageError(f"components of shape {tuple(which.shape)} do not fit {len(start)} seeds: give one, or (R,)")
    found = []
    width = checked.at_least_one(block, "block")
    for part, mine in zip(torch.split(start, width), torch.split(which.expand(len(start)), width), strict=True):

        def below(at: Tensor, mine: Tensor = mine) -> Tensor:
            features = encode(at)
            if features.dim() != 2 or not 0 <= int(mine.min()) <= int(mine.max()) < features.shape[1]:
                raise UsageError(f"features of shape {tuple(features.shape)} lack component {int(mine.max())}")
            return -features.gather(1, mine[:, None]).squeeze(1).to(wide(at.device))

        found.append(_descend(below, part, steps, step_size, range))
    result = _joined(found)
    return Inversion(result.images, -result.start, -result.value)


def _descend(
    value_of: Callable[[Tensor], Tensor], start: Tensor, steps: int, step_size: float, range: tuple[float, float]
) -> Inversion:
    """Descend with L2 steps inside the range; each row keeps the best of all points visited."""
    step_size = checked.positive(step_size, "step_size")
    ball = Ball("L2", step_size)
    at = start.clamp(*range)
    with torch.no_grad():
        first = value_of(at)
    best, least = at, first
    for _ in itertools.repeat(None, checked.at_least_one(steps, "steps")):
        with torch.enable_grad():
            leaf = at.detach().requires_grad_()
            value = value_of(leaf)
            slope = gradients.toward(value, leaf)
        best, least = _better(best, least, at, value.detach())
        at = ball.ascend(at, -slope, step_size).clamp_(*range)
    with torch.no_grad():
        best, least = _better(best, least, at, value_of(at))
    return Inversion(best, first, least)


def _better(best: Tensor, least: Tensor, at: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    improved = value < least
    return torch.where(improved.reshape(-1, *[1] * (at.dim() - 1)), at, best), torch.where(improved, value, least)


def _joined(parts: list[Inversion]) -> Inversion:
    return Inversion(*(torch.cat([getattr(part, name) for part in parts]) for name in ("images", "start", "value")))
