"""The frozen values that travel between the core and the plugins, with their shapes.

V views, B images on this rank, R rows, N anchors here, M candidates on all ranks, F features, D projection, L classes,
K clusters, n images in the data set; ``item`` is the shape of one input: (C,H,W), or (C,T,H,W) for clips.

A field that this composition does not provide raises ``NeedNotMet`` when it is read: plugins never test for ``None``.
Values are made from what is there, ``Embedding(h=h)``, and asked by the core with ``has("z")``.

The file is long because these values hold one another, and their shapes are read side by side by who writes a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from robustcl.errors import NeedNotMet, NotAPlugin
from robustcl.rng import Rng

if TYPE_CHECKING:
    from robustcl.threat import Ball

ABSENT: Any = None
"""The default of a field that may be missing; reading such a field raises."""

UNLABELED = -1
"""The label of an image without one."""

UNPROVIDED = "this composition provides no"
"""How the sentence begins of a field that is read and missing."""

_NEEDS = {
    "label": "LABELS",
    "labels": "LABELS",
    "clusters": "CLUSTERS",
    "pairs": "PAIRS",
    "teacher": "TEACHER",
    "objective": "OBJECTIVE",
    "index": "INDEX",
    "logits": "PREDICTIONS",
    "h": "FEATURES",
    "z": "PROJECTION",
}
"""Field that may be missing -> the member of ``protocols.Need`` that brings it."""


class Present:
    """A value whose missing fields raise ``NeedNotMet`` instead of being ``None``."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            if object.__getattribute__(self, field.name) is None:
                object.__delattr__(self, field.name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kind = type(self).__name__
        need = f"Need.{_NEEDS[name]}" if name in _NEEDS else "the need that brings it"
        raise NeedNotMet(f"{UNPROVIDED} {name!r} in its {kind}: add {need} to the needs of the plugin that reads it")

    def has(self, name: str) -> bool:
        """Say whether the field is there."""
        try:
            object.__getattribute__(self, name)
        except AttributeError:
            return False
        return True

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        present = {f.name: getattr(self, f.name) for f in fields(self) if self.has(f.name)}  # type: ignore[arg-type]
        return type(self)(**{**present, **changes})


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one step on this rank.

    views: name -> (B, *item), clamped to [0, 1] by the core unless the view declares ``range = None``.
    index: (B,) int64, the images' positions in the data set, unique within the batch.
    label: (B,) int64, -1 where there is none.
    target: what pretext views ask for, view name -> (B, ...).
    position: (B,) int64, the images' places in the batch of all ranks.
    """

    views: Mapping[str, Tensor]
    index: Tensor
    label: Tensor
    target: Mapping[str, Tensor]
    position: Tensor


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Embedding(Present):
    """What an encoder says of R inputs: features h (R, F), projections z (R, D), logits (R, L), tapped maps."""

    h: Tensor = ABSENT
    z: Tensor = ABSENT
    logits: Tensor = ABSENT
    maps: Mapping[str, Tensor] = ABSENT

    def apply(self, function: Callable[[Tensor], Tensor]) -> Embedding:
        """Return the embedding with a function applied to each tensor that is there."""
        changed: dict[str, Any] = {n: function(getattr(self, n)) for n in ("h", "z", "logits") if self.has(n)}
        if self.has("maps"):
            changed["maps"] = {name: function(value) for name, value in self.maps.items()}
        return Embedding(**changed)

    def take(self, rows: Tensor | slice) -> Embedding:
        """Return some rows."""
        return self.apply(lambda value: value[rows])

    def tensors(self) -> list[Tensor]:
        """Return every tensor that is there, the tapped maps last."""
        layers = [getattr(self, name) for name in ("h", "z", "logits") if self.has(name)]
        return layers + (list(self.maps.values()) if self.has("maps") else [])

    def detach(self) -> Embedding:
        """Return the same numbers without a graph."""
        return self.apply(lambda value: value.detach())

    @staticmethod
    def cat(parts: list[Embedding]) -> Embedding:
        """Stack the rows of several embeddings; a layer that one of them lacks is left out."""
        if len(parts) == 1:
            return parts[0]
        common: dict[str, Any] = {
            n: torch.cat([getattr(p, n) for p in parts]) for n in ("h", "z", "logits") if all(p.has(n) for p in parts)
        }
        if all(p.has("maps") for p in parts):
            common["maps"] = {n: torch.cat([p.maps[n] for p in parts]) for n in parts[0].maps}
        return Embedding(**common)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rows(Present):
    """One row per (view, image).

    h (R, F), z (R, D), logits (R, L): as far as the encoder was asked for them.
    sample: (R,) int64; equal means the same image, on all ranks.
    view: (R,) int64, the position of the row's view among the term's views.
    label: (R,) int64, -1 for none; index: (R,) int64, the image's position in the data set.
    """

    sample: Tensor
    view: Tensor
    label: Tensor
    index: Tensor
    h: Tensor = ABSENT
    z: Tensor = ABSENT
    logits: Tensor = ABSENT


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pairs(Present):
    """Which columns attract and which repel each anchor: (N, M) bool, or weights >= 0; in neither = ignored.

    ``columns`` are candidates of the selector's own (a memory bank, support views) that replace the scene's columns.
    """

    positive: Tensor
    negative: Tensor
    columns: Rows = ABSENT


@dataclass(frozen=True, slots=True, eq=False)
class Clustering:
    """The clusters of a data set under one or several numbers of clusters.

    centroids: I tensors (K_i, F), finite, of any length: read their directions, with ``contrast.cosine``;
    assignment: (I, n) int64; confidence: (I, n), the cosine to the own centroid; inertia: I numbers, what the target
    minimises, summed over the images; provenance: what was clustered, when, and by whom.
    """

    centroids: tuple[Tensor, ...]
    assignment: Tensor
    confidence: Tensor
    inertia: tuple[float, ...]
    provenance: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Scene(Present):
    """Everything that one term sees.

    views: role -> Embedding, (B, ...) each, as the recipe binds them.
    rows: the N anchors, the term's own views stacked in the order of their roles (frozen encoders' views stay out).
    columns: the same rows of all ranks (M), with gradient; own: (N,) int64, each anchor's own column.
    batch: the inputs, indices and labels; clusters; pairs: the selector's answer.
    support: rows of the term's support views, neither anchors nor columns, for selectors that look at more views.
    values: what the stage's earlier terms gave, "term/name" -> rows or a scalar, not weighted, with their graph.
    """

    views: Mapping[str, Embedding]
    batch: Batch
    rows: Rows = ABSENT
    columns: Rows = ABSENT
    own: Tensor = ABSENT
    clusters: Clustering = ABSENT
    pairs: Pairs = ABSENT
    support: Rows = ABSENT
    values: Mapping[str, Tensor] = ABSENT


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Oracle(Present):
    """What an attack asks of the encoder and of the judge: functions of a value and of its rows' places (R,) int64.

    The places are those in the original batch, by which labels, constants and routes are found, so that an attack on
    some of the rows asks the same functions. What each returns is told by the method of ``Attack`` of the same name.
    """

    encode: Callable[[Tensor, Tensor], Embedding]
    objective: Callable[[Embedding, Tensor], Tensor] = ABSENT
    clean: Callable[[Tensor], Embedding] = ABSENT
    fooled: Callable[[Embedding, Tensor], Tensor] = ABSENT
    breaks: Callable[[Tensor, Tensor], Tensor] = ABSENT


_FUNCTIONS = frozenset(field.name for field in fields(Oracle))
"""What an attack asks of its oracle, by the methods of the same names."""

_FORMERLY = {
    "encoder": "encode",
    "loss": "objective",
    "unperturbed": "clean",
    "verdict": "fooled",
    "confirmation": "breaks",
}
"""Another name by which a generator may still ask ``has`` and ``but`` -> the name of the function."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Attack(Present):
    """What a perturbation generator may use, for R inputs x (R, *item): J views of B images in blocks, R = J * B.

    ``encode`` sends each block through its own encoder and route, in the attack's batch-norm mode. ``objective`` is
    what to maximise, where the generator borrows it: (R,) if ``separable`` (row i depends on row i alone), else a
    scalar of which only the whole has meaning. ``clean`` is the embedding of x itself, ``teacher`` the teacher's:
    attack mode, no gradient, computed once. ``constants`` are the recipe's named embeddings of other views.
    ``clusters`` is the newest clustering. At evaluation ``fooled`` is the verdict on an embedding, ``breaks`` the
    judge's own verdict on candidates, in float32: (R,) bool each. ``target`` (R,) int64 is there where each row is
    to be given a class: then the objective is largest at that class, and the verdict is that it is reached.

    ``has`` and ``but`` know the functions of the oracle by their names, as they know the fields.
    """

    oracle: Oracle
    ball: Ball
    rng: Rng
    label: Tensor
    index: Tensor
    places: Tensor
    separable: bool = True
    teacher: Embedding = ABSENT
    constants: Mapping[str, Embedding] = ABSENT
    clusters: Clustering = ABSENT
    target: Tensor = ABSENT

    def encode(self, x: Tensor) -> Embedding:
        """Embed candidates (R, *item), with gradient toward them."""
        return self.oracle.encode(x, self.places)

    def objective(self, embedding: Embedding) -> Tensor:
        """Return what is to be maximised: (R,) if ``separable``, else a scalar."""
        return self.oracle.objective(embedding, self.places)

    def clean(self) -> Embedding:
        """Return the embedding of the unperturbed inputs."""
        return self.oracle.clean(self.places)

    def fooled(self, embedding: Embedding) -> Tensor:
        """Return the verdict (R,) bool."""
        return self.oracle.fooled(embedding, self.places)

    def breaks(self, x: Tensor) -> Tensor:
        """Return the judge's own verdict on candidates (R, *item), in float32 and without a graph: (R,) bool.

        ``fooled`` sees logits in the attack's precision: ask this before a row is left alone for good.
        """
        return self.oracle.breaks(x, self.places)

    def __getattr__(self, name: str) -> Any:
        if name in _FORMERLY:
            raise NotAPlugin(f"an attack has no {name!r}: its plugin asks {_FORMERLY[name]}() of the attack instead")
        return Present.__getattr__(self, name)

    def has(self, name: str) -> bool:
        """Say whether the field, or the function of the oracle, is there."""
        name = _FORMERLY.get(name, name)
        return Present.has(self.oracle if name in _FUNCTIONS else self, name)

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields, or functions of the oracle, changed."""
        named = {_FORMERLY.get(name, name): value for name, value in changes.items()}
        asked = {name: named.pop(name) for name in _FUNCTIONS & named.keys()}
        return Present.but(self, **({"oracle": self.oracle.but(**asked)} if asked else {}), **named)

    def take(self, rows: Tensor) -> Attack:
        """Return the attack on some rows, (S,) int64."""
        changes: dict[str, Any] = {
            "ball": self.ball.take(rows),
            "rng": self.rng.take(rows),
            "label": self.label[rows],
            "index": self.index[rows],
            "places": self.places[rows],
        }
        if self.has("target"):
            changes["target"] = self.target[rows]
        if self.has("teacher"):
            changes["teacher"] = self.teacher.take(rows)
        if self.has("constants"):
            changes["constants"] = {name: value.take(rows) for name, value in self.constants.items()}
        return self.but(**changes)


@dataclass(frozen=True, slots=True)
class Dims:
    """Sizes known before the first step, for plugins that build parameters or per-sample state."""

    features: int
    projection: int
    classes: int
    clusters: tuple[int, ...]
    item: tuple[int, ...]
    samples: int
