"""What the adapters of attack libraries share: a model they cannot reach into, and randomness kept apart."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.gradients import toward
from robustcl.ratio import ratio
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack


class AsModule(nn.Module):
    """The attacked encoder as a classifier without submodules: modes, buffers and ``.grad`` are out of reach.

    Libraries look for a device in ``parameters()``, so there is one that nothing reads. They also pass any
    part of the batch; its rows then go through the route of the batch's first row, so that part of a batch
    must be of one view.
    """

    def __init__(self, attack: Attack, device: torch.device) -> None:
        super().__init__()
        self._attack = (attack,)
        self.device_marker = nn.Parameter(torch.zeros((), device=device), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            logits: Tensor = _TowardInputs.apply(x, self._logits)
            return logits
        with torch.no_grad():
            return self._logits(x)

    def _logits(self, x: Tensor) -> Tensor:
        attack = self._attack[0]
        whole = len(x) == len(attack.places)
        places = attack.places if whole else attack.places[:1].expand(len(x))
        return attack.oracle.encode(x, places).logits.float()


class _TowardInputs(torch.autograd.Function):
    """A function whose gradient reaches its inputs alone: ``backward()`` on a loss fills no weight's ``.grad``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.enable_grad():
            ctx.inputs = x.detach().requires_grad_()
            ctx.outputs = function(ctx.inputs)
        outputs: Tensor = ctx.outputs.detach()
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # The graph is kept, because some attacks ask once for each class.
        return toward(ctx.outputs, ctx.inputs, weights=gradients[0], again=True), None


@contextmanager
def isolated_randomness(rng: Rng, device: torch.device) -> Iterator[None]:
    """Seed the generators of torch, NumPy and Python from the stream; put their states back afterwards.

    The draws depend on the composition of the batch, unlike those of the project's own attacks.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the libraries draw from it
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed = rng.seed()
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def radius(ball: Ball, who: str) -> float:
    """Return the ball's eps as the one number that libraries take; raises ``UsageError`` if rows differ."""
    if not isinstance(ball.eps, Tensor):
        return float(ball.eps)
    low, high = float(ball.eps.min()), float(ball.eps.max())
    if low != high:
        raise UsageError(f"{who} takes one eps, but the rows have {low:.6g} to {high:.6g}: use the generator 'pgd'")
    return low


def numbers(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options with ratios such as "2/255" as numbers."""
    given = dict(options or {})
    return {name: ratio(v) if isinstance(v, str) and "/" in v else v for name, v in given.items()}


def grown(method: Any, options: Mapping[str, Any] | None, step: str, times: float) -> Mapping[str, Any]:
    """Return the ``options`` of a library's class whose ``step`` has grown ``times``; nothing where it takes none.

    Classes without ``eps`` look for the smallest move, and their steps are of no ball.
    """
    taken = inspect.signature(method).parameters
    given = numbers(options)
    length = given.get(step, taken[step].default if step in taken else None)
    if "eps" not in taken or isinstance(length, bool) or not isinstance(length, int | float):
        return {}
    return {"options": {**given, step: length * times}}


def within(adv: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """Return x in the rows that leave the ball: attacks that look for the smallest move have failed there."""
    failed = ball.distance(adv, x) > torch.as_tensor(ball.eps, device=x.device) * (1 + 1e-3)
    return torch.where(failed.reshape(-1, *[1] * (x.dim() - 1)), x, adv)
