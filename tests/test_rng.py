"""A stream is its key: every part of the key counts, rows are their own, and what is drawn has the right shape."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from robustcl.rng import Rng

KEYS = {
    "seed 0": Rng(0),
    "seed 1": Rng(1),
    "a name": Rng(0, "step"),
    "another name": Rng(0, "steps"),
    "a number": Rng(0, 1),
    "the number as text": Rng(0, "1"),
    "two parts": Rng(0, "a", "b"),
    "the other way round": Rng(0, "b", "a"),
    "one part": Rng(0, "ab"),
    "a negative number": Rng(0, -1),
    "a child": Rng(0).child("step"),
    "a child of a child": Rng(0).child("step").child("step"),
    "a large seed": Rng(2**40),
}


def drawn(rng: Rng, how: str) -> Tensor:
    """Draw once, and leave the stream as it was."""
    own = rng.take(torch.arange(0))
    draws = {
        "uniform": lambda: own.uniform((64,)),
        "uniform in double": lambda: own.uniform((64,), dtype=torch.float64),
        "normal": lambda: own.normal((64,)),
        "integers": lambda: own.integers(10**6, (64,)),
        "permutation": lambda: own.permutation(64),
        "generator": lambda: torch.rand(64, generator=own.generator()),
        "seed": lambda: torch.tensor([own.seed()]),
    }
    return draws[how]()


@pytest.mark.parametrize(
    "how", ["uniform", "uniform in double", "normal", "integers", "permutation", "generator", "seed"]
)
def test_every_part_of_a_key_counts_in_everything_that_is_drawn(how: str) -> None:
    numbers = {name: drawn(rng, how) for name, rng in KEYS.items()}
    for one, other in itertools.combinations(numbers, 2):
        assert not torch.equal(numbers[one], numbers[other]), f"{one} and {other}"
    for name, rng in KEYS.items():
        assert torch.equal(drawn(rng, how), numbers[name]), "the same key, the same numbers"
    rng = Rng(0)
    assert not torch.equal(rng.permutation(64), rng.permutation(64)), "successive draws differ"
    assert rng.seed() != rng.seed()


def test_a_row_is_its_name_and_no_two_rows_are_alike() -> None:
    rows = torch.tensor([5, 0, 7, 5, 1 << 41])
    found = Rng(3).for_rows(rows).uniform((5, 40))
    assert torch.equal(found[0], found[3]), "two rows of one name"
    assert len({tuple(row.tolist()) for row in found}) == 4
    assert torch.equal(found[2], Rng(3).for_rows(torch.tensor([7])).uniform((1, 40))[0]), "whoever stands beside it"
    assert not torch.equal(found, Rng(4).for_rows(rows).uniform((5, 40)))
    assert not torch.equal(found[:1], Rng(3).uniform((1, 40))), "rows are streams of their own"
    bound = Rng(3).for_rows(rows)
    assert not torch.equal(bound.uniform((5, 40)), bound.uniform((5, 40)))
    with pytest.raises(ValueError, match=r"a stream of 5 rows cannot draw the shape \(4, 2\)"):
        bound.uniform((4, 2))


def test_some_rows_go_on_where_all_of_them_stood() -> None:
    whole, rows = Rng(3).for_rows(torch.arange(6)), torch.tensor([4, 1])
    whole.uniform((6, 3))
    part = whole.take(rows)
    assert torch.equal(whole.uniform((6, 3))[rows], part.uniform((2, 3)))


def test_drawing_moves_neither_parents_nor_children() -> None:
    rng = Rng(0)
    before = rng.child("a").uniform((8,))
    rng.uniform((8,))
    rng.child("b").uniform((8,))
    assert torch.equal(before, rng.child("a").uniform((8,)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_uniform_numbers_are_uniform_and_below_their_end(dtype: torch.dtype) -> None:
    found = Rng(0).uniform((50_000,), -1.0, 3.0, dtype=dtype).double()
    assert -1.0 <= float(found.min()) < -0.999
    assert 2.97 < float(found.max()) < 3.0
    assert float(found.mean()) == pytest.approx(1.0, abs=0.03)
    shares = torch.histc(found, bins=8, min=-1.0, max=3.0) / len(found)
    assert float((shares - 1 / 8).abs().max()) < 0.01


def test_normal_numbers_are_normal() -> None:
    found = Rng(0).normal((50_000,), dtype=torch.float64)
    assert float(found.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(found.std()) == pytest.approx(1.0, abs=0.02)
    assert float((found.abs() < 1).double().mean()) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)
    neighbours = torch.corrcoef(torch.stack([found[:-1], found[1:]]))[0, 1]
    assert abs(float(neighbours)) < 0.02


def test_permutations_and_integers_reach_every_place() -> None:
    orders = torch.stack([Rng(seed).permutation(6) for seed in range(600)])
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders)
    first = torch.bincount(orders[:, 0], minlength=6)
    assert 60 < int(first.min()) <= int(first.max()) < 140
    assert set(Rng(0).integers(5, (500,)).tolist()) == set(range(5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_normal_numbers_are_box_and_mullers_of_the_same_stream(dtype: torch.dtype) -> None:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    stream = Rng(0, "normal")
    length, turn = stream.uniform((50,), dtype=wide), stream.uniform((50,), high=2 * math.pi, dtype=wide)
    expected = (-2 * (1 - length).log()).sqrt() * turn.cos()
    assert torch.equal(Rng(0, "normal").normal((50,), dtype=dtype), expected.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("high", [1.0, 0.1, 3.0])
def test_a_range_without_room_stays_below_its_end(high: float, dtype: torch.dtype) -> None:
    """The number of ``dtype`` before ``high`` and ``high`` itself: all draws round to one of them."""
    end = torch.tensor(high, dtype=torch.float64)
    below = torch.nextafter(end.to(dtype), torch.tensor(0.0, dtype=dtype))
    drawn = Rng(0, "ends").uniform((2000,), float(below), high, dtype=dtype)
    assert bool((drawn.double() < end).all())
