"""Exact cosine silhouette beside scikit-learn: n = 20,000, 512 features, 70 clusters, the same float32 data.

``python benchmarks/silhouette.py``: exit code 1 where a bar is missed.
"""

from __future__ import annotations

import itertools
import sys
import tracemalloc

import numpy as np
import torch
from _bar import compare, report, version
from _sphere import mixture
from sklearn.metrics import silhouette_samples

from robustcl.clustering import coefficients as silhouette
from robustcl.clustering import spherical_kmeans
from robustcl.rng import Rng

N, FEATURES, CLUSTERS = 20_000, 512, 70


def main() -> int:
    """Time both, compare every row's score, and measure the memory that each needs beyond its input."""
    features = mixture(N, FEATURES, modes=100)
    assignment = spherical_kmeans(features, CLUSTERS, Rng(0)).assignment
    array, labels = features.numpy(), assignment.numpy()
    ours, peer = compare(
        lambda: silhouette(features, assignment),
        lambda: silhouette_samples(array, labels, metric="cosine"),
        3,
    )
    exact = silhouette_samples(array.astype(np.float64), labels, metric="cosine")
    difference = float(np.abs(silhouette(features, assignment).numpy() - exact).max())
    tracemalloc.start()
    silhouette_samples(array, labels, metric="cosine")
    peer_memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    peak = _peak(features, assignment)
    return report(
        "silhouette",
        [
            ("times-faster-than-scikit-learn", peer / ours, 60.0),
            ("within-1e-6-of-scikit-learn", 1e-6 / max(difference, 1e-300), 1.0),
            ("n-by-k-float64-over-peak-memory", 8 * N * CLUSTERS / peak, 1.0),
        ],
        {
            "peer": f"scikit-learn {version('scikit-learn')} silhouette_samples(metric='cosine')",
            "n": N,
            "features": FEATURES,
            "clusters": CLUSTERS,
            "ours_seconds": ours,
            "peer_seconds": peer,
            "largest_difference_to_peer_in_float64": difference,
            "mean_silhouette": float(exact.mean()),
            "ours_peak_extra_bytes": peak,
            "peer_peak_extra_bytes": peer_memory,
        },
    )


def _peak(features: torch.Tensor, assignment: torch.Tensor) -> int:
    """Return the most bytes that torch held at once beyond the input."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        silhouette(features, assignment)
    events = profile.profiler.kineto_results.events()
    memory = sorted((e for e in events if e.name() == "[memory]"), key=lambda event: event.start_ns())
    return int(max(itertools.accumulate(event.nbytes() for event in memory)))


if __name__ == "__main__":
    sys.exit(main())
