"""Attacks on models of which the truth is known: C16 of Carlini et al., On Evaluating Adversarial Robustness, 2019."""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import CLEAN
from robustcl.evaluate.judge import Judge, Members
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing.subject import Check, PluginSubject, Skip
from robustcl.threat import Ball

_BALLS = {"Linf": 8 / 255, "L2": 0.1, "L1": 0.1}
_DUAL = {"Linf": 1.0, "L2": 2.0, "L1": math.inf}
_REACH = 1 / 3
"""How far away the boundary of the linear models lies, in eps: near enough for any working attack with its defaults."""
_ITEM = (1, 6, 6)
_ROWS = 12
_QUERIES = 100
_MET = frozenset({Need.PREDICTIONS, Need.LABELS, Need.OBJECTIVE, Need.INDEX})


def breaks_linear_models(subject: PluginSubject) -> None:
    """Linear models with a boundary well inside the ball fall: every sample in Linf, four of five in L2 and L1."""
    for norm, members in _members(subject).items():
        ball = Ball(norm, _BALLS[norm])
        net, x, label = _linear(ball)
        judge = Judge(of_model(net), ball, Rng(0, "known"), nullcontext)
        _, prediction = judge.attack(x, label, torch.arange(_ROWS), CLEAN, members)
        broken, least = int((prediction != label).sum()), _ROWS if norm == "Linf" else _ROWS * 4 // 5
        assert broken >= least, f"{norm}: breaks {broken} of {_ROWS} samples whose boundary is {_REACH:.2g} eps away"


def survives_models_without_gradients(subject: PluginSubject) -> None:
    """On logits that do not depend on the input it raises nothing, stays inside, and breaks nothing."""
    for norm, members in _members(subject).items():
        ball = Ball(norm, _BALLS[norm])
        x, label = Rng(1).uniform((2, *_ITEM)), torch.tensor([0, 0])
        judge = Judge(of_model(_Flat().eval()), ball, Rng(0, "known"), nullcontext)
        adversarial, prediction = judge.attack(x, label, torch.arange(2), CLEAN, _hurried(members))
        assert bool(ball.contains(adversarial, x).all()), f"{norm}: leaves the ball on a flat model"
        assert torch.equal(prediction, label), f"{norm}: a model that never changes its mind was broken"


def _members(subject: PluginSubject) -> dict[str, Members]:
    """Return the members by norm, of the norms that the attack takes and that need nothing but a classifier."""
    plugin, found = subject.make(), {}
    for norm, eps in _BALLS.items():
        try:
            members = plugin.members(2, Ball(norm, eps))
        except UsageError:
            continue
        if all(generator.needs <= _MET for _, generator in members) and _takes(members, norm):
            found[norm] = members
    if not found:
        raise Skip("it needs more than a classifier")
    return found


def _hurried(members: Members) -> Members:
    """Give searches without gradients few queries: what stands still stands still after 5,000."""
    made = [(name, copy.copy(generator)) for name, generator in members]
    for _, generator in made:
        if hasattr(generator, "queries"):
            setattr(generator, "queries", _QUERIES)  # noqa: B010 - an option that not every generator has
    return made


def _takes(members: Members, norm: str) -> bool:
    """Say whether the generators take a norm: some refuse it only when they see a ball."""
    ball = Ball(norm, _BALLS[norm])
    net, x, label = _linear(ball)
    judge = Judge(of_model(net), ball, Rng(0, "known"), nullcontext)
    try:
        judge.attack(x[:1], label[:1], torch.arange(1), CLEAN, members)
    except UsageError:
        return False
    return True


def _linear(ball: Ball) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a linear model of two classes, samples in the middle of the range, and their labels.

    Each sample is as far from the boundary as ``_REACH`` says: the margin over the weights' dual norm. The boundary
    goes through the middle of the range, so that no corner of it lies on the boundary.
    """
    draw = Rng(2, "linear", ball.norm)
    toward = draw.normal((math.prod(_ITEM),))
    x = draw.uniform((_ROWS, *_ITEM), 0.4, 0.6)
    label = torch.arange(_ROWS) % 2
    side = torch.where(label == 1, 1.0, -1.0)
    scale = torch.linalg.vector_norm(toward, ord=_DUAL[ball.norm])
    wanted = side * float(ball.eps) * _REACH * scale
    moved = x.flatten(1) + ((wanted - (x.flatten(1) - 0.5) @ toward) / toward.square().sum())[:, None] * toward
    linear = nn.Linear(toward.numel(), 2)
    with torch.no_grad():
        linear.weight.copy_(torch.stack([-toward / 2, toward / 2]))
        linear.bias.copy_(torch.stack([toward.sum() / 4, -toward.sum() / 4]))
    return nn.Sequential(nn.Flatten(), linear).eval(), moved.view_as(x).clamp(0, 1), label


class _Flat(nn.Module):
    """Answers the same whatever it sees."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]], dtype=x.dtype, device=x.device) + 0.0 * x.flatten(1)[:, :1]


STRENGTH: tuple[Check, ...] = (breaks_linear_models, survives_models_without_gradients)
