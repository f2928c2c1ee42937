"""Spherical k-means and the silhouette against hand numbers, naked loops and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Euclidean
from sklearn.metrics import silhouette_samples
from torch import Tensor

from robustcl.clustering import (
    SEEDINGS,
    afk_mc2,
    assign,
    bundle,
    choose,
    lloyd,
    plus_plus,
    silhouette,
    spherical_kmeans,
    unit_rows,
)
from robustcl.errors import UsageError
from robustcl.rng import Rng

SEEDING_NAMES = sorted(SEEDINGS)


def circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def blobs(seed: int, modes: int, per: int, features: int, spread: float) -> tuple[Tensor, Tensor]:
    rng = Rng(seed, "blobs")
    centre = unit_rows(rng.normal((modes, features)))
    label = torch.arange(modes).repeat_interleave(per)
    return centre[label] + spread * rng.normal((modes * per, features)) / math.sqrt(features), label


def naked_silhouette(features: Tensor, assignment: Tensor) -> list[float]:
    """Rousseeuw 1987, from all pairs."""
    rows, label = features.double().tolist(), assignment.tolist()

    def distance(u: list[float], v: list[float]) -> float:
        norms = math.hypot(*u) * math.hypot(*v)
        return 1 - (sum(p * q for p, q in zip(u, v, strict=True)) / norms if norms else 0.0)

    scores = []
    for i, own in enumerate(label):
        means = {}
        for k in set(label):
            others = [distance(rows[i], rows[j]) for j in range(len(rows)) if label[j] == k and j != i]
            means[k] = sum(others) / len(others) if others else None
        a, b = means[own], min(v for k, v in means.items() if k != own and v is not None)
        scores.append(0.0 if a is None or max(a, b) == 0 else (b - a) / max(a, b))
    return scores


# --- k-means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeding", SEEDING_NAMES)
def test_four_points_on_the_circle_by_hand(seeding: str) -> None:
    fit = spherical_kmeans(3.0 * circle(0, 20, 180, 220), 2, Rng(1), seeding=seeding, tolerance=0.0)
    order = fit.centroids[:, 0].argsort(descending=True)
    torch.testing.assert_close(fit.centroids[order], circle(10, 200))
    assert (fit.assignment == order[torch.tensor([0, 0, 1, 1])]).all()
    ten, twenty = math.cos(math.radians(10)), math.cos(math.radians(20))
    torch.testing.assert_close(fit.confidence, torch.tensor([ten, ten, twenty, twenty], dtype=torch.float64))
    assert fit.inertia == pytest.approx(2 * (1 - ten) + 2 * (1 - twenty))
    assert fit.converged


def test_one_step_by_hand_from_given_centroids() -> None:
    rows = circle(0, 30, 60, 90)
    fit = lloyd(rows, circle(0, 40), iterations=1, tolerance=0.0)
    torch.testing.assert_close(fit.centroids, circle(0, 60))  # 30 degrees is nearer to 40 than to 0
    assert fit.assignment.tolist() == [0, 1, 1, 1] or fit.assignment.tolist() == [
        0,
        0,
        1,
        1,
    ]  # 30 is now midway
    assert (fit.iterations, fit.converged) == (1, fit.assignment.tolist() == [0, 1, 1, 1])


def test_the_centroid_is_the_direction_of_the_sum_of_unit_rows() -> None:
    rows = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(spherical_kmeans(rows, 1, Rng(0)).centroids, circle(45).float())


def test_lloyd_agrees_with_a_naked_loop() -> None:
    features, _ = blobs(3, 5, 12, 6, 1.5)
    unit = unit_rows(features.double())
    start = unit[:5]
    centroids = start.tolist()
    for _ in range(4):
        nearest = [max(range(5), key=lambda k: sum(map(float.__mul__, r, centroids[k]))) for r in unit.tolist()]
        for k in range(5):
            own = [r for r, n in zip(unit.tolist(), nearest, strict=True) if n == k]
            total = [sum(column) for column in zip(*own, strict=True)]
            centroids[k] = [t / math.hypot(*total) for t in total]
    fit = lloyd(unit, start, iterations=4, tolerance=-1.0)
    torch.testing.assert_close(fit.centroids, torch.tensor(centroids, dtype=torch.float64))


@pytest.mark.parametrize("seeding", SEEDING_NAMES)
def test_planted_clusters_are_recovered(seeding: str) -> None:
    features, label = blobs(0, 6, 40, 16, 0.5)
    fit = spherical_kmeans(features, 6, Rng(2), seeding=seeding, restarts=3)
    pairs = {(int(a), int(b)) for a, b in zip(fit.assignment, label, strict=True)}
    assert len(pairs) == 6


def test_as_good_as_scikit_learn_on_overlapping_data() -> None:
    unit = unit_rows(blobs(4, 12, 50, 16, 1.5)[0])
    fit = spherical_kmeans(unit, 12, Rng(0), restarts=5, tolerance=0.0)
    peer = Euclidean(12, n_init=5, random_state=0).fit(unit.numpy())
    other = assign(unit, unit_rows(torch.from_numpy(peer.cluster_centers_)))[1]
    assert fit.confidence.mean() > other.mean() - 0.005


def test_empty_clusters_take_the_worst_fitting_rows() -> None:
    rows = circle(0, 2, 4, 6, 90, 120)
    twice = torch.cat([circle(0), circle(0), circle(0)])  # all rows join the first: two clusters are empty
    fit = lloyd(rows, twice, iterations=0)
    assert fit.assignment.tolist() == [0, 0, 0, 0, 2, 1]  # 120 degrees fits worst, 90 next
    torch.testing.assert_close(fit.centroids, circle(0, 120, 90))
    torch.testing.assert_close(fit.confidence[4:], torch.ones(2, dtype=torch.float64))


def test_an_empty_cluster_takes_no_row_that_is_alone_in_its_cluster_and_no_zero_row() -> None:
    rows = torch.cat([circle(0, 10), circle(180), torch.zeros(1, 2, dtype=torch.float64)])
    fit = lloyd(rows, torch.cat([circle(0), circle(100), circle(300)]), iterations=0)
    assert sorted(fit.assignment[:3].tolist()) == [0, 1, 2]


def test_as_many_clusters_as_rows_even_if_they_coincide() -> None:
    fit = spherical_kmeans(torch.ones(5, 3), 5, Rng(0))
    assert sorted(fit.assignment.tolist()) == [0, 1, 2, 3, 4]
    assert fit.inertia == pytest.approx(0, abs=1e-5)


def test_a_cluster_of_zero_rows_alone_takes_a_row_with_a_direction() -> None:
    rows = torch.cat([circle(0, 10), torch.zeros(1, 2, dtype=torch.float64)])
    fit = lloyd(rows, circle(270, 0), iterations=0)  # only the zero row joins the first
    assert fit.assignment[:2].tolist() == [1, 0]
    torch.testing.assert_close(fit.centroids, circle(10, 0))


def test_rows_that_cancel_out_keep_a_unit_centroid() -> None:
    fit = spherical_kmeans(torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64), 1, Rng(0))
    torch.testing.assert_close(fit.centroids.norm(dim=1), torch.ones(1, dtype=torch.float64))


def test_zero_rows_join_without_moving_a_centroid() -> None:
    features, _ = blobs(1, 3, 20, 8, 0.5)
    with_zeros = torch.cat([features, torch.zeros(7, 8)])
    start = unit_rows(features)[[0, 20, 40]]
    fit, other = lloyd(unit_rows(features), start), lloyd(unit_rows(with_zeros), start)
    torch.testing.assert_close(other.centroids, fit.centroids)
    assert (other.confidence[60:] == 0).all()


@pytest.mark.parametrize("seeding", SEEDING_NAMES)
def test_the_same_seed_repeats_and_another_differs(seeding: str) -> None:
    features, _ = blobs(5, 8, 40, 12, 2.0)
    one, two, three = (spherical_kmeans(features, 8, Rng(s), seeding=seeding, iterations=2) for s in (0, 0, 1))
    assert torch.equal(one.assignment, two.assignment)
    assert torch.equal(one.centroids, two.centroids)
    assert not torch.equal(one.assignment, three.assignment)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    spherical_kmeans(blobs(0, 3, 10, 4, 1.0)[0], 3, Rng(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_the_chunk_size_does_not_change_the_result(chunk: int) -> None:
    features, _ = blobs(6, 7, 30, 12, 1.5)
    whole, parts = (spherical_kmeans(features.double(), 7, Rng(0), chunk=c) for c in (4096, chunk))
    assert torch.equal(whole.assignment, parts.assignment)
    torch.testing.assert_close(whole.centroids, parts.centroids)


def test_float32_and_float64_agree() -> None:
    features, _ = blobs(7, 6, 40, 12, 0.8)
    single, double = (spherical_kmeans(f, 6, Rng(0)) for f in (features, features.double()))
    assert torch.equal(single.assignment, double.assignment)
    assert (single.centroids.dtype, double.centroids.dtype) == (torch.float32, torch.float64)
    half = spherical_kmeans(features.bfloat16(), 6, Rng(0))
    assert half.centroids.dtype == torch.float32


def test_restarts_never_do_worse() -> None:
    features, _ = blobs(8, 10, 20, 6, 1.5)
    inertia = [spherical_kmeans(features, 10, Rng(0), restarts=r).inertia for r in (1, 2, 6)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[0] > inertia[-1]


def test_the_iteration_cap_and_the_tolerance_stop() -> None:
    features, _ = blobs(9, 10, 60, 8, 3.0)
    capped = spherical_kmeans(features, 10, Rng(0), iterations=2, tolerance=0.0)
    loose, tight = (spherical_kmeans(features, 10, Rng(0), tolerance=t) for t in (0.2, 0.0))
    assert (capped.iterations, capped.converged) == (2, False)
    assert loose.iterations < tight.iterations
    assert loose.converged
    assert tight.converged
    assert tight.inertia <= loose.inertia


def test_huge_and_tiny_rows_are_normalised() -> None:
    rows = torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], [3.0, 4.0]])
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0], [0.6, 0.8]])
    torch.testing.assert_close(unit_rows(rows), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    features=st.integers(1, 5),
    share=st.floats(0, 1),
    seeding=st.sampled_from(SEEDING_NAMES),
    levels=st.integers(1, 6),
)
def test_promises_hold_on_any_data(seed: int, n: int, features: int, share: float, seeding: str, levels: int) -> None:
    rows = 1 + Rng(seed).integers(levels, (n, features)).double()  # coarse: many rows coincide
    clusters = 1 + int(share * (n - 1))
    seeded, fit = (
        spherical_kmeans(rows, clusters, Rng(seed), seeding=seeding, iterations=i, tolerance=0.0) for i in (0, 30)
    )
    torch.testing.assert_close(fit.centroids.norm(dim=1), torch.ones(clusters, dtype=torch.float64))
    assert (torch.bincount(fit.assignment, minlength=clusters) > 0).all()
    assert fit.inertia <= seeded.inertia + 1e-9
    cosine = (unit_rows(rows) * fit.centroids[fit.assignment]).sum(dim=1)
    torch.testing.assert_close(fit.confidence, cosine)
    assert fit.inertia == pytest.approx(float((1 - cosine).sum()), abs=1e-9)


# --- seeding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeding", SEEDING_NAMES)
@pytest.mark.parametrize("clusters", [1, 10, 25])
def test_seedings_draw_different_rows_and_never_a_zero_row(seeding: str, clusters: int) -> None:
    unit = unit_rows(torch.cat([torch.zeros(5, 3), torch.ones(5, 3), blobs(0, 4, 5, 3, 0.1)[0]]))
    for seed in range(20):
        rows = SEEDINGS[seeding](unit, clusters, Rng(seed)).tolist()
        assert len(set(rows)) == clusters
        assert min(rows) >= 5


@pytest.mark.parametrize("seeding", SEEDING_NAMES)
def test_seedings_find_far_clusters(seeding: str) -> None:
    features, label = blobs(2, 8, 25, 32, 0.2)
    found = [len(set(label[SEEDINGS[seeding](unit_rows(features), 8, Rng(s))].tolist())) for s in range(20)]
    assert sum(found) / 20 > 7.2  # 8 rows drawn uniformly meet 5.3 of the 8 clusters on average


def test_afk_mc2_draws_by_squared_distance() -> None:
    # From 0 degrees the squared distances of 60 and 180 are as 1 to 4; 120 of 121 rows start at 0 otherwise.
    unit = circle(*[0.0] * 119, 60.0, 180.0)
    draws = [afk_mc2(unit, 2, Rng(s)).tolist() for s in range(400)]
    second = [rows[1] for rows in draws if rows[0] < 119]
    assert all(row >= 119 for row in second)
    assert np.mean([row == 120 for row in second]) == pytest.approx(0.8, abs=0.06)


def test_a_short_chain_still_draws_different_rows() -> None:
    unit = circle(*[0.0] * 50, 90.0)
    assert all(len(set(afk_mc2(unit, 3, Rng(s), chain=1).tolist())) == 3 for s in range(50))


def test_greedy_plus_plus_beats_the_plain_draw() -> None:
    unit = unit_rows(blobs(3, 20, 20, 8, 1.0)[0])
    greedy, plain = (
        np.mean([float((1 - assign(unit, unit[draw(unit, 20, Rng(s))])[1]).sum()) for s in range(10)])
        for draw in (plus_plus, lambda u, k, r: r.permutation(len(u))[:k])
    )
    assert greedy < 0.95 * plain


# --- silhouette ---------------------------------------------------------------------------------------------


def test_silhouette_of_four_points_by_hand() -> None:
    # Cosine distances: 0 from itself, 1 at 90, 2 at 180 degrees.
    scores = silhouette(circle(0, 0, 90, 180), torch.tensor([0, 0, 1, 1]))
    # Rows 0, 1: a = 0, b = 1.5. Row 2: a = 1, b = 1. Row 3: a = 1, b = 2.
    torch.testing.assert_close(scores, torch.tensor([1.0, 1.0, 0.0, 0.5], dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 25), clusters=st.integers(2, 6), zeros=st.integers(0, 2))
def test_silhouette_equals_the_naked_loop(seed: int, n: int, clusters: int, zeros: int) -> None:
    rng = Rng(seed)
    features = rng.normal((n, 4), dtype=torch.float64)
    features[:zeros] = 0
    assignment = torch.cat([torch.tensor([0, 1]), rng.integers(clusters, (n - 2,))])
    expected = torch.tensor(naked_silhouette(features, assignment), dtype=torch.float64)
    torch.testing.assert_close(silhouette(features, assignment, clusters=clusters), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spread", [1e-3, 0.3, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_silhouette_equals_scikit_learn_with_singletons(spread: float, dtype: torch.dtype) -> None:
    features, label = blobs(1, 9, 30, 24, spread)
    label[:3] = torch.tensor([9, 10, 12])  # three rows alone, and no row in cluster 11
    features = (features * 7).to(dtype)
    expected = silhouette_samples(features.double().numpy(), label.numpy(), metric="cosine")
    scores = silhouette(features, label, chunk=64)
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), expected, rtol=0, atol=1e-8)
    assert (scores[:3] == 0).all()


def test_silhouette_chunks_change_nothing() -> None:
    features, label = blobs(2, 5, 20, 8, 1.0)
    torch.testing.assert_close(silhouette(features, label, chunk=1), silhouette(features, label, chunk=10**6))


def test_silhouette_of_rows_that_all_coincide_is_zero() -> None:
    assert (silhouette(torch.full((6, 3), 0.1), torch.tensor([0, 0, 0, 1, 1, 1])) == 0).all()


def test_choose_finds_the_planted_number() -> None:
    features, _ = blobs(11, 6, 30, 16, 0.8)

    def fit(k: int) -> Tensor:
        return spherical_kmeans(features, k, Rng(0, k), restarts=4).assignment

    choice = choose(features, (12, 3, 6, 4, 9, 6), fit)
    assert choice.clusters == 6
    assert [k for k, _ in choice.curve] == [3, 4, 6, 9, 12]
    assert dict(choice.curve)[4] == pytest.approx(float(silhouette(features, fit(4)).mean()))
    assert dict(choice.curve)[6] == max(score for _, score in choice.curve)


def test_of_equal_silhouettes_the_smaller_number_is_chosen() -> None:
    choice = choose(circle(0, 1, 90, 91), (3, 2), lambda k: torch.tensor([0, 0, 1, 1]))
    assert choice.clusters == 2


# --- mistakes -----------------------------------------------------------------------------------------------


def test_mistakes_are_answered_in_a_sentence() -> None:
    good = blobs(0, 2, 5, 3, 1.0)[0]
    label = torch.tensor([0, 1] * 5)
    spoiled = good.clone()
    spoiled[4, 1] = math.nan
    endless = good.clone()
    endless[2, 0] = -math.inf
    with pytest.raises(UsageError, match="70 clusters cannot be made of 10 feature rows, 10 of them nonzero"):
        spherical_kmeans(good, 70, Rng(0))
    with pytest.raises(UsageError, match="4 clusters cannot be made of 13 feature rows, 3 of them nonzero"):
        spherical_kmeans(torch.cat([torch.zeros(10, 3), good[:3]]), 4, Rng(0))
    with pytest.raises(UsageError, match="collapsed"):
        spherical_kmeans(torch.zeros(10, 3), 2, Rng(0))
    with pytest.raises(UsageError, match="0 clusters"):
        spherical_kmeans(good, 0, Rng(0))
    with pytest.raises(UsageError, match="no seeding 'kmeans'"):
        spherical_kmeans(good, 2, Rng(0), seeding="kmeans")
    with pytest.raises(UsageError, match="restarts = 0"):
        spherical_kmeans(good, 2, Rng(0), restarts=0)
    for ask in (lambda x: spherical_kmeans(x, 2, Rng(0)), lambda x: silhouette(x, label)):
        with pytest.raises(UsageError, match=r"1 of 10 feature rows .* row 4"):
            ask(spoiled)
        with pytest.raises(UsageError, match=r"1 of 10 feature rows .* row 2"):
            ask(endless)
    with pytest.raises(UsageError, match="filled matrix"):
        spherical_kmeans(good[None], 2, Rng(0))
    with pytest.raises(UsageError, match="one cluster per row"):
        silhouette(good, label[:5])
    with pytest.raises(UsageError, match="all 10 rows are in cluster 3"):
        silhouette(good, torch.full((10,), 3))
    with pytest.raises(UsageError, match="clusters -1 to 1"):
        silhouette(good, torch.tensor([-1, 1] * 5))
    with pytest.raises(UsageError, match="clusters 0 to 1, but there are 1"):
        silhouette(good, label, clusters=1)
    for grid, wrong in (((2, 11), "11"), ((1, 2), "1"), ((0, 2, 50), "0, 50")):
        with pytest.raises(UsageError, match=f"holds {wrong}, but 10 feature rows"):
            choose(good, grid, lambda k: label)
    with pytest.raises(UsageError, match="empty"):
        choose(good, (), lambda k: label)


def test_bundle_keeps_every_clustering() -> None:
    features, _ = blobs(0, 3, 10, 4, 1.0)
    fits = [spherical_kmeans(features, k, Rng(k)) for k in (2, 5)]
    both = bundle(fits, {"seeding": "k-means++"})
    assert [c.shape for c in both.centroids] == [(2, 4), (5, 4)]
    assert both.assignment.shape == both.confidence.shape == (2, 30)
    assert both.inertia == (fits[0].inertia, fits[1].inertia)
    assert torch.equal(both.assignment[1], fits[1].assignment)
