"""NT-Xent, the InfoNCE loss of SimCLR, over whatever pairs the selector chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from torch import Tensor

from robustcl.contrast import LayerNeeds, candidates, cosine, loss_inside, loss_outside
from robustcl.options import Positive
from robustcl.protocols import Need
from robustcl.types import Scene

_LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "outside": loss_outside,
    "inside": loss_inside,
}


class InfoNCE:
    """-log of the softmax, at a temperature, of an anchor's positives among its positives and negatives.

    With two views and the selector ``all`` this is eq. 1 of SimCLR: 2B anchors, the own column left out. Any
    number of views may be bound. Pairs in neither mask are left out of the denominator as well, which
    eliminates false negatives.

    temperature: divides the cosines.
    layer: the embedding compared, the projection ``z`` or the features ``h``.
    positives: with several positives, ``outside`` averages their -log softmax (SupCon's L_out), ``inside``
        adds their exponentials within one logarithm. With one positive the two agree.
    one_sided: stop the gradient at the columns, so that an anchor moves but its candidates stay, as RoCL
        (Kim, Tack and Hwang, NeurIPS 2020) was released: the same value, about half the gradient.

    Term ``contrast``: (N,), one per row of the scene; exactly 0 for an anchor without positives.
    """

    needs = LayerNeeds("z", Need.PAIRS)
    citation: ClassVar[str] = (
        "Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual "
        "Representations, ICML 2020, eq. 1"
    )
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("contrast",)

    def __init__(
        self,
        *,
        temperature: Positive = 0.5,
        layer: Literal["z", "h"] = "z",
        positives: Literal["outside", "inside"] = "outside",
        one_sided: bool = False,
    ) -> None:
        self.temperature = temperature
        self.layer = layer
        self.positives = positives
        self.one_sided = one_sided

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        anchors, columns = getattr(scene.rows, self.layer), getattr(candidates(scene), self.layer)
        if self.one_sided:
            columns = columns.detach()
        similarity = cosine(anchors, columns) / self.temperature
        return {"contrast": _LOSSES[self.positives](similarity, scene.pairs.positive, scene.pairs.negative)}
