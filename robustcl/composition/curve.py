"""The security curve: the accuracy under an attack with growing budgets, each an attack of its own."""

from __future__ import annotations

from typing import Any

from robustcl.composition.question import Question
from robustcl.data.subset import Images
from robustcl.evaluate import scaled
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement, accuracy
from robustcl.threat import Ball


def measure(
    judge: Judge, images: Images, question: Question, measurement: Measurement, classes: int
) -> dict[str, Any] | None:
    """Return the entry of results.json under ``security``: the accuracy at eps 0 (clean) and at each budget.

    The steps of the attack grow with the budget. All points are taken over the same ``n`` samples, so that the curve
    falls because of the budget alone: where the time was up early, over those that every budget has reached. A budget
    that has reached none is left out, and said; ``None`` where no budget has reached a sample.
    """
    table, attack = question.plan.table, question.plan.attacks[0]
    full, who = float(judge.ball.eps), f"{table.use} {question.route} curve"
    keys = {0.0: question.clean("test")}
    found = {0.0: measurement.outcomes(judge, images, keys[0.0], (), table.samples)}
    for eps in table.curve:
        ball = Ball.checked(judge.ball.norm, eps)
        other = Judge(judge.classifier, ball, judge.rng, judge.autocast)
        times = float(ball.eps) / full
        members = scaled.members(attack.plugin, classes, ball, times)
        changes = scaled.grow(attack.plugin, times)
        key = keys[float(ball.eps)] = question.attacked("test", 0, ball, changes=changes)
        found[float(ball.eps)] = measurement.outcomes(other, images, key, members, table.samples)
    reached = {eps: outcomes for eps, outcomes in sorted(found.items()) if outcomes}
    if late := [f"{eps:.4g}" for eps in sorted(found) if eps not in reached]:
        measurement.say(f"{who}: the time was up before any sample was judged at eps {', '.join(late)}")
    if len(reached) < 2:
        return None
    common = set.intersection(*({each.index for each in outcomes} for outcomes in reached.values()))
    values = [_accuracy(outcomes, common) for outcomes in reached.values()]
    said = ", ".join(f"{value:.2%} at {eps:.4g}" for eps, value in zip(reached, values, strict=True))
    measurement.say(f"{who} over {len(common)} samples: {said}")
    return {
        **question.place, "samples": len(measurement.index(images, table.samples)),
        "attack": attack.name, "n": len(common),
        "eps": list(reached), "accuracy": values, "questions": [keys[eps].digest for eps in reached],
    }  # fmt: skip


def _accuracy(outcomes: list[Outcome], common: set[int]) -> float:
    return accuracy([outcome for outcome in outcomes if outcome.index in common])
