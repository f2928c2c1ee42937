"""The standard starting points, SimCLR, SupCon and cross-entropy, as loops over plain floats, against one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from robustcl import compose
from robustcl.options.schedule import Progress
from robustcl.train.plan import at
from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]


def cosine(u: Vector, v: Vector) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def l_out(rows: Sequence[Vector], positive: Callable[[int, int], bool], temperature: float) -> float:
    """Mean over anchors of -log softmax over all other rows, averaged over each anchor's positives."""
    losses = []
    for i, anchor in enumerate(rows):
        others = [k for k in range(len(rows)) if k != i]
        below = sum(math.exp(cosine(anchor, rows[k]) / temperature) for k in others)
        terms = [-math.log(math.exp(cosine(anchor, rows[p]) / temperature) / below) for p in others if positive(i, p)]
        losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


def projections(seen: Seen) -> list[Vector]:
    """Return both views' projections, embedded anew in one forward."""
    x = torch.cat([seen.batch.views["a"], seen.batch.views["b"]])
    z: list[Vector] = seen.run.encoders.embed(x, "online", "clean", frozenset({"z"}), "train").z.tolist()
    return z


def rates(recipe: str, *epochs: float) -> list[float]:
    """Return the published learning rate at some epochs."""
    plan = compose(recipe=recipe, budget="paper").stages[0]
    whole = float(plan.epochs)
    return [at(plan.lr, Progress(int(epoch * 10), int(whole * 10), epoch, whole)) for epoch in epochs]


@pytest.mark.golden("recipe", "simclr")
def test_simclr_is_nt_xent() -> None:
    seen = one_step("simclr")
    images = len(seen.batch.index)
    expected = l_out(projections(seen), lambda i, k: i % images == k % images, 0.5)
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)
    assert set(seen.losses) == {"contrast/contrast", "total"}


@pytest.mark.golden("recipe", "simclr")
def test_simclr_looks_at_two_different_views() -> None:
    views = one_step("simclr").batch.views
    assert set(views) == {"a", "b"}
    assert not torch.equal(views["a"], views["b"])


@pytest.mark.golden("recipe", "simclr")
def test_simclr_warms_up_and_follows_a_cosine() -> None:
    # Half way between the warm-up's end and the last epoch the cosine is at half of its height.
    assert rates("simclr", 0, 5, 10, 505, 1000) == pytest.approx([0.0, 0.4, 0.8, 0.4, 0.0], abs=1e-12)


@pytest.mark.golden("recipe", "supcon")
def test_supcon_averages_over_the_views_of_the_class() -> None:
    seen = one_step("supcon", images=16)
    label, images = seen.batch.label.tolist(), len(seen.batch.index)
    assert len(set(label)) < images, "the batch needs images of one class"
    assert min(label) >= 0
    expected = l_out(projections(seen), lambda i, k: label[i % images] == label[k % images], 0.1)
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("recipe", "supcon")
def test_supcon_without_labels_is_simclr() -> None:
    seen = one_step("supcon", overrides=["stage.pretrain.term.selector=all"])
    images = len(seen.batch.index)
    expected = l_out(projections(seen), lambda i, k: i % images == k % images, 0.1)
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("recipe", "supcon")
def test_the_released_scale_of_supcon_is_temperature_over_seven_hundredths() -> None:
    plain = one_step("supcon").losses["total"].item()
    released = one_step("supcon", overrides=["stage.pretrain.term.base_temperature=0.07"]).losses["total"].item()
    assert released == pytest.approx(plain * 0.1 / 0.07, rel=1e-9)


@pytest.mark.golden("recipe", "supcon")
def test_supcon_warms_up_from_a_hundredth_and_ends_at_a_thousandth_of_its_rate() -> None:
    assert rates("supcon", 0, 5, 10, 1000) == pytest.approx([0.01, 0.255, 0.5, 0.0005], rel=1e-9)


@pytest.mark.golden("recipe", "ce")
def test_ce_is_minus_the_logarithm_of_the_label_probability() -> None:
    seen = one_step("ce")
    x = seen.batch.views["w"]
    logits = seen.run.encoders.embed(x, "online", "clean", frozenset({"logits"}), "train").logits.tolist()
    losses = [
        -math.log(math.exp(row[label]) / sum(math.exp(value) for value in row))
        for row, label in zip(logits, seen.batch.label.tolist(), strict=True)
    ]
    assert seen.losses["total"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.golden("recipe", "ce")
def test_ce_trains_encoder_and_classifier_and_judges_that_classifier() -> None:
    seen = one_step("ce")
    seen.losses["total"].backward()
    moved = {name.split(".")[0] for name, p in seen.run.encoders.online.named_parameters() if p.grad is not None}
    assert moved == {"backbone", "classifier"}
    composition = compose(recipe="ce", budget="paper")
    assert [evaluation.protocol.name for evaluation in composition.evaluations] == ["own"]
    assert rates("ce", 0, 99.9, 100, 150) == pytest.approx([0.1, 0.1, 0.01, 0.001])
