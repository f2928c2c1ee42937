"""Tiny scenes, attacks and models, made by hand: what the checks run plugins on, and golden tests may.

Everything is drawn from ``Rng``, never from the global generator, and small enough to be read in a debugger.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.protocols import Need, SampleSelector
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import ABSENT, UNLABELED, Attack, Batch, Clustering, Dims, Embedding, Oracle, Pairs, Rows, Scene

ITEM = (2, 4, 4)
DIMS = Dims(features=6, projection=5, classes=4, clusters=(3,), item=ITEM, samples=24)
"""The sizes of everything made here."""

LAYERS = {"h": DIMS.features, "z": DIMS.projection, "logits": DIMS.classes}
_NEEDED = {"h": Need.FEATURES, "z": Need.PROJECTION, "logits": Need.PREDICTIONS}


def make_images(
    rows: int, item: tuple[int, ...] = ITEM, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return images (rows, *item) in [0.05, 0.95]."""
    return Rng(seed, "images").uniform((rows, *item), 0.05, 0.95, dtype=dtype)


def make_embedding(
    rows: int,
    layers: Collection[str] = ("h", "z", "logits"),
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Embedding:
    """Return random embeddings; features are positive, as after a ReLU."""
    drawn: dict[str, Any] = {
        name: Rng(seed, "embedding", name).normal((rows, LAYERS[name]), dtype=dtype) for name in layers
    }
    if "h" in drawn:
        drawn["h"] = drawn["h"].abs()
    return Embedding(**drawn)


def make_clustering(features: Tensor, clusters: tuple[int, ...] = DIMS.clusters, *, seed: int = 0) -> Clustering:
    """Return clusterings of features (n, F) around random unit centroids."""
    sizes = [(k, features.shape[1]) for k in clusters]
    centroids = tuple(
        F.normalize(Rng(seed, "centroids", i).normal(size, dtype=features.dtype)) for i, size in enumerate(sizes)
    )
    best = [(F.normalize(features) @ c.T).max(dim=1) for c in centroids]
    return Clustering(
        centroids=centroids,
        assignment=torch.stack([found.indices for found in best]),
        confidence=torch.stack([found.values for found in best]),
        inertia=tuple(float((1 - found.values).sum()) for found in best),
        provenance={"of": "random centroids"},
    )


def make_scene(
    views: Mapping[str, Embedding],
    *,
    label: Tensor | None = None,
    index: Tensor | None = None,
    apart: Collection[str] = (),
    selector: SampleSelector | None = None,
    pairs: Pairs | None = None,
    clusters: Clustering | None = None,
    target: Mapping[str, Tensor] | None = None,
) -> Scene:
    """Return what a term sees on a single rank: columns are the rows.

    views: role -> Embedding of the same B images; those named in ``apart`` (a teacher's) give no rows. label:
        (B,), -1 where left out. The pairs are given, or chosen by a selector, or absent.
    """
    layers = {role: [n for n in LAYERS if value.has(n)] for role, value in views.items()}
    first = next(iter(views))
    rows_of = [role for role in views if role not in apart] or [first]
    size = len(getattr(views[first], layers[first][0])) if layers[first] else 0
    index = torch.arange(size) if index is None else index
    label = torch.full((size,), UNLABELED) if label is None else label
    position = torch.arange(size)
    images = {role: make_images(size) for role in views}
    batch = Batch(views=images, index=index, label=label, target=dict(target or {}), position=position)
    stacked = Embedding.cat([views[role] for role in rows_of])
    times = len(rows_of)
    rows = Rows(
        sample=position.repeat(times),
        view=torch.arange(times).repeat_interleave(size),
        label=label.repeat(times),
        index=index.repeat(times),
        **{n: getattr(stacked, n) for n in LAYERS if stacked.has(n)},
    )
    scene = Scene(views=views, batch=batch, rows=rows, columns=rows, own=torch.arange(times * size))
    scene = scene if clusters is None else scene.but(clusters=clusters)
    if selector is not None:
        with torch.no_grad():
            pairs = selector.select(scene)
    return scene if pairs is None else scene.but(pairs=pairs)


def make_pairs(scene: Scene) -> Pairs:
    """Return instance pairs: the own other views attract, all other images repel."""
    same = scene.rows.sample[:, None] == scene.columns.sample
    own = torch.zeros_like(same).scatter(1, scene.own[:, None], True)
    return Pairs(positive=same & ~own, negative=~same)


class TinyEncoder(nn.Module):
    """A linear map, batch norm and tanh to features; linear maps to the projection and the logits."""

    def __init__(self, item: tuple[int, ...] = ITEM, *, seed: int = 0) -> None:
        super().__init__()
        rng = Rng(seed, "encoder")
        self.trunk = _linear(math.prod(item), DIMS.features, rng)
        self.norm = nn.BatchNorm1d(DIMS.features)
        self.norm.load_state_dict({**self.norm.state_dict(), "running_mean": torch.full((DIMS.features,), 0.5)})
        self.projector = _linear(DIMS.features, DIMS.projection, rng)
        self.classifier = _linear(DIMS.features, DIMS.classes, rng)
        self.eval()

    def forward(self, x: Tensor) -> Embedding:
        """Embed x (R, *item) in all layers."""
        h = torch.tanh(self.norm(F.linear(x.flatten(1), self.trunk.weight.to(x.dtype)).float()) / 4)
        return Embedding(h=h, z=self.projector(h), logits=self.classifier(h))


def make_attack(
    x: Tensor,
    needs: Collection[Need] = frozenset(Need),
    *,
    constants: Collection[str] = (),
    encoder: nn.Module | None = None,
    label: Tensor | None = None,
    ball: Ball | None = None,
    seed: int = 0,
) -> Attack:
    """Return an attack on inputs x (R, *item) with what the needs declare, and what all attacks have.

    The objective is the cross-entropy of the labels, separable; the teacher is another encoder, and the named
    ``constants`` are its embeddings; the random stream has one sub-stream per row.
    """
    rows = torch.arange(len(x))
    model = TinyEncoder(tuple(x.shape[1:]), seed=seed) if encoder is None else encoder
    label = Rng(seed, "label").integers(DIMS.classes, (len(x),)) if label is None else label
    with torch.no_grad():
        clean, teacher = model(x), TinyEncoder(tuple(x.shape[1:]), seed=seed + 1)(x)

    def maximised(embedding: Embedding, places: Tensor) -> Tensor:
        return F.cross_entropy(embedding.logits, label[places], reduction="none")

    parts: dict[str, Any] = {}
    if Need.TEACHER in needs:
        parts["teacher"] = teacher
    if Need.CLUSTERS in needs:
        parts["clusters"] = make_clustering(clean.h)
    if constants:
        parts["constants"] = dict.fromkeys(constants, teacher)
    return Attack(
        oracle=Oracle(
            encode=lambda inputs, places: model(inputs),
            objective=maximised if Need.OBJECTIVE in needs else ABSENT,
            clean=clean.take,
            fooled=lambda e, places: e.logits.argmax(dim=1) != label[places],
        ),
        ball=Ball("Linf", 8 / 255) if ball is None else ball,
        rng=Rng(seed, "attack").for_rows(rows),
        label=label,
        index=rows,
        places=rows,
        separable=True,
        **parts,
    )


def needed_layers(needs: Collection[Need]) -> list[str]:
    """Return the layers of an embedding that some needs bring."""
    return [name for name, need in _NEEDED.items() if need in needs]


def _linear(inputs: int, outputs: int, rng: Rng) -> nn.Linear:
    """Return a linear map drawn from rng; torch's own initialisation would draw from the global generator."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(rng.normal(parameter.shape))
    return layer
