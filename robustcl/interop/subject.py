"""The model under attack: who may be attacked in which mode, what it returns, and what it draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.evaluate import soundness
from robustcl.evaluate.classifier import FEATURES, LOGITS, Classifier
from robustcl.evaluate.probe import Caller
from robustcl.nn.encoder import Encoder
from robustcl.nn.logits import Logits
from robustcl.nn.modes import MODES, has_one_mode, hold_mode, is_training
from robustcl.nn.snapshot import differ, random_states, set_random_states
from robustcl.rng import Rng
from robustcl.types import Embedding

JUDGING = "eval"
"""The mode in which verdicts mean something: no sample looks at another, and nothing is drawn."""


class HeldModel:
    """A model held in a mode for each of its forward passes, which leave it and the global generators as they were.

    mode: "eval", "batch" (batch statistics) or "train" (batch statistics and dropout; the running statistics that
    torch would move are thrown away); ``None`` is "eval" for a model that is in eval mode, and refused for another.
    A model that draws from global generators gets states of its own, seeded by ``rng``.
    """

    def __init__(self, model: nn.Module, mode: str | None, rng: Rng) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError(f"the model is a {type(model).__name__}: give a torch.nn.Module that returns logits")
        if isinstance(model, Encoder):
            raise UsageError("an encoder returns no logits by itself: attack robustcl.nn.logits.Logits(encoder, route)")
        if mode is not None and mode not in MODES:
            raise UsageError(f"mode = {mode!r} is unknown: write one of {', '.join(MODES)}")
        self.model, self._asked, self.mode = model, mode, mode or JUDGING
        self.layers = LOGITS | FEATURES if isinstance(model, Logits) else LOGITS
        forward = _embed if isinstance(model, Logits) else Caller()
        self.classifier = Classifier(model, forward, self._hold, self.layers)
        self._seed = rng.child("model")
        self._drawn: dict[str, Any] | None = None
        self._wavers = False
        self.mingles = False
        """Whether rows of a batch were seen to change each other's logits in the mode "eval"."""

    @property
    def draws(self) -> bool:
        """Whether the model was seen to draw, from a global generator or one of its own."""
        return self._drawn is not None or self._wavers

    def look(self, x: Tensor, y: Tensor) -> int:
        """Return the number of outputs L, after one pass over inputs x (R, *item), R > 0, with labels y (R,).

        Raises ``UsageError`` or ``DataError`` for a model in train mode without a choice of mode, for what
        ``evaluate.soundness`` refuses, and for a model that cannot take these inputs.
        """
        self._refuse_train_mode()
        before = random_states()
        logits = soundness.look(self.classifier, x)
        if self._drawn is None and differ(before, random_states()):
            set_random_states(before)
            self._drawn = _seeded(self._seed)
        elif self._drawn is None and self.mode == JUDGING:
            self._wavers = soundness.wavers(self.classifier, x, logits)
            self.mingles = not self._wavers and self._mingle(x, logits)
        return soundness.check_logits(logits, y)

    @torch.no_grad()
    def _mingle(self, x: Tensor, logits: Tensor) -> bool:
        """Say whether the first row alone has other logits than among inputs x (R, *item), or none can be had alone."""
        try:
            return soundness.mingles(self.classifier.embed(x[:1].clone(), LOGITS).logits, logits)
        except UsageError:
            return True

    @contextmanager
    def _hold(self, module: nn.Module) -> Iterator[None]:
        with self._randomness(), _spare_buffers(module, self.mode), hold_mode(module, self.mode):
            yield

    def _refuse_train_mode(self) -> None:
        if self._asked is not None:
            return
        fixed = {part for module in self.model.modules() if has_one_mode(module) for part in module.modules()}
        for name, module in self.model.named_modules():
            if is_training(module) and module not in fixed:
                who = f"the model's part {name} ({type(module).__name__})" if name else "the model"
                raise UsageError(
                    f'{who} is in train mode: call model.eval(), or say with mode = "eval", "batch" or "train" '
                    "in which mode it is to be attacked"
                )

    @contextmanager
    def _randomness(self) -> Iterator[None]:
        """Let a model that draws do so from states of its own."""
        if self._drawn is None:
            yield
            return
        before = random_states()
        set_random_states(self._drawn)
        try:
            yield
            self._drawn = random_states()
        finally:
            set_random_states(before)


def _embed(module: nn.Module, x: Tensor, layers: frozenset[str]) -> Embedding:
    assert isinstance(module, Logits)
    embedding: Embedding = module.encoder(x, module.route, layers)
    return embedding


@contextmanager
def _spare_buffers(model: nn.Module, mode: str) -> Iterator[None]:
    """Lend the model copies of its buffers for one forward pass in a mode that writes into them."""
    if mode != "train":
        yield
        return
    own = [(module, dict(module._buffers)) for module in model.modules()]
    try:
        for module, buffers in own:
            module._buffers.update({n: None if b is None else b.detach().clone() for n, b in buffers.items()})
        yield
    finally:
        for module, buffers in own:
            module._buffers.update(buffers)


def _seeded(rng: Rng) -> dict[str, Any]:
    before, seed = random_states(), rng.seed()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the model draws from it
    random.seed(seed)
    own = random_states()
    set_random_states(before)
    return own
