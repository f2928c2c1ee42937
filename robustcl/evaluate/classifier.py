"""What is judged: a function from inputs to logits, whoever trained it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from robustcl.evaluate.probe import Caller
from robustcl.nn.encoder import Encoder
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.folding import fold
from robustcl.nn.modes import hold_mode
from robustcl.types import Embedding

LOGITS = frozenset({"logits"})
FEATURES = frozenset({"h"})

NOTHING = -2
"""What logits that are not finite predict: no class, and not the -1 of an image without a label either."""


@dataclass(frozen=True, slots=True)
class Classifier:
    """Inputs (R, *item) in the threat's range -> logits (R, L), and features h (R, F) where it has them.

    ``module`` is what an attack can reach; ``forward`` embeds inputs with it, while ``hold`` holds it in its mode;
    ``layers`` are what ``embed`` can be asked for.
    """

    module: nn.Module
    forward: Callable[[nn.Module, Tensor, frozenset[str]], Embedding]
    hold: Callable[[nn.Module], AbstractContextManager[object]]
    layers: frozenset[str]

    def embed(self, x: Tensor, layers: frozenset[str]) -> Embedding:
        """Return the layers asked for of inputs x (R, *item)."""
        with self.hold(self.module):
            return self.forward(self.module, x, layers)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes (R,), in the model's own precision; ``NOTHING`` for what is not finite."""
        # An attack may be under way in bf16; its verdict is not.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.embed(x, LOGITS).logits
        return torch.where(logits.isfinite().all(1), logits.argmax(1), NOTHING)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return features (R, F)."""
        return self.embed(x, FEATURES).h.float()

    @property
    def _channels_last(self) -> bool:
        if isinstance(self.forward, Caller):
            return self.forward.channels_last
        return all(part.channels_last for part in self.module.modules() if isinstance(part, Encoder))

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """Hold the parameters out of the graph for the length of an attack."""
        with frozen_for_attack(self.module, self._channels_last):
            yield

    @contextmanager
    def sparring(self, x: Tensor) -> Iterator[Classifier]:
        """Yield who is attacked in this one's place on inputs x (R, *item): a quicker copy, or itself, held frozen.

        Verdicts are this one's own to give.
        """

        def logits(module: nn.Module, x: Tensor) -> Tensor:
            with self.hold(module):
                return self.forward(module, x, LOGITS).logits

        quick = fold(self.module, logits, x, self._channels_last)
        if quick is not None:
            yield replace(self, module=quick, hold=nullcontext)
            return
        with self.attacked():
            yield self


def of_encoder(encoder: Encoder, route: str) -> Classifier:
    """Return an encoder and its classifier on one batch-norm route, in eval mode."""

    def forward(module: nn.Module, x: Tensor, layers: frozenset[str]) -> Embedding:
        embedding: Embedding = module(x, route, layers)
        return embedding

    return Classifier(encoder, forward, partial(hold_mode, mode="eval"), LOGITS | FEATURES)


def of_model(model: nn.Module, mode: str = "eval") -> Classifier:
    """Return any module that maps inputs (R, *item) to logits (R, L), held in a batch-norm mode.

    ``mode``: "eval", "batch" or "train", as ``robustcl.nn.modes.locked`` holds it.
    Raises ``UsageError`` where its output has another shape.
    """
    return Classifier(model, Caller(), partial(hold_mode, mode=mode), LOGITS)
