"""Instance discrimination: the own other views attract, every other image repels."""

from __future__ import annotations

from typing import ClassVar

from robustcl.protocols import Need
from robustcl.types import Pairs, Scene


class All:
    """Positives are the other views of the same image, negatives all views of all others, on every rank.

    The anchor's own column is in neither mask. With V views an anchor has V - 1 positives.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Chen, Kornblith, Norouzi and Hinton, A Simple Framework for Contrastive Learning of Visual "
        "Representations, ICML 2020, section 2.1"
    )

    def select(self, scene: Scene) -> Pairs:
        same = scene.rows.sample[:, None] == scene.columns.sample
        return Pairs(positive=same.scatter(1, scene.own[:, None], False), negative=~same)
