"""Clusters of directions: spherical k-means, the exact cosine silhouette, and the choice of K."""

from __future__ import annotations

from robustcl.clustering.choice import Choice, choose
from robustcl.clustering.coefficients import silhouette
from robustcl.clustering.kmeans import KMeans, assign, bundle, lloyd, spherical_kmeans
from robustcl.clustering.rows import require_fillable, unit_rows
from robustcl.clustering.seeding import SEEDINGS, afk_mc2, plus_plus

__all__ = [
    "SEEDINGS",
    "Choice",
    "KMeans",
    "afk_mc2",
    "assign",
    "bundle",
    "choose",
    "lloyd",
    "plus_plus",
    "require_fillable",
    "silhouette",
    "spherical_kmeans",
    "unit_rows",
]
