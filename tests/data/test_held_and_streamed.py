"""How often a source is asked, for which images, and what becomes of them: held on the device, or streamed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl.data import held, streamed
from robustcl.data.arrays import ArraySource
from robustcl.data.held import Held, keep
from robustcl.data.streamed import Streamed, as_pixels, fetch
from robustcl.errors import DataError


class Counted:
    """A source of images that say their number, and of what it was asked for."""

    def __init__(self, samples: int, dtype: torch.dtype = torch.uint8, **flags: bool) -> None:
        self.item, self.labels, self.dtype = (1, 2, 2), torch.arange(samples) % 3, dtype
        self.asked: list[list[int]] = []
        for name, value in flags.items():
            setattr(self, name, value)

    def fetch(self, index: Tensor) -> Tensor:
        assert index.dtype == torch.int64
        self.asked.append(index.tolist())
        number = index.to(torch.float64)[:, None, None, None].expand(len(index), *self.item)
        return (number if self.dtype == torch.uint8 else number / 255).to(self.dtype)


@pytest.mark.parametrize(("samples", "asked"), [
    (0, [[]]), (1, [[0], [0]]), (2, [[0], [0, 1]]), (4, [[0], [0, 1, 2, 3]]), (5, [[0], [0, 1, 2, 3], [4]]),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_one_image_is_looked_at_and_each_is_fetched_once(
    samples: int, asked: list[list[int]], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "_CHUNK", 4)
    source = Counted(samples, dtype)
    kept = Held(source)
    assert source.asked == asked
    assert kept.samples == samples
    assert kept.images.dtype == (torch.uint8 if dtype == torch.uint8 else torch.float32)
    order = torch.arange(samples).flip(0)
    expected = order.float()[:, None, None, None].expand(samples, 1, 2, 2) / 255
    torch.testing.assert_close(kept.fetch(order), expected)
    ((index, images),) = kept.batches([order])
    assert torch.equal(index, order)
    assert torch.equal(images, kept.fetch(order))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_streamed_images_are_those_that_are_held(dtype: torch.dtype) -> None:
    source = Counted(7, dtype)
    split, kept = Streamed(source, workers=0), Held(Counted(7, dtype))
    order = [torch.tensor([6, 0]), torch.tensor([3]), torch.tensor([5, 5, 1])]
    for (index, images), (theirs, held_) in zip(split.batches(order), kept.batches(order), strict=True):
        assert torch.equal(index, theirs)
        assert images.dtype == torch.float32
        torch.testing.assert_close(images, held_)
        torch.testing.assert_close(split.fetch(index), held_)
    assert source.asked[::2] == [[6, 0], [3], [5, 5, 1]]
    assert (split.samples, split.item, split.workers) == (7, (1, 2, 2), 0)


@pytest.mark.parametrize(("dtype", "width"), [(torch.uint8, 1), (torch.float32, 4)])
def test_a_split_is_held_up_to_its_limit(dtype: torch.dtype, width: int) -> None:
    size = 5 * 4 * width
    assert isinstance(keep(Counted(5, dtype), limit=size), Held)
    assert isinstance(keep(Counted(5, dtype), limit=size - 1), Streamed)
    assert isinstance(keep(Counted(0, dtype), limit=0), Held)
    source = Counted(5, dtype, on_disk=True)
    read_there = keep(source)
    assert isinstance(read_there, Streamed)
    assert read_there.workers == 0
    assert source.asked == []
    assert isinstance(keep(Counted(5, dtype, on_disk=False)), Held)


def test_pixels_are_shares_of_255_or_what_they_are() -> None:
    assert as_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0.0, 0.2, 1.0])
    for dtype in (torch.float16, torch.float32, torch.float64):
        pixels = as_pixels(torch.tensor([0.0, 0.5, 1.0], dtype=dtype))
        assert (pixels.tolist(), pixels.dtype) == ([0.0, 0.5, 1.0], torch.float32)


class Wrong(Counted):
    """A source that gives what it is told to."""

    def __init__(self, given: object) -> None:
        super().__init__(3)
        self.given = given

    def fetch(self, index: Tensor) -> Tensor:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given  # type: ignore[return-value]


@pytest.mark.parametrize(("given", "words"), [
    ([1], "gave a list where a tensor of images is due"),
    (torch.zeros(3, 1, 2, 2), "gave 3 images where it was asked for 2"),
    (torch.zeros(2, 1, 2, 3), r"gave images of shape \(1, 2, 3\) where it promised \(1, 2, 2\)"),
    (torch.zeros(()), r"gave images of shape \(\) where it promised"),
    (torch.zeros(2, 1, 2, 2, dtype=torch.int64), "gave images of type torch.int64"),
    (torch.full((2, 1, 2, 2), 1.001), "gave values from 1.001 to 1.001"),
    (torch.full((2, 1, 2, 2), -0.001), "gave values from -0.001 to -0.001"),
    (torch.full((2, 1, 2, 2), float("nan")), "gave values from nan to nan"),
    (ValueError("lost"), r"fails to give 2 images from 0 to 2"),
])  # fmt: skip
def test_what_is_no_batch_of_images_is_named(given: object, words: str) -> None:
    with pytest.raises(DataError, match=f"the data source Wrong {words}"):
        fetch(Wrong(given), torch.tensor([2, 0]))


def test_both_ends_of_the_range_are_images() -> None:
    given = torch.tensor([0.0, 1.0]).repeat(4).view(2, 1, 2, 2)
    assert fetch(Wrong(given), torch.tensor([0, 1])) is given


@pytest.mark.parametrize(("index", "said"), [
    ([], "no image"), ([4], "image 4"), ([4, 2], "2 images from 2 to 4"), ([7, 7, 7], "3 images from 7 to 7"),
])  # fmt: skip
def test_images_are_named_by_their_numbers(index: list[int], said: str) -> None:
    assert streamed._images(torch.tensor(index, dtype=torch.int64)) == said


def test_before_a_split_is_kept_one_image_is_asked_for() -> None:
    for samples, asked in ((0, [[]]), (1, [[0]]), (5, [[0]])):
        source = Counted(samples)
        assert isinstance(keep(source, limit=-1), Streamed)
        assert source.asked == asked
    kept = Counted(2)
    keep(kept)
    assert kept.asked == [[0], [0], [0, 1]]


def test_an_array_in_memory_is_held_where_it_lies_whatever_its_size() -> None:
    images = torch.arange(5 * 12, dtype=torch.uint8).view(5, 2, 3, 2).permute(0, 3, 1, 2)
    kept = keep(ArraySource(images, torch.zeros(5, dtype=torch.int64)), limit=0)
    assert isinstance(kept, Held)
    assert kept.images.data_ptr() == images.data_ptr()
    assert kept.fetch(torch.tensor([4, 1])).is_contiguous()
    assert torch.equal(kept.fetch(torch.tensor([4, 1])), images[[4, 1]].float() / 255)


@pytest.mark.parametrize("where", ["array", "disk"])
def test_what_goes_to_another_device_is_held_there_up_to_the_limit_alone(where: str) -> None:
    """Neither what lies in memory nor what is quickly read is of use there."""
    array = ArraySource(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    source = array if where == "array" else Counted(5, on_disk=True)
    split = keep(source, "meta", limit=19)
    assert isinstance(split, Streamed)
    assert split.workers == streamed.WORKERS
    assert split.labels.device.type == "meta"


class Torn(Counted):
    """A source of which image 3 cannot be read, or no two images at once."""

    def __init__(self, lonely: bool = False) -> None:
        super().__init__(6)
        self.lonely = lonely

    def fetch(self, index: Tensor) -> Tensor:
        if (self.lonely and len(index) > 1) or (not self.lonely and 3 in index.tolist()):
            raise ValueError("torn")
        return super().fetch(index)


def test_images_that_can_be_read_are_read_whatever_becomes_of_others() -> None:
    order = [torch.tensor([5, 1]), torch.tensor([2, 3, 4]), torch.tensor([3]), torch.tensor([0])]
    found = [(index.tolist(), images, lost) for index, images, lost in streamed.read_all(Torn(), order)]
    assert [index for index, _, _ in found] == [[5, 1], [2, 4], [], [0]]
    assert [images.flatten(1)[:, 0].tolist() for _, images, _ in found] == [[5, 1], [2, 4], [], [0]]
    assert [tuple(images.shape[1:]) for _, images, _ in found] == [(1, 2, 2)] * 4
    assert [list(lost) for _, _, lost in found] == [[], [3], [3], []]
    assert "the data source Torn fails to give image 3" in found[1][2][3]
    ((index, images, lost),) = streamed.read_all(Torn(lonely=True), order[:1])
    assert (index.tolist(), tuple(images.shape), list(lost)) == ([], (0, 1, 2, 2), [5, 1])
    assert all("fails to give 2 images from 1 to 5" in said for said in lost.values())
    with pytest.raises(DataError, match="the data source Torn fails to give 3 images from 2 to 4"):
        list(streamed.read_ahead(Torn(), order, 0))


def test_workers_read_where_a_source_says_that_it_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(streamed, "WORKERS", 3)
    monkeypatch.setattr(streamed, "read_ahead", lambda source, order, workers: asked.append(workers))
    monkeypatch.setattr(streamed, "_loaded", lambda batches, workers: iter(asked.append(workers) or []))
    for source in (Counted(2), Counted(2, decodes=False), Counted(2, decodes=True)):
        streamed.decode(source, [])
        list(streamed.read_all(source, []))
    assert asked == [0, 0, 0, 0, 3, 3]


@pytest.mark.parametrize("values", [(-0.001, 0.5), (0.5, 1.001), (-0.001, 1.001), (float("nan"), 0.5)])
def test_either_end_is_looked_at(values: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="give floats in"):
        fetch(Wrong(torch.tensor(values).repeat(4).view(2, 1, 2, 2)), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("rank", "failing", "opens", "before"),
    [(0, None, 1, 0), (1, None, 1, 2), (2, None, 1, 1), (3, None, 1, 2), (1, 0, 0, 1), (2, 0, 0, 1), (3, 2, 0, 2)],
)
def test_one_rank_of_a_machine_opens_before_the_others_and_all_hear_of_its_error(
    rank: int, failing: int | None, opens: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks 0 and 1 are on one machine, 2 and 3 on another: the turns are of rank 0, of rank 2, of all others."""
    turns = [0, 2, 1]
    events: list[str] = []

    def split(dataset: object, name: str) -> Counted:
        events.append("open")
        return Counted(1)

    def hear(value: object) -> list[object]:
        if isinstance(value, str):
            return ["one", "one", "other", "other"]
        turn = events.count("hear")
        events.append("hear")
        return [DataError("no disk") if one == failing and turns[turn] == one else None for one in range(4)]

    dataset: Any = object()
    monkeypatch.setattr(held, "world", lambda: 4)
    monkeypatch.setattr(held, "rank", lambda: rank)
    monkeypatch.setattr(held, "collect", hear)
    monkeypatch.setattr(held, "open_split", split)
    if failing is None:
        assert isinstance(held.open_source(dataset, "test"), Counted)
        assert events.index("open") == before, "after so many turns of others"
    else:
        with pytest.raises(DataError, match="no disk"):
            held.open_source(dataset, "test")
        assert events.count("hear") == before
    assert events.count("open") == opens


def test_an_error_of_the_first_rank_is_raised_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(dataset: object, name: str) -> Counted:
        raise DataError("no such split")

    monkeypatch.setattr(held, "open_split", split)
    nothing: Any = None
    with pytest.raises(DataError, match="no such split"):
        held.open_source(nothing, "test")
