"""Global false negative detection: a threshold for each image, learnt over the whole data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn

from robustcl.contrast import LayerNeeds, cosine
from robustcl.options import Fraction, Positive
from robustcl.protocols import Need
from robustcl.types import Dims, Pairs, Rows, Scene
from robustcl_plugins.selectors.detection import instance_pairs

Switch = Annotated[int, Ge(0), Le(1)]
Beta = Annotated[float, Ge(0), Lt(1)]
_EPS = 1e-8


class GloFND(nn.Module):
    """Columns whose cosine to the anchor exceeds the threshold of the anchor's image are no negatives.

    lambda_i tracks the (1 - alpha)-quantile of the cosines between the views of image i and all other images: it
    starts at 1, and at each visit lambda_i <- clip(lambda_i - lr Adam(alpha - share_i), -1, 1), where share_i is the
    share of negatives in the batch above lambda_i, over all views of i. A batch is filtered by thresholds that have
    seen it. Own other views are never filtered. Masks and weights are (N, M).

    The state is one number and Adam's moments for each image of the data set. It belongs to the term: two terms, as
    of two batch-norm routes, have thresholds of their own. As the selector of an attack alone it learns nothing.

    alpha: the share of negatives that is false.
    lr: the largest step of a threshold, nearly.
    beta_1, beta_2: of Adam's two moments.
    corrected: divide the moments by 1 - beta^t, t the updates of this threshold, as Adam does. The released code
        takes for t the epoch, and starts late: by then nothing is left to correct, as with false.
    learning: 1 while thresholds are learnt; 0 keeps them.
    active: 1 while negatives are filtered; 0 gives the pairs of ``all``. Start late with { piecewise = [0, 1], at =
        ["70 epochs"] }.
    shared: one threshold for all images.
    rescale: weigh the kept negatives so that they count as many as there were, as released.
    layer: the embedding compared, the projection ``z`` or the features ``h``.
    """

    needs = LayerNeeds("z", Need.INDEX)
    citation: ClassVar[str] = (
        "Balmaseda, Wang, Lin and Yang, Discovering Global False Negatives On the Fly for Self-supervised Contrastive "
        "Learning, ICML 2025, the update of the thresholds"
    )
    detects: ClassVar[bool] = True
    threshold: Tensor
    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(
        self,
        *,
        alpha: Fraction = 0.01,
        lr: Positive = 0.05,
        beta_1: Beta = 0.9,
        beta_2: Beta = 0.98,
        corrected: bool = True,
        learning: Switch = 1,
        active: Switch = 1,
        shared: bool = False,
        rescale: bool = True,
        layer: Literal["z", "h"] = "z",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.lr = lr
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.corrected = corrected
        self.learning = learning
        self.active = active
        self.shared = shared
        self.rescale = rescale
        self.layer = layer

    def build(self, dims: Dims) -> None:
        """Make the thresholds, all 1, and Adam's moments."""
        count = 1 if self.shared else dims.samples
        self.register_buffer("threshold", torch.ones(count))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("square", torch.zeros(count))
        self.register_buffer("updates", torch.zeros(count, dtype=torch.int64))

    def select(self, scene: Scene) -> Pairs:
        positive, negative = instance_pairs(scene)
        if not self.active:
            return Pairs(positive=positive, negative=negative)
        threshold = self.threshold
        if self.learning:
            # A shared threshold looks at all anchors; an image's own views are all on this rank.
            learnt = self._learnt(scene.columns if self.shared else scene.rows, scene.columns)
            threshold = threshold.index_copy(0, learnt.place, learnt.threshold)
        similarity = cosine(getattr(scene.rows, self.layer), getattr(scene.columns, self.layer))
        kept = negative & (similarity <= threshold[self._places(scene.rows)][:, None])
        if not self.rescale:
            return Pairs(positive=positive, negative=kept)
        count = negative.sum(1, keepdim=True).to(similarity.dtype)
        return Pairs(positive=positive, negative=kept * (count / kept.sum(1, keepdim=True).clamp(min=1)))

    def remember(self, scene: Scene) -> None:
        """Keep the thresholds that this batch taught, of the images of all ranks."""
        if self.learning:
            learnt = self._learnt(scene.columns, scene.columns)
            for name in ("threshold", "mean", "square", "updates"):
                getattr(self, name)[learnt.place] = getattr(learnt, name)

    def _places(self, rows: Rows) -> Tensor:
        return torch.zeros_like(rows.index) if self.shared else rows.index

    def _learnt(self, anchors: Rows, columns: Rows) -> _Learnt:
        """Return the state after one step of Adam for the images among the anchors."""
        place, which = torch.unique(self._places(anchors), return_inverse=True)
        before = self.threshold[place]
        other = anchors.sample[:, None] != columns.sample
        above = other & (cosine(getattr(anchors, self.layer), getattr(columns, self.layer)) > before[which][:, None])
        # Whole numbers are summed, so that the order of the rows does not matter.
        counts = torch.stack([above.sum(1), other.sum(1)])
        high, all_of_them = torch.zeros_like(counts[:, : len(place)]).index_add(1, which, counts)
        share = high.to(before.dtype) / all_of_them.clamp(min=1)
        gradient = torch.where(all_of_them > 0, self.alpha - share, 0.0)
        mean = self.beta_1 * self.mean[place] + (1 - self.beta_1) * gradient
        square = self.beta_2 * self.square[place] + (1 - self.beta_2) * gradient.square()
        updates = self.updates[place] + 1
        first, second = mean, square
        if self.corrected:
            first = mean / (1 - self.beta_1 ** updates.to(mean.dtype))
            second = square / (1 - self.beta_2 ** updates.to(mean.dtype))
        threshold = (before - self.lr * first / (second.sqrt() + _EPS)).clamp(-1, 1)
        return _Learnt(place, threshold, mean, square, updates)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """The thresholds of some places, with Adam's moments and the number of updates."""

    place: Tensor
    threshold: Tensor
    mean: Tensor
    square: Tensor
    updates: Tensor
