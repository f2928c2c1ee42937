"""An attack bound to a model: called like other libraries' attacks, run by the project's one engine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.evaluate import aim, soundness
from robustcl.evaluate.journal import Outcome
from robustcl.interop import evaluation, given
from robustcl.interop.bound import BoundToModel, Target
from robustcl.interop.moving import Mover
from robustcl.interop.subject import JUDGING


class ModelAttack(BoundToModel):
    """``attack(x, y)`` returns adversarial inputs; ``run_standard_evaluation(x, y)`` judges as well.

    A generator perturbs every input and maximises the cross-entropy where it borrows a loss, as in training; with
    ``stop_early`` it leaves inputs that are wrong, from the start or on the way, as evaluations do. An evaluation
    attack always does; what stands comes back as the last member left it. The model, its gradients and the global
    random generators stay as they were. The same sample gets the same adversary in any batch, unless the mode is not
    "eval" or the model draws at random.
    """

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

    def _refuse_blocks(self) -> None:
        if self.subject.mode != JUDGING:
            raise UsageError(f'bs: in mode = "{self.subject.mode}" an outcome depends on its batch: leave bs out')
