"""Draws, balls and attacks in half precision: no NaN, nothing at the open end, the numbers of single precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import robustcl
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.generators import auto_step

HALVES, NORMS = (torch.float16, torch.bfloat16), ("Linf", "L2", "L1")
FLOAT32 = [0.6466363668441772, 0.11655652523040771, 0.13791722059249878]
FLOAT64 = [0.646636384089836, 0.11655652904955871, 0.13791725187637083]
NORMAL = pytest.approx([0.28742095828056335, 0.49416887760162354, 0.5160607695579529], rel=1e-6)
RADIUS = {"Linf": 0.1, "L2": 0.5, "L1": 2.0}


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 3.0), (-3.0, 0.0)])
@pytest.mark.parametrize("dtype", HALVES)
def test_uniform_draws_stay_below_their_end(dtype, low, high):
    drawn = Rng(0).uniform((200_000,), low, high, dtype=dtype)
    assert drawn.dtype == dtype
    assert float(drawn.max()) < high
    assert float(drawn.min()) >= low
    single = Rng(0).uniform((200_000,), low, high)
    torch.testing.assert_close(drawn.float(), single, rtol=0, atol=max(abs(low), abs(high)) * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", HALVES)
def test_normal_draws_are_those_of_single_precision(dtype):
    drawn = Rng(1).normal((200_000,), dtype=dtype)
    assert torch.equal(drawn, Rng(1).normal((200_000,)).to(dtype))
    assert bool(drawn.isfinite().all())


def test_draws_of_full_precision_are_what_they_were():
    """Stored runs repeat them."""
    assert Rng(0).uniform((3,)).tolist() == FLOAT32
    assert Rng(0).uniform((3,), dtype=torch.float64).tolist() == FLOAT64
    assert Rng(0).normal((3,)).tolist() == NORMAL


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("norm", NORMS)
def test_balls_hold_what_is_drawn_and_projected(norm, dtype):
    x = torch.rand(3000, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    ball = Ball(norm, RADIUS[norm])
    for adv in (
        ball.sample(x, Rng(0)),
        auto_step.start(x, ball, Rng(0)),
        ball.project(ball.ascend(x, torch.randn_like(x), RADIUS[norm]), x),
        ball.project(ball.ascend(x, torch.zeros_like(x), RADIUS[norm]), x),
    ):
        assert adv.dtype == dtype
        assert bool(adv.isfinite().all())
        assert bool(ball.contains(adv, x).all())


def test_the_length_of_many_halves_is_finite():
    x = torch.zeros(1, 200_000, dtype=torch.float16)
    assert float(Ball("L1", 1e6, None).distance(x + 1, x)) == 200_000.0


@pytest.mark.filterwarnings("ignore:.*had no gradient but 0:RuntimeWarning")  # vat's divergence rounds to 0 in bfloat16
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["pgd", "noise", "vat", "apgd", "fgsm"])
def test_attacks_on_half_precision_models(name, norm, dtype):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5)).to(dtype).eval()
    x, y = torch.rand(40, 3, 2, 2).to(dtype), torch.randint(5, (40,))
    options = {"steps": 5} if name in ("pgd", "apgd") else {}
    adv = robustcl.attacks.make(name, model, eps=RADIUS[norm], norm=norm, **options)(x, y)
    assert adv.dtype == dtype
    assert bool(Ball(norm, RADIUS[norm]).contains(adv, x).all())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize(
    ("name", "options"), [("fab", {"restarts": 2}), ("fab", {"target": 2}), ("fab-untargeted", {"restarts": 2})]
)
def test_fab_walks_in_half_precision(kind: torch.dtype, norm: str, name: str, options: dict[str, int]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval().to(kind), torch.rand(9, 3, 2, 2).to(kind)
    y = net(x).argmax(1)
    eps = {"Linf": 0.5, "L2": 1.5, "L1": 5.0}[norm]
    attack = robustcl.attacks.make(name, net, eps=eps, norm=norm, steps=5, **options)
    adversarial, found = attack.run_standard_evaluation(x, y, return_labels=True)
    assert adversarial.dtype == kind
    assert bool(attack.ball.contains(adversarial, x).all())
    assert torch.equal(net(adversarial).argmax(1), found)
    assert int((found != y).sum()) >= 3
