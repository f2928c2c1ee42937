"""Global selection: images of the same class attract, images of other classes repel."""

from __future__ import annotations

from typing import ClassVar

from robustcl.protocols import Need
from robustcl.types import UNLABELED, Pairs, Scene


class Global:
    """Positives share the anchor's label, its own other views among them; negatives are all other images.

    An image without a label is positive to its own views alone, and negative to every other image, as in
    ``all``; this holds for it as an anchor and as a column. The anchor's own column is in neither mask.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = (
        "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2; named Global in Bui, Le, Zhao, "
        "Montague, Camtepe and Phung, Understanding and Achieving Efficient Robustness with Adversarial "
        "Supervised Contrastive Learning, 2021"
    )

    def select(self, scene: Scene) -> Pairs:
        rows, columns = scene.rows, scene.columns
        labelled = rows.label[:, None] != UNLABELED
        same = (rows.sample[:, None] == columns.sample) | (labelled & (rows.label[:, None] == columns.label))
        return Pairs(positive=same.scatter(1, scene.own[:, None], False), negative=~same)
