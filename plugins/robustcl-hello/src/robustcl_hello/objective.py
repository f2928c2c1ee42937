"""Predict the projections of the positives: an objective with a head of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from robustcl.contrast import candidates, cosine
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl.types import Dims, Scene


class Hello(nn.Module):
    """SimSiam's loss over a selector's positives: -cos(p(z_i), stop-gradient(z_j)), averaged over j.

    The predictor p belongs to this objective: as it is an ``nn.Module``, the optimiser, the checkpoint and
    the mode lock cover it. It has no batch norm, so that rows stay independent.

    hidden: the width of the predictor's hidden layer.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PROJECTION, Need.PAIRS})
    citation: ClassVar[str] = "Chen and He, Exploring simple Siamese representation learning, CVPR 2021, eqs. 1 and 3"
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("hello",)

    def __init__(self, *, hidden: Count = 64) -> None:
        super().__init__()
        self.hidden = hidden

    def build(self, dims: Dims) -> None:
        """Make the predictor, D -> hidden -> D."""
        self.predictor = nn.Sequential(
            nn.Linear(dims.projection, self.hidden), nn.ReLU(), nn.Linear(self.hidden, dims.projection)
        )

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        """Return the term ``hello`` (N,), in [-1, 1]; exactly 0 for an anchor without positives."""
        z, weight = scene.rows.z, scene.pairs.positive
        own = next(self.predictor.parameters()).dtype
        predicted = self.predictor(z.to(own)).to(z.dtype)
        similarity = cosine(predicted, candidates(scene).z.detach())
        total = weight.sum(dim=1)
        return {"hello": -(similarity * weight).sum(dim=1) / torch.where(total > 0, total, 1)}
