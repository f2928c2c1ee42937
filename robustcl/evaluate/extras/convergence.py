"""Convergence of an attack: the accuracy after growing numbers of its steps, each an attack of its own."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from itertools import pairwise

from robustcl import hooks
from robustcl.errors import UsageError
from robustcl.evaluate.extras.kind import AskedEvaluation, Entry, Extra
from robustcl.evaluate.judge import Members
from robustcl.evaluate.measure import Measurement, accuracy
from robustcl.evaluate.points import points_along
from robustcl.evaluate.subject import Subject
from robustcl.hooks import GeneratorHooks

_CLASSES = 1 << 20
"""Which members an attack has is asked before the data set is opened; that they have steps depends on no number."""


def check_convergence(asked: AskedEvaluation) -> None:
    """Refuse numbers of steps that do not grow from 1 on, and a first attack whose steps cannot be set."""
    steps, attacks, where = asked.table.convergence or [], asked.attacks, f"{asked.where}.convergence"
    if not steps or steps[0] < 1 or any(later <= earlier for earlier, later in pairwise(steps)):
        raise UsageError(f"{where} = {list(steps)}: write growing numbers of steps from 1 on, e.g. [1, 2, 5, 10, 20]")
    if not attacks:
        raise UsageError(f"{where}: there is no attack whose steps could be counted; name one in attacks, or remove it")
    with_steps(attacks[0].plugin.members(_CLASSES, asked.ball), 1, f"{where}: the attack {attacks[0].name}")


def measure_convergence(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    """Return the accuracy after 0 (clean), ... steps of the first attack.

    Every number of steps is an attack of its own, from the same random start; a schedule that an attack derives from
    its steps, as Auto-PGD's, is derived anew. The attack's own number is not computed twice. ``n`` are the samples
    that all points are taken over; where the time was up early, those that every one of them has reached, and there is
    no answer where there are none.
    """
    judge, images, question, samples = subject.judge, subject.test, subject.question, subject.asked.first(0)
    attack, counts = subject.attacks[0], subject.asked.convergence or []
    own: Members = attack.plugin.members(subject.outputs, judge.ball)
    keys = [question.clean("test")]
    found = [measurement.outcomes(judge, images, keys[0], (), samples)]
    for count in counts:
        members = with_steps(own, count, f"convergence: the attack {attack.name}")
        same = all(_steps(generator) == count for _, generator in own)
        keys.append(question.attacked("test", 0, judge.ball, None if same else count))
        found.append(measurement.outcomes(judge, images, keys[-1], members, samples))
    common = set.intersection(*({outcome.index for outcome in outcomes} for outcomes in found))
    if not common:
        measurement.say(f"{subject.name} convergence: the time was up before any sample was judged")
        return []
    values = [accuracy([outcome for outcome in outcomes if outcome.index in common]) for outcomes in found]
    told = ", ".join(f"{value:.2%}" for value in values)
    measurement.say(f"{subject.name} {attack.name} after 0 to {counts[-1]} steps: {told}")
    return [{
        **question.place, "samples": len(measurement.index(images, samples)),
        "attack": attack.name, "n": len(common),
        "steps": [0, *counts], "accuracy": values, "questions": [key.digest for key in keys],
    }]  # fmt: skip


def with_steps(members: Members, steps: int, who: str) -> Members:
    """Return an attack's members with another number of steps; ``who`` begins the sentence where one has none.

    Raises:
        UsageError: a member without a whole number of ``steps``.
    """
    changed = []
    for name, generator in members:
        if _steps(generator) is None:
            member = "it" if len(members) == 1 else f"its member {name}"
            raise UsageError(f"{who} cannot be followed step by step: {member} has no option steps; take pgd-20")
        other = copy.copy(generator)
        setattr(other, "steps", steps)  # noqa: B010 - an option that not every generator has
        changed.append((name, other))
    return changed


def _steps(generator: object) -> int | None:
    steps: object = hooks.of(generator, GeneratorHooks).steps
    return steps if isinstance(steps, int) else None


CONVERGENCE = Extra(
    "convergence", "convergence", measure_convergence, check_convergence,
    functools.partial(points_along, part="convergence", key="steps"), ("attack", "steps"),
)  # fmt: skip
