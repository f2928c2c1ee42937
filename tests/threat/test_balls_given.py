"""Balls, projections and draws of what people and plugins hand over: odd radii, ranges, types, shapes and layouts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball, excess
from robustcl.threat.newton import scaled_to_length, soft_threshold, thresholded_to_length
from robustcl.threat.shrink import shrink_l2

NORMS = ("Linf", "L2", "L1")
RADIUS = {"Linf": 0.1, "L2": 0.5, "L1": 2.0}


def _images(rows: int = 6, item: tuple[int, ...] = (3, 4, 4), seed: int = 0) -> Tensor:
    return torch.rand((rows, *item), generator=torch.Generator().manual_seed(seed))


def _noise(like: Tensor, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    return (scale * drawn).to(like.dtype)


@pytest.mark.parametrize(
    ("eps", "words"),
    [
        (math.nan, "not a distance"),
        (-0.1, "not a distance"),
        (math.inf, "not a distance"),
        (np.float32("nan"), "not a distance"),
        (torch.tensor(-1.0), "not a distance"),
        (True, "is no radius"),
        (None, "is no radius"),
        ([0.1, 0.2], "is no radius"),
        (torch.tensor([1, 2]), "is no radius"),
        (torch.zeros(2, 2), "is no radius"),
        (1j, "is no radius"),
    ],
)
def test_a_ball_is_made_of_a_radius(eps, words):
    with pytest.raises(UsageError, match=words):
        Ball("L2", eps)


@pytest.mark.parametrize("eps", [np.float32(0.5), np.array(0.5), torch.tensor(0.5), "1/2", np.float16(0.5)])
def test_single_numbers_of_any_kind_are_one_radius(eps):
    assert Ball("L2", eps) == Ball("L2", 0.5)
    assert Ball("L2", eps).take(torch.tensor([1, 0])) == Ball("L2", 0.5)


@pytest.mark.parametrize("bounds", [(1, 0), (0.5, 0.5), (0, math.nan), (-math.inf, 1), (0, 1, 2), "01", 1.0])
def test_a_ball_is_made_of_a_range(bounds):
    with pytest.raises(UsageError, match="range"):
        Ball("L2", 0.5, bounds)


@pytest.mark.parametrize("norm", ["linf", "L3", "", None, 2])
def test_a_ball_is_made_of_a_norm(norm):
    with pytest.raises(UsageError, match="write one of Linf, L2, L1"):
        Ball(norm, 0.5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("wrong", ["byte", "long", "bool", "complex64"])
def test_inputs_are_floats(norm, wrong):
    x = _images()
    odd = (x * 255).to(getattr(torch, {"byte": "uint8", "long": "int64"}.get(wrong, wrong)))
    ball = Ball(norm, RADIUS[norm])
    for call in (
        lambda: ball.project(odd, odd),
        lambda: ball.project(x, odd),
        lambda: ball.project(odd, x),
        lambda: ball.sample(odd, Rng(0)),
        lambda: ball.ascend(odd, x, 0.1),
        lambda: ball.distance(odd, x),
        lambda: ball.contains(x, odd),
    ):
        with pytest.raises(UsageError, match=r"no batch \(R, \*item\) of floats: divide integers by 255"):
            call()


@pytest.mark.parametrize("norm", NORMS)
def test_shapes_that_do_not_fit(norm):
    x = _images()
    with pytest.raises(UsageError, match="give row for row"):
        Ball(norm, 0.1).project(x[:3], x)
    with pytest.raises(UsageError, match="give row for row"):
        Ball(norm, 0.1).contains(x[:1], x)
    with pytest.raises(UsageError, match="3 radii do not fit 6 rows"):
        Ball(norm, torch.full((3,), 0.1)).project(x, x)
    with pytest.raises(UsageError, match="no batch"):
        Ball(norm, 0.1).project(x[0, 0, 0], x[0, 0, 0])
    with pytest.raises(UsageError, match="ndarray are no batch"):
        Ball(norm, 0.1).project(x.numpy(), x.numpy())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("item", [(1,), (7,), (2, 3), (1, 4, 4), (2, 1, 3, 2), (1, 2, 1, 3, 2)])
def test_items_of_any_shape_are_rows_of_numbers(norm, item):
    x = _images(5, item)
    adv = x + _noise(x)
    ball = Ball(norm, RADIUS[norm])
    assert torch.equal(ball.project(adv, x), ball.project(adv.flatten(1), x.flatten(1)).view_as(x))
    assert ball.project(adv[:0], x[:0]).shape == x[:0].shape


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_layouts_and_graphs_change_nothing(norm):
    x = _images(40, (3, 20, 20))
    adv, ball = x + _noise(x, 0.2), Ball(norm, RADIUS[norm])
    found = ball.project(adv, x)
    last = torch.channels_last
    pairs = [
        (adv.to(memory_format=last), x.to(memory_format=last)),
        (adv.to(memory_format=last), x),
        (adv.transpose(2, 3).contiguous().transpose(2, 3), x),
        (adv.clone().requires_grad_(), x.clone().requires_grad_()),
    ]
    for far, base in pairs:
        before = far.detach().clone()
        again = ball.project(far, base)
        assert not again.requires_grad
        torch.testing.assert_close(again, found, rtol=0, atol=1e-7)
        assert torch.equal(far, before)
    assert ball.project(*pairs[0]).is_contiguous(memory_format=last)


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_a_row_does_not_depend_on_its_neighbours(norm):
    """Also where rows are taken in blocks, and where some leave the range and others do not."""
    x = _images(97, (3, 32, 32))
    x[::3] = x[::3] / 2 + 0.25
    adv, ball = x + _noise(x, 0.02), Ball(norm, {"L2": 0.5, "L1": 12.0}[norm])
    together = ball.project(adv, x)
    for rows in (torch.tensor([0, 3, 96]), torch.tensor([1, 5]), torch.tensor([50])):
        assert torch.equal(ball.project(adv[rows], x[rows]), together[rows])
    single = ball.project(adv.double(), x.double())
    torch.testing.assert_close(together, single.float(), rtol=0, atol=1.5e-7)
    assert bool(((single - x.double()).flatten(1).norm(p={"L2": 2, "L1": 1}[norm], dim=1) <= ball.eps + 1e-12).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("norm", NORMS)
def test_an_infinite_entry_lies_farther_than_any_other(norm, dtype):
    x = torch.full((4, 4), 0.5, dtype=dtype)
    inf = math.inf
    rows = [[inf, 0.5, 0.6, 0.4], [-inf, inf, 0.5, 0.5], [0.5, 0.5, inf, 0.1], [math.nan] + [0.5] * 3]
    adv = torch.tensor(rows, dtype=torch.float64)
    found = Ball(norm, 0.2).project(adv.to(dtype), x) - 0.5
    near = {
        "Linf": [[0.2, 0.0, 0.1, -0.1], [-0.2, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, -0.2]],
        "L2": [[0.2, 0.0, 0.0, 0.0], [-0.2 * 0.5**0.5, 0.2 * 0.5**0.5, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0]],
        "L1": [[0.2, 0.0, 0.0, 0.0], [-0.1, 0.1, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0]],
    }[norm]
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found[:3], torch.tensor(near, dtype=torch.float64).to(dtype), rtol=0, atol=tolerance)
    assert bool(found[3].isnan().any())
    assert Ball(norm, 0.2).contains(found + 0.5, x).tolist() == [True] * 3 + [False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_an_infinite_entry_leaves_goes_to_the_others(dtype):
    """The first entry is full at 0.1, the rest of the radius is shared by 3 and 4."""
    x = torch.tensor([[0.9, 0.5, 0.5]], dtype=dtype)
    adv = torch.tensor([[math.inf, 3.5, 4.5]], dtype=dtype)
    rest = 0.25**0.5
    found = Ball("L2", (0.01 + rest**2 * 0.25) ** 0.5).project(adv, x)
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0.5 + 0.15, 0.5 + 0.2], dtype=dtype), rtol=0, atol=1e-6)


@pytest.mark.parametrize("entries", [784, 1021, 3072])
def test_long_rows_keep_their_length(entries):
    """In pieces of at most 64 where the row can be cut, and as a whole where it is prime."""
    x = torch.full((3, entries), 0.5)
    adv = x + _noise(x, 0.01)
    moved = Ball("L2", 0.1).project(adv, x) - x
    assert (moved.double().norm(dim=1) / 0.1).tolist() == pytest.approx([1.0] * 3, abs=3e-7)


def test_what_is_full_stays_full():
    """The range fills the radius to the last bit: what is left for the free entry is nothing, and no less."""
    for first, second in ((0.6, 0.8), (0.28, 0.96), (5 / 13, 12 / 13), (0.6, 0.8 * (1 + 2**-52))):
        size = torch.tensor([[10 * first, 10 * second, 1e-9]], dtype=torch.float64)
        room = torch.tensor([[first, second, 1.0]], dtype=torch.float64)
        found = scaled_to_length(size, room, torch.ones(1, 1, dtype=torch.float64))[0]
        assert found[:2].tolist() == pytest.approx([first, second], rel=1e-12)
        assert 0.99e-10 <= float(found[2]) < 1e-7  # at the scale that fills the others, or what rounding leaves
        x = torch.tensor([[1.0 - first, 1.0 - second, 0.5]], dtype=torch.float64)
        point = shrink_l2(x + size, x, 1.0, (0.0, 1.0))[0]
        assert point[:2].tolist() == pytest.approx([1.0, 1.0], rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e12, 1e30, 1e300])
def test_thresholds_of_sizes_far_beyond_the_radius(scale):
    size = scale * torch.tensor([[1.0, 1.0, 1.0, 0.5], [1.0, 0.5, 0.25, 0.0]], dtype=torch.float64)
    eps = torch.full((2, 1), 0.3, dtype=torch.float64)
    expected = torch.tensor([[0.1, 0.1, 0.1, 0.0], [0.3, 0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(soft_threshold(size, eps), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(thresholded_to_length(size, size, eps), expected, rtol=0, atol=1e-9)


def test_sparse_moves_are_compacted_without_a_change():
    size = torch.zeros(4, 2000, dtype=torch.float64)
    size[:, ::40] = torch.rand((4, 50), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    size[3, :40] = 0.9
    room, eps = size * 0.3, torch.full((4, 1), 2.0, dtype=torch.float64)
    full, place = thresholded_to_length(size, room, eps), (size > 0).any(0).nonzero()[:, 0]
    torch.testing.assert_close(full[:, place], thresholded_to_length(size[:, place], room[:, place], eps))
    assert full.sum(1).tolist() == pytest.approx([2.0] * 4, rel=1e-12)
    assert float(full.sum()) == pytest.approx(float(full[:, place].sum()))


@pytest.mark.parametrize(
    ("low", "high"), [(2.0, 3.0), (0.0, 1.0), (-1.0, 1.0), (1e6, 1e6 + 1), (-3.0, -2.0), (0.0, 2 * math.pi)]
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_uniform_draws_stay_below_the_upper_end(low, high, dtype, monkeypatch):
    if dtype == torch.float16 and low > 1e4:
        pytest.skip("no number of float16")
    monkeypatch.setattr(Rng, "_bits", lambda self, shape, device: torch.full(tuple(shape), -1, dtype=torch.int64))
    drawn = Rng(0).uniform((3,), low, high, dtype=dtype)  # the largest bits there are
    ends = torch.tensor([low, high], dtype=torch.float64).to(dtype)
    assert float(drawn.max()) < high or ends[0] == ends[1]
    assert float(drawn.min()) >= float(ends[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_uniform_draw_from_one_number_is_that_number(dtype):
    assert Rng(0).uniform((4,), 1.0, 1.0, dtype=dtype).tolist() == [1.0] * 4
    assert Rng(0).uniform((4,), 0.5, 0.5 + 1e-18, dtype=dtype).tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("over", "words"),
    [(1e-7, "above 1 by 1e-07"), (0.999e-3, "above 1 by 0.001: clamp"), (1.001e-3, ""), (0.05, ""), (0.2, "")],
)
def test_only_what_rounding_can_add_is_told_as_an_excess(over, words):
    values = torch.tensor([0.0, 1.0 + over], dtype=torch.float64)
    assert excess(values, (0.0, 1.0)).startswith(words)
    assert bool(excess(values, (0.0, 1.0))) == bool(words)
    both = torch.tensor([-1e-6, 255.0 + 1e-5], dtype=torch.float64)
    assert excess(both, (0.0, 255.0)) == "below 0 by 1e-06 and above 255 by 1e-05: clamp them, x.clamp(0, 255)"
