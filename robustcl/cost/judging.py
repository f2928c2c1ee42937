"""What the attacks that judge send through a classifier, at most: as if they fooled no image, and none left early.

Counted on a stand-in for the encoder, within a ball so small that nothing in it is misclassified.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.cost.estimate import Cost, StageCost
from robustcl.cost.network import Networks
from robustcl.cost.rates import Rates
from robustcl.cost.rehearsal import Processor
from robustcl.cost.sizes import Sizes
from robustcl.cost.stand_in import NoiseImages, StandIn
from robustcl.errors import RobustclError
from robustcl.evaluate import scaled
from robustcl.evaluate.classifier import LOGITS, Classifier, of_encoder
from robustcl.evaluate.judge import Judge
from robustcl.nn.encoder import build_encoder
from robustcl.nn.projector import Projector
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.plan import Part
from robustcl.types import Embedding

FEW = 300
"""Calls of a classifier that take no time worth to be spoken of; AutoAttack makes thousands."""
_DRAWN, _IMAGES = 64, 4
_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Judged:
    """One attack of one evaluation: on how many images, over routes and splits, and what each costs."""

    name: str
    images: int
    rates: Rates | None
    """``None`` where it was not counted."""


class AttackCounts:
    """Counts attacks, each once.

    most: how often one may ask the classifier; what asks more often is left out, as ``None`` counts all of them.
    """

    def __init__(self, most: int | None = FEW) -> None:
        self._most = most
        self._known: dict[str, Rates | None] = {}

    def count(self, plan: RecipePlan, sizes: Sizes) -> list[Judged]:
        """Return what every attack of a recipe's evaluations takes."""
        found = []
        for evaluation, number, attack in _attacks(plan):
            table = evaluation.table
            key = repr((plan.parts.resolved(table.attacks[number]), plan.ball.norm, sizes.item, sizes.classes))
            if key not in self._known:
                self._known[key] = _count(plan, attack, sizes, self._most)
            images = len(table.route) * sum(_first(sizes.samples.get(split), table.first(number)) for split in _SPLITS)
            found.append(Judged(f"{table.use}: {attack.name}", images, self._known[key]))
        return found


def add_judging(cost: Cost, plan: RecipePlan, judged: Sequence[Judged], networks: Networks) -> Cost:
    """Return a cost with the attacks that judge as stages without a step, those that were not counted left out."""
    network = networks.count(plan, cost.sizes, projected=False)
    stages = [
        StageCost(
            name=each.name, epochs=1, times=1, samples=each.images, steps=0, images=each.images,
            per_epoch=each.rates.passes, of_steps=None,
            operations=network.operations(each.rates) * each.images, memory=0.0,
        )
        for each in judged
        if each.rates is not None and each.images
    ]  # fmt: skip
    return replace(cost, stages=(*cost.stages, *stages))


_SPLITS = ("test", "validation")


def _attacks(plan: RecipePlan) -> Iterator[tuple[EvaluationPlan, int, Part]]:
    for evaluation in plan.evaluations:
        for number, attack in enumerate(evaluation.attacks):
            yield evaluation, number, attack


def _first(images: int | None, samples: int | None) -> int:
    return 0 if images is None else min(images, samples or images)


def _count(plan: RecipePlan, attack: Part, sizes: Sizes, most: int | None) -> Rates | None:
    """Return what an image costs that nothing fools; ``None`` where a member fails on noise, or asks too often."""
    seen = _Seen(most)
    classifier = seen.through(_classifier(sizes))
    judge = Judge(classifier, Ball(plan.ball.norm, _EPS), Rng(0, "cost", "judge"), nullcontext)
    x, label = _firm(judge.classifier, sizes)
    index = torch.arange(_IMAGES)
    seen.rates, seen.calls = Rates(), 0
    try:
        for member, generator in scaled.members(copy.deepcopy(attack.plugin), sizes.classes, judge.ball):
            classifier.predict(judge.perturb(x, label, index, attack.name, member, generator))
    except (RobustclError, _Often):
        return None
    return seen.rates * (1 / _IMAGES)


def _firm(classifier: Classifier, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Return images, and what they are taken for: those of many whose class is the least in doubt."""
    images = NoiseImages(_DRAWN, sizes.item, sizes.classes, Processor.device)
    x = images.fetch(torch.arange(_DRAWN))
    with torch.no_grad():
        best = classifier.embed(x, LOGITS).logits.topk(2).values
    firm = (best[:, 0] - best[:, 1]).topk(_IMAGES).indices
    return x[firm], classifier.predict(x[firm])


def _classifier(sizes: Sizes) -> Classifier:
    encoder = build_encoder(
        StandIn(), name="the stand-in", item=sizes.item, classes=sizes.classes, projector=Projector(widths=()),
        mean=(0.5,), std=(0.25,), routes=(MAIN_ROUTE,), rng=Rng(0, "cost", "judged"),
    )  # fmt: skip
    return of_encoder(encoder.eval(), MAIN_ROUTE)


class _Often(Exception):
    """More calls than a glance has time for."""


class _Seen:
    """Counts what a classifier is asked, with a gradient and without; raises where it is asked more than ``most``."""

    def __init__(self, most: int | None) -> None:
        self.rates, self.calls, self._most = Rates(), 0, most

    def through(self, classifier: Classifier) -> Classifier:
        """Return the classifier as one that is counted."""

        def forward(module: nn.Module, x: Tensor, layers: frozenset[str]) -> Embedding:
            self.calls += 1
            if self._most is not None and self.calls > self._most:
                raise _Often
            embedding = classifier.forward(module, x, layers)
            back = embedding.logits.requires_grad
            self.rates += Rates(inputs=len(x)) if back else Rates(forward=len(x))
            return embedding

        return replace(classifier, forward=forward)
