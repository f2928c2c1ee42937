"""The security curve: the accuracy under an attack with growing budgets, each an attack of its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from robustcl.evaluate import scaled
from robustcl.evaluate.extras.kind import AskedEvaluation, Entry, Extra
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement, accuracy
from robustcl.evaluate.points import points_along
from robustcl.evaluate.subject import Subject
from robustcl.threat import Ball, ball_of


def check_curve(asked: AskedEvaluation) -> None:
    """Refuse a budget that is none."""
    for eps in asked.table.curve:
        ball_of(asked.ball.norm, eps, f"{asked.where}.curve")


def measure_curve(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    """Return the accuracy at eps 0 (clean) and at each budget, by the first attack; nothing where there is none.

    The steps of the attack grow with the budget. All points are taken over the same ``n`` samples, so that the curve
    falls because of the budget alone: where the time was up early, over those that every budget has reached. A budget
    that has reached none is left out, and said; there is no answer where no budget has reached a sample.
    """
    if not subject.attacks:
        return []
    judge, images, question, samples = subject.judge, subject.test, subject.question, subject.asked.first(0)
    attack, who = subject.attacks[0], f"{subject.name} curve"
    keys = {0.0: question.clean("test")}
    found = {0.0: measurement.outcomes(judge, images, keys[0.0], (), samples)}
    for eps in subject.asked.curve:
        ball = Ball.checked(judge.ball.norm, eps)
        other = Judge(judge.classifier, ball, judge.rng, judge.autocast)
        times = float(ball.eps) / float(judge.ball.eps)
        changes = scaled.grow(attack.plugin, times)
        key = keys[float(ball.eps)] = question.attacked("test", 0, ball, changes=changes)
        found[float(ball.eps)] = measurement.outcomes(other, images, key, subject.members(0, ball, times), samples)
    reached = {eps: outcomes for eps, outcomes in sorted(found.items()) if outcomes}
    if late := [f"{eps:.4g}" for eps in sorted(found) if eps not in reached]:
        measurement.say(f"{who}: the time was up before any sample was judged at eps {', '.join(late)}")
    if len(reached) < 2:
        return []
    common = set.intersection(*({each.index for each in outcomes} for outcomes in reached.values()))
    values = [_accuracy(outcomes, common) for outcomes in reached.values()]
    said = ", ".join(f"{value:.2%} at {eps:.4g}" for eps, value in zip(reached, values, strict=True))
    measurement.say(f"{who} over {len(common)} samples: {said}")
    return [{
        **question.place, "samples": len(measurement.index(images, samples)),
        "attack": attack.name, "n": len(common),
        "eps": list(reached), "accuracy": values, "questions": [keys[eps].digest for eps in reached],
    }]  # fmt: skip


def _accuracy(outcomes: list[Outcome], common: set[int]) -> float:
    return accuracy([outcome for outcome in outcomes if outcome.index in common])


CURVE = Extra(
    "curve", "security", measure_curve, check_curve,
    functools.partial(points_along, part="security", key="eps"), ("attack", "eps"),
)  # fmt: skip
