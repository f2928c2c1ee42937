"""An attack with the model that it attacks: what both are, and what is settled once they have met."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from robustcl import hooks
from robustcl.errors import NeedNotMet, NotOffered, UsageError
from robustcl.evaluate import aim
from robustcl.evaluate.judge import Members
from robustcl.hooks import GeneratorHooks
from robustcl.interop import elsewhere, given, words
from robustcl.interop.names import NamedPlugin
from robustcl.interop.subject import JUDGING, HeldModel
from robustcl.protocols import Need
from robustcl.ratio import plain
from robustcl.rng import Rng
from robustcl.threat import Ball

Target = int | Tensor | Sequence[int] | None
"""A class to reach, one for each input (R,), or any wrong one; arrays and numbers of NumPy are taken as well."""
_PRECISIONS = ("32-true", "bf16-mixed")
_MET = frozenset({Need.OBJECTIVE, Need.PREDICTIONS, Need.LABELS, Need.INDEX})


class BoundToModel:
    """An attack and its model. Only ``seed`` and ``verbose`` may be set later."""

    def __init__(
        self,
        made: NamedPlugin,
        model: nn.Module,
        ball: Ball,
        *,
        seed: int,
        mode: str | None,
        precision: str,
        stop_early: bool,
        verbose: bool,
        target: Target = None,
    ) -> None:
        self.stream: Rng
        self.subject: HeldModel
        self.made, self.ball, self.verbose, self.target = made, ball, verbose, target
        self.model, self.mode = model, mode
        self.seed = seed
        if precision not in _PRECISIONS:
            raise UsageError(f"precision = {precision!r} is unknown: write {' or '.join(map(repr, _PRECISIONS))}")
        self.precision = precision
        self.judged = stop_early or made.kind == "attack"
        if self.judged and self.subject.mode != JUDGING:
            raise UsageError(
                f'{made.name}: mode = "{mode}" makes each verdict depend on the rest of the batch: evaluate in "eval", '
                "or take a generator without stop_early"
            )
        self._refuse_needs(made.plugin, made.name)
        self._made = True

    def __getattr__(self, name: str) -> Any:
        """Say what other libraries' methods are called here."""
        if (instead := elsewhere.INSTEAD.get(name)) is not None:
            raise NotOffered(f"robustcl.attacks: {name} is not offered: {instead}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set ``seed`` and ``verbose``; anything else is settled when the attack is made, and would be ignored."""
        if name == "seed":
            self._draw_from(value)
        elif name == "verbose" or not self.__dict__.get("_made", False):
            object.__setattr__(self, name, value)
        else:
            what = elsewhere.INSTEAD.get(name, f"give {name} when it is made")
            raise NotOffered(f"robustcl.attacks: {name} of a made attack cannot be changed: {what}")

    def _draw_from(self, seed: object) -> None:
        number = plain(seed)
        if isinstance(number, bool) or not isinstance(number, int):
            raise UsageError(f"seed = {seed!r}: give a whole number, by which the attack can be repeated")
        # The path of the command line's evaluation of a model: the same seed gives the same adversaries there.
        stream = Rng(number, "evaluate", "as-is")
        self.__dict__.update(seed=number, stream=stream, subject=HeldModel(self.model, self.mode, stream))

    def toward(self, target: Target, y: Tensor, classes: int) -> int | Tensor | None:
        """Return the class to reach, or one for each row of y (R,): of a call, else what the attack was made with."""
        who = f"robustcl.attacks {self.made.name}"
        if target is not None:
            words.check_aim(type(self.made.plugin), self.made.name, who)
        own = aim.of(self.made.plugin) if self.target is None else self.target
        return given.targets(own if target is None else target, y, classes, who)

    def members(self, classes: int) -> Members:
        """Return the generators that each sample meets, with their names, for a model of so many classes."""
        if self.made.kind != "attack":
            return [(aim.name_aimed(self.made.name, aim.of(self.made.plugin)), self.made.plugin)]
        members: Members = self.made.plugin.members(classes, self.ball)
        for name, generator in members:
            self._refuse_needs(generator, name)
        return members

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the model is attacked; verdicts are taken outside of it."""
        if self.precision == "32-true":
            return contextlib.nullcontext()
        device = given.device_of(self.subject.model) or torch.device("cpu")
        return torch.autocast(device.type, torch.bfloat16)

    def __repr__(self) -> str:
        said = "".join(f", {name}={value!r}" for name, value in self.made.options.items())
        model = type(self.subject.model).__name__
        return f"{self.made.name}({model}, eps={self.ball.eps:.6g}, norm={self.ball.norm!r}, seed={self.seed}{said})"

    def _refuse_needs(self, plugin: Any, name: str) -> None:
        met = _MET | ({Need.FEATURES} if "h" in self.subject.layers else frozenset())
        missing = sorted(need.value for need in plugin.needs - met)
        constants = ", ".join(hooks.of(plugin, GeneratorHooks).constants)
        if missing or constants:
            what = " and ".join([*missing, *([f"the recipe's constants {constants}"] if constants else [])])
            raise NeedNotMet(f"{name} needs {what}, which a bare model does not bring: use it in a recipe")
