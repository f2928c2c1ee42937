"""Local selection: of an anchor's global pairs, those that the classifier's predictions tie to it."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from robustcl.protocols import Need
from robustcl.types import Pairs, Scene
from robustcl_plugins.selectors.by_label import Global

_PAPER = (
    "Bui, Le, Zhao, Montague, Camtepe and Phung, Understanding and Achieving Efficient Robustness with Adversarial "
    "Supervised Contrastive Learning, 2021, Table 1"
)


class HardLS:
    """Positives as in ``global``; negatives only where a copy is predicted to be of the anchor's class.

    negative(i, j) = y_j != y_i and p_j = y_i, where p_j is the argmax of column j's own logits: the clean and the
    adversarial copy of an image are chosen each by itself. All other columns of other classes are ignored. An anchor
    without a label has no negatives; a column without one is negative wherever its prediction says so.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = f"{_PAPER} (Hard-LS)"

    def select(self, scene: Scene) -> Pairs:
        pairs = Global().select(scene)
        mistaken = scene.columns.logits.argmax(dim=1) == scene.rows.label[:, None]
        return pairs.but(negative=pairs.negative & mistaken)


class SoftLS:
    """Positives as in ``global``; negatives only where a copy is predicted to be what the anchor is predicted to be.

    negative(i, j) = y_j != y_i and p_j = p_i, where p is the argmax of the logits, of each copy by itself.

    prediction: whose prediction p_i is that of an adversarial anchor: its ``own``, as the text and the released code
        have it, or the ``clean`` copy's (that of the term's first view), as eq. 2 may be read, which takes over the
        sets of the clean anchor.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = f"{_PAPER} (Soft-LS)"

    def __init__(self, *, prediction: Literal["own", "clean"] = "own") -> None:
        self.prediction = prediction

    def select(self, scene: Scene) -> Pairs:
        pairs = Global().select(scene)
        return pairs.but(negative=pairs.negative & _alike(scene, self.prediction))


class LeakedLS:
    """Positives and negatives of ``global`` whose prediction is the anchor's; the own other copies stay positive.

    positive(i, j) = y_j = y_i and p_j = p_i, and every other copy of the anchor's image; negative(i, j) = y_j != y_i
    and p_j = p_i. p is the argmax of the logits, of each copy by itself.

    own: ``always`` keeps the anchor's other copies positive whatever is predicted, as the paper has it (eq. 1);
        ``if-selected`` asks of them what it asks of all positives, as the released code does: an anchor that is left
        without positives then contributes 0.
    prediction: whose prediction p_i is that of an adversarial anchor, its ``own`` or the ``clean`` copy's, as in
        ``soft-ls``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = f"{_PAPER} (Leaked-LS), eq. 1"

    def __init__(
        self, *, own: Literal["always", "if-selected"] = "always", prediction: Literal["own", "clean"] = "own"
    ) -> None:
        self.own = own
        self.prediction = prediction

    def select(self, scene: Scene) -> Pairs:
        pairs = Global().select(scene)
        alike = _alike(scene, self.prediction)
        kept = alike
        if self.own == "always":
            kept = alike | (scene.rows.sample[:, None] == scene.columns.sample)
        return Pairs(positive=pairs.positive & kept, negative=pairs.negative & alike)


def _alike(scene: Scene, prediction: str) -> Tensor:
    """Return whether column j is predicted to be what anchor i is, (N, M) bool."""
    columns = scene.columns.logits.argmax(dim=1)
    if prediction == "own":
        return scene.rows.logits.argmax(dim=1)[:, None] == columns
    first = (scene.rows.sample[:, None] == scene.columns.sample) & (scene.columns.view == 0)
    return columns[first.int().argmax(dim=1)][:, None] == columns
