"""The cluster targets against the public mathematics, against each other, and against scikit-learn."""

from __future__ import annotations

import importlib.util
import math
from typing import Any, ClassVar

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from robustcl.clustering import assign, spherical_kmeans, unit_rows
from robustcl.errors import UsageError
from robustcl.protocols import ClusterTarget
from robustcl.rng import Rng
from robustcl_plugins.targets.spherical_kmeans import SphericalKMeans
from robustcl_plugins.targets.spherical_kmeans_cuml import SphericalKMeansCuml


class OnScikitLearn(SphericalKMeansCuml):
    """The cuML target over scikit-learn's estimator, whose interface cuML keeps: what surrounds cuML runs
    anywhere."""

    device: ClassVar[str] = "cpu"

    @staticmethod
    def available() -> str | None:
        return None

    def estimator(self, **settings: Any) -> Any:
        settings["init"] = settings["init"].numpy()
        return KMeans(**settings)


def circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def features(seed: int = 0) -> Tensor:
    rng = Rng(seed, "features")
    centre = rng.normal((8, 12)).repeat_interleave(30, dim=0)
    return centre + 0.2 * rng.normal((240, 12))


@pytest.mark.parametrize("target", [SphericalKMeans(), SphericalKMeans(seeding="afk-mc2"), OnScikitLearn()])
@pytest.mark.golden("target", "spherical-kmeans")
def test_two_arcs_by_hand(target: ClusterTarget) -> None:
    found = target.fit(circle(0, 20, 180, 220), (1, 2), Rng(0))
    ten, twenty = math.cos(math.radians(10)), math.cos(math.radians(20))
    assert found.inertia[1] == pytest.approx(2 * (1 - ten) + 2 * (1 - twenty), abs=1e-6)
    torch.testing.assert_close(found.centroids[1][found.assignment[1]], circle(10, 10, 200, 200))
    torch.testing.assert_close(found.confidence[1], torch.tensor([ten, ten, twenty, twenty]))
    assert found.assignment[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("target", [SphericalKMeans(restarts=4), OnScikitLearn(restarts=4)])
def test_the_answer_has_the_promised_form(target: ClusterTarget) -> None:
    data = features()
    found = target.fit(data, (8, 3), Rng(0))
    assert [c.shape for c in found.centroids] == [(8, 12), (3, 12)]
    assert found.assignment.shape == found.confidence.shape == (2, 240)
    assert found.assignment.dtype == torch.int64
    for centroids, own, confidence in zip(found.centroids, found.assignment, found.confidence, strict=True):
        nearest, cosine = assign(unit_rows(data), centroids)
        assert torch.equal(nearest, own)
        torch.testing.assert_close(cosine, confidence)
        torch.testing.assert_close(centroids.norm(dim=1), torch.ones(len(centroids)))
    assert found.provenance["rows"] == 240
    assert len({(int(a), i // 30) for i, a in enumerate(found.assignment[0])}) == 8  # the planted clusters


def test_options_reach_the_mathematics() -> None:
    data = features(1)
    target = SphericalKMeans(seeding="afk-mc2", iterations=1, tolerance=0.0, restarts=2)
    found = target.fit(data, (5,), Rng(3))
    fit = spherical_kmeans(
        data, 5, Rng(3).child("clusters", 5), seeding="afk-mc2", iterations=1, tolerance=0.0, restarts=2
    )
    assert torch.equal(found.centroids[0], fit.centroids)
    assert found.inertia == (fit.inertia,)
    assert found.provenance["iterations of 5"] == 1


@pytest.mark.parametrize("target", [SphericalKMeans(), OnScikitLearn()])
def test_each_number_of_clusters_stands_alone(target: ClusterTarget) -> None:
    data = features(2)
    both, alone = target.fit(data, (4, 7), Rng(0)), target.fit(data, (7,), Rng(0))
    assert torch.equal(both.assignment[1], alone.assignment[0])


@pytest.mark.golden("target", "spherical-kmeans-cuml")
def test_around_cuml_the_same_clusters_come_out() -> None:
    data = features(3)
    torch_target, other = SphericalKMeans(tolerance=0.0), OnScikitLearn(tolerance=0.0)
    ours, theirs = (t.fit(data, (8,), Rng(5)) for t in (torch_target, other))
    assert torch.equal(ours.assignment, theirs.assignment)  # both start from the same rows
    torch.testing.assert_close(ours.centroids[0], theirs.centroids[0])


def test_the_best_restart_is_kept_around_cuml() -> None:
    data = Rng(6).normal((200, 6))
    inertia = [OnScikitLearn(restarts=r).fit(data, (9,), Rng(0)).inertia[0] for r in (1, 2, 6)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[0] > inertia[-1]


@pytest.mark.parametrize("target", [SphericalKMeans(), OnScikitLearn()])
def test_too_many_clusters_are_refused(target: ClusterTarget) -> None:
    with pytest.raises(UsageError, match="500 clusters cannot be made of 240 feature rows"):
        target.fit(features(), (500,), Rng(0))


@pytest.mark.skipif(importlib.util.find_spec("cuml") is not None, reason="cuML is installed")
def test_without_cuml_the_answer_says_what_to_install() -> None:
    reason = SphericalKMeansCuml.available()
    assert reason is not None
    assert "pip install 'robustcl[cuml]'" in reason
    assert "spherical-kmeans" in reason
    with pytest.raises(UsageError, match="cuML is not installed"):
        SphericalKMeansCuml().fit(features(), (3,), Rng(0))


@pytest.mark.skipif(SphericalKMeansCuml.available() is not None, reason="cuML cannot run here")
@pytest.mark.parametrize("seeding", ["k-means++", "afk-mc2", "k-means||"])
def test_cuml_agrees_with_torch(seeding: Any) -> None:
    data = features(4)
    ours = SphericalKMeans(restarts=4, tolerance=0.0).fit(data, (8,), Rng(0))
    theirs = SphericalKMeansCuml(seeding=seeding, restarts=4, tolerance=0.0).fit(data, (8,), Rng(0))
    assert theirs.assignment.device == data.device
    assert theirs.inertia[0] == pytest.approx(ours.inertia[0], rel=1e-4)
    pairs = {(int(a), int(b)) for a, b in zip(ours.assignment[0], theirs.assignment[0], strict=True)}
    assert len(pairs) == 8
