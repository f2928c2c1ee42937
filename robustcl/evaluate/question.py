"""What an evaluation asks, written out in full: other settings are another question and find no old answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl.data.subset import Images
from robustcl.evaluate.journal import Key
from robustcl.evaluate.likeness import digest_images
from robustcl.threat import Ball


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """The keys of one classifier's outcomes.

    protocol, route: how it was come by. spec: what the specification of each key holds, the hash of its weights under
    ``model``. images: split -> its images, whose digest each key holds. attacks: the name of each, and all of its
    options. attacked_by: what the specification of an attack holds beside them and the ball.
    """

    protocol: str
    route: str
    spec: Mapping[str, Any]
    images: Mapping[str, Images]
    attacks: Sequence[tuple[str, Mapping[str, Any]]]
    attacked_by: Mapping[str, Any] = field(default_factory=dict)
    _contents: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def place(self) -> dict[str, Any]:
        """What a curve or a table of results.json says of the classifier that it is of."""
        return {"protocol": self.protocol, "route": self.route,
                **{name: self.spec[name] for name in ("stage", "encoder", "model") if name in self.spec}}  # fmt: skip

    def clean(self, split: str) -> Key:
        """Return the key of clean accuracy."""
        return self._key(split, None, {})

    def corrupted(self, split: str, corruption: Mapping[str, Any]) -> Key:
        """Return the key of clean accuracy on corrupted images."""
        return self._key(split, None, {"corruption": corruption})

    def attacked(
        self, split: str, number: int, ball: Ball, steps: int | None = None, changes: Mapping[str, Any] | None = None
    ) -> Key:
        """Return the key of the attack of a number, within a ball; ``steps``: other ones than its own.

        ``changes`` are options that an attack of another library has grown with the ball.
        """
        name, options = self.attacks[number]
        spec = {"attack": {**options, **(changes or {})}, "norm": ball.norm, "eps": float(ball.eps)}
        return self._key(split, name, spec | ({} if steps is None else {"steps": steps}) | dict(self.attacked_by))

    def _key(self, split: str, attack: str | None, more: Mapping[str, Any]) -> Key:
        if split in self.images and split not in self._contents:
            self._contents[split] = digest_images(self.images[split])
        digest = {"content": self._contents[split]} if split in self._contents else {}
        return Key(
            self.protocol, self.route, split, attack, json.dumps({**self.spec, **digest, **more}, sort_keys=True)
        )
