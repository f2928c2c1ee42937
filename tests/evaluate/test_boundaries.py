"""Intervals, shares, rows, heads and identities of an evaluation, by hand and at their boundaries."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from robustcl import registry
from robustcl.errors import DataError, NotAPlugin, UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.extras.evidence import list_points
from robustcl.evaluate.head import embed_labelled, put
from robustcl.evaluate.identity import make_identity
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import Journal, Key, Outcome, fingerprint, model_hash
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.likeness import digest_images, digest_model
from robustcl.evaluate.lines import Chain, digest_of
from robustcl.evaluate.points import Point, order, shares
from robustcl.evaluate.rows import per_member, row, say_row
from robustcl.evaluate.scaled import members
from robustcl.evaluate.shards import journal, merge, path
from robustcl.evaluate.soundness import check_labels, check_logits, probabilities
from robustcl.evaluate.unstopped import adversaries, without_verdict
from robustcl.evaluate.work import Work, parse_shard, parse_time
from robustcl.nn.encoder import Encoder
from robustcl.registry.presets import Solo
from robustcl.rng import Rng
from robustcl.testing.builders import make_attack
from robustcl.threat import Ball
from robustcl_plugins.generators.pgd import PGD
from tests.shared.asked import subject

KEY = Key("slf", "main", "test", "pgd-20", '{"model": "a"}')


def outcome(index: int, correct: bool, member: str = "clean", seed: int = 0) -> Outcome:
    return Outcome(index, 1, 1 if correct else 0, correct, seed, f"h{index}", member)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (5, 10), (50, 100), (1, 1), (999, 1000)])
def test_wilson_is_scipys(correct: int, n: int) -> None:
    peer = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson(correct, n) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0


@pytest.mark.parametrize(("correct", "n"), [(-1, 4), (5, 4)])
def test_more_right_than_there_are(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and n"):
        wilson(correct, n)


def test_a_partial_row_is_bounded_by_what_fell() -> None:
    whole = row(KEY, [outcome(0, True), outcome(1, False)], 2, route="adv")
    assert (whole["metric"], whole["n"], whole["correct"], whole["value"], whole["route"]) == (
        "pgd-20_acc",
        2,
        1,
        0.5,
        "adv",
    )
    assert "partial" not in whole
    part = row(KEY, [outcome(0, True), outcome(1, False)], 8)
    assert (part["metric"], part["samples"], part["upper"]) == ("partial pgd-20_acc", 8, 1 - 1 / 8)
    assert row(Key("slf", "main", "test", None), [], 4)["metric"] == "partial clean_acc"
    assert say_row(part) == f"between {part['low']:.2%} and 87.50% (95 %), from 2 of 8 samples"
    assert say_row(whole) == "50.00%"
    assert say_row(row(KEY, [], 4)) == "none of 4 samples judged so far"


def test_what_stood_after_each_member(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "journal.jsonl")
    kept.append(KEY, [outcome(index, index > 0) for index in range(4)])
    kept.append(KEY, [outcome(1, False, "a"), outcome(2, True, "a"), outcome(3, True, "a")])
    kept.append(KEY, [outcome(2, False, "b"), outcome(3, True, "b")])
    last = [kept.known(KEY)[index][-1] for index in range(4)]
    assert per_member(kept, KEY, last, ["a", "b"]) == {"a": 0.5, "b": 0.25}
    assert per_member(kept, KEY, [], ["a"]) == {"a": 0.0}
    assert {index: o.correct for index, o in kept.finished(KEY, ["a", "b"]).items()} == {
        0: False,
        1: False,
        2: False,
        3: True,
    }
    assert set(kept.finished(KEY, ["a", "b", "c"])) == {0, 1, 2}
    kept.append(KEY, [outcome(0, True, "a"), outcome(3, False, "b")])  # fooled already, and met already
    assert [o.member for o in kept.known(KEY)[0]] == ["clean"]
    assert kept.known(KEY)[3][-1].correct
    again = Journal(kept.path)
    assert again.known(KEY) == kept.known(KEY)
    assert again.models() == {"a"}
    again.require_model("a")
    with pytest.raises(UsageError, match=r"journal of another model \(a, this one is b"):
        again.require_model("b")


def test_a_line_is_checked_by_those_above_it() -> None:
    one, other = Chain(), Chain()
    lines = [one.write({"a": 1}).encode(), one.write({"a": 1}).encode()]
    assert lines[0] != lines[1]
    assert [other.read(line) for line in lines] == [{"a": 1}, {"a": 1}]
    with pytest.raises(ValueError, match="its check is not that of this line"):
        Chain().read(lines[1])
    mixed = Chain()
    mixed.read(b'{"a": 0}')  # of an earlier version
    mixed = Chain()
    mixed.read(lines[0])
    with pytest.raises(ValueError, match="it has no check, and the lines above it have"):
        mixed.read(b'{"a": 0}')


def test_shares_of_blocks_and_of_time() -> None:
    index = torch.arange(10)
    assert [block.tolist() for block in Work(block=4, shard=(1, 2)).blocks(index)] == [[4, 5, 6, 7]]
    assert [len(block) for block in Work(block=4).blocks(index)] == [4, 4, 2]
    assert not Work().over
    assert Work(deadline=time.monotonic() - 1).over
    assert not Work(deadline=time.monotonic() + 1000).over
    assert [parse_shard(text) for text in ("1/1", "1/4", "4/4")] == [(0, 1), (0, 4), (3, 4)]
    assert [parse_time(text) for text in ("90s", "1.5m", "2h")] == [90.0, 90.0, 7200.0]
    for text in ("0/4", "5/4", "1/0", "1", "-1/4", "1/4 "):
        with pytest.raises(UsageError):
            parse_shard(text)
    for text in ("0s", "10", "m", "1d", "-1s"):
        with pytest.raises(UsageError):
            parse_time(text)


def test_shares_are_joined_where_all_are_there(tmp_path: Path) -> None:
    assert path(tmp_path, (0, 1)).name == "journal.jsonl"
    assert path(tmp_path, (1, 3)).name == "journal.2-of-3.jsonl"
    for number in range(2):
        journal(tmp_path, (number, 2)).append(KEY, [outcome(number, True), outcome(number + 2, False)])
    assert merge(tmp_path) == (4, 2)
    assert merge(tmp_path) == (0, 2)
    assert sorted(journal(tmp_path, (0, 1)).known(KEY)) == [0, 1, 2, 3]
    path(tmp_path, (0, 2)).unlink()
    with pytest.raises(UsageError, match="lacks the share 1/2"):
        merge(tmp_path)
    journal(tmp_path, (0, 3))
    with pytest.raises(UsageError, match="holds shares of 2 and of 3"):
        merge(tmp_path)


def test_points_of_results_and_what_the_journal_says_of_them(tmp_path: Path) -> None:
    who = {"protocol": "slf", "route": "main", "attack": "pgd", "accuracy": [1.0, 0.5]}
    results = {
        "security": [{**who, "eps": [0.0, 0.1], "n": 2}],
        "convergence": [{**who, "steps": [0, 5]}],
        "corruptions": [{"protocol": "slf", "severities": [1, 2], "accuracy": {"fog": [0.9, 0.8]}}],
    }  # fmt: skip
    found = list(list_points(results))
    assert [(p.part, p.attack, p.value) for p in found] == [
        ("security", None, 1.0), ("security", "pgd", 0.5), ("convergence", None, 1.0), ("convergence", "pgd", 0.5),
        ("corruptions", None, 0.9), ("corruptions", None, 0.8),
    ]  # fmt: skip
    assert [p.asked for p in found[1::2]] == [
        {"steps": None, "corruption": None, "eps": 0.1}, {"steps": 5, "corruption": None},
        {"corruption": {"name": "fog", "severity": 2}},
    ]  # fmt: skip
    kept = Journal(tmp_path / "journal.jsonl")
    kept.append(
        Key("slf", "main", "test", "pgd", '{"eps": 0.1}'), [outcome(0, True), outcome(1, False), outcome(2, False)]
    )
    assert set(shares(kept, found[1])) == {0.5, *_of(kept, 2)}
    whole = Point("security", {**found[1].entry, "n": 3}, "pgd", found[1].asked, 1 / 3)
    assert set(shares(kept, whole)) == {1 / 3}
    assert set(shares(kept, Point("security", {**found[1].entry, "n": 4}, "pgd", found[1].asked, 1 / 3))) == set()
    five, again = '{"attack": {"steps": 5}}', Journal(tmp_path / "again.jsonl")
    assert list(shares(again, found[3])) == []
    again.append(Key("slf", "main", "test", "pgd", five), [outcome(0, True)])
    assert set(shares(again, found[3])) == {1.0}
    other = Point("convergence", found[3].entry, "pgd", {"steps": 6, "corruption": None}, 0.5)
    assert list(shares(again, other)) == []
    named = Point("security", found[1].entry, "pgd", found[1].asked, 0.5, "another question")
    assert list(shares(kept, named)) == []


def _of(kept: Journal, n: int) -> set[float]:
    known = kept.known(Key("slf", "main", "test", "pgd", '{"eps": 0.1}'))
    return {sum(known[index][-1].correct for index in order(known, 3)[:n]) / n}


def test_the_order_of_chance_is_a_permutation_by_the_seed() -> None:
    first, other = ({0: [outcome(0, True, seed=seed)]} for seed in (0, 1))
    assert sorted(order(first, 9)) == list(range(9))
    assert list(order(first, 9)) == list(order(first, 9)) != list(order(other, 9))


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Otherwise(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def test_a_model_is_its_weights_and_its_code() -> None:
    model, other = Linear(), Otherwise()
    other.load_state_dict(model.state_dict())
    assert digest_model(model) != digest_model(other)
    assert len(digest_model(model)) == len(model_hash(model.state_dict())) == 16
    before = digest_model(model)
    with torch.no_grad():
        model.linear.bias[1] += 1e-6
    assert digest_model(model) != before
    zero = torch.zeros(4)
    assert len({model_hash({"a": value}) for value in (zero, zero.view(2, 2), zero.double(), zero.view(4, 1))}) == 4
    assert model_hash({"a": zero}) != model_hash({"b": zero})
    assert model_hash({"a": zero, "b": zero + 1}) == model_hash({"b": zero + 1, "a": zero})


def test_fingerprints_are_of_each_input_in_single_precision() -> None:
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = fingerprint(x)
    assert len(set(found)) == 3
    assert fingerprint(x.double()) == found
    assert fingerprint(x[1:])[0] == found[1]
    assert fingerprint(x.flip(0).transpose(2, 3).contiguous().transpose(2, 3).flip(0)) == found
    assert digest_of("a") != digest_of("b")


class Images:
    item, samples, device = (1, 1, 2), 6, torch.device("cpu")

    def __init__(self, labels: list[int]) -> None:
        self.labels = torch.tensor(labels)
        self.x = torch.arange(12.0).view(6, 1, 1, 2) / 12

    def fetch(self, index: Tensor) -> Tensor:
        return self.x[index]

    def batches(self, order: Any) -> Any:
        return ((index, self.x[index]) for index in order)


def test_a_split_is_its_pixels_and_labels() -> None:
    first, other, moved = Images([0, 1, 0, 1, 0, 1]), Images([0, 1, 0, 1, 0, 0]), Images([0, 1, 0, 1, 0, 1])
    moved.x[0] += 0.01
    found = {digest_images(images) for images in (first, other, moved)}  # type: ignore[arg-type]
    assert len(found) == 3


class Features(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Making:
    """A protocol that makes a head of what it is given, and keeps that."""

    def __init__(self, made: object) -> None:
        self.made, self.seen = made, ()

    def head(self, features: Tensor, label: Tensor, classes: int, *, validation: Any, rng: Any) -> Any:
        self.seen = features, label, classes, validation, rng
        return self.made


def test_a_head_sees_the_labelled_images_and_takes_the_classifiers_place() -> None:
    encoder = Encoder(Features(), 2, item=(1, 1, 2), classes=3).train()
    images, protocol = Images([0, -1, 1, 0, -1, 1]), Making(nn.Linear(2, 2))
    features, label = embed_labelled(encoder, "main", images)  # type: ignore[arg-type]
    assert torch.equal(features, images.x[[0, 2, 3, 5]].flatten(1))
    assert label.tolist() == [0, 1, 0, 1]
    assert put(encoder, "main", protocol, images, 2, validation=images, rng=Rng(5))  # type: ignore[arg-type]
    assert encoder.training
    assert encoder.classifier is protocol.made
    assert encoder.classes == 2
    assert not encoder.classifier.training  # type: ignore[union-attr]
    seen = protocol.seen
    assert torch.equal(seen[0], features)
    assert (seen[2], seen[4].key) == (2, Rng(5).key)
    assert torch.equal(seen[3][0], features)
    assert put(encoder, "main", protocol, images, 2)  # type: ignore[arg-type]
    assert protocol.seen[3] is None
    assert protocol.seen[4].key == Rng(0, "head").key
    assert not put(encoder, "main", object(), images, 2)  # type: ignore[arg-type]
    for made, words in ((7, "returned a int"), (nn.Linear(2, 3), r"gives \(2, 3\) for features \(2, 2\)")):
        with pytest.raises(NotAPlugin, match=words):
            put(encoder, "main", Making(made), images, 2)  # type: ignore[arg-type]


def test_nobody_labelled_gives_features_of_the_right_width() -> None:
    features, label = embed_labelled(Encoder(Features(), 2, item=(1, 1, 2)), "main", Images([-1] * 6))  # type: ignore[arg-type]
    assert features.shape == (0, 2)
    assert label.shape == (0,)


class Option:
    def __init__(self, *, width: int = 1) -> None:
        self.width = width


def test_an_identity_is_of_the_version_the_options_and_the_stages() -> None:
    stage = {"a": 1, "b": 2}
    found = [
        make_identity("x", Option(), [stage]),
        make_identity("x", Option(width=2), [stage]),
        make_identity("x", Option(), [stage, stage]),
        make_identity("y", Option(), [stage]),
        make_identity("x", Option(), [{"a": 1, "b": 3}]),
    ]
    assert len({each.hash for each in found}) == 5
    assert make_identity("x", Option(), [{"b": 2, "a": 1}]) == found[0]
    assert found[0].version == "x-v0"
    assert all(len(each.hash) == 12 for each in found)


def test_a_larger_ball_has_longer_steps() -> None:
    ball = Ball("Linf", 0.2)
    attack = Solo(name="pgd", generator=PGD(steps=3, step_size=0.01))
    ((name, larger),) = members(attack, 2, ball, 4.0)
    assert (name, larger.step_size) == ("pgd", pytest.approx(0.04))  # type: ignore[attr-defined]
    assert attack.generator.step_size == 0.01  # type: ignore[attr-defined]
    assert members(attack, 2, ball)[0][1] is attack.generator
    assert members(Solo(name="pgd", generator=PGD(steps=3)), 2, ball, 4.0)[0][1].step_size is None  # type: ignore[attr-defined]


class Bright(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5) * 10
        return torch.stack([-z, z], 1)


class To:
    """Moves some rows to a level."""

    needs: frozenset[Any] = frozenset()
    citation = "none"

    def __init__(self, first: int, last: int, level: float) -> None:
        self.first, self.last, self.level = first, last, level

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        chosen = (attack.index >= self.first) & (attack.index < self.last)
        return torch.where(chosen[:, None, None, None], torch.full_like(x, self.level), x)


def test_who_stands_after_all_members_keeps_what_the_first_one_made() -> None:
    from contextlib import nullcontext

    judge = Judge(of_model(Bright()), Ball("Linf", 0.6), Rng(0), nullcontext)
    x, label, index = torch.full((4, 1, 2, 2), 0.4), torch.zeros(4, dtype=torch.int64), torch.arange(4)
    moved = adversaries(
        judge, x, label, index, "it", [("a", To(0, 3, 0.45)), ("b", To(1, 4, 0.6)), ("c", To(0, 2, 0.8))]
    )
    assert [pytest.approx(float(each.mean())) for each in moved] == [0.8, 0.6, 0.6, 0.6]
    stood = adversaries(judge, x, label, index, "it", [("a", To(0, 2, 0.45)), ("b", To(0, 4, 0.3))])
    assert [pytest.approx(float(each.mean())) for each in stood] == [0.45, 0.45, 0.4, 0.4]


def test_an_unstopped_attack_is_told_nothing() -> None:
    attack = without_verdict(make_attack(torch.rand(2, 1, 2, 2)))
    assert not attack.has("fooled")
    assert not attack.has("breaks")


@pytest.mark.parametrize(("rows", "are"), [
    ([[0.25, 0.75], [1.0, 0.0]], True), ([[0.25, 0.7502], [1.0, 0.0]], False), ([[0.25, 0.75005], [1.0, 0.0]], True),
    ([[-1e-6, 1.0 + 1e-6], [1.0, 0.0]], False), ([[0.25, 0.75], [1.0, 1.0]], False),
])  # fmt: skip
def test_probabilities(rows: list[list[float]], are: bool) -> None:
    assert probabilities(torch.tensor(rows)) == are


def test_labels_and_outputs_that_fit() -> None:
    logits = torch.tensor([[-2.0, 3.0, 0.0], [1.0, 2.0, 5.0]])
    assert check_logits(logits, torch.tensor([0, 2])) == 3
    for labels, words in (([0, 3], "label 3 of sample 1 is outside 0 .. 2"), ([-1, 0], "label -1 of sample 0")):
        with pytest.raises(DataError, match=words):
            check_labels(torch.tensor(labels), 3)
    logits[1, 0] = math.inf
    with pytest.raises(DataError, match="not finite for 1 of 2 inputs, the first is number 1"):
        check_logits(logits, torch.tensor([0, 2]))


@pytest.mark.parametrize(("low", "high", "warns"), [
    (0.0009, 0.9991, True), (0.0011, 0.9999, False), (0.0001, 0.9989, False), (0.0, 1.0, True),
    (-0.0001, 0.9999, False), (0.0001, 1.0001, False),
])  # fmt: skip
def test_sigmoids(low: float, high: float, warns: bool) -> None:
    logits = torch.tensor([[low, high], [0.5, 0.6]])
    if warns:
        with pytest.warns(RuntimeWarning, match="as a sigmoid's do"):
            check_logits(logits, torch.tensor([0, 1]))
    else:
        check_logits(logits, torch.tensor([0, 1]))


@pytest.mark.parametrize(("labels", "judged", "warned"), [
    ([0, 0, 0, 0, 1, 2, 3], 4, True), ([0, 1, 0, 1, 2, 3, 2], 4, True), ([0, 1, 2, 1, 3, 3, 2], 4, False),
    ([0, 0, 0, 1, 2, 3, 3], 3, False), ([0, 0, 0, 0, 1, 1, 1], 4, True),
])  # fmt: skip
def test_images_of_half_the_classes_are_told(labels: list[int], judged: int, warned: bool, tmp_path: Path) -> None:
    """Told where the judged images could be of all classes, and are of half of them at most."""
    from contextlib import nullcontext

    from robustcl.evaluate.measure import Measurement

    images, spoken = Images(labels[:6]), []
    images.labels, images.x, images.samples = torch.tensor(labels), torch.rand(7, 1, 1, 2), 7  # type: ignore[misc]
    judge = Judge(of_model(Linear()), Ball("Linf", 0.1), Rng(0), nullcontext)
    measurement = Measurement(Journal(tmp_path / "j"), 0, Work(), spoken.append)
    measurement.row(judge, images, Key("as-is", "", "test", None, '{"model": "a"}'), (), judged)  # type: ignore[arg-type]
    assert any("classes" in said for said in spoken) == warned


def test_pictures_hold_what_is_drawn_of_them(tmp_path: Path) -> None:
    from contextlib import nullcontext

    import numpy as np

    from robustcl.evaluate.extras.representation import draw

    images = Images([0] * 6)
    images.x = torch.full((6, 1, 1, 2), 0.4)
    judge = Judge(of_model(Bright()), Ball("Linf", 0.6), Rng(0), nullcontext)
    draw(tmp_path, subject(judge, images, [("a", To(0, 4, 0.6))]), torch.tensor([5, 1, 3]))
    strip = np.load(tmp_path / "strip.npz")
    assert sorted(strip) == ["adversarial", "adversarial_prediction", "clean", "clean_prediction", "index", "label"]
    assert strip["index"].tolist() == [5, 1, 3]
    assert strip["label"].tolist() == strip["clean_prediction"].tolist() == [0, 0, 0]
    assert strip["adversarial_prediction"].tolist() == [0, 1, 1]
    assert strip["clean"].mean((1, 2, 3)) == pytest.approx([0.4, 0.4, 0.4])
    assert strip["adversarial"].mean((1, 2, 3)) == pytest.approx([0.4, 0.6, 0.6])


def test_a_curve_without_numbers_has_no_points() -> None:
    for eps, accuracy in (([0.1], None), (None, [0.5]), ("ab", [0.5]), ([0.1], 0.5)):
        assert list(list_points({"security": [{"attack": "it", "eps": eps, "accuracy": accuracy}]})) == []
    assert len(list(list_points({"security": [{"attack": "it", "eps": [0.1, 0.2], "accuracy": [0.5]}]}))) == 1


def test_a_fit_that_is_cut_off_keeps_the_best_that_it_has_seen() -> None:
    from robustcl_plugins.protocols.regression import regressions

    features = Rng(0, "features").normal((60, 5), dtype=torch.float64) * torch.tensor([1, 10, 1, 10, 1])
    label = (features[:, 0] + Rng(0, "noise").normal((60,), dtype=torch.float64) > 0).long()
    fits = [regressions(features, label, [1e-3], gap=1e-30, most=most)[0] for most in range(1, 16)]
    lengths = [fit.gradient for fit in fits]
    assert lengths == sorted(lengths, reverse=True)
    assert not fits[3].converged
    loose = regressions(features, label, [1e-3], gap=1e-2, most=500)[0]
    assert loose.converged
    assert loose.tolerance == pytest.approx((2 * 1e-3 * 1e-2) ** 0.5)
    assert loose.objective == pytest.approx(loose.loss + 0.5e-3 * loose.weight[1].square().sum().item())


def test_a_fit_is_the_point_of_the_least_gradient_and_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of very different size: on the way to the optimum the gradient grows for some passes."""
    from robustcl_plugins.protocols.regression import _Task, regressions

    features = Rng(4, "f").normal((60, 5), dtype=torch.float64) * torch.tensor([1, 100, 1, 100, 1])
    label = (features[:, 0] + Rng(4, "n").normal((60,), dtype=torch.float64) > 0).long()
    lengths, plain = [], _Task.evaluate

    def told(self: Any, vector: Any, decay: float) -> Any:
        found = plain(self, vector, decay)
        lengths.append(float((found[2] ** 2).sum() ** 0.5))
        return found

    monkeypatch.setattr(_Task, "evaluate", told)
    (fit,) = regressions(features, label, [1e-3], gap=1e-30, most=13)
    assert fit.passes == len(lengths)
    assert fit.gradient == pytest.approx(min(lengths), rel=1e-12)
    assert lengths[-1] > 3 * fit.gradient


@pytest.mark.parametrize(("protocol", "options"), [("linear", {}), ("knn", {"k": 2})])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_a_head_is_asked_in_single_precision_whatever_the_encoder_runs_in(
    protocol: str, options: dict[str, Any], kind: torch.dtype
) -> None:
    encoder, images = Encoder(Features(), 2, item=(1, 1, 2)), Images([0, 1, 0, 1, 0, 1])
    made = registry.find("protocol", protocol).cls(**options)
    assert put(encoder, "main", made, images, 2)  # type: ignore[arg-type]
    x = images.x.requires_grad_()
    before = encoder(x, "main", frozenset({"logits"})).logits
    encoder.backbone.to(kind)
    encoder.mean, encoder.std = encoder.mean.to(kind), encoder.std.to(kind)
    after = encoder(x.to(kind), "main", frozenset({"logits"})).logits
    assert after.dtype == torch.float32
    assert torch.allclose(after, before, rtol=0.05, atol=0.05 * float(before.detach().abs().max()))
    (slope,) = torch.autograd.grad(after.sum(), x)
    assert slope.isfinite().all()
