"""What every cluster target must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.rng import Rng
from robustcl.testing.streams import another_key_draws_other_numbers
from robustcl.testing.subject import Check, PluginSubject, global_rng_untouched
from robustcl.types import Clustering

_CLUSTERS = (3, 5)
_SHAPE = (40, 6)


def fits_every_number_of_clusters(subject: PluginSubject) -> None:
    """One clustering per number asked: finite centroids (K, F), assignment and confidence (I, n)."""
    features = _features()
    found = _fit(subject.make(), features)
    assert len(found.centroids) == len(_CLUSTERS), f"asked for {_CLUSTERS}, got {len(found.centroids)} clusterings"
    shape = (len(_CLUSTERS), len(features))
    assert found.assignment.shape == shape, f"assignment: {tuple(found.assignment.shape)} instead of {shape}"
    assert found.assignment.dtype == torch.int64, f"assignment: is {found.assignment.dtype}"
    assert found.confidence.shape == shape, f"confidence: {tuple(found.confidence.shape)} instead of {shape}"
    assert len(found.inertia) == len(_CLUSTERS), "inertia has not one entry per clustering"
    for k, centroids, own in zip(_CLUSTERS, found.centroids, found.assignment, strict=True):
        assert centroids.shape == (k, features.shape[1]), f"{k} centroids have the shape {tuple(centroids.shape)}"
        assert bool(centroids.isfinite().all()), f"{k} centroids are not finite"
        assert 0 <= int(own.min()) <= int(own.max()) < k, f"an assignment lies outside 0 .. {k - 1}"


def confidence_is_the_cosine_to_the_own_centroid(subject: PluginSubject) -> None:
    """``confidence`` follows from centroids and assignment; ``inertia`` is finite and not negative."""
    features = _features()
    found = _fit(subject.make(), features)
    for i, centroids in enumerate(found.centroids):
        expected = (F.normalize(features) * F.normalize(centroids)[found.assignment[i]]).sum(dim=1)
        assert torch.allclose(found.confidence[i], expected, atol=1e-4), "confidence is not the cosine"
        assert 0 <= found.inertia[i] < float("inf"), f"inertia is {found.inertia[i]}, neither finite nor >= 0"


def finds_clusters_that_are_there(subject: PluginSubject) -> None:
    """Three far apart directions with little noise are told apart."""
    planted = torch.arange(30) % 3
    features = 5 * torch.eye(3, 6)[planted] + 0.05 * Rng(0, "noise").normal((30, 6))
    own = subject.make().fit(features, (3,), Rng(0, "fit")).assignment[0]
    together = own[:, None] == own
    assert torch.equal(together, planted[:, None] == planted), "three well separated clusters were not found"


def repeats_itself(subject: PluginSubject) -> None:
    """The same random stream gives the same clusters; features and the global random state stay."""
    plugin, features = subject.make(), _features()
    with global_rng_untouched():
        first, second = _fit(plugin, features), _fit(plugin, features)
    assert torch.equal(first.assignment, second.assignment), "two fits with the same random stream differ"
    assert torch.equal(features, _features()), "the features were changed in place"


def draws_from_the_stream_it_is_given(subject: PluginSubject) -> None:
    """Another stream gives other random numbers, and none of them serves twice, nor for two numbers of clusters."""
    plugin, features = subject.make(), _features()
    another_key_draws_other_numbers(lambda rng: partial(plugin.fit, features, _CLUSTERS, rng))


CHECKS: tuple[Check, ...] = (
    fits_every_number_of_clusters,
    confidence_is_the_cosine_to_the_own_centroid,
    finds_clusters_that_are_there,
    repeats_itself,
    draws_from_the_stream_it_is_given,
)


def _features() -> Tensor:
    return Rng(0, "features").normal(_SHAPE).abs()


def _fit(plugin: Any, features: Tensor) -> Clustering:
    found: Clustering = plugin.fit(features, _CLUSTERS, Rng(0, "fit"))
    return found
