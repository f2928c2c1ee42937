"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from torch.optim import SGD as TorchSGD

from robustcl.options import Fraction, NonNegative
from robustcl.protocols import Need


class SGD:
    """torch's SGD: v <- momentum * v + g + weight_decay * w; w <- w - lr * v.

    lr: the learning rate.
    momentum: of the running gradient.
    weight_decay: of every parameter.
    nesterov: look ahead along the momentum.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Sutskever, Martens, Dahl, Hinton: On the Importance of Initialization and Momentum in Deep "
        "Learning, ICML 2013, eqs. 1-4, in PyTorch's form"
    )

    def __init__(
        self,
        *,
        lr: NonNegative = 0.1,
        momentum: Fraction = 0.9,
        weight_decay: NonNegative = 5e-4,
        nesterov: bool = False,
    ) -> None:
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def make(self, parameters: list[nn.Parameter]) -> TorchSGD:
        """Return the optimizer."""
        return TorchSGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )
