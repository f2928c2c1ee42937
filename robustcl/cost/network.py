"""What one image costs the real encoder: floating-point operations, and bytes that a backward pass keeps.

Counted on tensors without values, so that no network is too large; where it cannot be built so, on ones with values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from robustcl.composition.plan import RecipePlan
from robustcl.cost.rates import Rates
from robustcl.cost.sizes import Sizes
from robustcl.errors import RobustclError
from robustcl.nn.backbone import features_of

_IMAGES = 2
"""The fewest of which a batch norm can take statistics."""


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """parameters: of backbone and projector. forward, inputs, weights: operations of one image, forward alone, and
    forward and backward toward the image or the weights. kept: bytes that a backward to the weights needs of an image.
    """

    parameters: int
    forward: float
    inputs: float
    weights: float
    kept: float

    def operations(self, rates: Rates) -> float:
        """Return the floating-point operations of so many images."""
        return rates.forward * self.forward + rates.inputs * self.inputs + rates.weights * self.weights


class Networks:
    """Counts encoders, each once."""

    def __init__(self) -> None:
        self._known: dict[str, NetworkCost] = {}

    def count(self, plan: RecipePlan, sizes: Sizes, *, projected: bool) -> NetworkCost:
        """Count one image's way through a recipe's encoder in 32 bits, with its projector where that is read."""
        key = repr((plan.recipe.encoder, sizes.item, projected))
        if key not in self._known:
            self._known[key] = _count(plan, sizes, projected)
        return self._known[key]


def _count(plan: RecipePlan, sizes: Sizes, projected: bool) -> NetworkCost:
    name = plan.recipe.encoder.use if plan.recipe.encoder is not None else "encoder"

    def build() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        backbone, features = plan.encoder.plugin.backbone(sizes.item)
        head = plan.projector.make(features)[0] if projected else nn.Identity()
        return nn.ModuleList([backbone, head]), lambda x: head(features_of(backbone, x, features, name))

    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return _counted(build, sizes.item)
        except (RobustclError, RuntimeError, NotImplementedError, ValueError, TypeError):
            return _counted(build, sizes.item)


def _counted(build: Callable[[], tuple[nn.Module, Callable[[Tensor], Tensor]]], item: tuple[int, ...]) -> NetworkCost:
    module, embed = build()
    module.train()
    x = torch.zeros((_IMAGES, *item))
    with torch.no_grad():
        forward = _operations(lambda: embed(x))
    kept: dict[int, Tensor] = {}
    own = {parameter.data_ptr() for parameter in module.parameters() if not parameter.is_meta}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and (tensor.is_meta or tensor.data_ptr() not in own):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        weights = _operations(lambda: embed(x).sum().backward())  # type: ignore[no-untyped-call]
    module.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    inputs = _operations(lambda: embed(leaf).sum().backward())  # type: ignore[no-untyped-call]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return NetworkCost(
        parameters, forward / _IMAGES, inputs / _IMAGES, weights / _IMAGES,
        sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / _IMAGES,
    )  # fmt: skip


def _operations(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())
