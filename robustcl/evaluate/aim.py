"""Attacks toward a class of the caller's choice: what they climb, and when they have succeeded.

Untargeted, an attack succeeds where the prediction is not the label. Aimed at a class t it climbs toward t, which for
the cross-entropy is minus the cross-entropy of t, and succeeds where t is predicted: a row that ends at some third
class is misclassified, and its target is not reached. A row whose target is its own label has nowhere to go and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import hooks
from robustcl.errors import UsageError
from robustcl.evaluate.lines import CLEAN, Outcome
from robustcl.hooks import GeneratorHooks
from robustcl.types import Attack, Embedding

_NAMED = re.compile(r"(?P<attack>.+)-target-(?P<target>\d+|each)")


def aim_at(attack: Attack, target: Tensor, predict: Callable[[Tensor], Tensor]) -> Attack:
    """Return an attack on rows (R,) toward the classes ``target`` (R,) int64.

    ``predict`` is the judge's own, (R, *item) -> (R,). An attack without a verdict gets none.
    """

    def loss(embedding: Embedding, places: Tensor) -> Tensor:
        return -F.cross_entropy(embedding.logits.float(), target[places], reduction="none")

    changes: dict[str, Any] = {"target": target, "objective": loss}
    if attack.has("fooled"):
        changes["fooled"] = lambda embedding, places: embedding.logits.argmax(1) == target[places]
    if attack.has("breaks"):
        changes["breaks"] = lambda candidates, places: predict(candidates) == target[places]
    return attack.but(**changes)


def everywhere(target: int | None, like: Tensor) -> Tensor | None:
    """Return one class for each row of ``like`` (R,) int64, ``None`` where there is no target."""
    return None if target is None else torch.full_like(like, target)


def of(generator: object) -> int | None:
    """Return the class that a generator or an attack is set to aim at, ``None`` where it is any wrong one."""
    target: object = hooks.of(generator, GeneratorHooks).target
    return target if isinstance(target, int) else None


def name_aimed(attack: str, target: int | Tensor | None) -> str:
    """Return what an attack is called in journals and results: "pgd", "pgd-target-3", "pgd-target-each"."""
    if target is None:
        return attack
    return f"{attack}-target-{target}" if isinstance(target, int) else f"{attack}-target-each"


def of_table(table: Mapping[str, Any]) -> str:
    """Return what the attack of a table, a name under "use" and options, is called."""
    target = table.get("target")
    return name_aimed(str(table.get("use", "an attack")), target if type(target) is int else None)


def split_aimed(name: str) -> tuple[str, str | None]:
    """Return the attack and the class, or "each", of a name that ``name_aimed`` has made; ``None`` for no target."""
    found = _NAMED.fullmatch(name)
    return (found["attack"], found["target"]) if found else (name, None)


def check(target: int | None, classes: int, who: str) -> None:
    """Refuse a class that a model of so many ``classes`` does not have; ``who`` is the attack."""
    if target is not None and not 0 <= target < classes:
        raise UsageError(f"{who}: target = {target}, but the classes are 0 to {classes - 1}: name one of them")


def counts(target: int, outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return ``target``, how many samples were attacked toward it, and for how many it was ``reached``.

    Attacked is what the model gets right when left alone and what is not of the target's own class.
    """
    met = [outcome for outcome in outcomes if outcome.member != CLEAN and outcome.label != target]
    reached = sum(outcome.prediction == target for outcome in met)
    return {"target": target, "attacked": len(met), "reached": reached}
