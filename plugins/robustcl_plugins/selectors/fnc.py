"""False negative cancellation: what looks like any view of the anchor's image is no negative."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from robustcl import ranks
from robustcl.contrast import LayerNeeds, cosine
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl.types import UNLABELED, Dims, Pairs, Rows, Scene
from robustcl_plugins.selectors.detection import Cosine, Detected, resolved


class FNC(nn.Module):
    """A column is detected if its score is above a threshold and among the anchor's top k.

    The score of column j for image i is the largest cosine between j and any view of i: the anchors' own views and
    the term's support views (``support = ["s1", ...]``), best through an averaged encoder (``encode = { s1 = "ema"
    }``). All views of an image share its score. Columns of the image itself are never detected. Masks are (N, M) bool
    without gradient; M counts the bank's rows too, behind the scene's columns.

    The loss of the released code is info-nce with ``positives = "outside"``: -log softmax averaged over own views and
    detected columns, both of which stay in the denominator.

    threshold: of the score, a cosine.
    top: k, the columns of the largest scores that may be detected for an image.
    rule: ``and`` needs threshold and top k, as released; ``or`` is their union, as Gupta et al. describe it;
        ``threshold`` and ``top`` use one alone.
    detected: ``attract`` makes detected columns positives, as released; ``eliminate`` leaves them out.
    bank: rows of earlier steps that stand behind the scene's columns; 0 for none. It holds the support views, or the
        columns where there are none. The anchor's image at an earlier step is ignored.
    layer: the embedding compared, the projection ``z`` or the features ``h``; with a bank the objective's too.
    """

    needs = LayerNeeds("z", Need.INDEX)
    citation: ClassVar[str] = (
        "Huynh, Kornblith, Walter, Maire and Khademi, Boosting Contrastive Self-Supervised Learning with False "
        "Negative Cancellation, WACV 2022, attraction and elimination with support views"
    )
    detects: ClassVar[bool] = True
    memory: Tensor
    memory_index: Tensor

    def __init__(
        self,
        *,
        threshold: Cosine = 0.7,
        top: Count = 10,
        rule: Literal["and", "or", "threshold", "top"] = "and",
        detected: Detected = "attract",
        bank: Annotated[int, Ge(0)] = 0,
        layer: Literal["z", "h"] = "z",
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.top = top
        self.rule = rule
        self.detected = detected
        self.bank = bank
        self.layer = layer

    def build(self, dims: Dims) -> None:
        """Make the empty bank; an index of -1 marks a free row."""
        width = dims.projection if self.layer == "z" else dims.features
        self.register_buffer("memory", torch.zeros(self.bank, width))
        self.register_buffer("memory_index", torch.full((self.bank,), -1))

    def select(self, scene: Scene) -> Pairs:
        rows, columns = scene.rows, self._columns(scene)
        same = rows.sample[:, None] == scene.columns.sample
        known = (self.memory_index >= 0) & (rows.index[:, None] != self.memory_index)
        negative = torch.cat([~same, known], dim=1)
        positive = torch.zeros_like(negative)
        positive[:, : same.shape[1]] = same.scatter(1, scene.own[:, None], False)
        found = self._found(self._scores(scene, columns).masked_fill(~negative, -torch.inf)) & negative
        pairs = resolved(positive, negative, found, self.detected)
        return pairs.but(columns=columns) if self.bank else pairs

    def remember(self, scene: Scene) -> None:
        """Put this step's support views (of all ranks), or else its columns, in front of the bank."""
        if not self.bank:
            return
        names = (self.layer, "index", "sample", "view")
        if scene.has("support"):
            fresh = {name: ranks.gather(getattr(scene.support, name)) for name in names}
        else:
            fresh = {name: getattr(scene.columns, name) for name in names}
        # View by view, as one rank has them: the bank's end must not fall elsewhere with two.
        order = (fresh["view"] * (fresh["sample"].max() + 1) + fresh["sample"]).argsort()
        for held, name in ((self.memory, self.layer), (self.memory_index, "index")):
            held.copy_(torch.cat([fresh[name].detach()[order].to(held.dtype), held])[: self.bank])

    def _columns(self, scene: Scene) -> Rows:
        """Return the scene's columns with the bank's rows behind them; no image of the batch has their sample."""
        here, index = scene.columns, self.memory_index
        if not self.bank:
            return here
        z = getattr(here, self.layer)
        return Rows(
            sample=torch.cat([here.sample, -2 - index]),
            view=torch.cat([here.view, torch.full_like(index, -1)]),
            label=torch.cat([here.label, torch.full_like(index, UNLABELED)]),
            index=torch.cat([here.index, index]),
            **{self.layer: torch.cat([z, self.memory.to(z.dtype)])},
        )

    def _scores(self, scene: Scene, columns: Rows) -> Tensor:
        """Return the score (N, M) of each column for each anchor's image."""
        views = [scene.rows, scene.support] if scene.has("support") else [scene.rows]
        sample, which = torch.unique(torch.cat([rows.sample for rows in views]), return_inverse=True)
        every = torch.cat([getattr(rows, self.layer) for rows in views])
        similarity = cosine(every, getattr(columns, self.layer))
        lowest = similarity.new_full((len(sample), similarity.shape[1]), -torch.inf)
        best = lowest.scatter_reduce(0, which[:, None].expand_as(similarity), similarity, "amax")
        return best[which[: len(scene.rows.sample)]]

    def _found(self, score: Tensor) -> Tensor:
        above = score > self.threshold
        places = score.topk(min(self.top, score.shape[1])).indices
        top = torch.zeros_like(above).scatter(1, places, True)
        return {"and": above & top, "or": above | top, "threshold": above, "top": top}[self.rule]
