"""Lazy layers of torch, whose parameters have no shape before the first input."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from robustcl.errors import UsageError


def refuse_lazy(model: nn.Module) -> None:
    """Refuse a model with a parameter or buffer that has no values yet.

    Raises:
        UsageError: as said, with its name.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if is_lazy(tensor):
            raise UsageError(
                f"the model's lazy layers have no weights yet, {name} is one: call it once on an input and load its "
                "weights, because verdicts on random ones mean nothing"
            )
