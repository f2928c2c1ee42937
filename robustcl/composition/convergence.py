"""Convergence of an attack: the accuracy after growing numbers of its steps, each an attack of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from robustcl import hooks
from robustcl.composition.question import Question
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.measure import Measurement, accuracy
from robustcl.hooks import GeneratorHooks
from robustcl.threat import Ball
from robustcl.train.plan import Part

_CLASSES = 1 << 20
"""Which members an attack has is asked before the data set is opened; that they have steps depends on no number."""


def check(steps: Sequence[int], attacks: Sequence[Part], ball: Ball, where: str) -> None:
    """Refuse numbers of steps that do not grow from 1 on, and a first attack whose steps cannot be set.

    Raises:
        UsageError: as said; ``where`` is the key's place.
    """
    if not steps or steps[0] < 1 or any(later <= earlier for earlier, later in pairwise(steps)):
        raise UsageError(f"{where} = {list(steps)}: write growing numbers of steps from 1 on, e.g. [1, 2, 5, 10, 20]")
    if not attacks:
        raise UsageError(f"{where}: there is no attack whose steps could be counted; name one in attacks, or remove it")
    with_steps(attacks[0].plugin.members(_CLASSES, ball), 1, f"{where}: the attack {attacks[0].name}")


def measure(
    judge: Judge, images: Images, question: Question, measurement: Measurement, classes: int
) -> dict[str, Any] | None:
    """Return the entry of results.json under ``convergence``: the accuracy after 0 (clean), ... steps.

    Every number of steps is an attack of its own, from the same random start; a schedule that an attack derives from
    its steps, as Auto-PGD's, is derived anew. The attack's own number is not computed twice. ``n`` are the samples
    that all points are taken over; where the time was up early, those that every one of them has reached, and ``None``
    where there are none.
    """
    table, attack = question.plan.table, question.plan.attacks[0]
    own: Members = attack.plugin.members(classes, judge.ball)
    keys = [question.clean("test")]
    found = [measurement.outcomes(judge, images, keys[0], (), table.samples)]
    for count in table.convergence or ():
        members = with_steps(own, count, f"convergence: the attack {attack.name}")
        same = all(_steps(generator) == count for _, generator in own)
        keys.append(question.attacked("test", 0, judge.ball, None if same else count))
        found.append(measurement.outcomes(judge, images, keys[-1], members, table.samples))
    common = set.intersection(*({outcome.index for outcome in outcomes} for outcomes in found))
    if not common:
        measurement.say(f"{table.use} {question.route} convergence: the time was up before any sample was judged")
        return None
    values = [accuracy([outcome for outcome in outcomes if outcome.index in common]) for outcomes in found]
    measurement.say(f"{table.use} {question.route} {attack.name} after 0 to {(table.convergence or [0])[-1]} steps: "
                    + ", ".join(f"{value:.2%}" for value in values))  # fmt: skip
    return {
        **question.place, "samples": len(measurement.index(images, table.samples)),
        "attack": attack.name, "n": len(common),
        "steps": [0, *(table.convergence or ())], "accuracy": values, "questions": [key.digest for key in keys],
    }  # fmt: skip


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
