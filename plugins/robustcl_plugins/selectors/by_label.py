"""Global selection: images of the same class attract, images of other classes repel."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from robustcl.protocols import Need
from robustcl.types import UNLABELED, Pairs, Scene


class Global:
    """Positives share the anchor's label, its own other views among them; negatives are all other images.

    An image without a label is positive to its own views alone, and negative to every other image, as in
    ``all``; this holds for it as an anchor and as a column. The anchor's own column is in neither mask.

    positives: ``all`` of the class; or only those in ``other-views`` than the anchor's, while the class's images in
        the anchor's own view stand among the negatives, where they only enlarge the softmax's sum. That is the letter
        of eq. 9 of Li, Yu, Wu, Jin and Yu, Adversarial supervised contrastive learning, Machine Learning 2022: clean
        anchors, adversarial positives, and everything else in the denominator.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = (
        "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2; named Global in Bui, Le, Zhao, "
        "Montague, Camtepe and Phung, Understanding and Achieving Efficient Robustness with Adversarial "
        "Supervised Contrastive Learning, 2021"
    )

    def __init__(self, *, positives: Literal["all", "other-views"] = "all") -> None:
        self.positives = positives

    def select(self, scene: Scene) -> Pairs:
        rows, columns = scene.rows, scene.columns
        labelled = rows.label[:, None] != UNLABELED
        same = (rows.sample[:, None] == columns.sample) | (labelled & (rows.label[:, None] == columns.label))
        if self.positives == "other-views":
            same = same & (rows.view[:, None] != columns.view)
        return Pairs(positive=_without_own(same, scene), negative=_without_own(~same, scene))


def _without_own(mask: Tensor, scene: Scene) -> Tensor:
    return mask.scatter(1, scene.own[:, None], False)
