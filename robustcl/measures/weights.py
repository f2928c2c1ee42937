"""The loss around a module's weights, along filter-normalised random directions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcl.clustering.rows import wide
from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.nn.modes import hold_mode
from robustcl.rng import Rng


@dataclass(frozen=True, slots=True, eq=False)
class WeightLandscape:
    """Losses on a line or a grid around the weights.

    axis: (P,) float64, the steps along each direction, from -radius to radius.
    loss: (P,) float64 for one direction, (P, P) for two; [i, j] is the loss at w + axis[i] * d_1 + axis[j] * d_2.
    """

    axis: Tensor
    loss: Tensor


def weight_landscape(
    module: nn.Module,
    loss: Callable[[nn.Module], Tensor | float],
    rng: Rng,
    *,
    radius: float = 1.0,
    points: int = 21,
    directions: int = 1,
) -> WeightLandscape:
    """Return the loss of a module whose weights are moved along random directions, one or two of them.

    Source: Li et al., Visualizing the loss landscape of neural nets, NeurIPS 2018, section 4 (filter normalisation);
    read as robust generalisation by Wu et al., Adversarial weight perturbation, NeurIPS 2020, and drawn by Li et al.,
    Adversarial supervised contrastive learning, 2022, figure 5. A flatter curve generalises better in these papers.

    The module's own memory is never written: parameters point elsewhere while the loss is taken. Afterwards, also
    after an exception, parameters, buffers and every submodule's mode are what they were, to the bit. The loss is
    taken in eval mode, without gradients.

    Args:
        module: has at least one parameter with two dimensions or more.
        loss: module -> one number, at every point on the same data and without randomness; it may attack the module
            (asking for gradients itself), as Wu et al. do.
        rng: draws the directions, each parameter's by its name.
        radius: the grid reaches from -radius to radius; at 1 a filter has moved by its own length.
        points: P, along each direction; an odd number has the weights themselves in the middle.
        directions: 1 or 2.

    Raises:
        UsageError: no parameter to move, an option out of its range, or a loss that is not one number.
    """
    radius, points = checked.positive(radius, "radius"), checked.at_least_one(points, "points")
    directions = checked.at_least_one(directions, "directions")
    if directions > 2:
        raise UsageError(f"directions = {directions}: a landscape is drawn along 1 or 2")
    drawn = [filter_normalised(module, rng.child("direction", number)) for number in range(directions)]
    axis = torch.linspace(-radius, radius, points, dtype=torch.float64)
    with _restored(module), hold_mode(module, "eval"), torch.no_grad():
        weights = {name: parameter.data for name, parameter in _movable(module)}
        losses = []
        for steps in itertools.product(axis.tolist(), repeat=directions):
            for name, parameter in _movable(module):
                parameter.data = _moved(weights[name], steps, [direction[name] for direction in drawn])
            losses.append(_number(loss(module)))
    return WeightLandscape(axis, torch.tensor(losses, dtype=torch.float64).reshape([points] * directions))


def filter_normalised(module: nn.Module, rng: Rng) -> dict[str, Tensor]:
    """Return a random direction for each parameter of two dimensions or more: every filter as long as its weights.

    Li et al., NeurIPS 2018, section 4: d_ij <- d_ij / ||d_ij|| * ||w_ij|| with Gaussian d and Frobenius norms, filter j
    being all weights that make the j-th output. Biases and the weights of normalisations (one dimension) do not move
    and have no entry. A filter of zeros has a direction of zeros.

    Raises:
        UsageError: the module has no such parameter.
    """
    found = {}
    for name, parameter in _movable(module):
        weight = parameter.detach().flatten(1).to(wide(parameter.device))
        drawn = rng.child(name).normal(weight.shape, device=weight.device, dtype=weight.dtype)
        length = torch.linalg.vector_norm(drawn, dim=1, keepdim=True)
        scale = torch.linalg.vector_norm(weight, dim=1, keepdim=True) / torch.where(length > 0, length, 1.0)
        found[name] = (drawn * scale).reshape(parameter.shape).to(parameter.dtype)
    if not found:
        raise UsageError(f"a {type(module).__name__} has no parameter of two dimensions or more: nothing can be moved")
    return found


def _movable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.dim() > 1)


def _moved(weight: Tensor, steps: Sequence[float], directions: Sequence[Tensor]) -> Tensor:
    moved = weight.clone()
    for step, direction in zip(steps, directions, strict=True):
        moved += step * direction
    return moved


def _number(value: Tensor | float) -> float:
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() != 1:
        raise UsageError(f"the loss of a landscape gave {tuple(value.shape)} numbers: reduce it to one")
    return float(value.detach())


@contextmanager
def _restored(module: nn.Module) -> Iterator[None]:
    """Give parameters their own memory back, and buffers their values where somebody has written to them.

    Batch norm writes its statistics without moving their version, so values are compared.
    """
    parameters = [(parameter, parameter.data) for parameter in module.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for parameter, memory in parameters:
            parameter.data = memory
        with torch.no_grad():
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
