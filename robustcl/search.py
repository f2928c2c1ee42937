"""The inner maximiser: projected steepest ascent over a loss, as a pure function.

Every gradient attack of the project is this loop with another objective. It asks autograd for the gradient of
the candidates alone, so that no parameter's ``.grad`` is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from robustcl import gradients
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack

Objective = Callable[[Tensor], Tensor]
"""Maps candidates (R, *item) to what is to be maximised: (R,), or a scalar of the whole batch."""

Start = Literal["none", "uniform", "gaussian"]


def ascend(
    x: Tensor,
    objective: Objective,
    ball: Ball,
    *,
    steps: int | Tensor,
    step_size: float | Tensor | None,
    rng: Rng,
    start: Start = "uniform",
    restarts: int = 1,
    separable: bool = True,
    deviation: float = 0.001,
) -> Tensor:
    """Return inputs (R, *item) in the ball around x that make the objective large, detached.

    Projected gradient ascent of Madry et al., Towards deep learning models resistant to adversarial attacks,
    ICLR 2018, with the step of the ball's norm. ``steps`` and ``step_size`` may be (R,), one for each row; no
    ``step_size`` is a quarter of eps.
    ``start``: x itself, a uniform point of the ball, or x plus Gaussian noise of the given ``deviation``. Of
    several ``restarts`` each row keeps its best if the objective is ``separable`` (row i depends on input i
    alone); otherwise the best whole batch is kept. Raises ``UsageError`` for restarts that would repeat each
    other.
    """
    if restarts > 1 and start == "none":
        raise UsageError(f"{restarts} restarts from x itself are all the same: take start = 'uniform'")
    x = x.detach()
    best = _climb(x, objective, ball, steps, step_size, _STARTS[start](x, ball, rng, deviation))
    if restarts == 1:
        return best
    score = _score(best, objective, separable)
    for _ in range(restarts - 1):
        rival = _climb(x, objective, ball, steps, step_size, _STARTS[start](x, ball, rng, deviation))
        value = _score(rival, objective, separable)
        better = value > score
        best = torch.where(better.reshape(-1, *[1] * (x.dim() - 1)), rival, best)
        score = torch.where(better, value, score)
    return best


def pursue(
    x: Tensor,
    attack: Attack,
    *,
    steps: int,
    step_size: float | None,
    start: Start = "uniform",
    restarts: int = 1,
    deviation: float = 0.001,
) -> Tensor:
    """Return what ``ascend`` makes of x, except that a row that the judge gets wrong keeps that input and leaves.

    For evaluations of separable losses: a row never depends on its neighbours, so the others go on as they would
    have. The logits of which the gradient is taken also say which rows are fooled; nothing more is computed. Of
    several ``restarts``, a row that still stands after all of them returns the one of the largest loss.
    """
    if restarts > 1 and start == "none":
        raise UsageError(f"{restarts} restarts from x itself are all the same: take start = 'uniform'")
    x, rows = x.detach(), torch.arange(len(x), device=x.device)
    result, score = x.clone(), torch.full((len(x),), -torch.inf, dtype=torch.float32, device=x.device)
    for number in range(restarts):
        part = attack.take(rows)
        rng = part.rng if number == 0 else part.rng.child("restart", number)
        adv = _chase(x[rows], part, steps, step_size, _STARTS[start](x[rows], part.ball, rng, deviation))
        if restarts == 1:
            return adv
        with torch.no_grad():
            embedding = part.encode(adv)
            value = part.objective(embedding).float()
            fooled = confirm(part, adv, part.fooled(embedding))
        better = fooled | (value > score[rows])
        result[rows[better]], score[rows[better]] = adv[better], value[better]
        rows = rows[~fooled]
        if len(rows) == 0:
            break
    return result


def _chase(x: Tensor, attack: Attack, steps: int, step_size: float | None, start: Tensor) -> Tensor:
    """Climb from ``start``; rows (R,) leave at the first iterate of which the judge says that it fools."""
    result, adv, rows = start.clone(), start, torch.arange(len(x), device=x.device)
    for _ in range(steps):
        here = attack.take(rows)
        with torch.enable_grad():
            leaf = adv.detach().requires_grad_()
            embedding = here.encode(leaf)
            toward = gradients.toward(here.objective(embedding), leaf, here.places)
        fooled = here.fooled(embedding)
        if bool(fooled.any()):
            fooled = confirm(here, adv, fooled)
            result[rows[fooled]] = adv[fooled]
            rows, adv, toward = rows[~fooled], adv[~fooled], toward[~fooled]
            if len(rows) == 0:
                break
        ball = attack.ball.take(rows)
        adv = ball.project(ball.ascend(adv, toward, step_length(step_size, ball)), x[rows])
    result[rows] = adv
    return result


def step_default(step_size: float | None, ball: Ball) -> Mapping[str, float]:
    """Return what a ``step_size`` that is left out comes to, by its name; nothing where it is given."""
    return {} if step_size is not None or isinstance(ball.eps, Tensor) else {"step_size": float(ball.eps) / 4}


def step_length(step_size: float | Tensor | None, ball: Ball) -> float | Tensor:
    """Return the length of a step; left out, a quarter of eps: 2/255 at 8/255, and never too short for another norm."""
    return ball.eps / 4 if step_size is None else step_size


def confirm(attack: Attack, x: Tensor, fooled: Tensor) -> Tensor:
    """Return which of the ``fooled`` rows (R,) bool of x the judge itself gets wrong, if it can be asked."""
    if not attack.has("breaks") or not bool(fooled.any()):
        return fooled
    asked = fooled.nonzero()[:, 0]
    sure = fooled.clone()
    sure[asked] = attack.take(asked).breaks(x[asked].detach())
    return sure


def gradient(objective: Objective, at: Tensor) -> Tensor:
    """Return the gradient of the summed objective with respect to the candidates alone, finite, in their shape."""
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        return gradients.toward(objective(leaf), leaf)


def _climb(
    x: Tensor,
    objective: Objective,
    ball: Ball,
    steps: int | Tensor,
    step_size: float | Tensor | None,
    adv: Tensor,
) -> Tensor:
    count, length = int(steps.max()) if isinstance(steps, Tensor) else steps, step_length(step_size, ball)
    for step in range(count):
        moved = ball.project(ball.ascend(adv, gradient(objective, adv), length), x)
        if isinstance(steps, Tensor):
            moved = torch.where((step < steps).reshape(-1, *[1] * (x.dim() - 1)), moved, adv)
        adv = moved
    return adv


def _score(adv: Tensor, objective: Objective, separable: bool) -> Tensor:
    with torch.no_grad():
        value = objective(adv)
    return value if separable else value.sum()


def _from_clean(x: Tensor, ball: Ball, rng: Rng, deviation: float) -> Tensor:
    return x


def _from_uniform(x: Tensor, ball: Ball, rng: Rng, deviation: float) -> Tensor:
    return ball.sample(x, rng)


def _from_gaussian(x: Tensor, ball: Ball, rng: Rng, deviation: float) -> Tensor:
    return ball.project(x + deviation * rng.normal(x.shape, device=x.device, dtype=x.dtype), x)


_STARTS: Mapping[str, Callable[[Tensor, Ball, Rng, float], Tensor]] = MappingProxyType(
    {"none": _from_clean, "uniform": _from_uniform, "gaussian": _from_gaussian}
)
