"""Every promise of a plugin, broken on purpose: the core names the plugin, the promise and the row."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcl import promises
from robustcl.errors import DataError, PluginMisbehaved
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Batch, Clustering, Embedding, Oracle, Pairs, Rows, Scene


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class Generator:
    needs = frozenset()
    citation = "a test"

    def __init__(self, perturb: Callable[[Tensor, Attack], Tensor]) -> None:
        self.perturb = perturb


def attack_on(net: nn.Module, rows: int, ball: Ball) -> Attack:
    numbers = torch.arange(rows)
    return Attack(
        oracle=Oracle(
            encode=lambda v, places: Embedding(h=net(v)),
            objective=lambda embedding, places: embedding.h.square().sum(1),
        ),
        ball=ball,
        rng=Rng(0).for_rows(numbers),
        label=numbers,
        index=numbers,
        places=numbers,
    )


def run(change: Callable[[Tensor, Attack, Net], Any], ball: Ball | None = None, **options: Any) -> Tensor:
    torch.manual_seed(0)
    net = Net().eval()
    x = torch.rand(4, 6) * 0.8 + 0.1
    generator = Generator(lambda v, attack: change(v, attack, net))
    return promises.perturb(
        generator, "mine", x, attack_on(net, 4, ball or Ball("Linf", 0.05)), modules=[net], **options
    )


def test_an_honest_generator_passes():
    def honest(x: Tensor, attack: Attack, net: Net) -> Tensor:
        leaf = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(attack.objective(attack.encode(leaf)).sum(), leaf)
        return attack.ball.project(x + 0.05 * slope.sign(), x)

    for norm in ("Linf", "L2", "L1"):
        assert run(honest, Ball(norm, 0.05)).shape == (4, 6)
    assert run(honest, Ball("Linf", torch.tensor([0.0, 0.1, 0.2, 0.3]))).shape == (4, 6)
    assert run(lambda x, attack, net: x).shape == (4, 6)


def in_row(row: int, value: float) -> Callable[[Tensor, Attack, Net], Tensor]:
    def change(x: Tensor, attack: Attack, net: Net) -> Tensor:
        x = x.clone()
        x[row, 1] = value if abs(value) > 1 or value != value else x[row, 1] + value
        return x

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, a, n: x[:, :5], r"keep the shape, but \(4, 6\) became \(4, 5\)"),
        (lambda x, a, n: x[:3], "keep the shape"),
        (lambda x, a, n: x.double(), "keep the dtype"),
        (lambda x, a, n: None, "return a tensor, but it returned NoneType"),
        (lambda x, a, n: x.clone().requires_grad_(), "detach its result"),
        (lambda x, a, n: x + 0 * n(x).sum(), "detach its result"),
        (lambda x, a, n: x.add_(0.01), "leave its input alone"),
        (in_row(2, 0.06), "stay in the Linf ball, but row 2 is 0.06 away where eps is 0.05"),
        (in_row(3, 7.0), r"stay in the range 0 .. 1, but row 3 spans .* .. 7"),
        (in_row(1, float("nan")), "return finite values, but row 1"),
        (in_row(0, float("inf")), "return finite values, but row 0"),
    ],
)
def test_what_comes_back_is_checked(change, words):
    with pytest.raises(PluginMisbehaved, match=f"generator 'mine' must {words}"):
        run(change)


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_other_balls_are_checked_too(norm):
    with pytest.raises(PluginMisbehaved, match=f"stay in the {norm} ball, but row 2"):
        run(in_row(2, 0.06), Ball(norm, 0.05))


def test_the_worst_row_is_the_one_farthest_beyond_its_own_eps():
    eps = torch.tensor([0.5, 0.05, 0.02, 0.0])
    with pytest.raises(PluginMisbehaved, match=r"row 3 is 0.04 away where eps is 0 \(2 of 4 rows"):
        run(lambda x, a, n: x + 0.04, Ball("Linf", eps))


def statistics_move(x: Tensor, attack: Attack, net: Net) -> Tensor:
    net.norm.train()
    net(x)
    net.norm.eval()
    return x


def restored_in_place(x: Tensor, attack: Attack, net: Net) -> Tensor:
    with torch.no_grad():
        net.norm.running_mean.copy_(net.norm.running_mean.clone())
    return x


def gradients_left(x: Tensor, attack: Attack, net: Net) -> Tensor:
    net(x).sum().backward()
    return x


def weights_moved(x: Tensor, attack: Attack, net: Net) -> Tensor:
    with torch.no_grad():
        net.linear.weight.mul_(1.0)
    return x


def mode_left(x: Tensor, attack: Attack, net: Net) -> Tensor:
    net.norm.train()
    return x


def torch_drawn(x: Tensor, attack: Attack, net: Net) -> Tensor:
    torch.rand(1)
    return x


def numpy_drawn(x: Tensor, attack: Attack, net: Net) -> Tensor:
    np.random.rand()  # noqa: NPY002 - the mistake
    return x


def python_drawn(x: Tensor, attack: Attack, net: Net) -> Tensor:
    random.random()
    return x


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (statistics_move, "buffer norm.num_batches_tracked of Net changed"),
        (restored_in_place, "buffer norm.running_mean of Net changed"),
        (gradients_left, ".grad of linear.weight of Net changed"),
        (weights_moved, "parameter linear.weight of Net changed"),
        (mode_left, "training flag of a BatchNorm1d was left at True"),
        (torch_drawn, "torch's global generator"),
        (numpy_drawn, "numpy's global generator"),
        (python_drawn, "Python's global generator"),
    ],
)
def test_traces_are_found(change, words):
    with pytest.raises(PluginMisbehaved, match=f"leave no traces, but .*{words}"):
        run(change)


def test_an_attack_in_train_mode_may_move_statistics_and_nothing_else():
    run(statistics_move, statistics_may_change=True)
    with pytest.raises(PluginMisbehaved, match=r"\.grad"):
        run(gradients_left, statistics_may_change=True)
    with pytest.raises(PluginMisbehaved, match=r"training flag"):
        run(mode_left, statistics_may_change=True)


def test_gradients_of_the_training_step_may_be_there_already():
    net, x = Net().eval(), torch.rand(4, 6)
    net(x).sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters()]
    generator = Generator(lambda v, attack: v)
    moved = promises.perturb(generator, "mine", x, attack_on(net, 4, Ball("Linf", 0.1)), modules=[net])
    assert torch.equal(moved, x)
    assert before
    assert all(torch.equal(p.grad, kept) for p, kept in zip(net.parameters(), before, strict=True))
    more = Generator(lambda v, attack: gradients_left(v, attack, net))
    with pytest.raises(PluginMisbehaved, match=r"\.grad"):
        promises.perturb(more, "mine", x, attack_on(net, 4, Ball("Linf", 0.1)), modules=[net])


def test_images_outside_the_range_are_the_users_mistake():
    net, x = Net().eval(), torch.rand(4, 6)
    x[2, 0] = 2.5
    generator = Generator(lambda v, attack: v)
    with pytest.raises(DataError, match=r"within 0 .. 1, but row 2 spans .* .. 2.5.*inside the model"):
        promises.perturb(generator, "mine", x, attack_on(net, 4, Ball("Linf", 0.1)), modules=[net])
    promises.perturb(generator, "mine", x, attack_on(net, 4, Ball("Linf", 0.1, None)), modules=[net])


def test_an_empty_batch_passes():
    net = Net().eval()
    generator = Generator(lambda v, attack: v)
    attack = attack_on(net, 0, Ball("Linf", 0.1))
    assert promises.perturb(generator, "mine", torch.rand(0, 6), attack, modules=[net]).shape == (0, 6)


def scene() -> Scene:
    numbers = torch.arange(4)
    rows = Rows(sample=numbers % 2, view=numbers // 2, label=numbers, index=numbers % 2, z=torch.rand(4, 3))
    batch = Batch(views={}, index=numbers[:2], label=numbers[:2], target={}, position=numbers[:2])
    return Scene(views={}, batch=batch, rows=rows, columns=rows, own=numbers)


class Objective:
    needs = frozenset()
    citation = "a test"
    views = ("a",)
    terms = ("first", "second")

    def __init__(self, values: Any) -> None:
        self.values = values

    def per_sample(self, scene: Scene) -> Any:
        return self.values


def test_terms_come_in_order_and_in_single_precision():
    given = {"second": torch.tensor(1.0, dtype=torch.bfloat16), "first": torch.rand(3, dtype=torch.float64)}
    terms = promises.per_sample(Objective(given), "mine", scene())
    assert list(terms) == ["first", "second"]
    assert terms["second"].dtype == torch.float32
    assert terms["first"].dtype == torch.float64


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(2), "return a mapping, but it returned Tensor"),
        ({"first": torch.zeros(2)}, "return its terms first, second, but it returned first"),
        ({"first": torch.zeros(2), "second": torch.zeros(2), "third": torch.zeros(2)}, "second, third"),
        ({"first": torch.zeros(2), "second": 0.0}, "it is float"),
        ({"first": torch.zeros(2, 2), "second": torch.zeros(2)}, r"its shape is \(2, 2\)"),
        ({"first": torch.zeros(2), "second": torch.zeros(2, dtype=torch.int64)}, "it is torch.int64"),
    ],
)
def test_terms_are_checked(values, words):
    with pytest.raises(PluginMisbehaved, match=words):
        promises.per_sample(Objective(values), "mine", scene())


class Selector:
    needs = frozenset()
    citation = "a test"

    def __init__(self, make: Callable[[Scene], Any]) -> None:
        self.make = make

    def select(self, scene: Scene) -> Any:
        assert not torch.is_grad_enabled()
        return self.make(scene)


OTHERS = ~torch.eye(4, dtype=torch.bool)


def extended(scene: Scene, start: int = 0) -> Rows:
    """The scene's columns with two of a bank behind them."""
    order = torch.tensor([0, 1, 2, 3, 0, 1]).roll(start)
    columns = scene.columns
    return Rows(sample=columns.sample[order], view=columns.view[order], label=order, index=order, z=columns.z[order])


def test_masks_and_weights_pass():
    one = promises.select(Selector(lambda s: Pairs(positive=OTHERS, negative=OTHERS.float() * 0.5)), "mine", scene())
    assert torch.equal(one.positive, OTHERS)
    wide = torch.cat([OTHERS, torch.ones(4, 2, dtype=torch.bool)], 1)
    promises.select(Selector(lambda s: Pairs(positive=wide, negative=wide, columns=extended(s))), "mine", scene())
    other = torch.ones(4, 6, dtype=torch.bool)
    replaced = Selector(lambda s: Pairs(positive=other, negative=other, columns=extended(s, start=1)))
    promises.select(replaced, "mine", scene())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: OTHERS, "return Pairs"),
        (lambda s: Pairs(positive=OTHERS[:, :3], negative=OTHERS), r"positive weights of shape \(4, 4\)"),
        (lambda s: Pairs(positive=OTHERS, negative=OTHERS[:3]), r"negative weights of shape \(4, 4\)"),
        (lambda s: Pairs(positive=OTHERS, negative=OTHERS * -1.0), "row 0 has others"),
        (lambda s: Pairs(positive=OTHERS / 0.0, negative=OTHERS), "finite and not negative"),
        (lambda s: Pairs(positive=~OTHERS, negative=OTHERS), "row 0 is positive to itself"),
        (lambda s: Pairs(positive=OTHERS, negative=~OTHERS), "row 0 is negative to itself"),
        (
            lambda s: Pairs(
                positive=torch.ones(4, 6, dtype=torch.bool),
                negative=torch.ones(4, 6, dtype=torch.bool),
                columns=extended(s),
            ),
            "row 0 is positive to itself",
        ),
    ],
)
def test_pairs_are_checked(make, words):
    with pytest.raises(PluginMisbehaved, match=words):
        promises.select(Selector(make), "mine", scene())


FEATURES = torch.eye(3).repeat(2, 1)


class Target:
    needs = frozenset()
    citation = "a test"

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        solution: dict[str, Any] = {
            "centroids": tuple(torch.eye(3)[:k] for k in clusters),
            "assignment": torch.zeros(len(clusters), len(features), dtype=torch.int64),
            "confidence": torch.ones(len(clusters), len(features)),
            "inertia": (0.0,) * len(clusters),
            "provenance": {},
        }
        return Clustering(**{**solution, **self.changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"centroids": (torch.eye(3), torch.eye(3))}, r"find \(2, 3\) clusters, but it found \(3, 3\)"),
        ({"centroids": (torch.eye(4)[:2], torch.eye(3))}, "centroids of"),
        ({"centroids": (torch.eye(3)[:2] * float("nan"), torch.eye(3))}, "finite centroids for 2 clusters"),
        ({"assignment": torch.zeros(2, 5, dtype=torch.int64)}, r"assignment of shape \(2, 6\)"),
        ({"assignment": torch.zeros(2, 6)}, "int64"),
        ({"assignment": torch.full((2, 6), 2)}, "assign clusters 0 to 1, but row 0"),
        ({"confidence": torch.full((2, 6), float("nan"))}, "finite confidence"),
        ({"confidence": torch.ones(6)}, r"confidence of shape \(2, 6\)"),
        ({"inertia": (0.0,)}, "one inertia for each"),
    ],
)
def test_clusterings_are_checked(changes, words):
    promises.fit(Target(), "mine", FEATURES, (2, 3), Rng(0))
    with pytest.raises(PluginMisbehaved, match=words):
        promises.fit(Target(**changes), "mine", FEATURES, (2, 3), Rng(0))


class View:
    needs = frozenset()
    citation = "a test"

    def __init__(self, draw: Callable[[Tensor], Any], range: tuple[float, float] | None = (0.0, 1.0)) -> None:
        self._draw = draw
        self.range = range

    def draw(self, x: Tensor, rng: Rng) -> Any:
        return self._draw(x)


def test_views_are_clamped_unless_they_declare_no_range():
    x = torch.rand(3, 1, 4, 4)
    image, target = promises.draw(View(lambda v: v * 3 - 1), "mine", x, Rng(0))
    assert (image.min(), image.max()) == (0, 1)
    assert target is None
    free, target = promises.draw(View(lambda v: (v * 3 - 1, torch.arange(3)), None), "mine", x, Rng(0))
    assert torch.equal(free, x * 3 - 1)
    assert torch.equal(target, torch.arange(3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x[:2], "return 3 images, but there are 2"),
        (lambda x: (x, torch.arange(2)), "return 3 targets, but there are 2"),
        (lambda x: x.long(), "floating-point"),
        (lambda x: x / 0 * 0, "finite values, but row 0"),
        (lambda x: x.mul_(0.5), "leave its input alone"),
        (lambda x: x + torch.rand(1), "torch's global generator"),
        (lambda x: None, "return a tensor"),
    ],
)
def test_views_are_checked(make, words):
    with pytest.raises(PluginMisbehaved, match=words):
        promises.draw(View(make), "mine", torch.rand(3, 1, 4, 4), Rng(0))
