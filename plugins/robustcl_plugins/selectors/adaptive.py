"""Adaptive false negative cancellation: a threshold on the cosine that falls during training."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustcl.contrast import LayerNeeds, cosine
from robustcl.types import Pairs, Scene
from robustcl_plugins.selectors.detection import Cosine, Detected, instance_pairs, resolved


class AdaptiveFNC:
    """Columns of other images whose cosine to the anchor exceeds rho are no negatives.

    negative(i, j) = other image and cos(i, j) <= rho; positive(i, j) = another view of the anchor's image. Masks are
    (N, M) bool and carry no gradient. The paper lets rho fall slowly, best from 0.99 to 0.7: write rho = { linear =
    [0.99, 0.7] }. With rho above 1 the pairs are those of ``all``. The paper leaves the shape of the schedule and
    the layer open.

    rho: the threshold; the default is the paper's baseline without a schedule.
    detected: ``eliminate`` leaves detected columns out, as eq. 4 has it; ``attract`` makes them positives, which the
        paper's text says once and warns of right after.
    layer: the embedding compared, the projection ``z`` or the features ``h``.
    """

    needs = LayerNeeds("z")
    citation: ClassVar[str] = (
        "Gupta, Akhtar, Mian and Shah, Contrastive Self-Supervised Learning Leads to Higher Adversarial "
        "Susceptibility, AAAI 2023, eq. 4"
    )
    detects: ClassVar[bool] = True

    def __init__(self, *, rho: Cosine = 0.9, detected: Detected = "eliminate", layer: Literal["z", "h"] = "z") -> None:
        self.rho = rho
        self.detected = detected
        self.layer = layer

    def select(self, scene: Scene) -> Pairs:
        positive, negative = instance_pairs(scene)
        similarity = cosine(getattr(scene.rows, self.layer), getattr(scene.columns, self.layer))
        return resolved(positive, negative, negative & (similarity > self.rho), self.detected)
