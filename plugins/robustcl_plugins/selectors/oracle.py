"""The oracle of false negative cancellation: labels tell which negatives are false."""

from __future__ import annotations

from typing import ClassVar

from robustcl.protocols import Need
from robustcl.types import UNLABELED, Pairs, Scene
from robustcl_plugins.selectors.detection import Detected, instance_pairs, resolved


class Oracle:
    """Columns of other images of the anchor's class are no negatives: what detection without labels can reach at most.

    negative(i, j) = other image and another class; positive(i, j) = another view of the anchor's image. Masks are
    (N, M) bool. An image without a label is a negative to every other one, as in ``all``. It reads labels, so a run
    with it is supervised: it is a ceiling for ``fnc``, ``ifnd``, ``adaptive-fnc`` and ``glofnd``, and no method.

    detected: ``eliminate`` leaves the class's other images out; ``attract`` makes them positives, which is ``global``.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = (
        "Gupta, Akhtar, Mian and Shah, Contrastive Self-Supervised Learning Leads to Higher Adversarial "
        "Susceptibility, AAAI 2023, eq. 4 with the pairs of one class known, which the introduction names the solution"
    )
    detects: ClassVar[bool] = True

    def __init__(self, *, detected: Detected = "eliminate") -> None:
        self.detected = detected

    def select(self, scene: Scene) -> Pairs:
        positive, negative = instance_pairs(scene)
        label = scene.rows.label[:, None]
        return resolved(
            positive, negative, negative & (label != UNLABELED) & (label == scene.columns.label), self.detected
        )
