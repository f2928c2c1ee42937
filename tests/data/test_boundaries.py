"""Splits, orders, labels and moments of data at their boundaries, by hand, and streams that differ where they must."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl.data import memory
from robustcl.data.corrupted import Generated, Stored
from robustcl.data.digest import image_digests, of_split
from robustcl.data.draw import ViewSpec, draw_views
from robustcl.data.held import Held
from robustcl.data.labelled import Labelled, choose_labelled
from robustcl.data.moments import LEAST, Moments, statistics_of
from robustcl.data.order import epoch_batches
from robustcl.data.split import holdout
from robustcl.data.subset import Subset
from robustcl.errors import DataError, UsageError
from robustcl.rng import Rng
from robustcl_plugins.samplers.mixed import Mixed
from robustcl_plugins.samplers.rcs import RCS


class Source:
    """Twelve grey images of one pixel, image i of the value i / 12, of the class i % 3."""

    item = (1, 1, 1)
    labels = torch.arange(12) % 3

    def fetch(self, index: Tensor) -> Tensor:
        return (index.float() / 12)[:, None, None, None]


def held() -> Held:
    return Held(Source(), torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "count"), [(1, 1), (4, 4), (12, 12), (0.01, 1), (0.5, 6), (0.37, 4), (0.38, 5), (1.0, 12)]
)
def test_so_many_labels_are_kept_as_equally_as_they_can_be(amount: float, count: int) -> None:
    labels = torch.cat([Source.labels, torch.tensor([-1, -1])])
    rows = choose_labelled(labels, amount, Rng(0, "labels"))
    assert len(rows) == count
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.max() < 12
    kept = torch.bincount(labels[rows], minlength=3)
    assert int(kept.max() - kept.min()) <= 1
    more = choose_labelled(labels, 12, Rng(0, "labels"))
    assert set(rows.tolist()) <= set(more.tolist())


def test_a_class_of_few_images_gives_all_and_the_others_more() -> None:
    labels = torch.tensor([0, 1, 1, 1, 1, 2, 2, 2, 2])
    rows = choose_labelled(labels, 7, Rng(0))
    assert torch.bincount(labels[rows]).tolist() == [1, 3, 3]
    with pytest.raises(UsageError, match="10 labels are asked for, and only 9 images have one"):
        choose_labelled(labels, 10, Rng(0))


def test_other_seeds_keep_other_labels_and_classes_are_drawn_apart() -> None:
    labels = torch.arange(60) % 3
    rows = [tuple(choose_labelled(labels, 12, Rng(seed)).tolist()) for seed in range(4)]
    assert len(set(rows)) == 4
    places = {tuple(row // 3 for row in rows[0] if row % 3 == label) for label in range(3)}
    assert len(places) == 3, "each class has a stream of its own"
    singles = {int(labels[choose_labelled(labels, 1, Rng(seed))]) for seed in range(12)}
    assert singles == {0, 1, 2}, "whose turn is first is drawn too"


def test_images_that_lost_their_labels_are_the_same_images() -> None:
    images = held()
    fewer = Labelled(images, torch.tensor([4, 7]))
    assert fewer.labels.tolist() == [-1, -1, -1, -1, 1, -1, -1, 1, -1, -1, -1, -1]
    assert (fewer.item, fewer.samples, fewer.device) == (images.item, 12, images.device)
    index = torch.tensor([3, 1])
    assert torch.equal(fewer.fetch(index), images.fetch(index))
    assert [rows.tolist() for rows, _ in fewer.batches([index, index + 1])] == [[3, 1], [4, 2]]
    assert images.labels.tolist() == Source.labels.tolist()


def test_all_images_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl.data import held as module

    for chunk in (5, 12, 100):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        found = held()
        assert found.fetch(torch.arange(12)).flatten().tolist() == pytest.approx([i / 12 for i in range(12)])
        assert (found.samples, found.item, found.labels.tolist()) == (12, (1, 1, 1), Source.labels.tolist())


def test_a_part_of_a_split_is_numbered_anew() -> None:
    part = Subset(held(), torch.tensor([9, 2, 5]))
    assert (part.samples, part.labels.tolist()) == (3, [0, 2, 2])
    assert part.fetch(torch.tensor([2, 0])).flatten().tolist() == pytest.approx([5 / 12, 9 / 12])
    ((index, x),) = part.batches([torch.tensor([1])])
    assert index.tolist() == [1]
    assert float(x) == pytest.approx(2 / 12)


def test_moments_of_blocks_are_those_of_the_whole() -> None:
    x = Rng(0, "moments").uniform((11, 2, 3, 3))
    mean, std = statistics_of([x[:2], x[2:2], x[2:7], x[7:]])
    whole = x.transpose(0, 1).flatten(1).double()
    assert mean == pytest.approx(whole.mean(1).tolist(), rel=1e-12)
    assert std == pytest.approx(whole.std(1, correction=0).tolist(), rel=1e-12)
    assert statistics_of([torch.full((2, 1, 1, 1), 51, dtype=torch.uint8)]) == ((0.2,), (LEAST,))
    assert Moments().statistics() == ((), ())
    assert LEAST == 1 / 255


def test_a_batch_may_be_all_images_and_the_last_one_short() -> None:
    assert [len(batch) for batch in epoch_batches(10, 10, Rng(0))] == [10]
    assert [len(batch) for batch in epoch_batches(10, 4, Rng(0))] == [4, 4]
    assert [len(batch) for batch in epoch_batches(10, 4, Rng(0), drop_last=False)] == [4, 4, 2]
    assert [len(batch) for batch in epoch_batches(3, 4, Rng(0), drop_last=False)] == [3]
    dropped = [set(range(10)) - set(torch.cat(epoch_batches(10, 4, Rng(0, epoch))).tolist()) for epoch in range(4)]
    assert len({tuple(sorted(left)) for left in dropped}) > 1, "not the same images every epoch"


def test_what_is_held_out_is_rounded_up_and_leaves_something_on_either_side() -> None:
    for n, fraction, count in ((10, 0.1, 1), (10, 0.11, 2), (10, 0.3, 3), (2, 0.01, 1), (2, 0.99, 1), (1, 0.5, 0)):
        train, validation = holdout(torch.zeros(n, dtype=torch.int64), fraction, Rng(0))
        assert len(validation) == count
        assert len(train) == n - count
    held_out = {tuple(holdout(torch.zeros(40, dtype=torch.int64), 0.1, Rng(seed))[1].tolist()) for seed in range(4)}
    assert len(held_out) == 4
    two = torch.arange(80) % 2
    rows = holdout(two, 0.2, Rng(0))[1]
    assert (rows[two[rows] == 0] // 2).tolist() != (rows[two[rows] == 1] // 2).tolist(), "a stream for each class"
    for fraction in (-0.1, 1.0):
        with pytest.raises(UsageError, match="must lie in"):
            holdout(two, fraction, Rng(0))


def survey(labels: Tensor, seed: int = 0) -> Any:
    return SimpleNamespace(labels=labels, rng=Rng(seed, "survey"), samples=len(labels))


def test_mixed_batches_go_through_both_pools_and_begin_anew_in_another_order() -> None:
    labels = torch.tensor([0] * 5 + [-1] * 9)
    rows = Mixed(labelled=2, unlabelled=3).select(survey(labels), 0)
    assert rows.shape == (3, 5)
    assert bool((rows[:, :2] < 5).all())
    assert bool((rows[:, 2:] >= 5).all())
    assert sorted(rows[:, 2:].flatten().tolist()) == list(range(5, 14)), "one round of the unlabelled images"
    assert len(set(rows[:2, :2].flatten().tolist())) == 4, "of five labelled ones two batches, then a new round"
    many = Mixed(labelled=5, unlabelled=9, batches=6).select(survey(labels), 0)
    assert many.shape == (6, 14)
    assert len({tuple(row) for row in many[:, :5].tolist()}) > 1
    assert (
        many[:, :5].tolist() != Mixed(labelled=5, unlabelled=9, batches=6).select(survey(labels, 1), 0)[:, :5].tolist()
    )


def test_mixed_batches_need_enough_of_both_and_a_stage_of_their_size() -> None:
    labels = torch.tensor([0] * 5 + [-1] * 9)
    Mixed(labelled=5, unlabelled=9).check_images(labels, 14)
    for sampler, batch, words in (
        (Mixed(labelled=6, unlabelled=9), 15, "sampler.labelled = 6: there are only 5 labelled images"),
        (Mixed(labelled=5, unlabelled=10), 15, "sampler.unlabelled = 10: there are only 9 unlabelled images"),
        (Mixed(labelled=5, unlabelled=9), 15, "its batches hold 5 \\+ 9 images, but the stage's batch is 15"),
    ):
        with pytest.raises(UsageError, match=words):
            sampler.check_images(labels, batch)


def test_a_coreset_warms_up_on_all_but_what_is_held_out() -> None:
    def lasting(epoch: int) -> Any:
        return SimpleNamespace(
            samples=250, lasting=Rng(0, "lasting"), rng=Rng(0, "survey", epoch), batch=32, parameters=lambda _: {}
        )

    first, last = (RCS(warmup=5).select(lasting(epoch), epoch) for epoch in (0, 4))
    assert len(first) == 250 - 2  # a hundredth, rounded
    assert torch.equal(first, last)
    assert torch.equal(first, first.sort().values)
    assert len(RCS(held_out=0.001).select(lasting(0), 0)) == 249
    with pytest.raises(UsageError, match="rcs moves the projection head"):
        RCS(warmup=5).select(lasting(5), 5)
    with pytest.raises(UsageError, match="among batches of 249 images, but only 248"):
        RCS(warmup=0, granularity="samples", batch=249).select(lasting(0), 0)


class Shift:
    """Adds one number to each image."""

    needs: frozenset[Any] = frozenset()
    citation = "none"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        return x + rng.uniform((len(x), 1, 1, 1), -2.0, 2.0)


def test_an_image_is_corrupted_by_its_own_stream_and_stays_a_picture() -> None:
    images = Generated(held(), Shift(), Rng(0, "corruption"))
    every = images.fetch(torch.arange(12))
    assert every.min() == 0.0
    assert every.max() == 1.0
    assert torch.equal(images.fetch(torch.tensor([7, 3])), every[[7, 3]])
    assert torch.equal(torch.cat([x for _, x in images.batches([torch.tensor([7]), torch.tensor([3])])]), every[[7, 3]])
    assert not torch.equal(Generated(held(), Shift(), Rng(1, "corruption")).fetch(torch.arange(12)), every)


def test_stored_copies_are_of_the_very_test_set() -> None:
    images, test = torch.zeros(12, 1, 1, 1, dtype=torch.uint8), held()
    assert torch.equal(Stored(images, Source.labels, test, "here").fetch(torch.tensor([1])), images[1:2])
    other = Source.labels.clone()
    other[5] = 0
    for copies, labels, words in (
        (images[:11], Source.labels[:11], "here holds 11 images"),
        (torch.zeros(12, 1, 2, 1, dtype=torch.uint8), Source.labels, "here holds 12 images \\(1, 2, 1\\)"),
        (images, other, "here: image 5 has the label 0, and 2 in the test set"),
    ):
        with pytest.raises(DataError, match=words):
            Stored(copies, labels, test, "here")


def test_a_digest_is_of_every_image_and_of_the_labels() -> None:
    images = held()
    digests = image_digests(images)
    assert digests is not None
    assert len(set(map(bytes, digests))) == 12
    first = of_split(images, digests)
    assert first == of_split(held(), image_digests(held()))
    assert first != of_split(Labelled(images, torch.arange(11)), digests)
    images.images[11] += 1
    changed = image_digests(images)
    assert changed is not None
    assert bytes(changed[11]) != bytes(digests[11])
    assert [bytes(d) for d in changed[:11]] == [bytes(d) for d in digests[:11]]
    assert of_split(images, changed) != first
    assert of_split(images, None) != of_split(held(), None)


def test_each_copy_of_a_view_is_drawn_anew_and_named_by_its_number() -> None:
    x, index = torch.zeros(3, 1, 1, 1), torch.tensor([5, 6, 7])
    drawn = draw_views(x, index, {"v": ViewSpec(Shift(), count=2), "w": ViewSpec(Shift())}, Rng(0)).views
    assert list(drawn) == ["v1", "v2", "w"]
    once = draw_views(x, index, {"v": ViewSpec(Shift())}, Rng(0)).views
    assert torch.equal(once["v"], drawn["v1"])
    assert len({tuple(value.flatten().tolist()) for value in drawn.values()}) == 3
    leaf = torch.full((1, 1, 1, 1), 0.5, requires_grad=True)
    kept = draw_views(leaf, index[:1], {"v": ViewSpec(Shift())}, Rng(0), graph=True).views["v"]
    assert kept.requires_grad
    assert not draw_views(leaf, index[:1], {"v": ViewSpec(Shift())}, Rng(0)).views["v"].requires_grad


def test_memory_is_the_least_of_what_machine_and_container_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.available() is None
    memory.require(1 << 60, "an array", "take fewer images")  # nobody says how much there is
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2048 kB\n")
    assert memory.available() == 2048 * 1024
    for name, text in (
        ("memory.max", "3000000\n"),
        ("memory.current", "2000000\n"),
        ("memory.stat", "anon 5\ninactive_file 500\n"),
    ):
        (tmp_path / name).write_text(text)
    assert memory.available() == 3000000 - 2000000 + 500
    (tmp_path / "memory.current").write_text("9000000")
    assert memory.available() == 0
    (tmp_path / "memory.max").write_text("max")
    assert memory.available() == 2048 * 1024
    memory.require(2048 * 1024, "an array", "take fewer images")
    with pytest.raises(DataError, match=r"an array takes 2 MiB of memory and 2 MiB are free: take fewer images"):
        memory.require(2048 * 1024 + 1, "an array", "take fewer images")


def test_bytes_in_words() -> None:
    sizes = (0, 1023, 1024, 1536, 1024**2, 1024**3, 1024**4, 1024**5, 1024**6)
    assert [memory.say_bytes(size) for size in sizes] == [
        "0 bytes", "1.02e+03 bytes", "1 KiB", "1.5 KiB", "1 MiB", "1 GiB", "1 TiB", "1 PiB", "1.02e+03 PiB",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [0, 4, 5, 11])
def test_an_array_in_memory_is_looked_at_from_its_first_image_to_its_last(
    wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcl.data import held as module
    from robustcl.data.arrays import ArraySource

    monkeypatch.setattr(module, "_CHUNK", 5)
    images = torch.zeros(12, 1, 1, 1)
    Held(ArraySource(images, Source.labels))
    images[wrong] = 2.0
    with pytest.raises(DataError):
        Held(ArraySource(images, Source.labels))
