"""Nearest neighbours as further positives."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from annotated_types import Ge

from robustcl.contrast import cosine
from robustcl.protocols import Need
from robustcl.types import Pairs, Scene


class Hello:
    """The other views of the same image attract, and so do the nearest projections of other images.

    nearest: how many projections of other images attract each anchor; where fewer exist, all of them.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PROJECTION})
    citation: ClassVar[str] = (
        "Dwibedi et al., With a little help from my friends: nearest-neighbor contrastive learning of visual "
        "representations, ICCV 2021, section 3; neighbours are sought in the batch"
    )

    def __init__(self, *, nearest: Annotated[int, Ge(0)] = 1) -> None:
        self.nearest = nearest

    def select(self, scene: Scene) -> Pairs:
        """Return masks (N, M); an anchor's own column is in neither."""
        same = scene.rows.sample[:, None] == scene.columns.sample
        similarity = cosine(scene.rows.z, scene.columns.z).masked_fill(same, -torch.inf)
        best = similarity.topk(min(self.nearest, similarity.shape[1]), dim=1)
        near = torch.zeros_like(same).scatter(1, best.indices, best.values > -torch.inf)
        positive = (same | near).scatter(1, scene.own[:, None], False)
        return Pairs(positive=positive, negative=~(same | near))
