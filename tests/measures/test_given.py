"""Measures and clusters of what people hold, NumPy, lists, odd types and sizes: the same number or a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples
from torch import Tensor, nn

from robustcl import Rng, measures
from robustcl.clustering import choose, silhouette, spherical_kmeans
from robustcl.errors import UsageError

DRAW = torch.Generator().manual_seed(0)
CLEAN = torch.randn(40, 5, generator=DRAW, dtype=torch.float64)
ATTACKED = CLEAN + 0.3 * torch.randn(40, 5, generator=DRAW, dtype=torch.float64)
LABEL = torch.arange(40) % 4

BOTH = {
    "relative_divergence": lambda c, a, y: measures.relative_divergence(c, a, y),
    "relative_divergence L2": lambda c, a, y: measures.relative_divergence(c, a, y, distance="L2").relative,
    "feature_divergence": lambda c, a, y: measures.feature_divergence(c, a),
    "silhouettes": lambda c, a, y: measures.silhouettes(c, a, y),
    "alignment": lambda c, a, y: measures.alignment(c, a),
    "class_distances": lambda c, a, y: measures.class_distances(c, y),
    "class_distances Linf": lambda c, a, y: measures.class_distances(c, y, distance="Linf").ratio,
    "linear_separability": lambda c, a, y: measures.linear_separability(c, y, a, y).test,
    "neighbour_entropy": lambda c, a, y: measures.neighbour_entropy(c, y),
    "uniformity": lambda c, a, y: measures.uniformity(c),
    "feature_deviation": lambda c, a, y: measures.feature_deviation(c),
    "effective_rank": lambda c, a, y: measures.effective_rank(c, centred=True),
}  # fmt: skip
LOGITS = {
    "class_probability_drop": lambda c, a, y: measures.class_probability_drop(c, a, y),
    "prediction_entropy": lambda c, a, y: measures.prediction_entropy(c),
}
ALL = {**BOTH, **LOGITS}


def _numbers(found: Any) -> list[Tensor]:
    parts = astuple(found) if hasattr(found, "__dataclass_fields__") else (found,)
    return [torch.as_tensor(part, dtype=torch.float64) for part in parts]


def _same(found: Any, expected: Any, rtol: float = 0.0) -> None:
    for mine, theirs in zip(_numbers(found), _numbers(expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=rtol, equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_arrays_of_any_library_give_the_same(name):
    measure = ALL[name]
    expected = measure(CLEAN, ATTACKED, LABEL)
    _same(measure(CLEAN.numpy(), ATTACKED.numpy(), LABEL.numpy()), expected)
    _same(measure(CLEAN.clone().requires_grad_(), ATTACKED.clone().requires_grad_(), LABEL), expected)
    for kind in (torch.float64, torch.float32, torch.uint8, torch.int32):
        _same(measure(CLEAN, ATTACKED, LABEL.to(kind)), expected)
    _same(measure(CLEAN, ATTACKED, LABEL.tolist()), expected)
    wide = torch.stack([CLEAN, ATTACKED], dim=2)
    _same(measure(wide[..., 0], wide[..., 1], LABEL), expected, 1e-13)
    single = measure(CLEAN.float(), ATTACKED.float(), LABEL)
    _same(measure(CLEAN.float().tolist(), ATTACKED.float().tolist(), LABEL), single, 1e-12)


@pytest.mark.parametrize("name", ALL)
def test_whole_features_are_numbers(name):
    clean, attacked = (10 * CLEAN).long(), (10 * ATTACKED).long()
    _same(ALL[name](clean, attacked, LABEL), ALL[name](clean.double(), attacked.double(), LABEL))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_features_of_any_size(name, scale):
    """These do not change with the scale, up to the scale itself."""
    measure = BOTH[name]
    found = measure(CLEAN * scale, ATTACKED * scale, LABEL)
    for mine, theirs in zip(_numbers(found), _numbers(measure(CLEAN, ATTACKED, LABEL)), strict=True):
        assert not bool(mine.isinf().any())
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_distances_carry_their_scale(scale):
    found = measures.class_distances(CLEAN * scale, LABEL, distance="L2")
    plain = measures.class_distances(CLEAN, LABEL, distance="L2")
    torch.testing.assert_close(found.table / scale, plain.table)
    moved = measures.feature_divergence(CLEAN * scale, ATTACKED * scale, distance="L1")
    torch.testing.assert_close(moved / scale, measures.feature_divergence(CLEAN, ATTACKED, distance="L1"))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("clean", "words"),
    [
        (CLEAN.to(torch.complex128), "complex"),
        (CLEAN[:0], "too few|no matrix"),
        (CLEAN[:, :0], "no matrix"),
        (CLEAN[0], "no matrix"),
        ([], "no matrix"),
        (["a"], "no array of numbers"),
        ([[1.0, 2.0], [1.0]], "no array of numbers"),
        (None, "no array of numbers"),
        (CLEAN.numpy().astype(object), "no array of numbers"),
        (CLEAN.to_sparse(), "dense"),
        (torch.where(CLEAN > 2, torch.nan, CLEAN), "infinite or not a number"),
        (torch.where(CLEAN > 2, torch.inf, CLEAN), "infinite or not a number"),
    ],
    ids=[
        "complex",
        "no rows",
        "no columns",
        "vector",
        "[]",
        "text",
        "ragged",
        "none",
        "object",
        "sparse",
        "nan",
        "inf",
    ],
)
def test_features_that_are_none(name, clean, words):
    with pytest.raises(UsageError, match=words):
        ALL[name](clean, clean, LABEL[: len(clean)] if clean is not None else LABEL)


WITH_LABELS = [
    name for name in ALL if name.split()[0] not in
    ("feature_divergence", "alignment", "uniformity", "feature_deviation", "effective_rank", "prediction_entropy")
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_LABELS)
@pytest.mark.parametrize(
    ("label", "words"),
    [
        (LABEL + 0.5, "whole number"),
        (LABEL / 0.0, "whole number"),
        (LABEL * 1e300, "whole number"),
        (LABEL - 1, "no label"),
        (LABEL[:-1], "do not fit"),
        (LABEL[:, None], "do not fit"),
        (LABEL.to(torch.complex64), "complex"),
        ([str(k) for k in LABEL], "no array of numbers"),
    ],
    ids=["fractions", "nan", "1e300", "negative", "too few", "column", "complex", "text"],
)
def test_labels_that_are_none(name, label, words):
    with pytest.raises(UsageError, match=words):
        ALL[name](CLEAN, ATTACKED, label)


@pytest.mark.parametrize("name", [n for n in WITH_LABELS if n not in ("class_probability_drop", "class_distances")])
def test_labels_of_any_size_and_truth_values(name):
    measure = BOTH[name]
    _same(measure(CLEAN, ATTACKED, LABEL * 700_000_000), measure(CLEAN, ATTACKED, LABEL))
    _same(measure(CLEAN, ATTACKED, LABEL > 1), measure(CLEAN, ATTACKED, (LABEL > 1).long()))


OPTIONS: dict[str, tuple[Callable[..., Any], Any]] = {
    "chunk of class_distances": (lambda v: measures.class_distances(CLEAN, LABEL, distance="L1", chunk=v), 7),
    "chunk of relative_divergence": (lambda v: measures.relative_divergence(CLEAN, ATTACKED, LABEL, chunk=v), 7),
    "batch of relative_divergence": (lambda v: measures.relative_divergence(CLEAN, ATTACKED, LABEL, batch=v), 20),
    "chunk of silhouettes": (lambda v: measures.silhouettes(CLEAN, ATTACKED, LABEL, chunk=v), 7),
    "chunk of silhouette": (lambda v: silhouette(CLEAN, LABEL, chunk=v), 7),
    "clusters of silhouette": (lambda v: silhouette(CLEAN, LABEL, clusters=v), 4),
    "chunk of uniformity": (lambda v: measures.uniformity(CLEAN, chunk=v), 7),
    "chunk of effective_rank": (lambda v: measures.effective_rank(CLEAN, chunk=v), 7),
    "neighbours": (lambda v: measures.neighbour_entropy(CLEAN, LABEL, neighbours=v), 3),
    "chunk of neighbour_entropy": (lambda v: measures.neighbour_entropy(CLEAN, LABEL, chunk=v), 7),
    "iterations of linear_separability": (
        lambda v: measures.linear_separability(CLEAN, LABEL, ATTACKED, LABEL, iterations=v).weight,
        3,
    ),
    "clusters of k-means": (lambda v: spherical_kmeans(CLEAN, v, Rng(0)).assignment, 3),
    "restarts": (lambda v: spherical_kmeans(CLEAN, 3, Rng(0), restarts=v).assignment, 2),
    "iterations of k-means": (lambda v: spherical_kmeans(CLEAN, 3, Rng(0), iterations=v).assignment, 2),
    "chunk of k-means": (lambda v: spherical_kmeans(CLEAN, 3, Rng(0), chunk=v).assignment, 9),
    "grid": (lambda v: choose(CLEAN, [v], lambda k: torch.arange(40) % k).clusters, 3),
    "points": (lambda v: _landscape(points=v), 3),
    "directions": (lambda v: _landscape(directions=v), 1),
}


def _landscape(**options: Any) -> Tensor:
    module = nn.Linear(2, 2)
    nn.init.ones_(module.weight)
    return measures.weight_landscape(module, lambda m: m.weight.sum(), Rng(0), **{"points": 3, **options}).loss


@pytest.mark.parametrize("name", OPTIONS)
def test_whole_numbers_of_any_kind(name):
    call, value = OPTIONS[name]
    expected = call(value)
    for kind in (float, np.int64, np.uint8, np.float32, np.array, torch.tensor):
        _same(call(kind(value)), expected)
    for wrong in (value + 0.5, True, -1, math.nan, math.inf, "3", None if name not in LEFT_OUT else 1.5, [value]):
        with pytest.raises(UsageError):
            call(wrong)


LEFT_OUT = ("batch of relative_divergence", "clusters of silhouette")


@pytest.mark.parametrize("name", [n for n in OPTIONS if n not in ("iterations of k-means",)])
def test_none_of_something_is_refused(name):
    with pytest.raises(UsageError):
        OPTIONS[name][0](0)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, True, "2", None, np.float32("nan")])
def test_numbers_above_nothing(wrong):
    for call in (
        lambda: measures.uniformity(CLEAN, t=wrong),
        lambda: measures.alignment(CLEAN, ATTACKED, alpha=wrong),
        lambda: measures.linear_separability(CLEAN, LABEL, CLEAN, LABEL, penalty=wrong),
        lambda: _landscape(radius=wrong),
        lambda: measures.t_sne(CLEAN, perplexity=wrong),
    ):
        with pytest.raises(UsageError):
            call()
    assert measures.uniformity(CLEAN, t=np.float64(2)) == measures.uniformity(CLEAN, t=2.0)


def test_a_stream_is_no_seed():
    for call in (
        lambda: spherical_kmeans(CLEAN, 3, 0),
        lambda: measures.input_landscape(nn.Flatten(), CLEAN[:, :, None], LABEL, 0),
    ):
        with pytest.raises(UsageError, match=r"rng = 0 is no stream: give robustcl.Rng\(0\)"):
            call()


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-40])
def test_clusters_of_any_size_and_library(scale):
    expected = spherical_kmeans(CLEAN, 3, Rng(0))
    found = spherical_kmeans((CLEAN * scale).numpy(), 3, Rng(0))
    assert torch.equal(found.assignment, expected.assignment)
    assert spherical_kmeans(CLEAN[:1].tolist(), 1, Rng(0)).assignment.tolist() == [0]
    whole = (10 * CLEAN).long()
    assert torch.equal(
        spherical_kmeans(whole, 3, Rng(0)).centroids, spherical_kmeans(whole.float(), 3, Rng(0)).centroids
    )
    for wrong in (CLEAN.to(torch.complex64), [], [["a"]], CLEAN[0], torch.where(CLEAN > 2, torch.nan, CLEAN)):
        with pytest.raises(UsageError):
            spherical_kmeans(wrong, 1, Rng(0))


def test_a_row_of_zeros_is_at_one_from_all_in_a_silhouette():
    """Also from the other rows of its own cluster, and theirs from it: beside naked loops."""
    rows = torch.cat([CLEAN[:9], torch.zeros(3, 5, dtype=torch.float64)])
    own = torch.tensor([0, 1, 2] * 4)
    unit = torch.nn.functional.normalize(rows)
    apart = 1 - unit @ unit.T
    apart[range(9), range(9)] = 0.0
    expected = []
    for i in range(12):
        mine = [float(apart[i, j]) for j in range(12) if own[j] == own[i] and j != i]
        others = [[float(apart[i, j]) for j in range(12) if own[j] == k] for k in range(3) if k != own[i]]
        inner, outer = sum(mine) / len(mine), min(sum(d) / len(d) for d in others)
        expected.append((outer - inner) / max(inner, outer))
    found = silhouette(rows, own)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_row_of_zeros_far_from_rows_whose_distances_are_differences():
    """The first two are so near that all of their distances come from differences; zeros are at 1 in these too."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 8e-4], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64)
    unit = torch.nn.functional.normalize(rows)
    inner = float((unit[0] - unit[1]).square().sum()) / 2
    found = silhouette(rows, torch.tensor([0, 0, 1, 1]))
    assert float(found[0]) == pytest.approx(1 - inner / ((0.4 + 1.0) / 2), abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 40), width=st.integers(1, 8), seed=st.integers(0, 10**6), clusters=st.integers(2, 6),
    kind=st.sampled_from([np.float64, np.float32, np.int64]), chunk=st.sampled_from([1, 3, 512]),
    shape=st.sampled_from(["round", "offset", "stretched", "twice"]),
)  # fmt: skip
def test_silhouettes_are_those_of_scikit_learn(n, width, seed, clusters, kind, chunk, shape):
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(n, width))
    if shape == "offset":
        features += 5.0
    elif shape == "stretched":
        features *= 10.0 ** draw.integers(-3, 4, size=(n, 1))
    elif shape == "twice":
        features[n // 2 :] = features[: n - n // 2]
    features = (100 * features).astype(kind)
    features[(features == 0).all(1)] = 1
    own = draw.integers(0, clusters, size=n)
    own[:2] = [0, 1]
    if len(set(own)) == n:
        own[2] = 0
    expected = silhouette_samples(features.astype(np.float64), own, metric="cosine")
    found = silhouette(features, own, chunk=chunk).numpy()
    # Where both distances are rounding alone, scikit-learn divides them by one another: nothing is known there.
    clear = np.abs(expected) <= 1.0
    unit = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    clear &= (1 - unit @ unit.T).max(1) > 1e-6
    np.testing.assert_allclose(found[clear], expected[clear], rtol=0, atol=1e-6)
