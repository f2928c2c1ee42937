"""What an attack's options came to in a row of results.json, also in one that was written before rows said so."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.errors import RobustclError
from robustcl.evaluate import aim, resolved
from robustcl.recipe import Use
from robustcl.threat import Ball


def resolve_row(row: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """Return all options of a row's attack as it ran against a model of so many classes; empty for clean images.

    A row says them under ``resolved``. For an older one they follow from its specification: an option that is not
    stated there was left out, and what that comes to has not changed. Where the attack is not installed, the
    specification is returned as it is.
    """
    spec = row.get("spec")
    stated = spec.get("attack") if isinstance(spec, Mapping) else None
    if row.get("attack") is None or not isinstance(stated, Mapping) or not isinstance(spec, Mapping):
        return {}
    own = row.get("resolved")
    if isinstance(own, Mapping):
        return dict(own)
    words = json.dumps([row["attack"], stated, spec.get("norm"), spec.get("eps"), classes], sort_keys=True)
    return dict(_filled(words))


@functools.lru_cache(maxsize=1024)
def _filled(words: str) -> Mapping[str, Any]:
    name, stated, norm, eps, classes = json.loads(words)
    given = {key: value for key, value in stated.items() if key != "use"}
    try:
        parts, table = Parts(), Use(use=aim.split_aimed(name)[0], **given)
        attack = attack_of(table, parts, name)
        return resolved.options(attack.plugin, parts.resolved(table), classes, Ball.checked(norm, eps))
    except (RobustclError, TypeError, ValueError):
        return given
