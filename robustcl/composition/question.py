"""What an evaluation asks, written out in full: other settings are another question and find no old answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.evaluate.journal import Key
from robustcl.threat import Ball


@dataclass(frozen=True, slots=True)
class Question:
    """The keys of one protocol on one route.

    model: the hash of the judged weights. contents: split -> digest of its images.
    """

    composition: RecipePlan
    plan: EvaluationPlan
    route: str
    model: str
    contents: Mapping[str, str]

    @property
    def place(self) -> dict[str, str]:
        """What a curve or a table of results.json says of the classifier that it is of."""
        table = self.plan.table
        return {"protocol": table.use, "route": self.route, "stage": table.stage or "", "encoder": table.encoder,
                "model": self.model}  # fmt: skip

    def clean(self, split: str) -> Key:
        """Return the key of clean accuracy."""
        return Key(self.plan.table.use, self.route, split, None, json.dumps(self._spec(split), sort_keys=True))

    def attacked(
        self, split: str, number: int, ball: Ball, steps: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Key:
        """Return the key of the plan's attack of a number, within a ball; ``steps``: other ones than its own.

        ``changes`` are options that an attack of another library has grown with the ball.
        """
        options = {**self.composition.parts.resolved(self.plan.table.attacks[number]), **(changes or {})}
        spec = self._spec(split) | {"attack": options, "norm": ball.norm, "eps": float(ball.eps)}
        spec |= {} if steps is None else {"steps": steps}
        name = self.plan.attacks[number].name
        return Key(self.plan.table.use, self.route, split, name, json.dumps(spec, sort_keys=True))

    def corrupted(self, split: str, corruption: dict[str, Any]) -> Key:
        """Return the key of clean accuracy on corrupted images."""
        spec = self._spec(split) | {"corruption": corruption}
        return Key(self.plan.table.use, self.route, split, None, json.dumps(spec, sort_keys=True))

    def _spec(self, split: str) -> dict[str, Any]:
        return {
            "protocol": self.composition.parts.resolved(self.plan.table),
            "identity": self.plan.identity.hash,
            "stage": self.plan.table.stage or "",
            "encoder": self.plan.table.encoder,
            "model": self.model,
            "content": self.contents[split],
        }
