"""What projections are made of, each piece by its numbers: lengths, thresholds, rows that are told apart, layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl.threat import newton, shrink
from robustcl.threat.shrink import shrink_l1, shrink_l2

EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float32).tiny
PROJECTIONS = [shrink_l2, shrink_l1]


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("entries", "width"), [
    (3072, 64), (1024, 64), (784, 56), (1080, 60), (16 * 1009, 16), (15 * 1009, 1), (63 * 1009, 63), (65, 1),
    (1009, 1), (16, 16), (15, 1),
])  # fmt: skip
def test_rows_are_cut_into_the_widest_equal_pieces_of_16_to_64(entries: int, width: int) -> None:
    assert newton._piece(entries) == width


def exact(row: Tensor) -> float:
    return math.sqrt(math.fsum(value * value for value in row.double().tolist()))


@pytest.mark.parametrize(("entries", "dtype", "digits"), [
    (3, torch.float32, 1e-15), (512, torch.float32, 1e-15), (1023, torch.float32, 1e-15), (1024, torch.float32, 1e-7),
    (3072, torch.float32, 1e-7), (512, torch.float64, 1e-15), (4096, torch.float64, 1e-15),
    (2053, torch.float32, 1e-15),
])  # fmt: skip
def test_lengths_are_of_double_precision_and_those_of_wide_single_ones_of_pieces(
    entries: int, dtype: torch.dtype, digits: float
) -> None:
    move = drawn(2, entries, dtype=dtype) - 0.5
    found = newton.length(move)
    assert found.dtype == torch.float64
    assert found.shape == (2, 1)
    for row, length in zip(move, found[:, 0].tolist(), strict=True):
        assert length == pytest.approx(exact(row), rel=4 * digits, abs=0.0)
    if digits == 1e-7:
        by_pieces = [[float(torch.linalg.vector_norm(part)) for part in row.split(64)] for row in move]
        assert found[:, 0].tolist() == pytest.approx([math.hypot(*parts) for parts in by_pieces], rel=1e-14)


def test_what_no_threshold_lets_through_is_left_out_of_wide_rows() -> None:
    """Row 0 keeps 1, 2 and 3 of its zeros; row 1 nothing, for what equals the threshold is nothing above it."""
    size = torch.zeros(2, 256, dtype=torch.float64)
    size[0, [7, 90, 255]] = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    size[1, :200] = 5.0
    kept, other = newton._compact(size, column(0.0, 5.0), size * 10)
    assert kept.tolist() == [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    assert other.tolist() == [[10.0, 20.0, 30.0], [0.0, 0.0, 0.0]]
    narrow = size[:, :255]
    assert newton._compact(narrow, column(0.0, 5.0))[0] is narrow
    for above, shorter in ((64, True), (65, False)):  # a quarter of 256, and more
        some = torch.zeros(1, 256, dtype=torch.float64)
        some[0, :above] = 1.0
        assert (newton._compact(some, column(0.0))[0].shape[1] == above) == shorter


def test_values_of_rows_are_laid_out_side_by_side_with_zeros_behind() -> None:
    row = torch.tensor([0, 2, 2, 2, 3])
    value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    first, second = newton._padded(row, 5, value, -value)
    assert first.tolist() == [[1, 0, 0], [0, 0, 0], [2, 3, 4], [5, 0, 0], [0, 0, 0]]
    assert torch.equal(second, -first)


@pytest.mark.parametrize(("share", "entries", "coarse"), [
    (0.999, 1, False), (1.001, 1, True), (0.5, 3, True), (0.3, 3, False), (0.0, 1, False),
])  # fmt: skip
def test_thresholds_are_coarse_where_their_rounding_is_a_billionth_of_the_radius(
    share: float, entries: int, coarse: bool
) -> None:
    eps = column(0.25, 0.25)
    threshold = torch.cat([column(0.0), share * 1e-9 * eps[:1] / EPS])
    assert newton._coarse(threshold, torch.zeros(2, entries), eps).tolist() == ([1] if coarse else [])


def test_what_is_too_long_is_scaled_and_what_is_short_stays() -> None:
    move = torch.tensor([[1.0, 3.0], [1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    assert newton._no_longer(move, column(2.0, 5.0, 0.0)).tolist() == [[0.5, 1.5], [1.0, 3.0], [0.0, 0.0]]


def test_a_divisor_is_no_smaller_than_the_least_of_its_type() -> None:
    for dtype in (torch.float32, torch.float64):
        least = torch.finfo(dtype).tiny
        value = torch.tensor([-1.0, 0.0, least / 2, 2 * least, 3.0], dtype=dtype)
        assert newton.positive(value).tolist() == [least, least, least, 2 * least, 3.0]


def test_entries_that_the_range_cuts_are_known_with_their_size_and_room() -> None:
    """The first leaves above, the third has no room below, the last leaves below; the fourth stays and is free."""
    x = torch.tensor([[0.5, 0.5, 0.0, 0.25, 0.125], [0.5, 0.5, 0.5, 0.5, 0.5]])
    adv = torch.tensor([[2.0, 0.5, -1.0, 0.5, -0.5], [0.0, 1.0, 0.5, 0.5, 0.5]])
    known = newton.known_entries(adv, x, (0.0, 1.0))
    assert known.free.tolist() == [[0.25], [pytest.approx(0.5**0.5)]]
    assert known.row.tolist() == [0, 0]
    assert known.size.tolist() == [1.5, 0.625]
    assert known.room.tolist() == [0.5, 0.125]
    assert {value.dtype for value in (known.free, known.size, known.room)} == {torch.float64}


def test_scales_at_which_a_cut_move_has_its_length() -> None:
    """3 of room 0.6 and 1 free: s^2 + 0.36 = 1 at s = 0.8. Below the room, 10 s^2 = 0.1. Inside: as it is."""
    cut = newton.Known(column(1.0), torch.tensor([0]), torch.tensor([3.0]).double(), torch.tensor([0.6]).double())
    two = newton.Known(
        column(1.0, 0.1), torch.tensor([0, 1]), torch.tensor([3.0, 2.0]).double(), torch.tensor([0.6, 0.1]).double()
    )
    eps = column(1.0, 0.1**0.5, 1.0)
    begun = column(0.3, 0.05, 0.3)
    found = newton.scale_in_range([cut, two], begun, eps, eps)
    assert found[:, 0].tolist() == pytest.approx([0.8, 0.1, 1.0])
    long = newton.Known(column(2.0, 0.0), torch.tensor([1]), torch.tensor([3.0]).double(), torch.tensor([3.0]).double())
    found = newton.scale_in_range([long], column(0.1, 0.1), column(1.5, 2.0), column(1.5, 2.0))
    assert found[:, 0].tolist() == pytest.approx([0.75, 2 / 3])


@pytest.mark.parametrize(("size", "room", "eps", "expected"), [
    ([3.0, 4.0], [3.0, 4.0], 1.0, [0.6, 0.8]),
    ([3.0, 4.0], [0.0, 4.0], 1.0, [0.0, 1.0]),
    ([3.0, 4.0], [0.6, 4.0], 1.0, [0.6, 0.8]),
    ([3.0, 4.0], [0.3, 4.0], 0.5, [0.3, 0.4]),
    ([3e200, 4e200], [3e200, 4e200], 1e200, [0.6e200, 0.8e200]),
    ([3e-200, 4e-200], [3e-200, 4e-200], 1e-200, [0.6e-200, 0.8e-200]),
    ([4.0, 4.0, 2.0], [1.0, 4.0, 2.0], 1.5, [1.0, 1.0, 0.5]),
])  # fmt: skip
def test_moves_are_scaled_to_their_length(
    size: list[float], room: list[float], eps: float, expected: list[float]
) -> None:
    rows = (torch.tensor([each], dtype=torch.float64) for each in (size, room))
    assert newton.scaled_to_length(*rows, column(eps))[0].tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("size", "room", "eps", "expected"), [
    ([3.0, 1.0], None, 2.0, [2.0, 0.0]), ([3.0, 2.0], None, 2.0, [1.5, 0.5]), ([3.0, 2.0], None, 1.0, [1.0, 0.0]),
    ([3.0, 2.0, 0.5], [0.5, 2.0, 0.5], 1.0, [0.5, 0.5, 0.0]),  # the threshold is 1.5, where the first is full
    ([3.0, 2.0, 1.0], [0.25, 0.25, 1.0], 1.0, [0.25, 0.25, 0.5]),
    ([1e30, 1e30], None, 1.0, [0.5, 0.5]),
])  # fmt: skip
def test_moves_are_cut_to_their_length_by_one_threshold(
    size: list[float], room: list[float] | None, eps: float, expected: list[float]
) -> None:
    entries = torch.tensor([size], dtype=torch.float64)
    limits = entries if room is None else torch.tensor([room], dtype=torch.float64)
    assert newton.thresholded_to_length(entries, limits, column(eps))[0].tolist() == pytest.approx(expected, rel=1e-14)
    if room is None:
        assert newton.soft_threshold(entries, column(eps))[0].tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(("entries", "items", "rows"), [
    (1 << 18, 1 << 16, 4), (1 << 18, 3 << 16, 1), (1 << 18, 1 << 20, 1), (100, 30, 3),
])  # fmt: skip
def test_rows_are_worked_on_by_as_many_as_the_cache_holds(
    entries: int, items: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert shrink._once(torch.zeros(1, items), entries) == rows
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert shrink._once(torch.zeros(1, items), entries) == max(entries * 16 // items, 1)
    assert shrink._once(torch.zeros(7, items, device="meta"), entries) == 7
    assert shrink._blocks(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 6)]


@pytest.mark.parametrize("project", PROJECTIONS)
@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("which", ["all", "some", "none"])
def test_rows_are_projected_alike_in_one_block_or_in_many(
    project: Callable[..., Tensor], bounds: tuple[float, float] | None, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = drawn(7, 1, 5, 5)
    push = {"all": [9.0] * 7, "some": [9.0, 0.1, 9.0, 0.1, 0.1, 9.0, 9.0], "none": [0.01] * 7}[which]
    adv = x + (drawn(8, 1, 5, 5)[1:] - 0.3) * torch.tensor(push)[:, None, None, None]
    eps = torch.linspace(0.5, 2.0, 7)
    whole = project(adv, x, eps, bounds)
    for once in (1, 2, 3):
        monkeypatch.setattr(shrink, "_once", lambda x, entries, once=once: once)
        torch.testing.assert_close(project(adv, x, eps, bounds), whole, rtol=1e-6, atol=1e-7)
        apart = torch.cat([project(adv[n : n + 1], x[n : n + 1], eps[n : n + 1], bounds) for n in range(7)])
        torch.testing.assert_close(apart, whole, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("project", PROJECTIONS)
def test_points_lie_in_memory_as_both_inputs_do_and_else_as_torch_makes_them(project: Callable[..., Tensor]) -> None:
    x = drawn(2, 3, 4, 4)
    adv = x + 2.0 * (drawn(3, 3, 4, 4)[1:] - 0.5)
    plain = project(adv, x, 0.5, (0.0, 1.0))
    last = torch.channels_last
    for points, origins, kept in (
        (adv, x, False), (adv.contiguous(memory_format=last), x, False), (adv, x.contiguous(memory_format=last), False),
        (adv.contiguous(memory_format=last), x.contiguous(memory_format=last), True),
    ):  # fmt: skip
        found = project(points, origins, 0.5, (0.0, 1.0))
        assert found.is_contiguous(memory_format=last) == kept
        assert found.is_contiguous() != kept
        torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("project", PROJECTIONS)
@pytest.mark.parametrize("item", [(3, 1, 1), (1, 1, 3), (1, 3, 1), (1, 1, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1)])
def test_items_of_one_pixel_or_one_line_are_projected_as_their_numbers(
    project: Callable[..., Tensor], item: tuple[int, ...]
) -> None:
    x = drawn(2, *item)
    adv = x + 3.0 * (drawn(3, *item)[1:] - 0.4)
    expected = project(adv.flatten(1), x.flatten(1), 0.5, (0.0, 1.0)).view_as(x)
    for kind in (torch.contiguous_format, torch.channels_last):
        found = project(adv.contiguous(memory_format=kind), x.contiguous(memory_format=kind), 0.5, (0.0, 1.0))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_rows_beyond_the_range_on_either_side() -> None:
    points = torch.tensor([[0.0, 1.0], [-1e-6, 0.5], [0.5, 1.0 + 1e-6], [math.nan, 0.5], [0.2, 0.3]])
    assert shrink._beyond(points, (0.0, 1.0)).tolist() == [False, True, True, False, False]
    assert shrink._beyond(points, None).tolist() == [False] * 5


def test_points_of_the_sphere_may_seem_outside_by_the_rounding_of_their_entries() -> None:
    x = torch.tensor([[3.0, -4.0, 0.0, 1.0]])
    assert shrink._rounding(x, column(2.0), 0.5).tolist() == [[0.0]]
    assert shrink._rounding(x.double(), column(2.0), 0.5).tolist() == [[EPS * (1.0 * 6.0 + 8.0)]]
    assert shrink._rounding(x.double(), column(2.0), 1.0).tolist() == [[EPS * (2.0 * 6.0 + 8.0)]]


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_rows_of_common_lengths_take_the_closed_form(
    bounds: tuple[float, float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any) -> Tensor:
        raise AssertionError("a row of a common length was sent entry by entry")

    monkeypatch.setattr(newton, "scaled_to_length", never)
    x = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    adv = torch.tensor([[0.8, 0.9], [0.5, 0.5], [3e4 + 0.5, 4e4 + 0.5], [0.53, 0.54]])
    found = shrink_l2(adv, x, 0.1, bounds)
    expected = torch.tensor([[0.56, 0.58], [0.5, 0.5], [0.56, 0.58], [0.53, 0.54]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float64, 1e200), (torch.float64, 1e-200), (torch.float32, 1e30)])
def test_lengths_that_no_square_holds_and_scales_without_digits_go_entry_by_entry(
    dtype: torch.dtype, size: float
) -> None:
    x = torch.zeros(2, 2, dtype=dtype)
    adv = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=dtype) * torch.tensor([[size], [1.0]], dtype=dtype)
    eps = 1e-10 if size > 1 else size
    first, second = shrink_l2(adv, x, eps, None)
    assert first.tolist() == pytest.approx([0.6 * eps, 0.8 * eps], rel=1e-6)
    assert second.tolist() == pytest.approx([0.6 * eps, 0.8 * eps], rel=1e-6)


def test_a_scale_is_taken_until_it_is_a_thousand_times_the_least_normal_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    entrywise = shrink._entrywise

    def counted(some: Any, *more: Any) -> Tensor:
        asked.append(len(some.x))
        return entrywise(some, *more)

    monkeypatch.setattr(shrink, "_entrywise", counted)
    x = torch.zeros(1, 1)
    for scale, sent in ((1.1e3 * TINY, []), (0.9e3 * TINY, [1]), (0.0, [])):
        asked.clear()
        found = shrink_l2(torch.full((1, 1), 1e30), x, scale * 1e30, None)
        assert asked == sent
        assert float(found) == pytest.approx(scale * 1e30, rel=1e-6)


def test_half_precision_is_projected_in_single_and_stays_in_the_range() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = drawn(3, 4).to(dtype)
        adv = x + torch.tensor([2.0, -2.0, 0.5, -0.5]).to(dtype)
        for project in PROJECTIONS:
            found = project(adv, x, 0.7, (0.0, 1.0))
            assert found.dtype == dtype
            assert torch.equal(found, project(adv.float(), x.float(), 0.7, (0.0, 1.0)).to(dtype).clamp(0.0, 1.0))
            assert project(x[:0], x[:0], 0.7, (0.0, 1.0)).shape == (0, 4)


def test_rows_of_any_size_are_scaled_each_by_itself() -> None:
    size = torch.tensor([[3.0, 4.0], [3e200, 4e200], [3e-200, 4e-200]], dtype=torch.float64)
    eps = column(1.0, 1e200, 1e-200)
    expected = torch.tensor([[0.6, 0.8]], dtype=torch.float64) * eps
    torch.testing.assert_close(newton.scaled_to_length(size, size, eps) / eps, expected / eps, rtol=1e-14, atol=0)
    room = torch.tensor([[0.0, 4.0], [0.3e200, 4e200], [3e-200, 0.4e-200]], dtype=torch.float64)
    found = newton.scaled_to_length(size, room, column(1.0, 0.5e200, 0.5e-200)) / eps
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 1.0], [0.3, 0.4], [0.3, 0.4]], dtype=torch.float64), rtol=1e-14, atol=0
    )
    several = newton.thresholded_to_length(
        torch.tensor([[3.0, 2.0, 0.5], [1e30, 1e30, 0.0], [3.0, 2.0, 1.0]], dtype=torch.float64),
        torch.tensor([[0.5, 2.0, 0.5], [1e30, 1e30, 0.0], [0.25, 0.25, 1.0]], dtype=torch.float64),
        column(1.0, 1.0, 1.0),
    )
    assert several.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]


def test_room_is_counted_from_either_end_of_any_range() -> None:
    """The last two origins lie outside: where there is no room, none is taken."""
    x = torch.tensor([[0.5, -0.5, 2.25, -1.5]])
    adv = torch.tensor([[4.0, -3.0, 3.0, -2.0]])
    known = newton.known_entries(adv, x, (-1.0, 2.0))
    assert known.size.tolist() == [3.5, 2.5, 0.75, 0.5]
    assert known.room.tolist() == [1.5, 0.5, 0.0, 0.0]
    assert known.free.tolist() == [[0.0]]


@pytest.mark.parametrize("project", PROJECTIONS)
def test_points_in_a_range_that_begins_anywhere(project: Callable[..., Tensor]) -> None:
    """Shifted and stretched inputs have shifted and stretched points: 0 and 1 are no special ends."""
    x, eps = drawn(3, 6, dtype=torch.float64), torch.tensor([0.5, 1.0, 0.25])
    adv = x + 4.0 * (drawn(4, 6, dtype=torch.float64)[1:] - 0.4)
    expected = project(adv, x, eps, (0.0, 1.0))
    for scale, shift in ((3.0, -1.0), (0.5, 7.0), (2.0, -20.0)):
        found = project(adv * scale + shift, x * scale + shift, eps * scale, (shift, shift + scale))
        torch.testing.assert_close((found - shift) / scale, expected, rtol=1e-9, atol=1e-9)


def test_a_scale_stays_where_rounding_leaves_nothing_of_the_radius() -> None:
    """The first entry is full and fills the radius by itself, and a few units more."""
    size, room = (torch.tensor([each], dtype=torch.float64) for each in ([4.0, 1.0], [1.0 + 8 * EPS, 1.0]))
    found = newton._scale(size, room, column(1.0), column(0.0), column(0.5))
    assert found.tolist() == [[0.5]]
