"""The journal, the judge, shares and time limits: nothing computed twice, nothing depending on how it was cut."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustcl.errors import DataError, UsageError
from robustcl.evaluate import shards, soundness
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.extras.representation import draw
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome, model_hash
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.work import Work, parse_shard, parse_time
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack
from robustcl_plugins.generators.pgd import PGD
from tests.shared.asked import subject
from tests.shared.pixels import HeldPixels

N = 23
KEY = Key("as-is", "", "test", "two", json.dumps({"model": "m"}))


class Images(HeldPixels):
    """Random images of 12 pixels in four classes."""

    def __init__(self) -> None:
        super().__init__(Rng(3).uniform((N, 12)), Rng(4).integers(4, (N,)))


class Killed(Exception): ...


class Counting:
    """PGD that counts the rows it is given, and dies at one of its calls."""

    needs = PGD.needs
    citation = "no source: a test"

    def __init__(self, steps: int, die_at: int = -1) -> None:
        self.pgd, self.die_at, self.calls = PGD(steps=steps, step_size=0.02, start="none"), die_at, 0
        self.rows: list[int] = []

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        self.calls += 1
        if self.calls - 1 == self.die_at:
            raise Killed
        self.rows += attack.index.tolist()
        return self.pgd.perturb(x, attack)


def judge() -> Judge:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        net[0].weight.mul_(4.0)
        net[2].weight.mul_(4.0)
    return Judge(of_model(net), Ball("Linf", 0.08), Rng(7), nullcontext)


def images_of(one: Judge) -> Images:
    images = Images()
    images.labels = one.classifier.predict(images.x)
    images.labels[::5] = (images.labels[::5] + 1) % 4
    return images


def told(outcomes: Sequence[Outcome]) -> list[tuple[Any, ...]]:
    return [(o.index, o.prediction, o.correct, o.hash, o.member) for o in outcomes]


def run(path: Path, block: int, die_at: tuple[int, int] = (-1, -1)) -> tuple[list[Outcome], list[Counting]]:
    one = judge()
    weak, strong = Counting(2, die_at[0]), Counting(20, die_at[1])
    members = [("weak", weak), ("strong", strong)]
    found = one.judge(
        images_of(one), torch.arange(N), KEY, members, Journal(path), 0, Work(block=block)  # type: ignore[arg-type]
    )  # fmt: skip
    return found, [weak, strong]


def test_each_member_meets_what_the_earlier_ones_left(tmp_path: Path) -> None:
    found, (weak, strong) = run(tmp_path / "j", 5)
    by_member = {name: {o.index for o in found if o.member == name} for name in (CLEAN, "weak", "strong")}
    assert by_member[CLEAN] == set(range(0, N, 5)), "wrong before any attack"
    assert set(weak.rows) == set(range(N)) - by_member[CLEAN]
    assert set(strong.rows) == set(weak.rows) - by_member["weak"]
    assert all(by_member.values())
    assert all(not o.correct for o in found if o.member != "strong")
    assert {o.correct for o in found} == {True, False}


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([4, 7, 23]))
def test_a_killed_evaluation_resumes_and_computes_nothing_twice(first: int, second: int, block: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        whole, counted = run(Path(folder) / "whole", block)
        rows: list[list[int]] = [[], []]
        path = Path(folder) / "cut"
        for die_at in ((first, -1), (-1, second), (-1, -1)):
            weak, strong = Counting(2, die_at[0]), Counting(20, die_at[1])
            one = judge()
            try:
                found = one.judge(
                    images_of(one), torch.arange(N), KEY, [("weak", weak), ("strong", strong)],
                    Journal(path), 0, Work(block=block),  # type: ignore[arg-type]
                )  # fmt: skip
            except Killed:
                pass
            else:
                assert told(found) == told(whole)
            for kept, generator in zip(rows, (weak, strong), strict=True):
                kept += generator.rows
        assert [sorted(kept) for kept in rows] == [sorted(generator.rows) for generator in counted]


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 30), st.integers(2, 5))
def test_blocks_and_shares_change_no_outcome(block: int, count: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, _ = run(folder / "alone", 23)
        one, images = judge(), None
        images = images_of(one)
        members = [("weak", Counting(2)), ("strong", Counting(20))]
        for number in range(count):
            journal = shards.journal(folder, (number, count))
            work = Work(block=block, shard=(number, count))
            part = one.judge(images, torch.arange(N), KEY, members, journal, 0, work)  # type: ignore[arg-type]
            assert [o.index for o in part] == [i for i in range(N) if i // block % count == number]
        taken, cut = shards.merge(folder)
        assert cut == count
        assert taken == sum(len(lines) for lines in Journal(folder / "alone").known(KEY).values())
        never = [("weak", Counting(2, 0)), ("strong", Counting(20, 0))]
        joined = one.judge(
            images, torch.arange(N), KEY, never, Journal(folder / shards.WHOLE), 0, Work(block=block)  # type: ignore[arg-type]
        )  # fmt: skip
        assert told(joined) == told(whole)
        assert shards.merge(folder) == (0, count), "a second merge finds nothing new"


def test_merging_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no shares"):
        shards.merge(tmp_path)
    Journal(shards.path(tmp_path, (0, 3))).append(KEY, [])
    Journal(shards.path(tmp_path, (2, 3))).append(KEY, [])
    with pytest.raises(UsageError, match=r"lacks the share 2/3: judge it with --shard 2/3 first"):
        shards.merge(tmp_path)
    Journal(shards.path(tmp_path, (0, 2))).append(KEY, [])
    with pytest.raises(UsageError, match="shares of 2 and of 3"):
        shards.merge(tmp_path)


def test_a_journal_of_another_model_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "j").append(KEY, [Outcome(0, 1, 1, True, 0, "x")])
    again = Journal(tmp_path / "j")
    again.require_model("m")
    with pytest.raises(UsageError, match=r"journal of another model \(m, this one is k;"):
        again.require_model("k")


def test_a_torn_line_is_cut_and_a_strange_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    Journal(path).append(KEY, [Outcome(0, 1, 1, True, 0, "x"), Outcome(1, 1, 2, False, 0, "y")])
    with path.open("a") as file:
        file.write('{"protocol": "as')
    assert list(Journal(path).known(KEY)) == [0, 1]
    with path.open("a") as file:
        file.write('{"other": 1}\n')
    with pytest.raises(DataError, match="line 4 is damaged: it has no check, and the lines above it have"):
        Journal(path)


def test_a_limited_time_gives_bounds_and_never_the_number_s_name(tmp_path: Path) -> None:
    one = judge()
    images, members = images_of(one), [("weak", Counting(2)), ("strong", Counting(20))]
    spoken: list[str] = []
    late = Measurement(Journal(tmp_path / "a"), 0, Work(block=5, deadline=time.monotonic() - 1), spoken.append)
    none = late.row(one, images, KEY, members, None)  # type: ignore[arg-type]
    assert (none["n"], none["value"], none["metric"], none["upper"]) == (0, None, "partial two_acc", 1.0)
    assert spoken == [f"as-is test two: none of {N} samples judged so far"]

    stops = Work(block=5, deadline=time.monotonic() + 3600, told=lambda *about: None)
    some = Measurement(Journal(tmp_path / "b"), 0, stops, spoken.append)
    index = some.index(images, None)  # type: ignore[arg-type]
    assert index.tolist() != sorted(index.tolist()) == list(range(N)), "an order of chance"
    one.judge(images, index[:10], KEY, members, some.journal, 0, stops)  # type: ignore[arg-type]
    rest = Measurement(some.journal, 0, Work(block=5, deadline=time.monotonic() - 1), spoken.append)
    found = rest.row(one, images, KEY, members, None)  # type: ignore[arg-type]
    assert (found["n"], found["samples"], found["partial"]) == (10, N, True)
    assert (found["low"], found["high"]) == wilson(found["correct"], 10)
    assert found["upper"] == 1 - (10 - found["correct"]) / N
    assert re.search("between .* from 10 of 23 samples", spoken[-1])


def test_a_block_that_was_left_halfway_does_not_count(tmp_path: Path) -> None:
    """Its fooled samples are known and its standing ones are not: bounds of these would be too low."""
    one = judge()
    images, members = images_of(one), [("weak", Counting(2)), ("strong", Counting(20, die_at=1))]
    stops = Work(block=5, deadline=time.monotonic() + 3600)
    half = Measurement(Journal(tmp_path / "j"), 0, stops, lambda said: None)
    index = half.index(images, None)  # type: ignore[arg-type]
    with pytest.raises(Killed):
        one.judge(images, index, KEY, members, half.journal, 0, stops)  # type: ignore[arg-type]
    assert len(half.journal.finished(KEY, ["weak", "strong"])) > 5, "some of the second block were fooled early"
    over = Measurement(half.journal, 0, Work(block=5, deadline=time.monotonic() - 1), lambda said: None)
    found = over.outcomes(one, images, KEY, members, None)  # type: ignore[arg-type]
    assert [outcome.index for outcome in found] == index[:5].tolist()


def test_pictures_are_of_the_first_member_alone(tmp_path: Path) -> None:
    one, weak, strong = judge(), Counting(2), Counting(20)
    images = images_of(one)
    draw(tmp_path / "a", subject(one, images, [("weak", weak), ("strong", strong)]), torch.arange(N))
    assert (len(weak.rows), strong.rows) == (int((one.classifier.predict(images.x[:8]) == images.labels[:8]).sum()), [])
    assert len(np.load(tmp_path / "a" / "strip.npz")["clean"]) == 8


def test_nothing_is_drawn_when_the_time_is_up() -> None:
    images = images_of(judge())
    for deadline, drawn in ((None, N), (time.monotonic() + 3600, N), (time.monotonic() - 1, 0)):
        work = Measurement(Journal(Path("none")), 0, Work(deadline=deadline), lambda said: None)
        assert len(work.drawn(images, None)) == drawn  # type: ignore[arg-type]


def test_images_sorted_by_class_are_told(tmp_path: Path) -> None:
    one, spoken = judge(), []
    images = images_of(one)
    images.labels = images.labels.sort().values
    clean = Key("as-is", "", "test", None, KEY.spec)
    Measurement(Journal(tmp_path / "j"), 0, Work(), spoken.append).row(one, images, clean, (), 4)  # type: ignore[arg-type]
    assert "4 images that are judged are of 2 of the 4 classes" in spoken[0]


def test_what_each_member_left_standing(tmp_path: Path) -> None:
    one = judge()
    members = [("weak", Counting(2)), ("strong", Counting(20))]
    row = Measurement(Journal(tmp_path / "j"), 0, Work(), lambda said: None).row(
        one, images_of(one), KEY, members, None  # type: ignore[arg-type]
    )  # fmt: skip
    found, _ = run(tmp_path / "again", 23)
    after_weak = sum(o.member == "strong" for o in found)
    assert row["members"] == {"weak": after_weak / N, "strong": row["correct"] / N}


def test_shares_of_two_models_are_not_joined(tmp_path: Path) -> None:
    for number, model in enumerate("ab"):
        key = Key("as-is", "", "test", None, json.dumps({"model": model}))
        shards.journal(tmp_path, (number, 2)).append(key, [Outcome(number, 0, 0, True, 0, "")])
    with pytest.raises(UsageError, match=r"2-of-2.jsonl is of another model \(b\) than the other shares \(a\)"):
        shards.merge(tmp_path)
    assert not (tmp_path / "journal.jsonl").exists()


def test_a_share_without_a_sample_is_a_share(tmp_path: Path) -> None:
    key = Key("as-is", "", "test", None, json.dumps({"model": "a"}))
    shards.journal(tmp_path, (0, 2)).append(key, [Outcome(0, 0, 0, True, 0, "")])
    shards.journal(tmp_path, (1, 2))
    assert shards.merge(tmp_path) == (1, 2)


def test_who_only_reads_a_journal_leaves_it_alone(tmp_path: Path) -> None:
    """Its last line may be another process's, in the middle of being written."""
    path = tmp_path / "j"
    key = Key("as-is", "", "test", None, json.dumps({"model": "a"}))
    Journal(path).append(key, [Outcome(0, 0, 0, True, 0, "")])
    with path.open("a") as file:
        file.write('\n{"protocol": "as')
    text, reader = path.read_text(), Journal(path)
    assert path.read_text() == text
    assert len(reader.known(key)) == 1
    reader.append(key, [Outcome(1, 0, 0, True, 0, "")])
    assert len(Journal(path).known(key)) == 2
    assert not path.read_text().endswith('"as')


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2.0)[:, :3]


class NoGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3].detach()


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] + torch.rand(())


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x[:, :3]


def test_a_model_that_writes_into_its_input_is_told_and_the_input_is_spared() -> None:
    x = torch.rand(4, 12)
    before = x.clone()
    with pytest.raises(UsageError, match="the model writes into its input"):
        soundness.check(of_model(InPlace().eval()), x, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(x, before)


def test_inputs_that_do_not_fit_are_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"fails on 4 inputs of shape \(5,\), RuntimeError: .*it was built for"):
        soundness.look(of_model(nn.Linear(12, 3).eval()), torch.rand(4, 5))


def test_a_model_without_a_gradient_is_told() -> None:
    one = Judge(of_model(NoGradient().eval()), Ball("Linf", 0.1), Rng(0), nullcontext)
    x = torch.rand(4, 12)
    label = one.classifier.predict(x)
    with pytest.raises(UsageError, match="no gradient toward its inputs"):
        one.attack(x, label, torch.arange(4), "pgd", [("pgd", PGD(steps=1))])


@pytest.mark.parametrize(("model", "said"), [(Drawing(), "draws at random"), (Counter(), "buffer calls .* changed")])
def test_a_model_whose_verdicts_would_not_stay(model: nn.Module, said: str) -> None:
    x, before = torch.full((1, 12), 0.5), torch.get_rng_state()
    with pytest.raises(UsageError, match=said):
        soundness.check_steady(of_model(model.eval()), x)
    assert torch.equal(before, torch.get_rng_state())
    soundness.check_steady(of_model(nn.Linear(12, 3).eval()), x)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_a_share_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard .* from 1/4 to 4/4"):
        parse_shard(text)


def test_shares_and_times() -> None:
    assert parse_shard("1/4") == (0, 4)
    assert [parse_time(text) for text in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    for text in ("10", "m", "0m", "-3s", "10 days"):
        with pytest.raises(UsageError, match="--budget"):
            parse_time(text)


def test_weights_have_a_name() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = model_hash(net.state_dict())
    assert before == model_hash(nn.Sequential(*net).state_dict())
    with torch.no_grad():
        net[1].running_mean[0] = 1e-7  # type: ignore[index]
    assert model_hash(net.state_dict()) != before


class Fixed(nn.Module):
    """A model that answers the same whatever it sees."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer[: len(x)]


@pytest.mark.parametrize(
    ("answer", "labels", "error", "said"),
    [
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), [0, 1], DataError, r"not finite for 1 of 2 .* number 1"),
        (torch.tensor([[0.25, 0.75], [0.5, 0.5]]), [0, 1], UsageError, "probabilities: return the logits"),
        (torch.tensor([[0.0], [1.0]]), [0, 0], UsageError, "one output"),
        (torch.tensor([[0.0, 1.0], [1.0, 0.5]]), [0, 2], DataError, r"label 2 of sample 1 is outside 0 \.\. 1"),
        (torch.tensor([[0.0, 1.0], [1.0, 0.5]]), [-1, 0], DataError, r"label -1 of sample 0 is outside"),
        (torch.zeros(2), [0, 0], UsageError, r"must return logits \(R, L\) for 2 inputs, but it returned \(2,\)"),
    ],
)
def test_a_model_that_cannot_be_judged(answer: Tensor, labels: list[int], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        soundness.check(of_model(Fixed(answer)), torch.zeros(2, 3), torch.tensor(labels))


def test_a_model_that_can_be_judged() -> None:
    answer = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.5, 0.0]])
    assert soundness.check(of_model(Fixed(answer)), torch.zeros(2, 3), torch.tensor([0, 2])) == 3
