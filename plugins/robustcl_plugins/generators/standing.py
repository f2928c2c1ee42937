"""Attacks on the rows that still stand: one climb, and several climbs of which each row keeps the best.

Where the attack knows the verdict, a row that is fooled keeps that input and leaves, so that later forward passes
carry only the rows still standing. Rows never look at each other: who left changes nothing for who stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl import gradients, search
from robustcl.contrast import wide
from robustcl.types import Attack
from robustcl_plugins.generators.auto_step import Schedule

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits (S, L), at least float32, and the climb's rows they belong to, (S,) int64, to what is maximised: (S,)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a climb found for R rows.

    adv: (R, *item), the input that fooled, or else the one with the largest loss. loss: (R,), its loss; minus infinity
    where no loss was finite. fooled: (R,) bool; never true where the attack knows no verdict.
    """

    adv: Tensor
    loss: Tensor
    fooled: Tensor


Climb = Callable[[Tensor, Attack], Found]
"""Attacks some rows of x, (S,) int64, with the attack on just these rows."""


def pursue(x: Tensor, attack: Attack, climbs: Iterable[Climb]) -> Tensor:
    """Return the best that several climbs find for x (R, *item); each attacks what the earlier ones left standing.

    A row of which no climb met a finite loss stays x.
    """
    adv, rows = x.detach().clone(), torch.arange(len(x), device=x.device)
    loss = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    for climb_some in climbs:
        if len(rows) == 0:
            break
        found = climb_some(rows, attack.take(rows))
        better = found.fooled | (found.loss > loss[rows])
        adv[rows[better]], loss[rows[better]] = found.adv[better], found.loss[better].double()
        rows = rows[~found.fooled]
    return adv


def climb(
    start: Tensor, attack: Attack, loss: Loss, schedule: Schedule, steps: int, *, eot: int = 1, watch: bool = True
) -> Found:
    """Climb from ``start`` (R, *item): ``steps`` forward and backward passes and one last forward pass.

    Loss and gradient are averages over ``eot`` passes, for models that draw at random; a row then counts as fooled by
    the majority. A row whose loss is not finite never becomes the best, and entries of gradients that are not
    finite count as 0. ``watch``: let fooled rows leave.
    """
    watch = watch and attack.has("fooled")
    adv, gradient = start, torch.zeros_like(start)
    best, best_gradient = start, gradient
    best_loss = torch.full((len(start),), -torch.inf, device=start.device)
    rows = torch.arange(len(start), device=start.device)
    result = Found(start.clone(), best_loss.clone().double(), torch.zeros_like(rows, dtype=torch.bool))
    for done in range(steps + 1):
        adv = schedule.move(adv, gradient) if done else adv
        value, gradient, fooled = _look(adv, attack, loss, rows, eot, backward=done < steps, watch=watch)
        better = value.isfinite() & (value > best_loss)
        best, best_gradient = _choose(better, adv, best), _choose(better, gradient, best_gradient)
        best_loss = torch.where(better, value, best_loss)
        gone = search.confirm(attack, adv, fooled) if watch else fooled
        if bool(gone.any()):  # never without the watch
            _settle(result, rows[gone], adv[gone], value[gone])
            result.fooled[rows[gone]] = True
            keep = (~gone).nonzero()[:, 0]
            attack, rows = attack.take(keep), rows[keep]
            adv, gradient, value = adv[keep], gradient[keep], value[keep]
            best, best_gradient, best_loss = best[keep], best_gradient[keep], best_loss[keep]
            schedule.take(keep)
            if len(rows) == 0:
                return result
        back = schedule.adapt(done, value, best, best_loss) if done < steps else None
        if back is not None:
            adv, gradient = _choose(back, best, adv), _choose(back, best_gradient, gradient)
    _settle(result, rows, best, best_loss)
    return result


def _look(
    adv: Tensor, attack: Attack, loss: Loss, rows: Tensor, eot: int, *, backward: bool, watch: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss (S,), gradient (S, *item), zero without ``backward``, and the verdict (S,) bool at ``adv``."""
    value, gradient = torch.zeros(len(adv), device=adv.device), torch.zeros_like(adv)
    votes = torch.zeros(len(adv), dtype=torch.int64, device=adv.device)
    for _ in range(eot):
        with torch.set_grad_enabled(backward):
            leaf = adv.detach().requires_grad_(backward)
            embedding = attack.encode(leaf)
            each = loss(wide(embedding.logits), rows)
        if backward:
            gradient = gradient + gradients.toward(each, leaf, attack.places)
        value = value + each.detach() / eot
        votes += attack.fooled(embedding.detach()).long() if watch else 0
    return value, gradient / eot, 2 * votes > eot


def _settle(result: Found, rows: Tensor, adv: Tensor, loss: Tensor) -> None:
    result.adv[rows] = adv
    result.loss[rows] = loss.double()


def _choose(first: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(first.reshape(-1, *[1] * (yes.dim() - 1)), yes, no)
