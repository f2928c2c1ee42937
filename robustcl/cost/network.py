"""What one image costs the real encoder: floating-point operations, and bytes that a backward pass keeps.

Counted on two images of zeros; of a large network the backward passes on tensors without values, which take no time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from robustcl.composition.plan import RecipePlan
from robustcl.cost.rates import Rates
from robustcl.cost.sizes import Sizes
from robustcl.errors import RobustclError
from robustcl.nn.backbone import features_of

_IMAGES = 2
"""The fewest of which a batch norm can take statistics."""
_LARGE = 5e9
"""Operations of a forward from which on loading what computes without values is quicker than to compute."""


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
    with torch.random.fork_rng(devices=[]), torch.device("meta") if _is_huge(plan) else nullcontext():
        backbone, features = plan.encoder.plugin.backbone(sizes.item)
        head = plan.projector.make(features)[0] if projected else nn.Identity()
    module = nn.ModuleList([backbone, head]).train()

    def embed(x: Tensor) -> Tensor:
        z: Tensor = head(features_of(backbone, x, features, name))
        return z

    x = torch.zeros((_IMAGES, *sizes.item), device=next(module.parameters(), torch.empty(0)).device)
    with torch.no_grad():
        forward = _operations(lambda: embed(x))
    if forward > _LARGE and not x.is_meta:
        try:
            return _counted(module.to("meta"), embed, x.to("meta"), forward)
        except (RobustclError, RuntimeError, NotImplementedError, TypeError):  # what looks at values has none there
            module.to_empty(device="cpu")
    return _counted(module, embed, x, forward)


def _is_huge(plan: RecipePlan) -> bool:
    """Say whether a network has widths that might take all memory, so that it is only sketched."""
    table = plan.recipe.encoder
    numbers = [*table.options.values(), *table.projector.widths] if table is not None else []
    return any(isinstance(number, int) and number > _WIDE for number in numbers)


_WIDE = 1 << 14


def _counted(module: nn.Module, embed: Callable[[Tensor], Tensor], x: Tensor, forward: float) -> NetworkCost:
    kept: dict[int, Tensor] = {}
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage()._cdata) not in own:
            kept[place] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        weights = _operations(lambda: embed(x).sum().backward())  # type: ignore[no-untyped-call]
    module.requires_grad_(False)
    leaf = x.clone().requires_grad_()
    inputs = _operations(lambda: embed(leaf).sum().backward())  # type: ignore[no-untyped-call]
    return NetworkCost(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        forward=forward / _IMAGES,
        inputs=inputs / _IMAGES,
        weights=weights / _IMAGES,
        kept=sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / _IMAGES,
    )


def _operations(run: Callable[[], Any]) -> float:
    with _Counter() as counter:
        run()
    return float(counter.operations)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up torch's own formulas of operations, as ``FlopCounterMode`` does, which loads the compiler for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: float = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled: the compiler, a second of imports, need not be told to leave it out."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out
