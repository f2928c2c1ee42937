"""The supervised contrastive loss L_out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from robustcl.contrast import LayerNeeds, Similarity, candidates, loss_outside, similarities
from robustcl.options import Positive
from robustcl.protocols import Need
from robustcl.types import Scene


class SupCon:
    """-log of the softmax averaged over an anchor's positives, L_out; the selector ``global`` supervises it.

    l_i = -1/|P(i)| sum_{p in P(i)} log( exp(s_ip / t) / sum_{a in P(i) or N(i)} exp(s_ia / t) ), with the anchor's
    positives P(i) and negatives N(i) as the selector chose them. Any number of views may be bound. With the selector
    ``all`` and two views it is NT-Xent.

    temperature: t, divides the similarities.
    base_temperature: scales the loss by temperature / base_temperature; the paper's code uses 0.07, which
        makes the loss 7.14 times larger at temperature 0.5. None leaves it as eq. 2 has it.
    layer: the embedding compared, the projection ``z`` or the features ``h``.
    similarity: s, the ``cosine``, or minus the distance of a norm: ``Linf``, ``L2``, ``L1``, as in Bui et al.,
        Understanding and Achieving Efficient Robustness with Adversarial Supervised Contrastive Learning, 2021, eq. 1.
    unit_length: whether distances are taken between vectors of length 1, as that paper's code does; the paper names
        none. A cosine is the same either way.

    Term ``contrast``: (N,), one per row of the scene; exactly 0 for an anchor without positives.
    """

    needs = LayerNeeds("z", Need.PAIRS)
    citation: ClassVar[str] = "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2"
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("contrast",)

    def __init__(
        self,
        *,
        temperature: Positive = 0.1,
        base_temperature: Positive | None = None,
        layer: Literal["z", "h"] = "z",
        similarity: Similarity = "cosine",
        unit_length: bool = False,
    ) -> None:
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.layer = layer
        self.similarity = similarity
        self.unit_length = unit_length

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        anchors, columns = getattr(scene.rows, self.layer), getattr(candidates(scene), self.layer)
        alike = similarities(anchors, columns, self.similarity, unit_length=self.unit_length)
        loss = loss_outside(alike / self.temperature, scene.pairs.positive, scene.pairs.negative)
        scale = 1.0 if self.base_temperature is None else self.temperature / self.base_temperature
        return {"contrast": scale * loss}
