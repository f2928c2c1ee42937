"""VAT against eigenvectors and loops, the batches of its sampler, and the labels that a stage keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import compose
from robustcl.data.labelled import Labelled, choose_labelled
from robustcl.errors import UsageError
from robustcl.options.schedule import Progress, Schedule
from robustcl.rng import Rng
from robustcl.run.splits import open_splits
from robustcl.testing.survey import TinySurvey
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.vat import VAT
from robustcl_plugins.samplers.mixed import Mixed
from tests.shared.one_step import Seen, one_step


def attack_on(x: Tensor, logits: Callable[[Tensor], Tensor], ball: Ball, seed: int = 0) -> Attack:
    rows = torch.arange(len(x))
    clean = Embedding(logits=logits(x).detach())
    return Attack(
        oracle=Oracle(encode=lambda v, places: Embedding(logits=logits(v)), clean=clean.take),
        ball=ball,
        rng=Rng(seed, "attack").for_rows(rows),
        label=torch.zeros_like(rows),
        index=rows,
        places=rows,
    )


def divergence(clean: Tensor, seen: Tensor) -> Tensor:
    return (clean.softmax(1) * (clean.log_softmax(1) - seen.log_softmax(1))).sum(1)


def pixels(rows: int = 3, item: tuple[int, ...] = (1, 3, 4)) -> Tensor:
    return Rng(0, "pixels").uniform((rows, *item), 0.1, 0.9, dtype=torch.float64)


def linear(seed: int = 0, classes: int = 4) -> Tensor:
    return Rng(seed, "weight").normal((classes, 12), dtype=torch.float64)


UNBOUNDED = Ball("L2", 0.5, None)


# --- the generator


@pytest.mark.golden("generator", "vat")
def test_vat_finds_the_dominant_eigenvector_of_the_fisher_matrix() -> None:
    """Of a linear softmax the Hessian of the divergence is W' (diag p - p p') W, known without any network."""
    x, w = pixels(), linear()
    found = VAT(iterations=60, xi=1e-4).perturb(x, attack_on(x, lambda v: v.flatten(1) @ w.T, UNBOUNDED)) - x
    for row, move in zip(x.flatten(1), found.flatten(1), strict=True):
        p = (w @ row).softmax(0)
        vectors = torch.linalg.eigh(w.T @ (p.diag() - p.outer(p)) @ w).eigenvectors
        assert abs(float(move @ vectors[:, -1])) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.golden("generator", "vat")
def test_one_iteration_is_the_fisher_matrix_times_the_random_direction() -> None:
    x, w = pixels(), linear()
    found = VAT(xi=1e-5).perturb(x, attack_on(x, lambda v: v.flatten(1) @ w.T, UNBOUNDED)) - x
    start = Rng(0, "attack").for_rows(torch.arange(3)).normal(x.shape, dtype=x.dtype).flatten(1)
    for row, direction, move in zip(x.flatten(1), start, found.flatten(1), strict=True):
        p = (w @ row).softmax(0)
        expected = w.T @ (p.diag() - p.outer(p)) @ w @ direction
        torch.testing.assert_close(move, 0.5 * expected / expected.norm(), rtol=1e-3, atol=1e-4)


@pytest.mark.golden("generator", "vat")
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("xi", [1e-3, 10.0])
def test_vat_is_algorithm_1_with_differences_of_the_divergence(iterations: int, xi: float) -> None:
    """The gradient at xi d by central differences of the divergence alone, entry by entry."""
    x, w = pixels(2), linear(1)

    def logits(v: Tensor) -> Tensor:
        return torch.tanh(v.flatten(1) @ w.T)

    found = VAT(iterations=iterations, xi=xi).perturb(x, attack_on(x, logits, UNBOUNDED)) - x
    d = Rng(0, "attack").for_rows(torch.arange(2)).normal(x.shape, dtype=x.dtype).flatten(1)
    for row in range(2):
        direction = d[row]
        for _ in range(iterations):
            at = xi * direction / direction.norm()
            slope = torch.zeros(12, dtype=torch.float64)
            for k in range(12):
                step = torch.zeros(12, dtype=torch.float64)
                step[k] = 1e-6
                up, down = (logits((x[row].flatten() + at + sign * step)[None]) for sign in (1, -1))
                clean = logits(x[row].flatten()[None])
                slope[k] = (divergence(clean, up) - divergence(clean, down)) / 2e-6
            direction = slope
        torch.testing.assert_close(found[row].flatten(), 0.5 * direction / direction.norm(), rtol=1e-3, atol=1e-4)


@pytest.mark.golden("generator", "vat")
def test_vat_reaches_the_edge_leaves_the_range_and_stays_where_nothing_changes() -> None:
    x, w = pixels(), linear()
    w[:, 0] = 0.0
    far = VAT().perturb(x, attack_on(x, lambda v: v.flatten(1) @ w.T, Ball("L2", 8.0, None)))
    torch.testing.assert_close((far - x).flatten(1).norm(dim=1), torch.full((3,), 8.0, dtype=x.dtype))
    assert bool((far < 0).any()), "no range"
    assert torch.equal(far[:, :, 0, 0], x[:, :, 0, 0]), "what no logit reads has no gradient"
    inside = VAT().perturb(x, attack_on(x, lambda v: v.flatten(1) @ w.T, Ball("L2", 8.0)))
    assert 0 <= float(inside.min()) <= float(inside.max()) <= 1
    still = VAT().perturb(x, attack_on(x, lambda v: v.flatten(1) @ w.T * 0, UNBOUNDED))
    assert torch.equal(still, x)


@pytest.mark.golden("generator", "vat")
def test_vat_reads_no_label_and_changes_the_prediction_more_than_noise_does() -> None:
    x, w = pixels(64), linear()

    def logits(v: Tensor) -> Tensor:
        return torch.tanh(v.flatten(1) @ w.T)

    attack = attack_on(x, logits, UNBOUNDED)
    relabelled = attack.but(label=attack.label + 1, rng=Rng(0, "attack").for_rows(torch.arange(64)))
    first, second = VAT().perturb(x, attack), VAT().perturb(x, relabelled)
    assert torch.equal(first, second)
    noise = Rng(1, "noise").normal(x.shape, dtype=x.dtype)
    noisy = x + 0.5 * noise / noise.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    assert float(divergence(logits(x), logits(first)).mean()) > 1.5 * float(divergence(logits(x), logits(noisy)).mean())


# --- the recipe


def softmax(logits: Sequence[float]) -> list[float]:
    exps = [math.exp(value - max(logits)) for value in logits]
    return [value / sum(exps) for value in exps]


def a_step(**options: Any) -> Seen:
    return one_step("vat", overrides=["stage.train.labelled=0.5"], images=12, **options)


@pytest.mark.golden("recipe", "vat")
def test_vat_is_equation_8_over_all_rows_and_cross_entropy_over_the_labelled_ones() -> None:
    seen = a_step()
    label = seen.batch.label.tolist()
    assert 0 < label.count(-1) < 12
    clean, adversarial = (seen.scenes["lds"].views[role].logits.tolist() for role in ("clean", "adversarial"))
    losses = [-math.log(softmax(row)[y]) for row, y in zip(clean, label, strict=True) if y >= 0]
    pairs = [(softmax(p), softmax(q)) for p, q in zip(clean, adversarial, strict=True)]
    smooth = [sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) for p, q in pairs]
    assert len(smooth) == 12
    expected = sum(losses) / len(losses) + sum(smooth) / 12
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)
    leaves = [seen.scenes["lds"].views[role].logits for role in ("clean", "adversarial")]
    toward = torch.autograd.grad(seen.losses["lds/kl"], leaves, allow_unused=True)
    assert toward[0] is None, "the target stands still"
    assert toward[1] is not None


@pytest.mark.golden("recipe", "vat")
def test_the_virtual_adversary_looks_at_batch_statistics_that_nothing_remembers() -> None:
    seen = a_step()
    online, x = seen.run.encoders.online, seen.batch.views["w"]
    counts = {int(b) for name, b in online.backbone.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {2}, "the two training forwards alone"

    def logits(v: Tensor) -> Tensor:
        return online.train()(v, "clean", frozenset({"logits"})).logits

    with torch.no_grad():
        clean = logits(x)
    d = Rng(0, "step").child("generator", "w_adv").for_rows(seen.batch.index).normal(x.shape, dtype=x.dtype)
    probe = (x + 1e-3 * d / d.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(divergence(clean, logits(probe)).sum(), probe)
    expected = x + 0.6 * slope / slope.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(seen.batch.views["w_adv"], expected, rtol=1e-9, atol=1e-9)
    assert bool((expected < 0).any()), "no range of pixels"


@pytest.mark.golden("recipe", "vat")
def test_the_published_numbers_of_vat() -> None:
    composition = compose(recipe="vat", dataset="cifar10", data_dir=".", budget="paper")
    (plan,) = composition.stages
    assert (plan.epochs, plan.batch, plan.labelled) == (120, 160, 4000)
    assert plan.sampler is not None
    assert {name: getattr(plan.sampler.part.plugin, name) for name in ("labelled", "unlabelled", "batches")} == {
        "labelled": 32,
        "unlabelled": 128,
        "batches": 400,
    }
    assert isinstance(plan.lr, Schedule)
    at = {epoch: plan.lr.at(Progress(round(epoch * 400), 48000, epoch, 120.0)) for epoch in (0, 40, 80, 100, 120)}
    assert at == pytest.approx({0: 1e-3, 40: 1e-3, 80: 1e-3, 100: 5e-4, 120: 0.0}, rel=1e-4, abs=1e-9)
    (generator,) = plan.generators
    assert (generator.ball.norm, generator.ball.range, generator.mode) == ("L2", None, "batch")
    written = compose(recipe="vat", budget="paper", dataset="cifar100", data_dir=".").stages[0].generators[0]
    assert (float(written.ball.eps), float(generator.ball.eps)) == (8.0, 1.9)


@pytest.mark.golden("recipe", "vat")
def test_vat_is_what_the_flags_compose() -> None:
    assert compose(objective="kl", generator="vat").recipe.name == "vat"
    assert compose(objective="kl").recipe.name == "trades"
    assert compose(objective="kl", generator="pgd").recipe.name == "trades"


@pytest.mark.golden("recipe", "vat")
def test_the_loop_takes_the_samplers_batches_as_they_are(tmp_path: Path) -> None:
    overrides = ["stage.train.sampler.batches=3", "evaluate=[]", "run.log_every=1", "stage.train.epochs=2"]
    composition = compose(recipe="vat", budget="smoke", encoder="resnet-small", overrides=overrides)
    run = composition.train(tmp_path / "run", device="cpu", report=False)
    assert len((run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2 * 3


@pytest.mark.golden("sampler", "mixed")
def test_batches_that_the_processes_cannot_share_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_step().run
    run.chosen_rows = torch.arange(20).reshape(2, 10)
    assert [batch.tolist() for batch in run._order(0)] == run.chosen_rows.tolist()
    monkeypatch.setattr("robustcl.ranks.world", lambda: 3)
    with pytest.raises(UsageError, match=r"stage\.train\.sampler: its batches of 10 images .* choose a multiple of 3"):
        run._order(0)


# --- the sampler


@pytest.mark.golden("sampler", "mixed")
def test_mixed_puts_labelled_images_before_unlabelled_ones() -> None:
    survey = TinySurvey()
    batches = Mixed(labelled=3, unlabelled=5).select(survey, 0)
    assert batches.shape == (int((survey.labels < 0).sum()) // 5, 8)
    for batch in batches.tolist():
        assert all(int(survey.labels[row]) >= 0 for row in batch[:3])
        assert all(int(survey.labels[row]) < 0 for row in batch[3:])
        assert len(set(batch)) == 8


@pytest.mark.golden("sampler", "mixed")
def test_mixed_goes_through_each_pool_before_anything_comes_again() -> None:
    survey = TinySurvey()
    survey.labels[:] = -1
    survey.labels[:10] = 0
    batches = Mixed(labelled=4, unlabelled=210, batches=6).select(survey, 0)
    assert batches.shape == (6, 214)
    for first in range(0, 6, 2):
        assert len(batches[first : first + 2, :4].unique()) == 8, "two batches of 4 are a round of 10"
    assert len({tuple(batch[:4].sort().values.tolist()) for batch in batches}) > 2, "a new order each round"
    for first in range(0, 6, 3):
        assert sorted(batches[first : first + 3, 4:].flatten().tolist()) == list(range(10, 640))


@pytest.mark.golden("sampler", "mixed")
def test_mixed_follows_its_stream() -> None:
    surveys = [TinySurvey() for _ in range(3)]
    surveys[2].rng = Rng(0, "another epoch")
    first, again, other = (Mixed().select(survey, 0) for survey in surveys)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.golden("sampler", "mixed")
@pytest.mark.parametrize(("labelled", "unlabelled", "said"), [(481, 1, "labelled = 481"), (1, 161, "unlabelled = 161")])
def test_mixed_needs_enough_of_both(labelled: int, unlabelled: int, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        Mixed(labelled=labelled, unlabelled=unlabelled).select(TinySurvey(), 0)
    assert "there are only" in str(error.value)


# --- how many labels a stage keeps


def test_labels_are_kept_by_class_and_by_seed() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 3 + [-1] * 17)[Rng(0, "mixed up").permutation(100)]
    rows = choose_labelled(labels, 12, Rng(0, "labelled"))
    assert torch.equal(rows, rows.sort().values)
    assert torch.bincount(labels[rows]).tolist() in ([5, 4, 3], [4, 5, 3]), "the small class gives all, the rest share"
    assert torch.equal(rows, choose_labelled(labels, 12, Rng(0, "labelled")))
    assert not torch.equal(rows, choose_labelled(labels, 12, Rng(1, "labelled")))
    fewer = choose_labelled(labels, 6, Rng(0, "labelled"))
    assert torch.bincount(labels[fewer]).tolist() == [2, 2, 2]
    assert set(fewer.tolist()) < set(rows.tolist())


@pytest.mark.parametrize(("amount", "count"), [(1.0, 83), (0.1, 8), (0.001, 1), (83, 83), (1, 1)])
def test_a_share_is_rounded_and_never_empty(amount: float, count: int) -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 3 + [-1] * 17)
    rows = choose_labelled(labels, amount, Rng(0))
    assert len(rows) == count
    assert bool((labels[rows] >= 0).all())


def test_only_labels_go_and_the_validation_part_keeps_its_own() -> None:
    composition = compose(recipe="vat")
    splits = open_splits(composition, torch.device("cpu"))
    (plan,) = composition.stages
    images = splits.of("train", plan)
    assert isinstance(images, Labelled)
    assert images.samples == splits.train.samples
    kept = images.labels >= 0
    assert torch.bincount(images.labels[kept]).tolist() == [10] * 10
    assert torch.equal(images.labels[kept], splits.train.labels[kept])
    rows = torch.tensor([5, 2])
    assert torch.equal(images.fetch(rows), splits.train.fetch(rows))
    (batch,) = images.batches([rows])
    assert torch.equal(batch[1], splits.train.fetch(rows))
    assert splits.validation is not None
    assert bool((splits.validation.labels >= 0).all())


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("vat", "stage.train.labelled=0", "labelled = 0 is not accepted"),
        ("vat", "stage.train.labelled=1.5", "labelled = 1.5 is not accepted"),
        ("simclr", "stage.pretrain.labelled=0.5", "stage.pretrain.labelled: nothing reads the data set's labels"),
    ],
)
def test_a_bad_number_of_labels_is_one_sentence(recipe: str, override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compose(recipe=recipe, overrides=[override])


def test_more_labels_than_there_are_is_one_sentence_and_leaves_no_directory(tmp_path: Path) -> None:
    composition = compose(recipe="vat", overrides=["stage.train.labelled=4000"])
    with pytest.raises(UsageError, match=r"stage\.train\.labelled: 4000 labels are asked for, and only \d+ images"):
        composition.train(tmp_path / "run", device="cpu", report=False)
    assert not (tmp_path / "run").exists()
