"""What is judged: a function from inputs to logits, whoever trained it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.layout import channels_last
from robustcl.nn.modes import locked
from robustcl.types import Embedding

LOGITS = frozenset({"logits"})
FEATURES = frozenset({"h"})


@dataclass(frozen=True, slots=True)
class Classifier:
    """Inputs (R, *item) in the threat's range -> logits (R, L), and features h (R, F) where it has them.

    ``module`` is what an attack can reach; ``layers`` are what ``embed`` can be asked for.
    """

    module: nn.Module
    embed: Callable[[Tensor, frozenset[str]], Embedding]
    layers: frozenset[str]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes (R,), in the model's own precision; what is not finite predicts nothing, -1."""
        # An attack may be under way in bf16; its verdict is not.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.embed(x, LOGITS).logits.float()
        return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return features (R, F)."""
        return self.embed(x, FEATURES).h.float()

    @contextmanager
    def attacked(self) -> Iterator[None]:
        """Hold the parameters out of the graph for the length of an attack."""
        with frozen_for_attack(self.module):
            yield


def of_encoder(encoder: Encoder, route: str) -> Classifier:
    """Return an encoder and its classifier on one batch-norm route, in eval mode."""

    def embed(x: Tensor, layers: frozenset[str]) -> Embedding:
        with locked(encoder, "eval"):
            embedding: Embedding = encoder(x, route, layers)
        return embedding

    return Classifier(encoder, embed, LOGITS | FEATURES)


def of_model(model: nn.Module, mode: str = "eval") -> Classifier:
    """Return any module that maps inputs (R, *item) to logits (R, L), held in a batch-norm mode.

    ``mode``: "eval", "batch" or "train", as ``robustcl.nn.modes.locked`` holds it.
    Raises ``UsageError`` where its output has another shape.
    """

    def embed(x: Tensor, layers: frozenset[str]) -> Embedding:
        with locked(model, mode):
            logits = model(channels_last(x))
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"the model must return logits (R, L) for {len(x)} inputs, but it returned {shape}")
        return Embedding(logits=logits)

    return Classifier(model, embed, LOGITS)
