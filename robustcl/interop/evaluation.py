"""The evaluation behind ``run_standard_evaluation``: verdicts into a journal, and the inputs that fooled."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl import hooks
from robustcl.disk import make_folder
from robustcl.errors import DataError, UsageError
from robustcl.evaluate import aim, soundness
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.likeness import digest_model
from robustcl.evaluate.question import Question
from robustcl.evaluate.work import Work
from robustcl.hooks import GeneratorHooks
from robustcl.interop import given, telling
from robustcl.interop.bound import BoundToModel, Target
from robustcl.interop.subject import JUDGING
from robustcl.protocols import PerturbationGenerator


@dataclass(frozen=True, slots=True)
class JudgedInputs:
    """What an evaluation found: the outcome of each input x (n, *item), in order, and the inputs that fooled.

    ``pending`` are outcomes that an earlier call wrote into the journal, whose inputs are not in ``adversarial``.
    """

    outcomes: Sequence[Outcome]
    adversarial: Tensor
    pending: Sequence[Outcome]
    images: _Given
    members: Members


def run(
    attack: BoundToModel, x: Tensor, y: Tensor, bs: int, path: Path | str | None, target: Target = None,
    only: str | None = None,
) -> JudgedInputs:  # fmt: skip
    """Judge every input that the journal does not know yet; ``only``: by one member of the attack alone."""
    if attack.subject.mode != JUDGING:
        raise UsageError(f'verdicts in mode = "{attack.subject.mode}" depend on the batch: evaluate in "eval"')
    bs = given.block(250 if bs is None else bs, len(y) if isinstance(y, Tensor) else 1)
    who = f"robustcl.attacks {attack.made.name}"
    clean = given.inputs(x, y, attack.ball, who)
    if len(clean) == 0:
        raise DataError(f"{who}: there are no inputs to judge")
    images = _Given(clean, y, given.device_of(attack.subject.model) or clean.device)
    first = torch.arange(min(bs, len(clean)), device=images.device)
    classes = attack.subject.look(images.fetch(first), images.labels[first])
    soundness.check_labels(images.labels, classes)
    members = [member for member in attack.members(classes) if only in (None, member[0])]
    images.target = attack.toward(target, images.labels, classes)
    if attack.subject.draws and not any(hooks.of(generator, GeneratorHooks).eot > 1 for _, generator in members):
        warnings.warn(
            "the model draws at random: each verdict is that of one draw, and gradients of single passes understate "
            "the attack; take one that averages passes (its option eot)",
            RuntimeWarning,
            stacklevel=3,
        )
    if attack.subject.mingles:
        warnings.warn(
            f"{soundness.MINGLED}, so that each verdict is that of one batch: {soundness.UNMINGLE}",
            RuntimeWarning,
            stacklevel=3,
        )
    journal, judge = (_Unwritten() if path is None else _opened(Path(path))), _Keeping(attack, images)
    key = _key(attack, images, only)
    pending: list[Outcome] = []
    outcomes: list[Outcome] = []
    for block in Work(bs).blocks(torch.arange(len(clean))):
        found = judge.judge(images, block, key, members, journal, attack.seed, Work(bs))
        outcomes += found
        pending += judge.settle(found)
        if attack.verbose:
            print(f"{attack.made.name}: {len(outcomes)} of {len(clean)} inputs judged")
    if (remark := judge.remark()) is not None:
        warnings.warn(remark, RuntimeWarning, stacklevel=3)
    if attack.verbose:
        telling.accuracies(journal, key, outcomes, [name for name, _ in members])
        telling.targets(outcomes, images.aim)
    return JudgedInputs(outcomes, judge.adversarial, pending, images, members)


def alone(attack: BoundToModel, x: Tensor, y: Tensor, bs: int, path: Path | str | None) -> dict[str, JudgedInputs]:
    """Judge by each member of the attack alone: its name -> what it found."""
    clean = given.inputs(x, y, attack.ball, f"robustcl.attacks {attack.made.name}")
    home, some = given.device_of(attack.subject.model) or clean.device, slice(0, given.block(bs, len(clean)))
    classes = attack.subject.look(clean[some].to(home), y[some].to(home))
    return {name: run(attack, x, y, bs, path, only=name) for name, _ in attack.members(classes)}


def adversarial(attack: BoundToModel, found: JudgedInputs) -> tuple[Tensor, Tensor]:
    """Return adversarial inputs (n, *item) and the classes (n,) predicted for them.

    The journal keeps verdicts and no inputs: those of ``pending`` are made again by the member that found them.
    """
    result = found.adversarial
    labels = torch.tensor([outcome.prediction for outcome in found.outcomes], device=result.device)
    generators = dict(found.members)
    standing = 0
    for name, rows in _by_member(found.pending):
        for block in torch.split(rows, 250):
            moved, classes = _again(attack, found.images, block, name, generators[name])
            result[block.to(result.device)] = moved.to(result.device)
            labels[block.to(result.device)] = classes.to(result.device)
            standing += int((classes == found.images.labels[block.to(found.images.device)]).sum())
    if standing:
        warnings.warn(
            f"{standing} inputs that the journal says were fooled are not fooled by the same attack here: another "
            "machine, thread count or version; their verdicts stand, but their adversarial inputs are lost",
            RuntimeWarning,
            stacklevel=3,
        )
    return result, labels


class _Given:
    """Inputs and labels that a caller holds, as the judge sees images; blocks go to the model's device."""

    def __init__(self, x: Tensor, y: Tensor, device: torch.device) -> None:
        self.x, self.device = x, device
        self.labels, self.samples, self.item = y.to(device), len(x), tuple(x.shape[1:])
        self.target: int | Tensor | None = None

    def aim(self, index: Tensor) -> Tensor | None:
        """Return the classes (B,) that inputs of index (B,) are to reach, ``None`` for any wrong ones."""
        if isinstance(self.target, Tensor):
            return self.target[index.to(self.device)]
        return aim.everywhere(self.target, self.labels[index.to(self.device)])

    def fetch(self, index: Tensor) -> Tensor:
        """Return inputs (B, *item) for index (B,) int64."""
        return self.x[index.to(self.x.device)].to(self.device)

    def batches(self, order: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through batches of indices: (index, inputs)."""
        for index in order:
            yield index.to(self.device), self.fetch(index)


class _Keeping(Judge):
    """A judge that keeps what its generators made, until ``settle`` has taken from it what fooled."""

    def __init__(self, attack: BoundToModel, images: _Given) -> None:
        super().__init__(attack.subject.classifier, attack.ball, attack.stream, attack.autocast)
        self.adversarial, self._images = images.x.clone(), images
        self._made: dict[str, tuple[Tensor, Tensor]] = {}

    def perturb(
        self, x: Tensor, label: Tensor, index: Tensor, name: str | None, member: str,
        generator: PerturbationGenerator, target: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        target = self._images.aim(index) if target is None else target
        moved = super().perturb(x, label, index, name, member, generator, target)
        self._made[member] = index, moved
        return moved

    def settle(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Keep the inputs that fooled; return the outcomes whose inputs were not made by this judge."""
        pending, places = (
            [],
            {member: {int(row): place for place, row in enumerate(index)} for member, (index, _) in self._made.items()},
        )
        for outcome in outcomes:
            if outcome.correct or outcome.member == CLEAN:
                continue
            place = places.get(outcome.member, {}).get(outcome.index)
            if place is None:
                pending.append(outcome)
            else:
                self.adversarial[outcome.index] = self._made[outcome.member][1][place].to(self.adversarial.device)
        self._made.clear()
        return pending


class _Unwritten(Journal):
    """A journal in memory alone."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull) / "none")  # where nothing can be

    def append(self, key: Key, outcomes: Iterable[Outcome]) -> None:
        known = self.known(key)
        for outcome in outcomes:
            known.setdefault(outcome.index, []).append(outcome)


def _opened(path: Path) -> Journal:
    if path.is_dir():
        raise UsageError(
            f"journal = {str(path)!r} is a folder: name a file, for example {str(path / 'journal.jsonl')!r}"
        )
    make_folder(path.parent)
    return Journal(path)


def _key(attack: BoundToModel, images: _Given, only: str | None) -> Key:
    """Return the question: another model, other data, another setting is another one."""
    data = hashlib.blake2b(images.x.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes(), digest_size=8)
    data.update(images.labels.cpu().numpy().tobytes())
    spec = {"protocol": "as-is", "model": digest_model(attack.subject.model), "data": data.hexdigest()}
    options = {"use": attack.made.name, **attack.made.options, **_target(images)}
    options |= {} if only is None else {"alone": only}
    asked = [(aim.name_aimed(attack.made.name, images.target), options)]
    more = {"range": attack.ball.range, "precision": attack.precision, "seed": attack.seed}
    return Question("as-is", "", spec, {}, asked, more).attacked("given", 0, attack.ball)


def _target(images: _Given) -> dict[str, Any]:
    """Return the target as a question holds it: a class, or the digest of one for each input."""
    if images.target is None or isinstance(images.target, int):
        return {} if images.target is None else {"target": images.target}
    told = hashlib.blake2b(images.target.cpu().contiguous().numpy().tobytes(), digest_size=8)
    return {"target": told.hexdigest()}


def _by_member(outcomes: Iterable[Outcome]) -> list[tuple[str, Tensor]]:
    rows: dict[str, list[int]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.member, []).append(outcome.index)
    return [(member, torch.tensor(places)) for member, places in rows.items()]


def _again(
    attack: BoundToModel, images: _Given, rows: Tensor, member: str, generator: PerturbationGenerator
) -> tuple[Tensor, Tensor]:
    judge, here = (
        Judge(attack.subject.classifier, attack.ball, attack.stream, attack.autocast),
        rows.to(images.device),
    )
    x, label = images.fetch(rows), images.labels[here]
    moved = judge.perturb(x, label, here, attack.made.name, member, generator, images.aim(here))
    return moved, attack.subject.classifier.predict(moved)
