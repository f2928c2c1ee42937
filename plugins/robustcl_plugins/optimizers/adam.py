"""Adam, with weight decay in the gradient or beside it."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from torch.optim import Adam as TorchAdam
from torch.optim import AdamW as TorchAdamW

from robustcl.options import Fraction, NonNegative, Positive
from robustcl.protocols import Need


class Adam:
    """torch's Adam; weight decay is part of the gradient.

    lr: the learning rate.
    beta1: decay of the running mean of the gradient.
    beta2: decay of the running mean of its square.
    eps: added to the root of the mean square.
    weight_decay: of every parameter.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "Kingma, Ba: Adam: A Method for Stochastic Optimization, ICLR 2015, algorithm 1"

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-3,
        beta1: Fraction = 0.9,
        beta2: Fraction = 0.999,
        eps: Positive = 1e-8,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.weight_decay = weight_decay

    def make(self, parameters: list[nn.Parameter]) -> TorchAdam:
        """Return the optimizer."""
        return TorchAdam(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


class AdamW:
    """torch's AdamW; weight decay shrinks the parameters beside the step: w <- w - lr * weight_decay * w.

    lr: the learning rate.
    beta1: decay of the running mean of the gradient.
    beta2: decay of the running mean of its square.
    eps: added to the root of the mean square.
    weight_decay: of every parameter.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "Loshchilov, Hutter: Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2"

    def __init__(
        self,
        *,
        lr: NonNegative = 1e-3,
        beta1: Fraction = 0.9,
        beta2: Fraction = 0.999,
        eps: Positive = 1e-8,
        weight_decay: NonNegative = 1e-2,
    ) -> None:
        self.lr = lr
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.weight_decay = weight_decay

    def make(self, parameters: list[nn.Parameter]) -> TorchAdamW:
        """Return the optimizer."""
        return TorchAdamW(
            parameters,
            lr=self.lr,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
