"""The options of an attack as it really ran: what was left out filled in for the ball and the model, ratios as numbers.

Two attacks are the same where these are, however they were written: a step of a quarter of eps is that step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robustcl import hooks
from robustcl.errors import RobustclError
from robustcl.hooks import GeneratorHooks
from robustcl.ratio import ratio
from robustcl.threat import Ball

_RATIO = re.compile(r"\s*[\d.]+(e-?\d+)?\s*/\s*[\d.]+\s*")


def options(plugin: Any, given: Mapping[str, Any], classes: int, ball: Ball) -> dict[str, Any]:
    """Return the options of an evaluation attack with those filled in that follow from the ball and the classes.

    Args:
        plugin: the attack, whose optional ``defaults(classes, ball)``, or those of its only member, say what an option
            that is left out comes to.
        given: all of its options as JSON holds them, without those that are left out.
        classes: L of the judged model.
        ball: in which it attacks.
    """
    found = {name: _number(value) for name, value in given.items()}
    filled = {name: value for name, value in _defaults(plugin, classes, ball).items() if name not in found}
    return dict(sorted({**found, **filled}.items()))


def _defaults(plugin: Any, classes: int, ball: Ball) -> Mapping[str, Any]:
    if not hooks.has(plugin, "defaults"):
        try:
            members = plugin.members(classes, ball)
        except RobustclError:
            return {}
        if len(members) != 1:
            return {}
        plugin = members[0][1]
    found = hooks.of(plugin, GeneratorHooks).defaults(classes, ball)
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _number(each) for name, each in value.items()}
    return ratio(value) if isinstance(value, str) and _RATIO.fullmatch(value) else value
