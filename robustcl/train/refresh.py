"""Clusters at their cadence: features of the whole training set, the choice of K, the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustcl import clustering, promises, ranks
from robustcl.data.draw import ViewSpec, draw_views
from robustcl.data.subset import Images
from robustcl.rng import Rng
from robustcl.train.encoders import Encoders
from robustcl.train.plan import TargetPlan
from robustcl.types import Clustering

_CHUNK = 500


@dataclass(slots=True)
class ClusterState:
    """What a stage remembers of its clusters; part of every checkpoint."""

    clustering: Clustering | None = None
    chosen: tuple[int, ...] | None = None
    curve: tuple[tuple[int, float], ...] = ()
    epoch: float = -1.0

    def packed(self) -> dict[str, Any]:
        """Return the state as tensors and plain values, for a checkpoint."""
        return {
            "chosen": self.chosen,
            "curve": self.curve,
            "epoch": self.epoch,
            "clusters": None if self.clustering is None else pack(self.clustering),
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any], device: torch.device) -> ClusterState:
        """Return the state of a checkpoint."""
        return cls(
            None if packed["clusters"] is None else unpack(packed["clusters"], device),
            None if packed["chosen"] is None else tuple(packed["chosen"]),
            tuple((int(k), float(score)) for k, score in packed["curve"]),
            packed["epoch"],
        )

    def is_due(self, plan: TargetPlan, epoch: float) -> bool:
        """Say whether the clusters must be fitted before this epoch."""
        if self.clustering is None:
            return True
        return plan.every is not None and epoch >= self.epoch + plan.every - 1e-9


def refresh(state: ClusterState, plan: TargetPlan, encoders: Encoders, images: Images, epoch: float, rng: Rng) -> None:
    """Cluster the features anew; K is chosen once, on the encoder as it first is, and then kept."""
    features = embed_all(plan, encoders, images, rng.child("at", f"{epoch:.6f}"))
    if state.chosen is None:
        state.chosen, state.curve = _clusters(plan, features, rng.child("choice"))
    chosen, drawn = state.chosen, rng.child("fit", f"{epoch:.6f}")
    # Once for all ranks, and packed: a tensor would arrive on the device of the rank that has sent it.
    fitted = ranks.by_first(lambda: pack(promises.fit(plan.part.plugin, plan.part.name, features, chosen, drawn)))
    state.clustering = unpack(fitted, features.device)
    state.epoch = epoch


@torch.no_grad()
def embed_all(plan: TargetPlan, encoders: Encoders, images: Images, rng: Rng) -> Tensor:
    """Return features (n, F) of every image, in eval mode; the ranks share the chunks, which are those of one rank."""
    spec = {"clustered": ViewSpec(plan.view.plugin)}
    parts = []
    chunks = torch.split(torch.arange(images.samples), _CHUNK)
    shares = ranks.world() if len(chunks) >= ranks.world() else 1
    for index, x in images.batches(chunks[ranks.rank() % shares :: shares]):
        drawn = draw_views(x, index, spec, rng.child("view")).views["clustered"]
        embedding = encoders.embed_constant(drawn, plan.encoder, plan.route, frozenset({plan.layer}))
        parts.append(getattr(embedding, plan.layer))
    return torch.cat(parts) if shares == 1 else _join(parts, images.samples)


def _join(parts: list[Tensor], samples: int) -> Tensor:
    """Return the chunks of all ranks in their order, dealt out one after the other; the last one may be shorter."""
    every = -(-samples // _CHUNK)
    own = parts[0].new_zeros(-(-every // ranks.world()), _CHUNK, *parts[0].shape[1:])
    for number, part in enumerate(parts):
        own[number, : len(part)] = part
    dealt = ranks.gather(own).reshape(ranks.world(), len(own), _CHUNK, -1).transpose(0, 1)
    return dealt.reshape(-1, *own.shape[2:])[:samples]


def _clusters(plan: TargetPlan, features: Tensor, rng: Rng) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...]]:
    if plan.clusters is not None:
        return plan.clusters, ()

    def assign(clusters: int) -> Tensor:
        fitted = promises.fit(plan.part.plugin, plan.part.name, features, (clusters,), rng.child(clusters))
        return fitted.assignment[0]

    choice = ranks.by_first(lambda: clustering.choose(features, plan.grid, assign))
    return (choice.clusters,), choice.curve


def pack(clustering: Clustering) -> dict[str, Any]:
    """Return a clustering as tensors and plain values, for a checkpoint."""
    return {
        "centroids": [centroid.cpu() for centroid in clustering.centroids],
        "assignment": clustering.assignment.cpu(),
        "confidence": clustering.confidence.cpu(),
        "inertia": list(clustering.inertia),
        "provenance": dict(clustering.provenance),
    }


def unpack(packed: Mapping[str, Any], device: torch.device) -> Clustering:
    """Return the clustering of a checkpoint."""
    return Clustering(
        centroids=tuple(centroid.to(device) for centroid in packed["centroids"]),
        assignment=packed["assignment"].to(device),
        confidence=packed["confidence"].to(device),
        inertia=tuple(packed["inertia"]),
        provenance=packed["provenance"],
    )
