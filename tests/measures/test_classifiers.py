"""Drops, entropies, linear separability and the map."""

from __future__ import annotations

import importlib
import math
import pkgutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, special_ortho_group
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from robustcl import measures
from robustcl.errors import UsageError
from robustcl.measures import (
    class_probability_drop,
    linear_separability,
    neighbour_entropy,
    prediction_entropy,
    relative_drop,
    t_sne,
)
from robustcl.measures.map import _principal
from robustcl.rng import Rng


def blobs(seed: int, per: int = 20, classes: int = 3, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    rng = Rng(seed, "blobs")
    label = torch.arange(classes).repeat(per)
    centre = 2 * rng.normal((classes, 6), dtype=torch.float64)
    return centre[label] + spread * rng.normal((len(label), 6), dtype=torch.float64), label


# --- drops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clean", "attacked", "percent"),
    # Gupta et al., tables 1 and 3.
    [(95.4, 29.6, 69), (95.5, 38.8, 59), (92.7, 26.8, 71), (92.7, 8.3, 91), (59.4, 26.6, 55), (24.8, 12.2, 51)],
)
def test_relative_drop_gives_the_papers_percentages(clean: float, attacked: float, percent: int) -> None:
    assert round(100 * relative_drop(clean, attacked)) == percent
    assert relative_drop(clean / 100, attacked / 100) == pytest.approx(relative_drop(clean, attacked))


def test_relative_drop_at_its_ends() -> None:
    assert relative_drop(0.5, 0.0) == 1.0
    assert relative_drop(0.5, 0.5) == 0.0
    assert relative_drop(0.5, 0.75) == -0.5
    for clean, attacked in ((0.0, 0.0), (math.nan, 0.1), (0.5, -0.1), (0.5, math.inf)):
        with pytest.raises(UsageError, match="no relative drop"):
            relative_drop(clean, attacked)


def test_class_probability_drop_by_hand() -> None:
    clean = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]]))
    moved = torch.log(torch.tensor([[0.2, 0.8], [0.5001, 0.4999], [0.9, 0.1], [0.9, 0.1]]))
    found = class_probability_drop(clean, moved, torch.tensor([0, 0, 1, 1]))  # the third is wrong already
    assert found.judged == 3
    assert found.fooled == pytest.approx(2 / 3)
    assert found.each.tolist() == pytest.approx([0.7, 0.0999, 0.1, 0.6], abs=1e-6)
    assert found.drop == pytest.approx((0.7 + 0.0999 + 0.6) / 3, abs=1e-6)


def test_class_probability_drop_without_a_correct_image() -> None:
    found = class_probability_drop(torch.eye(2), torch.eye(2), torch.tensor([1, 0]))
    assert found.judged == 0
    assert math.isnan(found.fooled)
    assert math.isnan(found.drop)
    with pytest.raises(UsageError, match="the label 2 has no logit"):
        class_probability_drop(torch.eye(2), torch.eye(2), torch.tensor([2, 0]))


# --- entropies ----------------------------------------------------------------------------------------------


def test_prediction_entropy_agrees_with_scipy() -> None:
    logits = 5 * Rng(0).normal((9, 4), dtype=torch.float64)
    assert prediction_entropy(logits).tolist() == pytest.approx(entropy(logits.softmax(1).numpy(), axis=1).tolist())
    ends = prediction_entropy(torch.tensor([[0.0, 0.0, 0.0], [1e4, 0.0, 0.0]]))
    assert ends.tolist() == pytest.approx([math.log(3), 0.0])


def test_neighbour_entropy_by_hand() -> None:
    line = torch.tensor([[0.0], [1.0], [2.1], [3.3]])
    found = neighbour_entropy(line, torch.tensor([0, 0, 1, 1]), neighbours=2)
    assert found.tolist() == pytest.approx([math.log(2)] * 4)
    found = neighbour_entropy(line, torch.tensor([0, 0, 0, 1]), neighbours=2)
    assert found.tolist() == pytest.approx([0.0, 0.0, math.log(2), 0.0])


def test_equal_neighbours_are_taken_in_order() -> None:
    same = torch.zeros(6, 2)
    found = neighbour_entropy(same, torch.tensor([0, 0, 1, 1, 1, 1]), neighbours=2)
    assert found.tolist() == pytest.approx([math.log(2)] * 2 + [0.0] * 4)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_neighbour_entropy_agrees_with_scikit_learn(chunk: int) -> None:
    points, label = blobs(1, spread=2.0)
    nearest = NearestNeighbors(n_neighbors=6).fit(points.numpy()).kneighbors(points.numpy(), return_distance=False)
    counts = [np.bincount(label.numpy()[row[1:]], minlength=3) for row in nearest]
    found = neighbour_entropy(points, label, neighbours=5, chunk=chunk)
    assert found.tolist() == pytest.approx([float(entropy(count)) for count in counts])
    with pytest.raises(UsageError, match="60 neighbours cannot be found among 60"):
        neighbour_entropy(points, label, neighbours=60)


# --- linear separability ------------------------------------------------------------------------------------


def test_linear_separability_is_scikit_learns_on_scaled_features() -> None:
    features, label = blobs(2, spread=2.5)
    train, test = features[:40], features[40:]
    found = linear_separability(train, label[:40] + 4, test, label[40:] + 4, penalty=0.5)
    mean, scale = train.numpy().mean(axis=0), train.numpy().std(axis=0)
    scale = np.sqrt((scale**2).mean())
    peer = LogisticRegression(C=2.0, max_iter=1000).fit((train.numpy() - mean) / scale, label[:40].numpy())
    assert found.train == peer.score((train.numpy() - mean) / scale, label[:40].numpy())
    assert found.test == peer.score((test.numpy() - mean) / scale, label[40:].numpy())
    assert 0.5 < found.test < 1.0
    assert found.converged
    scores = test @ found.weight.T + found.bias
    torch.testing.assert_close(scores, torch.from_numpy(peer.decision_function((test.numpy() - mean) / scale)))
    assert found.classes.tolist() == [4, 5, 6]
    assert found.accuracy(test, label[40:] + 4) == found.test


@settings(max_examples=5)
@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3))
def test_scale_and_rotation_do_not_separate(seed: int, scale: float) -> None:
    features, label = blobs(seed, spread=2.0)
    turn = scale * torch.from_numpy(special_ortho_group.rvs(6, random_state=seed))
    before = linear_separability(features[:40], label[:40], features[40:], label[40:])
    moved = features @ turn + 7.0
    after = linear_separability(moved[:40], label[:40], moved[40:], label[40:])
    assert (after.train, after.test) == pytest.approx((before.train, before.test), abs=0.051)
    torch.testing.assert_close(after.weight @ turn.T, before.weight, rtol=1e-2, atol=1e-2)


def test_two_classes_have_one_line_between_them() -> None:
    train = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 5.0], [0.0, 6.0]])
    label = torch.tensor([8, 8, 3, 3])
    test = torch.tensor([[9.0, 3.4], [9.0, 3.6], [0.0, 0.0]])
    found = linear_separability(train, label, test, torch.tensor([8, 3, 1]))
    assert found.predict(test).tolist() == [8, 3, 8]
    assert (found.train, found.test) == (1.0, pytest.approx(2 / 3))  # the label 1 was never seen


def test_too_few_iterations_are_told() -> None:
    features, label = blobs(3, spread=3.0)
    assert not linear_separability(features, label, features, label, iterations=2).converged


def test_separability_refuses_what_cannot_be_separated() -> None:
    rows, label = torch.eye(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(UsageError, match="all 4 training rows have the label 1"):
        linear_separability(rows, torch.ones(4, dtype=torch.int64), rows, label)
    with pytest.raises(UsageError, match="the features have collapsed"):
        linear_separability(torch.full((4, 2), 0.1), label, rows[:, :2], label)
    with pytest.raises(UsageError, match="width 4 cannot judge test features of 2"):
        linear_separability(rows, label, rows[:, :2], label)
    with pytest.raises(UsageError, match="penalty = 0"):
        linear_separability(rows, label, rows, label, penalty=0.0)
    with pytest.raises(UsageError, match="4 features cannot judge rows of 3"):
        linear_separability(rows, label, rows, label).predict(torch.eye(3))


# --- the map ------------------------------------------------------------------------------------------------


def test_the_map_keeps_neighbours_and_repeats_itself() -> None:
    features, label = blobs(4, spread=0.2)
    first, second = (t_sne(features, perplexity=10, iterations=400) for _ in range(2))
    assert first.shape == (60, 2)
    assert torch.equal(first, second)
    assert float(neighbour_entropy(first, label, neighbours=5).max()) == 0.0
    assert torch.equal(t_sne(2.0**100 * features, perplexity=10, iterations=400), first)


@pytest.mark.parametrize("seed", range(6))
def test_the_map_starts_from_principal_components_of_known_sign(seed: int) -> None:
    rows = Rng(seed).normal((30, 4), dtype=torch.float64)
    rows = rows - rows.mean(dim=0)
    expected = torch.from_numpy(PCA(2, svd_solver="full").fit_transform(rows.numpy()))
    found = _principal(rows)
    torch.testing.assert_close(found.abs(), expected.abs())
    assert bool((found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all())


def test_small_and_flat_maps() -> None:
    line = torch.arange(5.0)[:, None]
    found = t_sne(line, iterations=250)
    assert found.shape == (5, 2)
    assert bool(found.isfinite().all())
    with pytest.raises(UsageError, match="too few"):
        t_sne(line[:3])
    with pytest.raises(UsageError, match="the same point"):
        t_sne(torch.full((9, 4), 0.3))
    with pytest.raises(UsageError, match="iterations = 10"):
        t_sne(line, iterations=10)


# --- the package --------------------------------------------------------------------------------------------


def test_every_export_is_found_and_none_is_hidden_by_a_module() -> None:
    modules = {module.name for module in pkgutil.iter_modules(measures.__path__)}
    assert not modules & set(measures.__all__)
    for name in measures.__all__:
        assert getattr(measures, name) is getattr(importlib.import_module(f"robustcl.measures.{home(name)}"), name)
    assert dir(measures) == sorted(measures.__all__)
    with pytest.raises(AttributeError, match="no attribute 'r_div'"):
        measures.r_div  # noqa: B018


def home(name: str) -> str:
    return next(module for module, names in measures._HOMES.items() if name in names)
