"""What is asked about: a classifier of a run, or anybody's model, with all that a question about it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustcl.data.subset import Images
from robustcl.evaluate import resolved, scaled
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.journal import Key
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.question import Question
from robustcl.protocols import DatasetPlugin
from robustcl.recipe import Evaluate
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.plan import Part


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Subject:
    """A classifier, ready to be asked.

    judge: of the classifier, in its ball, with the evaluation's own stream. asked: what its evaluation asks.
    attacks: those of ``asked``. question: the keys of its outcomes. images: split -> its images. outputs: the number
    of logits. dataset: whose images they are, under the name ``data``. seed: of its outcomes. about: what each of its
    rows says beside the numbers.
    """

    judge: Judge
    asked: Evaluate
    attacks: tuple[Part, ...]
    question: Question
    images: Mapping[str, Images]
    outputs: int
    data: str
    dataset: DatasetPlugin
    seed: int
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """By what the classifier was come by."""
        return self.question.protocol

    @property
    def route(self) -> str:
        """The branch of batch norm; empty where there are none."""
        return self.question.route

    @property
    def name(self) -> str:
        """Protocol and route, in words."""
        return f"{self.protocol} {self.route}".strip()

    @property
    def classifier(self) -> Classifier:
        """The classifier."""
        return self.judge.classifier

    @property
    def ball(self) -> Ball:
        """The threat."""
        return self.judge.ball

    @property
    def rng(self) -> Rng:
        """The evaluation's own stream: an attack does to each image what it did there."""
        return self.judge.rng

    @property
    def model(self) -> str:
        """The hash of what is judged."""
        return str(self.question.spec["model"])

    @property
    def test(self) -> Images:
        """The test images."""
        return self.images["test"]

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the classifier and its randomness are known by."""
        return {"model": self.model, "protocol": self.protocol, "route": self.route, "seed": self.seed}

    def members(self, number: int, ball: Ball | None = None, times: float = 1.0) -> Members:
        """Return the members of the attack of a number, within a ball that is ``times`` as large as its own."""
        return scaled.members(self.attacks[number].plugin, self.outputs, ball or self.ball, times)

    def questions(self) -> list[tuple[Key, Members]]:
        """Return what is asked of the test images: the key of each attack, and its members."""
        return [(self.question.attacked("test", number, self.ball), self.members(number))
                for number in range(len(self.attacks))]  # fmt: skip

    def options(self, number: int) -> dict[str, Any]:
        """Return the options of the attack of a number as it runs, which its key need not spell out."""
        return resolved.options(self.attacks[number].plugin, self.question.attacks[number][1], self.outputs, self.ball)
