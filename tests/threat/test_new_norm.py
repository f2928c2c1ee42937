"""What a new norm costs: a class and a line. L0, how many values are changed, is added here and attacked with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustcl import attacks
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.threat.norms import NORMS, Range

_MOVED = 1e-6


class L0:
    """Source: Croce and Hein, Sparse and Imperceivable Adversarial Attacks, ICCV 2019, section 3.2."""

    order = 0.0

    def length(self, delta: Tensor) -> Tensor:
        return (delta.abs() > _MOVED).sum(1).to(delta.dtype)

    def project(self, adv: Tensor, x: Tensor, eps: Tensor | float, range: Range) -> Tensor:
        inside = adv if range is None else adv.clamp(*range)
        return torch.where(_largest((inside - x).abs(), eps), inside, x)

    def ascend(self, adv: Tensor, gradient: Tensor, step: Tensor | float, range: Range) -> Tensor:
        """Send as many values as the step says to their ends, those that the loss gains most by."""
        assert range is not None
        end = torch.where(gradient > 0, range[1], range[0])
        return torch.where(_largest(gradient * (end - adv), step), end, adv)

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        return torch.zeros_like(x)


def _largest(gain: Tensor, count: Tensor | float) -> Tensor:
    """Say which values are among the ``count`` largest of their row, and above 0."""
    flat = gain.flatten(1)
    place = flat.argsort(1, descending=True).argsort(1)
    return ((place < torch.as_tensor(count).reshape(-1, 1)) & (flat > 0)).view_as(gain)


@pytest.fixture(autouse=True)
def l0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NORMS, "L0", L0())


@pytest.mark.parametrize("name", ["L0", "l0", 0, "0"])
def test_it_goes_by_its_name_and_its_order(name: str | int) -> None:
    assert Ball.checked(name, 3).norm == "L0"
    with pytest.raises(UsageError, match="write one of Linf, L2, L1, L0"):
        Ball.checked("L7", 3)


def test_what_a_ball_promises_holds_of_it() -> None:
    rng = torch.Generator().manual_seed(0)
    x, adv = torch.rand(20, 1, 3, 3, generator=rng), torch.rand(20, 1, 3, 3, generator=rng) * 2 - 0.5
    ball = Ball("L0", 4)
    near = ball.project(adv, x)
    assert ball.contains(near, x).all()
    assert not ball.contains(adv, x).any()
    assert torch.equal(ball.project(near, x), near)
    assert (ball.distance(near, x) == 4).all()
    moved = (adv.clamp(0, 1) - x).abs().flatten(1)
    kept = ((near - x).abs().flatten(1) > 0).nonzero()[:, 1].view(20, 4)
    assert torch.equal(kept.sort(1).values, moved.topk(4).indices.sort(1).values), "the nearest point keeps the largest"
    assert ball.contains(ball.sample(x, Rng(0)), x).all()


def test_an_attack_finds_the_best_pixels_of_a_linear_model() -> None:
    weight = torch.tensor([[0.0] * 6, [3.0, -1.0, 0.5, 2.0, -4.0, 0.1]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval()
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(torch.tensor([0.0, -4.0]))
    x, y = torch.full((1, 1, 2, 3), 0.5), torch.tensor([0])
    attack = attacks.PGD(model, norm="L0", eps=3, steps=1, step_size=3, start="none")
    adversarial = attack(x, y)
    best = torch.tensor([1.0, 0.5, 0.5, 1.0, 0.0, 0.5]).view_as(x)
    assert torch.equal(adversarial, best), "those of weight 3, 2 and -4, each to its end"
    assert model(adversarial).argmax(1) == 1
    assert attacks.PGD(model, norm="L0", eps=1, steps=1, step_size=1, start="none")(x, y).ne(x).sum() == 1
