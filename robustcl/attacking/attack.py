"""An attack bound to a model: called like other libraries' attacks, run by the project's one engine."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from robustcl.attacking import elsewhere, evaluation, given, words
from robustcl.attacking.moving import Mover
from robustcl.attacking.names import Made
from robustcl.attacking.subject import JUDGING, Subject
from robustcl.errors import NeedNotMet, NotOffered, UsageError
from robustcl.evaluate import aim, soundness
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Members
from robustcl.protocols import Need
from robustcl.ratio import plain
from robustcl.rng import Rng
from robustcl.threat import Ball

Target = int | Tensor | Sequence[int] | None
"""A class to reach, one for each input (R,), or any wrong one; arrays and numbers of NumPy are taken as well."""
_PRECISIONS = ("32-true", "bf16-mixed")
_MET = frozenset({Need.OBJECTIVE, Need.PREDICTIONS, Need.LABELS, Need.INDEX})


class ModelAttack:
    """``attack(x, y)`` returns adversarial inputs; ``run_standard_evaluation(x, y)`` judges as well.

    A generator perturbs every input and maximises the cross-entropy where it borrows a loss, as in training; with
    ``stop_early`` it leaves inputs that are wrong, from the start or on the way, as evaluations do. An evaluation
    attack always does; what stands comes back as the last member left it. The model, its gradients and the global
    random generators stay as they were. The same sample gets the same adversary in any batch, unless the mode is not
    "eval" or the model draws at random.
    """

    def __init__(
        self,
        made: Made,
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
        self.subject: Subject
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

    def __call__(
        self, x: Tensor, y: Tensor, index: Tensor | None = None, *, target: Target = None, bs: int | None = None
    ) -> Tensor:
        """Return adversarial inputs (R, *item) of x, detached, in the ball and the range.

        Args:
            x: inputs in the range, floating point, on the model's device.
            y: (R,) int64, their labels.
            index: (R,) int64, which names each input's random stream; left out: its place in the batch.
            target: the class to reach, one number or (R,) of them; left out, the one that the attack was made with. An
                input succeeds where its target is predicted, and goes on where it is merely misclassified; one whose
                target is its label comes back as it is.
            bs: inputs attacked together; left out, all of them. In the mode "eval" the outcome does not depend on it.

        Raises:
            DataError: inputs, labels or logits that cannot be attacked.
            UsageError: a model in train mode, or one that returns no logits.
        """
        who = f"robustcl.attacks {self.made.name}"
        clean = given.inputs(x, y, self.ball, who)
        given.same_device(clean, self.subject.model, who)
        rows = given.row_names(index, clean, who)
        if len(clean) == 0:
            return clean.clone()
        blocks = torch.split(torch.arange(len(clean), device=clean.device), given.block(bs, len(clean)))
        first = blocks[0]
        classes = self.subject.look(clean[first], y[first])
        members, toward = self.members(classes), self.toward(target, y, classes)
        if len(blocks) > 1:
            soundness.check_labels(y, classes)
            self._refuse_blocks()
        engine = (self.subject.classifier, self.ball, self.stream, self.autocast)
        judge, parts = Mover(self.made.name, *engine, judged=self.judged), []
        for block in blocks:
            some = toward[block] if isinstance(toward, Tensor) else aim.everywhere(toward, y[block])
            parts.append(judge.moved(clean[block], y[block], rows[block], members, some))
            if self.verbose:
                print(f"{self.made.name}: {sum(map(len, parts))} of {len(clean)} inputs attacked")
        adversarial = torch.cat(parts)
        if (remark := judge.remark()) is not None:
            warnings.warn(remark, RuntimeWarning, stacklevel=2)
        return adversarial

    @overload
    def run_standard_evaluation(
        self, x: Tensor, y: Tensor, bs: int = ..., return_labels: Literal[False] = ...,
        journal: Path | str | None = ..., target: Target = ...,
    ) -> Tensor: ...  # fmt: skip

    @overload
    def run_standard_evaluation(
        self, x: Tensor, y: Tensor, bs: int, return_labels: Literal[True],
        journal: Path | str | None = ..., target: Target = ...,
    ) -> tuple[Tensor, Tensor]: ...  # fmt: skip

    @overload
    def run_standard_evaluation(
        self, x: Tensor, y: Tensor, bs: int = ..., *, return_labels: Literal[True],
        journal: Path | str | None = ..., target: Target = ...,
    ) -> tuple[Tensor, Tensor]: ...  # fmt: skip

    def run_standard_evaluation(
        self,
        x: Tensor,
        y: Tensor,
        bs: int = 250,
        return_labels: bool = False,
        journal: Path | str | None = None,
        target: Target = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Judge a model on inputs x (n, *item) with labels y (n,); return adversarial inputs, x where none was found.

        Args:
            x: inputs in the range; on any device, the model's takes a block at a time.
            y: (n,) int64.
            bs: inputs attacked together; the outcome does not depend on it.
            return_labels: return the classes (n,) predicted for the returned inputs as well.
            journal: a file that keeps each verdict; called again with the same model, data and attack, it goes on
                where it was cut off. Other questions may share the file.
            target: as in a call. Whoever is classified wrongly, as the target or otherwise, counts as not robust; the
                labels that come back say who reached the target.

        Raises:
            DataError: inputs, labels, logits or a journal that cannot be read.
            UsageError: a model in train mode or without logits, or a mode other than "eval".
        """
        found = evaluation.run(self, x, y, bs, journal, target)
        adversarial, labels = evaluation.adversarial(self, found)
        return (adversarial, labels) if return_labels else adversarial

    def run_standard_evaluation_individual(
        self, x: Tensor, y: Tensor, bs: int = 250, return_labels: bool = False, journal: Path | str | None = None
    ) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        """Judge a model by each member alone; return its name -> what ``run_standard_evaluation`` would return.

        Every member meets all inputs that are right when left alone, also those that an earlier one has fooled.
        """
        found: dict[str, Tensor | tuple[Tensor, Tensor]] = {}
        for name, one in evaluation.alone(self, x, y, bs, journal).items():
            adversarial, labels = evaluation.adversarial(self, one)
            found[name] = (adversarial, labels) if return_labels else adversarial
        return found

    def outcomes(
        self, x: Tensor, y: Tensor, bs: int = 250, journal: Path | str | None = None, target: Target = None
    ) -> Sequence[Outcome]:
        """Return what became of each sample, as ``run_standard_evaluation`` but without the inputs."""
        return evaluation.run(self, x, y, bs, journal, target).outcomes

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
        self.__dict__.update(seed=number, stream=stream, subject=Subject(self.model, self.mode, stream))

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
            return [(aim.named(self.made.name, aim.of(self.made.plugin)), self.made.plugin)]
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

    def _refuse_blocks(self) -> None:
        if self.subject.mode != JUDGING:
            raise UsageError(f'bs: in mode = "{self.subject.mode}" an outcome depends on its batch: leave bs out')

    def _refuse_needs(self, plugin: Any, name: str) -> None:
        met = _MET | ({Need.FEATURES} if "h" in self.subject.layers else frozenset())
        missing = sorted(need.value for need in plugin.needs - met)
        constants = ", ".join(getattr(plugin, "constants", ()))
        if missing or constants:
            what = " and ".join([*missing, *([f"the recipe's constants {constants}"] if constants else [])])
            raise NeedNotMet(f"{name} needs {what}, which a bare model does not bring: use it in a recipe")
