"""The Square Attack beside naked loops over its paper's algorithms, hand numbers and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcl import promises, registry
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.square import Square, share
from robustcl_plugins.generators.square_moves import MOVES, sparsely_projected
from robustcl_plugins.generators.square_windows import Canvas, Window, bumps

SQUARE = registry.get("attack", "square")

pytestmark = [pytest.mark.golden("generator", "square"), pytest.mark.golden("attack", "square")]
EPS = {"Linf": 0.1, "L2": 0.6, "L1": 2.0}
NORMS = tuple(EPS)


class Net:
    """Three classes by two smooth layers; records what it was asked, and refuses to be differentiated."""

    def __init__(self, item: tuple[int, ...], shift: float = 0.0, dtype: torch.dtype = torch.float64) -> None:
        rng, size = Rng(5, "net", *item), math.prod(item)
        self.first = rng.normal((size, 7), dtype=dtype) * 2 / math.sqrt(size)
        self.second = rng.normal((7, 3), dtype=dtype)
        self.shift, self.asked = shift, []

    def logits(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return torch.sin(3 * x.flatten(1) @ self.first) @ self.second

    def __call__(self, x: Tensor, places: Tensor) -> Embedding:
        logits = self.logits(x)
        self.asked.append((places.clone(), margins(logits, self.label[places], self.shift)))
        return Embedding(
            logits=logits.scatter_add(1, self.label[places][:, None], torch.full_like(logits[:, :1], self.shift))
        )

    def attack(self, x: Tensor, ball: Ball, label: Tensor | None = None, **parts: Any) -> Attack:
        """Label every row as the net itself does, so that all stand; ``shift`` lifts the label's logit."""
        rows = torch.arange(len(x))
        with torch.no_grad():
            self.label = self.logits(x).argmax(1) if label is None else label
        rng = Rng(0, "test").for_rows(rows)
        return Attack(
            oracle=Oracle(encode=self, **parts), ball=ball, rng=rng, label=self.label, index=rows, places=rows
        )


def margins(logits: Tensor, label: Tensor, shift: float) -> Tensor:
    """The label's logit minus the largest other, by a loop."""
    values = []
    for row, y in zip(logits.tolist(), label.tolist(), strict=True):
        values.append(row[y] + shift - max(v for i, v in enumerate(row) if i != y))
    return torch.tensor(values)


def images(rows: int, item: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return Rng(1, "images").uniform((rows, *item), dtype=dtype)


def run(generator: Square, x: Tensor, attack: Attack) -> Tensor:
    return promises.perturb(generator, "square", x, attack, modules=[])


# The oracle: one row, nested loops, the equations of the papers.


def eta(size: int, order: int) -> list[list[float]]:
    """Two pyramids of equation (4), one above the other, of opposite signs and equal length."""

    def pyramid(height: int, width: int) -> list[list[float]]:
        n = max(height, width) // 2
        table = []
        for r in range(1, height + 1):
            line = []
            for s in range(1, width + 1):
                reach = n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1))
                line.append(sum(1 / (n + 1 - k) ** (2 if order == 2 else 4) for k in range(reach + 1)))
            table.append(line)
        return unit(table)

    def unit(table: list[list[float]]) -> list[list[float]]:
        length = sum(abs(v) ** order for line in table for v in line) ** (1 / order)
        return [[v / length for v in line] for line in table]

    upper = pyramid(size // 2, size) if size > 1 else []
    return unit(upper + [[-v for v in line] for line in pyramid(size - size // 2, size)])


def turned(table: list[list[float]], number: float) -> list[list[float]]:
    return [list(line) for line in zip(*table, strict=True)] if number >= 0.5 else table


def sign(number: float) -> float:
    return -1.0 if number < 0.5 else 1.0


class ByHand:
    """Square Attack on one image (C, T, H, W) with the numbers of one row."""

    def __init__(self, x: Tensor, norm: str, eps: float) -> None:
        self.x, self.norm, self.eps = x, norm, eps
        self.order = 1 if norm == "L1" else 2
        self.c, self.t, self.h, self.w = x.shape

    def start(self, numbers: Tensor) -> Tensor:
        delta = torch.zeros_like(self.x)
        if self.norm == "Linf":
            for c in range(self.c):
                for w in range(self.w):
                    delta[c, :, :, w] = self.eps * sign(float(numbers[c, w]))
            return (self.x + delta).clamp(0, 1)
        side = max(min(self.h, self.w) // 5, 1)
        down, across = self.h // side, self.w // side
        for i in range(down):
            for j in range(across):
                tile = turned(eta(side, self.order), float(numbers[self.c, i, j]))
                top, left = (self.h - down * side) // 2 + i * side, (self.w - across * side) // 2 + j * side
                for c in range(self.c):
                    for a in range(side):
                        for b in range(side):
                            delta[c, :, top + a, left + b] = sign(float(numbers[c, i, j])) * tile[a][b]
        length = float(delta.abs().pow(self.order).sum() ** (1 / self.order))
        return self.inside(delta * (self.eps / length if self.order == 2 else max(self.eps * self.c / length, 1.0)))

    def propose(self, best: Tensor, p: float, numbers: list[float]) -> Tensor:
        if self.norm == "Linf":
            side = max(round(math.sqrt(p * self.h * self.w)), 1)
            top, left = int(numbers[0] * (self.h - side + 1)), int(numbers[1] * (self.w - side + 1))
            new = best.clone()
            for c in range(self.c):
                window = (c, slice(None), slice(top, top + side), slice(left, left + side))
                new[window] = (self.x[window] + self.eps * sign(numbers[2 + c])).clamp(0, 1)
            return new
        side = max(round(math.sqrt(p * self.h * self.w)), 3)
        side = min(side + 1 - side % 2, self.h)
        places = [int(number * (edge - side + 1)) for number, edge in zip(numbers, [self.h, self.w] * 2, strict=False)]
        first, second = torch.zeros(2, self.h, self.w, dtype=torch.bool)
        first[places[0] : places[0] + side, places[1] : places[1] + side] = True
        second[places[2] : places[2] + side, places[3] : places[3] + side] = True
        return self.exchange(
            best - self.x, first, second, torch.tensor(turned(eta(side, self.order), numbers[4])), numbers[5:]
        )

    def exchange(self, delta: Tensor, first: Tensor, second: Tensor, bump: Tensor, signs: list[float]) -> Tensor:
        """The loop of Algorithm 3 over the channels."""

        def length(values: Tensor) -> float:
            return float(values.abs().pow(self.order).sum())

        unused = max(self.eps**self.order - length(delta), 0.0)
        new = delta.clone()
        bump = bump.flatten().double() / self.t ** (1 / self.order)
        for c in range(self.c):
            old = delta[c][:, first]
            mixed = sign(signs[c]) * bump + old / max(length(old) ** (1 / self.order), 1e-300)
            available = length(delta[c][:, first | second]) + unused / self.c
            available = (available * (self.c if self.order == 1 else 1)) ** (1 / self.order)
            new[c][:, second] = 0.0
            new[c][:, first] = mixed / length(mixed) ** (1 / self.order) * available
        return self.inside(new)

    def inside(self, delta: Tensor) -> Tensor:
        """L2: cut by the range. L1: projected, the threshold by bisection."""
        if self.order == 2:
            return (self.x + delta).clamp(0, 1)
        room = torch.where(delta > 0, 1 - self.x, self.x)
        low, high = 0.0, float(delta.abs().max())
        if float(delta.abs().minimum(room).sum()) <= self.eps:
            high = 0.0
        for _ in range(200):
            middle = (low + high) / 2
            if float((delta.abs() - middle).clamp(min=0).minimum(room).sum()) > self.eps:
                low = middle
            else:
                high = middle
        return self.x + delta.sign() * (delta.abs() - high).clamp(min=0).minimum(room)


@pytest.mark.parametrize("item", [(2, 1, 11, 11), (3, 2, 6, 6)])
@pytest.mark.parametrize(("norm", "eps"), [*EPS.items(), ("L1", 60.0)])
def test_one_row_is_the_papers_algorithm_in_naked_loops(norm, eps, item):
    queries = 90
    net = Net(item, shift=50.0)
    x = images(3, item)
    attack = net.attack(x, Ball(norm, eps))
    adv = run(Square(queries=queries), x, attack)
    assert len(net.asked) == queries + 1
    row, by_hand = 1, ByHand(x[1], norm, eps)
    rng = attack.rng.child("restart", 0)
    side = max(min(item[2:]) // 5, 1)
    width, shape = (
        (2 + item[0], (item[0], item[3]))
        if norm == "Linf"
        else (5 + item[0], (item[0] + 1, item[2] // side, item[3] // side))
    )
    start = rng.uniform((3, *shape))[row]
    numbers = torch.cat([rng.uniform((3, 64, width)), rng.uniform((3, 64, width))], 1)[row].tolist()
    best, accepted = by_hand.start(start), 0
    with torch.no_grad():
        lowest = margins(net.logits(best[None]), net.label[row : row + 1], 0.0)
        for query in range(1, queries):
            p = 0.8
            for halving in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
                p = p / 2 if query * 10000 // queries > halving else p
            candidate = by_hand.propose(best, p, numbers[query - 1])
            margin = margins(net.logits(candidate[None]), net.label[row : row + 1], 0.0)
            if margin < lowest:
                best, lowest, accepted = candidate, margin, accepted + 1
    assert accepted > 5
    torch.testing.assert_close(adv[row], best, rtol=0, atol=1e-6)


def test_the_share_is_halved_after_the_published_queries():
    by_hand = {1: 0.8, 10: 0.8, 11: 0.4, 50: 0.4, 51: 0.2, 200: 0.2, 201: 0.1, 500: 0.1, 501: 0.05, 1000: 0.05}
    by_hand |= {1001: 0.025, 2000: 0.025, 2001: 0.0125, 4001: 0.00625, 6001: 0.003125, 8000: 0.003125, 8001: 0.0015625}
    for query, p in by_hand.items():
        assert share(0.8, query, 10_000) == pytest.approx(p, rel=1e-12), query
    assert [share(1.0, query, 5000) for query in (5, 6, 25, 26, 4000, 4001)] == [1, 0.5, 0.5, 0.25, 2**-8, 2**-9]
    assert share(1.0, 99, 100) == 2**-9


def test_windows_have_the_published_sides_and_fit_any_plane():
    image = Canvas.of((3, 32, 32))
    sides = [image.window(p)[0] for p in (0.8, 0.4, 0.2, 0.1, 0.05, 0.0015625)]
    assert sides == [29, 20, 14, 10, 7, 1]
    assert [image.window(p, 3, odd=True)[0] for p in (0.8, 0.4, 0.2, 0.1, 0.05, 0.0015625)] == [29, 21, 15, 11, 7, 3]
    assert Canvas.of((1, 8, 8)).window(1.0, 3, odd=True) == (8, 8)
    assert Canvas.of((10,)).window(0.5) == (1, 5), "a flat item keeps the area"
    assert Canvas.of((1, 4, 10)).window(0.8) == (4, 8)
    assert Canvas.of((1, 10, 4)).window(0.8) == (8, 4)
    assert Canvas.of((2, 3, 4, 5)) == Canvas(channels=2, frames=3, height=4, width=5)


def test_a_window_covers_what_its_place_says_and_reaches_every_corner():
    canvas = Canvas.of((1, 3, 4))
    numbers = torch.tensor([[0.0, 0.0], [0.999, 0.999], [0.5, 0.34]])
    window = Window.placed(canvas, (2, 2), numbers)
    assert window.cells().flatten(1).tolist() == [[0, 1, 4, 5], [6, 7, 10, 11], [5, 6, 9, 10]]
    other = Window.placed(canvas, (2, 2), numbers[[2, 2, 2]])
    assert window.covers(other).flatten(1).tolist() == [
        [True, False, False, False],
        [False, True, False, True],
        [True] * 4,
    ]


def test_bumps_by_hand():
    across, along = bumps((3, 3), 2, torch.float64, torch.device("cpu"))
    a, b = 1 / math.sqrt(2 * 1.6875), 1 / math.sqrt(2 * 1.875)
    expected = torch.tensor(
        [[a / 4, 5 * a / 4, a / 4], [-b / 4] * 3, [-b / 4, -5 * b / 4, -b / 4]], dtype=torch.float64
    )
    torch.testing.assert_close(across, expected)
    torch.testing.assert_close(along, expected.T)
    sparse = bumps((3, 3), 1, torch.float64, torch.device("cpu"))[0]
    a, b = 1 / (2 * 1.1875), 1 / (2 * 1.375)
    torch.testing.assert_close(sparse[0], torch.tensor([a / 16, 17 * a / 16, a / 16], dtype=torch.float64))
    torch.testing.assert_close(sparse[2], torch.tensor([-b / 16, -17 * b / 16, -b / 16], dtype=torch.float64))
    assert bumps((1, 1), 2, torch.float64, torch.device("cpu")).flatten().tolist() == [-1.0, -1.0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.floats(0.0, 20.0), bounded=st.booleans(), dense=st.booleans())
def test_the_projection_in_l1_is_the_exact_one(seed, eps, bounded, dense):
    rng = Rng(seed)
    x = rng.uniform((4, 2, 1, 9), dtype=torch.float64)
    delta = 3 * rng.normal(x.shape, dtype=torch.float64)
    delta = torch.where(rng.uniform(x.shape) < (1.0 if dense else 0.3), delta, 0.0)
    ball = Ball("L1", torch.linspace(0.0, eps, 4).double(), (0.0, 1.0) if bounded else None)
    adv = sparsely_projected(delta, x, ball)
    torch.testing.assert_close(adv, ball.project(x + delta, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_a_row_depends_on_no_neighbour_whoever_leaves(norm):
    item, rows = (2, 8, 8), 8
    net, x = Net(item, dtype=torch.float32), images(rows, item, torch.float32)
    attack = net.attack(x, Ball(norm, torch.linspace(0.2, 1.5, rows) * EPS[norm]))
    whole = run(Square(queries=150, restarts=2), x, attack)
    standing = [len(places) for places, _ in net.asked]
    assert len(set(standing[1:])) >= 3, f"the rows must leave one after the other: {sorted(set(standing))}"
    assert 0 < standing[-1] < rows
    for row in range(rows):
        only = torch.tensor([row])
        torch.testing.assert_close(
            run(Square(queries=150, restarts=2), x[only], attack.take(only)), whole[only], rtol=0, atol=1e-6
        )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    norm=st.sampled_from(NORMS),
    item=st.sampled_from([(1, 1, 1), (3, 5, 4), (2, 3, 4, 4), (9,), (1, 2, 13)]),
    scale=st.floats(0.0, 4.0),
    bounds=st.sampled_from([(0.0, 1.0), (-2.0, 3.0), None]),
)
def test_the_result_is_in_ball_and_range_and_never_worse(seed, norm, item, scale, bounds):
    x = Rng(seed).uniform((3, *item))
    net = Net(item, dtype=torch.float32)
    attack = net.attack(x, Ball(norm, scale * EPS[norm] * torch.tensor([0.0, 0.5, 1.0]), bounds))
    adv = run(Square(queries=20), x, attack)
    assert torch.equal(adv[0], x[0]) or torch.allclose(adv[0], x[0], rtol=0, atol=1e-6)
    with torch.no_grad():
        after, before = (margins(net.logits(v), net.label, 0.0) for v in (adv, x))
    assert bool((after <= before + 1e-6).all())


@pytest.mark.parametrize("norm", NORMS)
def test_the_result_is_the_best_of_all_that_was_asked(norm):
    item = (2, 7, 7)
    net, x = Net(item, shift=50.0), images(4, item)
    adv = run(Square(queries=60, restarts=2), x, net.attack(x, Ball(norm, EPS[norm])))
    asked = torch.stack([margin for _, margin in net.asked])
    assert asked.shape == (1 + 2 * 60, 4), "one forward pass for each query"
    with torch.no_grad():
        torch.testing.assert_close(margins(net.logits(adv), net.label, 50.0), asked.amin(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "item", "reached"),
    [("Linf", (2, 6, 6), 0.99), ("Linf", (24,), 0.99), ("L2", (2, 6, 6), 0.6), ("L1", (2, 6, 6), 0.6)],
)
def test_a_linear_margin_falls_nearly_as_far_as_the_ball_allows(norm, item, reached):
    size, eps = math.prod(item), 0.1 * EPS[norm]
    weight = Rng(7).normal((size,))
    x, rows = torch.full((2, *item), 0.5), torch.arange(2)

    def encode(v: Tensor, places: Tensor) -> Embedding:
        score = v.flatten(1) @ weight
        return Embedding(logits=torch.stack([score + 90, -score], 1))

    attack = Attack(
        oracle=Oracle(encode=encode),
        ball=Ball(norm, eps),
        rng=Rng(0).for_rows(rows),
        label=rows * 0,
        index=rows,
        places=rows,
    )
    adv = run(Square(queries=1500), x, attack)
    dual = {"Linf": 1.0, "L2": 2.0, "L1": math.inf}[norm]
    drop = (x - adv).flatten(1) @ weight / (eps * torch.linalg.vector_norm(weight, ord=dual))
    assert bool((drop >= reached).all()), drop
    assert bool((drop <= 1 + 1e-4).all()), drop


def test_a_model_without_a_gradient_is_broken_and_fooled_rows_leave_with_their_point():
    item, rows = (1, 6, 6), torch.arange(6)
    x, calls = images(6, item, torch.float32), []

    def encode(v: Tensor, places: Tensor) -> Embedding:
        assert not torch.is_grad_enabled()
        calls.append(len(v))
        score = torch.round(v.flatten(1).sum(1) * 4) / 4
        return Embedding(logits=torch.stack([score, torch.full_like(score, 18.0)], 1))

    label = (x.flatten(1).sum(1) < 18.0).long()
    attack = Attack(
        oracle=Oracle(encode=encode),
        ball=Ball("Linf", 0.15),
        rng=Rng(0).for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )
    adv = run(Square(queries=300), x, attack)
    assert bool((((adv.flatten(1).sum(1) * 4).round() / 4 < 18.0).long() != label).any())
    assert calls == sorted(calls, reverse=True)
    assert calls[-1] < 6


def test_rows_misclassified_at_the_start_are_left_alone():
    item = (1, 5, 5)
    net, x = Net(item), images(4, item)
    right = net.attack(x, Ball("Linf", 0.01)).label
    wrong = torch.where(torch.tensor([True, False, True, False]), (right + 1) % 3, right)
    adv = run(Square(queries=5), x, net.attack(x, Ball("Linf", 0.01), wrong))
    assert torch.equal(adv[[0, 2]], x[[0, 2]])
    assert all(set(places.tolist()) <= {1, 3} for places, _ in net.asked[1:])


def test_a_row_leaves_only_when_the_judge_confirms():
    item = (1, 5, 5)
    net, x = Net(item), images(3, item)
    asked: list[list[int]] = []

    def breaks(v: Tensor, places: Tensor) -> Tensor:
        asked.append(places.tolist())
        return places == 1

    attack = net.attack(
        x,
        Ball("Linf", 0.05),
        fooled=lambda e, places: torch.full_like(places, True, dtype=torch.bool),
        breaks=breaks,
    )
    run(Square(queries=7), x, attack)
    assert asked == [[0, 1, 2], *[[0, 2]] * 7]
    assert [places.tolist() for places, _ in net.asked] == [[0, 1, 2], *[[0, 2]] * 7]


def test_the_member_is_called_square_and_its_options_arrive():
    ((name, usual),) = SQUARE().members(10, Ball("L2", 0.5))
    assert (name, usual.queries, usual.p_init, usual.restarts) == ("square", 5000, 0.8, 1)
    ((_, given_),) = SQUARE(queries=7, restarts=2).members(10, Ball("L2", 0.5))
    assert (given_.queries, given_.restarts) == (7, 2)


def test_other_shapes_are_refused():
    net, x = Net((2, 1, 2, 1, 5)), images(2, (2, 1, 2, 1, 5))
    with pytest.raises(UsageError, match=r"not items of shape \(2, 1, 2, 1, 5\)"):
        Square(queries=2).perturb(x, net.attack(x, Ball("Linf", 0.1)))


def test_autoattack_keeps_the_published_numbers_of_queries():
    ((_, generator),) = SQUARE().members(10, Ball("Linf", 0.1))
    assert (generator.queries, generator.rescale) == (5000, False)
    x, asked = torch.full((1, 3, 10, 10), 0.5), []

    class Watched(type(MOVES["Linf"])):  # type: ignore[misc]
        def propose(self, clean, best, ball, canvas, share, numbers):
            asked.append(share)
            return super().propose(clean, best, ball, canvas, share, numbers)

    rows = torch.arange(1)
    oracle = Oracle(encode=lambda v, places: Embedding(logits=torch.tensor([[1.0, 0.0]]).expand(len(v), 2)))
    rng = Rng(0).for_rows(rows)
    attack = Attack(oracle=oracle, ball=Ball("Linf", 0.1), rng=rng, label=rows, index=rows, places=rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustcl_plugins.generators.square.MOVES", {"Linf": Watched()})
        for rescale in (False, True):
            Square(queries=60, p_init=0.8, rescale=rescale).perturb(x, attack)
    plain, rescaled = asked[:59], asked[59:]
    assert [plain.count(p) for p in (0.8, 0.4, 0.2)] == [10, 40, 9]
    assert set(rescaled) == {0.8 * 0.5**n for n in range(2, 10)}
