"""The identity of an evaluation's protocol, from its stages as the recipe's grammar and its parts complete them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from robustcl.composition.build import build_stage
from robustcl.composition.parts import Parts
from robustcl.evaluate.identity import JUDGED, Identity, make_identity
from robustcl.recipe import Recipe, Stage, Use, reading
from robustcl.registry import owners
from robustcl.threat import Ball
from robustcl.train.plan import Part


def identify(protocol: Part, ball: Ball, recipe: Recipe, where: str) -> Identity:
    """Return the version and hash of a protocol, the same for every judged route, data set and ball.

    Raises:
        UsageError: a stage that is no stage; ``where`` is its place.
    """
    parts, tables = Parts(owners.of_lock(recipe.lock)), []
    for entry in protocol.plugin.stages(JUDGED):
        stage = reading.parse({"name": "protocol", "stage": [entry]}, where).stage[0]
        build_stage(stage, parts, ball, recipe.data.batch, where)
        tables.append(_spelled(stage, parts))
    return make_identity(protocol.name.rpartition("/")[2], protocol.plugin, tables)


def settings_of(stage: Stage) -> str:
    """Return a digest of a protocol's stage as the protocol wrote it; what the grammar gains one day changes none."""
    written = json.dumps(stage.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def _spelled(value: Any, parts: Parts) -> Any:
    """Turn models into tables; a plugin's table gets all of its options.

    What the grammar leaves at its default is left out: a key that the grammar gains one day is no other protocol.
    """
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        written = {
            name: _spelled(getattr(value, name), parts)
            for name, field in fields.items()
            if getattr(value, name) != field.get_default(call_default_factory=True)
        }
        return {**written, **parts.resolved(value)} if isinstance(value, Use) else written
    if isinstance(value, Mapping):
        return {key: _spelled(entry, parts) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(entry, parts) for entry in value]
    return value
