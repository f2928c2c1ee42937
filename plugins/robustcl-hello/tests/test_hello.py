"""Each plugin against loops from its paper, numbers worked out by hand, and robustcl's conformance suite."""

from __future__ import annotations

import math

import pytest
import torch
from robustcl_hello.generator import Hello as Generator
from robustcl_hello.objective import Hello as Objective
from robustcl_hello.selector import Hello as Selector
from torch import nn

from robustcl.testing import check_distribution, make_attack, make_embedding, make_images, make_scene
from robustcl.types import Dims, Embedding, Pairs

PLANE = Dims(features=2, projection=2, classes=2, clusters=(), item=(1,), samples=4)


def on_circle(*degrees: float) -> torch.Tensor:
    """Return unit vectors (R, 2) at these angles."""
    angle = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.mark.golden("objective", "hello")
def test_objective_on_the_circle() -> None:
    """The predictor is the identity; the first image's two views are 60 degrees apart, so -cos(60) = -0.5."""
    views = {"a": Embedding(z=on_circle(0, 90)), "b": Embedding(z=on_circle(60, 180))}
    scene = make_scene(views)
    scene = scene.but(pairs=Selector(nearest=0).select(scene))
    plugin = Objective(hidden=4)
    plugin.build(PLANE)
    plugin.predictor = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        plugin.predictor[0].weight.copy_(torch.eye(2))
    loss = plugin.per_sample(scene)["hello"]
    torch.testing.assert_close(loss, torch.tensor([-0.5, 0.0, -0.5, 0.0], dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.golden("objective", "hello")
def test_objective_against_loops() -> None:
    """Weights of pairs, several positives, none at all: eq. 1 written pair by pair."""
    views = {role: make_embedding(3, ["z"], seed=seed) for seed, role in enumerate("ab")}
    scene = make_scene(views)
    weight = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    weight[4] = 0
    scene = scene.but(pairs=Pairs(positive=weight, negative=torch.zeros(6, 6)))
    plugin = Objective(hidden=7)
    plugin.build(Dims(features=6, projection=5, classes=4, clusters=(), item=(1,), samples=3))
    with torch.no_grad():
        loss = plugin.per_sample(scene)["hello"]
        predicted = plugin.predictor(scene.rows.z)
    for i in range(6):
        expected = 0.0
        for j in range(6):
            p, z = predicted[i], scene.columns.z[j]
            expected -= float(weight[i, j] * (p @ z) / (p.norm() * z.norm()))
        total = float(weight[i].sum())
        assert float(loss[i]) == pytest.approx(expected / total if total else 0.0, abs=1e-6)


@pytest.mark.golden("objective", "hello")
def test_objective_stops_the_gradient_of_the_positives() -> None:
    """The gradient reaches an anchor through the predictor and no column (eq. 3)."""
    z = make_embedding(2, ["z"]).z.requires_grad_()
    fixed = make_embedding(2, ["z"], seed=1).z.requires_grad_()
    scene = make_scene({"a": Embedding(z=z), "b": Embedding(z=fixed)})
    positive = torch.zeros(4, 4, dtype=torch.bool)
    positive[0, 2] = positive[1, 3] = True
    scene = scene.but(pairs=Pairs(positive=positive, negative=~positive))
    plugin = Objective()
    plugin.build(Dims(features=6, projection=5, classes=4, clusters=(), item=(1,), samples=2))
    plugin.per_sample(scene)["hello"].sum().backward()
    assert z.grad is not None
    assert bool((z.grad != 0).any())
    assert fixed.grad is None or not bool(fixed.grad.any())


@pytest.mark.golden("selector", "hello")
def test_selector_on_the_circle() -> None:
    """Four images' rows at hand-chosen angles: the partner always, and the nearest row of another image."""
    views = {"a": Embedding(z=on_circle(0, 100)), "b": Embedding(z=on_circle(170, 10))}
    pairs = Selector(nearest=1).select(make_scene(views))
    # rows: a0 at 0, a1 at 100, b0 at 170, b1 at 10; image 0 is {a0, b0}, image 1 is {a1, b1}
    expected = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    assert torch.equal(pairs.positive, expected)
    own = torch.eye(4, dtype=torch.bool)
    assert torch.equal(pairs.negative, ~(expected | own))


@pytest.mark.golden("selector", "hello")
@pytest.mark.parametrize("nearest", [0, 1, 3, 50])
def test_selector_against_loops(nearest: int) -> None:
    """Sort the rows of other images by cosine and take the first few."""
    scene = make_scene({role: make_embedding(5, ["z"], seed=seed) for seed, role in enumerate("ab")})
    pairs = Selector(nearest=nearest).select(scene)
    z, sample = scene.rows.z, scene.rows.sample
    for i in range(10):
        others = [j for j in range(10) if sample[j] != sample[i]]
        others.sort(key=lambda j, i=i: -float(torch.cosine_similarity(z[i], z[j], dim=0)))
        partner = [j for j in range(10) if sample[j] == sample[i] and j != i]
        assert set(pairs.positive[i].nonzero().flatten().tolist()) == {*partner, *others[:nearest]}
        assert set(pairs.negative[i].nonzero().flatten().tolist()) == set(others[nearest:])


@pytest.mark.golden("generator", "hello")
def test_generator_takes_the_step_of_the_paper() -> None:
    """Algorithm 3: a uniform start, one signed step of stride * eps, then the ball and the range."""
    x = make_images(4)
    attack = make_attack(x)
    adv = Generator(stride=1.25).perturb(x, attack)
    again = make_attack(x)
    start = again.ball.sample(x, again.rng)
    leaf = start.clone().requires_grad_()
    distance = (again.encode(leaf).h - again.clean().h).square().sum()
    sign = torch.autograd.grad(distance, leaf)[0].sign()
    eps = again.ball.eps
    expected = (start + 1.25 * eps * sign).clamp(x - eps, x + eps).clamp(0, 1)
    torch.testing.assert_close(adv, expected)
    assert not adv.requires_grad


def test_conformance() -> None:
    """Every promise of the three kinds is kept."""
    broken = [str(report) for report in check_distribution("robustcl-hello") if not report.ok]
    assert not broken, "\n".join(broken)
