"""Held and streamed splits, validation parts, the order of an epoch, and the drawing of views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robustcl.data import (
    Held,
    Streamed,
    ViewSpec,
    draw_views,
    drawable,
    epoch_batches,
    holdout,
    keep,
    open_source,
)
from robustcl.errors import DataError, UsageError
from robustcl.rng import Rng


@dataclass
class Squares:
    """Image i is filled with i; a stand-in for a data set's split."""

    n: int = 10
    item: tuple[int, ...] = (1, 2, 2)
    dtype: torch.dtype = torch.uint8
    fault: str = ""
    decodes: bool = False

    def __post_init__(self) -> None:
        self.labels = torch.arange(self.n) % 3

    def fetch(self, index: Tensor) -> Tensor:
        if self.fault == "file" and 7 in index:
            raise DataError("seven.png cannot be decoded: replace it")
        images = index.reshape(-1, 1, 1, 1).expand(-1, *self.item)
        if self.fault == "shape":
            return images[..., :1].to(torch.uint8)
        if self.fault == "type":
            return images
        return images.to(torch.uint8) if self.dtype == torch.uint8 else images / (5 if self.fault else self.n)


def test_held_images_are_pixels_in_the_order_asked_for() -> None:
    held = Held(Squares(n=2500), "cpu")
    assert held.images.dtype == torch.uint8
    assert (held.samples, held.item) == (2500, (1, 2, 2))
    index = torch.tensor([7, 0, 251, 7])
    images = held.fetch(index)
    assert images.dtype == torch.float32
    assert torch.equal(images[:, 0, 1, 1], torch.tensor([7.0, 0.0, 251.0, 7.0]) / 255)
    assert torch.equal(held.images[:, 0, 0, 0], torch.arange(2500).to(torch.uint8))
    assert held.labels.tolist() == [i % 3 for i in range(2500)]


def test_held_floats_stay_as_they_are() -> None:
    held = Held(Squares(dtype=torch.float64))
    assert held.images.dtype == torch.float32
    assert torch.equal(held.fetch(torch.tensor([3]))[0, 0, 0], torch.tensor([0.3, 0.3]))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_gives_what_held_gives_without_touching_the_global_generator(workers: int) -> None:
    order = epoch_batches(10, 4, Rng(0), drop_last=False)
    held, streamed = Held(Squares()), Streamed(Squares(), workers=workers)
    state = torch.get_rng_state()
    pairs = list(zip(held.batches(order), streamed.batches(order), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(pairs) == 3
    for wanted, (ours, theirs) in zip(order, pairs, strict=True):
        assert torch.equal(ours[0], wanted)
        assert torch.equal(theirs[0], wanted)
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(streamed.fetch(wanted), theirs[1])
    assert torch.equal(streamed.labels, held.labels)
    assert (streamed.samples, streamed.item) == (held.samples, held.item)


def test_keep_holds_what_fits_and_streams_the_rest() -> None:
    assert isinstance(keep(Squares(), limit=40), Held)
    assert isinstance(keep(Squares(), limit=39), Streamed)
    assert isinstance(keep(Squares(dtype=torch.float32), limit=159), Streamed)
    assert isinstance(keep(Squares(decodes=True)), Held)


@pytest.mark.parametrize("fault", ["shape", "type", "range"])
def test_a_source_that_breaks_its_promise_is_named(fault: str) -> None:
    sentence = {
        "shape": r"Squares gave images of shape \(1, 2, 1\) where it promised \(1, 2, 2\)",
        "type": "gave images of type torch.int64",
        "range": "gave values from 0 to 1.8",
    }[fault]
    source = Squares(fault=fault, dtype=torch.float32)
    with pytest.raises(DataError, match=sentence):
        Held(source)
    with pytest.raises(DataError, match=sentence):
        Streamed(source).fetch(torch.arange(10))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_in_a_worker_arrives_as_its_sentence(workers: int) -> None:
    streamed = Streamed(Squares(fault="file"), workers=workers)
    batches = streamed.batches([torch.tensor([0, 1]), torch.tensor([6, 7])])
    assert next(batches)[0].tolist() == [0, 1]
    with pytest.raises(DataError, match=r"^seven.png cannot be decoded: replace it$"):
        next(batches)


def test_opened_passes_the_split_and_the_error_on() -> None:
    class Dataset:
        def open(self, split: str) -> Squares:
            if split == "test":
                raise DataError("no such file")
            return Squares()

    dataset: Any = Dataset()
    assert isinstance(open_source(dataset, "train"), Squares)
    with pytest.raises(DataError, match="no such file"):
        open_source(dataset, "test")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-1, 4), min_size=1, max_size=80),
    st.floats(0.0, 0.9, allow_nan=False),
    st.integers(0, 9),
)
def test_holdout_parts_every_class(labels: list[int], fraction: float, seed: int) -> None:
    label = torch.tensor(labels)
    train, validation = holdout(label, fraction, Rng(seed))
    assert sorted(train.tolist() + validation.tolist()) == list(range(len(labels)))
    assert torch.equal(train, train.sort().values)
    again = holdout(label, fraction, Rng(seed))
    assert torch.equal(again[1], validation)
    for value in set(labels):
        size, held = labels.count(value), int((label[validation] == value).sum())
        if fraction == 0 or size == 1:
            assert held == 0
        else:
            assert 1 <= held <= size - 1
            assert abs(held - fraction * size) <= 1 + 1e-9


def test_holdout_is_stratified_to_the_total_and_seeded() -> None:
    labels = torch.arange(10).repeat_interleave(144)[:1437]
    train, validation = holdout(labels, 0.1, Rng(0))
    assert len(validation) == 144
    assert len(train) == 1293
    assert set(torch.bincount(labels[validation]).tolist()) <= {14, 15}
    assert not torch.equal(holdout(labels, 0.1, Rng(1))[1], validation)
    # By hand: 1.5, 2.4 and 1.1 images of 5; the one that is left goes to the largest remainder.
    uneven = torch.arange(3).repeat_interleave(torch.tensor([15, 24, 11]))
    assert torch.bincount(uneven[holdout(uneven, 0.1, Rng(0))[1]]).tolist() == [2, 2, 1]
    with pytest.raises(UsageError, match=r"must lie in \[0, 1\), not 1"):
        holdout(labels, 1.0, Rng(0))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 60), st.booleans())
def test_the_slices_are_the_batch_of_one(world: int, share: int, n: int, drop_last: bool) -> None:
    batch = world * share
    n = max(n, batch) // world * world
    alone = epoch_batches(n, batch, Rng(5), drop_last=drop_last)
    ranks = [epoch_batches(n, batch, Rng(5), rank=r, world=world, drop_last=drop_last) for r in range(world)]
    assert len(alone) == (n // batch if drop_last else -(-n // batch))
    for step, whole in enumerate(alone):
        assert torch.equal(torch.cat([part[step] for part in ranks]), whole)
        assert len({len(part[step]) for part in ranks}) == 1
    seen = torch.cat(alone).tolist()
    assert len(set(seen)) == len(seen) == (n // batch * batch if drop_last else n)
    assert set(seen) <= set(range(n))


def test_epochs_shuffle_given_indices_or_keep_their_order() -> None:
    index = torch.tensor([40, 10, 30, 20])
    assert [b.tolist() for b in epoch_batches(index, 2, None)] == [[40, 10], [30, 20]]
    first, second = (torch.cat(epoch_batches(100, 10, Rng(0, epoch))) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert sorted(torch.cat(epoch_batches(index, 2, Rng(0))).tolist()) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("n", "batch", "world", "drop_last", "sentence"),
    [
        (100, 15, 2, True, "a batch of 15 cannot be shared equally by 2 processes: choose a multiple of 2"),
        (100, 128, 1, True, "a batch of 128 is larger than the 100 images: set data.batch to 100 or less"),
        (9, 4, 2, False, "the last batch of the epoch has 1 images, which 2 processes cannot share equally"),
        (0, 4, 1, False, "there are no images to train on"),
    ],
)
def test_an_epoch_that_cannot_be_cut_says_so(n: int, batch: int, world: int, drop_last: bool, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        epoch_batches(n, batch, Rng(0), world=world, drop_last=drop_last)


class Noisy:
    """Adds uniform numbers: shows which stream a view was given."""

    needs: ClassVar[frozenset[Any]] = frozenset()
    citation: ClassVar[str] = ""

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        return x + rng.uniform(x.shape, device=x.device)


class Turned:
    """A pretext view: the target says what was done; its values are no pixels."""

    needs: ClassVar[frozenset[Any]] = frozenset()
    citation: ClassVar[str] = ""
    range: ClassVar[None] = None

    def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        return -2 * x, torch.arange(len(x))


def test_views_have_streams_of_their_own_and_rows_depend_on_their_index_alone() -> None:
    x, index = torch.zeros(6, 1, 2, 2), torch.tensor([3, 1, 4, 15, 9, 2])
    specs = {"a": ViewSpec(Noisy()), "b": ViewSpec(Noisy()), "s": ViewSpec(Noisy(), count=3)}
    drawn = draw_views(x, index, specs, Rng(0)).views
    assert list(drawn) == ["a", "b", "s1", "s2", "s3"]
    assert len({float(value[0, 0, 0, 0]) for value in drawn.values()}) == 5
    part = draw_views(x[2:4], index[2:4], specs, Rng(0)).views
    alone = draw_views(x, index, {"b": ViewSpec(Noisy())}, Rng(0)).views
    for name, value in part.items():
        assert torch.equal(value, drawn[name][2:4])
    assert torch.equal(alone["b"], drawn["b"])
    assert not torch.equal(draw_views(x, index, specs, Rng(1)).views["a"], drawn["a"])


def test_views_are_clamped_to_their_range_and_keep_their_target() -> None:
    x, index = torch.full((4, 1, 2, 2), 0.9), torch.arange(4)
    drawn = draw_views(x, index, {"n": ViewSpec(Noisy()), "t": ViewSpec(Turned())}, Rng(0))
    assert float(drawn.views["n"].max()) == 1.0
    assert torch.equal(drawn.views["t"], -2 * x)
    assert list(drawn.target) == ["t"]
    assert drawn.target["t"].tolist() == [0, 1, 2, 3]


def test_derived_views_are_made_of_the_view_they_name() -> None:
    x, index = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    specs = {
        "late": ViewSpec(Turned(), of="w_adv"),
        "h": ViewSpec(Turned(), of="w2"),
        "w": ViewSpec(Noisy(), count=2),
        "hh": ViewSpec(Turned(), of="h"),
    }
    early, late = drawable(specs)
    assert set(early) == {"w", "h", "hh"}
    assert list(late) == ["late"]
    drawn = draw_views(x, index, early, Rng(0)).views
    assert torch.equal(drawn["h"], -2 * drawn["w2"])
    assert torch.equal(drawn["hh"], 4 * drawn["w2"])
    adversarial = drawn["w1"] + 0.1
    after = draw_views(x, index, late, Rng(0), given={**drawn, "w_adv": adversarial}).views
    assert torch.equal(after["late"], -2 * adversarial)


def test_views_of_nothing_and_of_each_other_are_refused() -> None:
    x, index = torch.zeros(2, 1, 2, 2), torch.arange(2)
    with pytest.raises(UsageError, match="'h' is made of 'x_adv', which is no view here: there are h, w"):
        draw_views(x, index, {"w": ViewSpec(Noisy()), "h": ViewSpec(Noisy(), of="x_adv")}, Rng(0))
    circle = {"a": ViewSpec(Noisy(), of="b"), "b": ViewSpec(Noisy(), of="a")}
    with pytest.raises(UsageError, match="the views a, b are made of each other"):
        draw_views(x, index, circle, Rng(0))
