"""The samples on the bench: what the model says of them, and what each attack has broken so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from robustcl.audit.arms import Arm, Effort
from robustcl.audit.values import Finding, Verdict
from robustcl.evaluate.classifier import LOGITS, NOTHING, Classifier
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Judge
from robustcl.rng import Rng
from robustcl.threat import Ball


class Bench:
    """A classifier and the samples it is audited on; attacks meet only what it classifies rightly.

    x (n, *item), label (n,), index (n,): the samples and their numbers in the split. correct (n,) bool: right when
    left alone. white (n,) bool: broken by a gradient attack so far; fallen: the same of each attack by its label.
    judged (n,) bool: of a reported outcome, ``known``; stood (n,) bool: left standing by it. All where none is known.
    blocked: why no attack at all can be run; flat: why none that follows gradients; ``None`` where they can.
    """

    def __init__(
        self, classifier: Classifier, x: Tensor, label: Tensor, index: Tensor,
        ball: Ball, rng: Rng, effort: Effort, block: int, known: Sequence[Outcome] = (),
    ) -> None:  # fmt: skip
        self.classifier, self.ball, self.rng, self.effort, self.block = classifier, ball, rng, effort, block
        self.x, self.label, self.index = x, label, index
        self.logits = self.forward(x)
        finite = self.logits.isfinite().all(1)
        self.prediction = torch.where(finite, self.logits.argmax(1), NOTHING)
        self.correct = self.prediction == label
        self.white = torch.zeros_like(self.correct)
        self.fallen: dict[str, Tensor] = {}
        told = {outcome.index: outcome.correct for outcome in known}
        self.reported = any(int(i) in told for i in index)
        self.judged = torch.tensor([not self.reported or int(i) in told for i in index], device=x.device)
        self.stood = torch.tensor([not self.reported or told.get(int(i), False) for i in index], device=x.device)
        self.used: set[str] = set()
        self.blocked: str | None = None
        self.flat: str | None = None

    @property
    def n(self) -> int:
        """How many samples there are."""
        return len(self.x)

    @property
    def classes(self) -> int:
        """How many outputs the model has."""
        return self.logits.shape[1]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Return logits (R, L) in float32, block by block."""
        embed = self.classifier.embed
        return torch.cat([embed(part, LOGITS).logits.detach().float() for part in torch.split(x, self.block)])

    def predict(self, x: Tensor) -> Tensor:
        """Return the judge's verdict (R,) on inputs."""
        return torch.cat([self.classifier.predict(part) for part in torch.split(x, self.block)])

    def strike(self, arm: Arm, rows: Tensor | None = None, ball: Ball | None = None) -> Tensor:
        """Return which samples (n,) bool an attack breaks; of ``rows`` (n,) bool only, where they are given.

        What breaks within the audited ball is remembered; in another ``ball`` it is another threat.
        """
        rows = self.correct if rows is None else rows & self.correct
        judge = Judge(self.classifier, ball or self.ball, self.rng, nullcontext)
        members = arm.members(self.classes, judge.ball)
        self.used.add(arm.use)
        broken = torch.zeros_like(rows)
        for part in self.blocks(rows):
            _, prediction = judge.attack(self.x[part], self.label[part], self.index[part], "audit", members)
            broken[part] = prediction != self.label[part]
        if ball is None:
            self.fallen[arm.label] = self.fallen.get(arm.label, torch.zeros_like(broken)) | broken
            if arm.white:
                self.white |= broken
        return broken

    def missing(self, arm: Arm) -> str | None:
        """Return why an attack cannot be used here, or ``None``."""
        return arm.missing(self.classes, self.ball)

    def blocks(self, rows: Tensor) -> Sequence[Tensor]:
        """Return the places of some samples (n,) bool, block by block; nothing where there are none."""
        places = rows.nonzero()[:, 0]
        return torch.split(places, self.block) if len(places) else ()

    def accuracy(self, broken: Tensor) -> float:
        """Return the share of samples that are right and not among the broken (n,) bool."""
        return float((self.correct & ~broken).float().mean()) if self.n else 0.0

    def names(self, rows: Tensor) -> tuple[int, ...]:
        """Return the indices of some samples (n,) bool."""
        return tuple(sorted(int(i) for i in self.index[rows]))

    def finding(self, code: str, verdict: Verdict, evidence: str, rows: Tensor | None = None, *arms: Arm) -> Finding:
        """Return a finding with the numbers of its samples (n,) bool and the specification of its attacks."""
        spec = {arm.label: {"use": arm.use, **arm.spec(self.ball)} for arm in arms}
        return Finding(code, verdict, evidence, () if rows is None else self.names(rows), spec)


Check = Callable[[Bench], Finding]


def count_known(known: Sequence[Outcome], index: Iterable[int]) -> dict[str, Any]:
    """Return how many samples of ``index`` have a known outcome, how many stood, and a hash of which."""
    there = set(index)
    told = sorted((outcome.index, outcome.correct) for outcome in known if outcome.index in there)
    digest = hashlib.blake2b(json.dumps(told).encode(), digest_size=6).hexdigest()
    return {"samples": len(told), "standing": sum(stood for _, stood in told), "hash": digest}


def percent(share: float) -> str:
    """Return 0.4123 as "41.2 %"."""
    return f"{100 * share:.1f} %"


def count(number: int, of: int | None = None) -> str:
    """Return "1 sample", "3 samples" or "3 of 200 samples"."""
    if of is not None:
        return f"{number} of {of} samples"
    return f"{number} sample{'' if number == 1 else 's'}"
