"""A subject of a judge and images, as an evaluation asks it: for tests of single questions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.question import Question
from robustcl.evaluate.subject import Subject
from robustcl.recipe import Evaluate
from robustcl.train.plan import Part


def subject(
    judge: Judge, images: Any, members: Members = (), *, attack: str = "it", route: str = "", outputs: int = 2,
    dataset: Any = None, model: str = "m", seed: int = 0, **table: Any,
) -> Subject:  # fmt: skip
    """Return a subject that one attack of these members is asked of; ``table`` is more of its ``[[evaluate]]``."""
    plugin = SimpleNamespace(members=lambda classes, ball: members)
    return Subject(
        judge=judge, asked=Evaluate(use="as-is", **table), attacks=(Part(attack, plugin),), images={"test": images},
        question=Question("as-is", route, {"model": model}, {"test": images}, [(attack, {})]),
        outputs=outputs, data="some", dataset=dataset, seed=seed,
    )  # fmt: skip
