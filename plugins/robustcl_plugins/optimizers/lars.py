"""LARS, whose published implementations are three different optimizers; each difference is an option."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robustcl.options import Fraction, NonNegative
from robustcl.protocols import Need


class LARS:
    """SGD with momentum and one learning rate per tensor: lr trust_coefficient |w| / (|g| + decay |w| + eps).

    Where |w| or |g| vanishes, a tensor follows its plain gradient without decay, as in solo-learn. The defaults are
    solo-learn's SimCLR on CIFAR. The ACL family has lr 5.0, weight_decay 1e-6, trust_coefficient 0.001, eps 0,
    lr_in_momentum, and neither clip nor exclude_one_dimensional; RoCL lr 1.5, weight_decay 1e-6, trust_coefficient
    0.001, and neither of the two.

    lr: the learning rate.
    momentum: of the running update.
    weight_decay: added to the gradient of every adapted tensor.
    trust_coefficient: eta of the paper.
    eps: added to the denominator of the ratio.
    clip: a tensor moves at the smaller of ratio and lr: ratio <- min(ratio / lr, 1), also known as LARC.
    exclude_one_dimensional: biases and norms follow plain momentum SGD, without weight decay.
    lr_in_momentum: the running update holds lr times the gradient, as the paper's and TensorFlow's do; else
        lr multiplies the running update, as PyTorch's does. They differ while lr changes.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017, algorithm 1, eq. 6"
    )

    def __init__(
        self,
        *,
        lr: NonNegative = 0.4,
        momentum: Fraction = 0.9,
        weight_decay: NonNegative = 1e-4,
        trust_coefficient: NonNegative = 0.02,
        eps: NonNegative = 1e-8,
        clip: bool = True,
        exclude_one_dimensional: bool = True,
        lr_in_momentum: bool = False,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.trust_coefficient = trust_coefficient
        self.eps = eps
        self.clip = clip
        self.exclude_one_dimensional = exclude_one_dimensional
        self.lr_in_momentum = lr_in_momentum

    def make(self, parameters: list[nn.Parameter]) -> LarsOptimizer:
        """Return the optimizer."""
        return LarsOptimizer(parameters, vars(self))


class LarsOptimizer(Optimizer):
    """The optimizer itself; its groups hold the options of ``LARS``."""

    def __init__(self, parameters: Iterable[Tensor], options: dict[str, Any]) -> None:
        super().__init__(parameters, dict(options))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        direction = parameter.grad
        if parameter.dim() > 1 or not group["exclude_one_dimensional"]:
            direction = _adapted(parameter, group)
        inside, outside = (group["lr"], 1.0) if group["lr_in_momentum"] else (1.0, group["lr"])
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(direction, alpha=inside)
        parameter.sub_(state["momentum"], alpha=outside)


def _adapted(parameter: Tensor, group: dict[str, Any]) -> Tensor:
    """Return (g + decay * w) * ratio."""
    gradient = parameter.grad
    assert gradient is not None
    decay: float = group["weight_decay"]
    weight_norm, gradient_norm = torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(gradient)
    ratio: Tensor = group["trust_coefficient"] * weight_norm / (gradient_norm + decay * weight_norm + group["eps"])
    if group["clip"]:
        ratio = (ratio / group["lr"]).clamp(max=1.0) if group["lr"] > 0 else torch.ones_like(ratio)
    vanishes = (weight_norm < _VANISHING) | (gradient_norm < _VANISHING)
    return torch.where(vanishes, gradient, (gradient + decay * parameter) * ratio)


_VANISHING = 1e-15
