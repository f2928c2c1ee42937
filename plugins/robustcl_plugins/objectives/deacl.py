"""DeACL's two alignments: toward a frozen teacher, and of the adversarial features toward the clean ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from robustcl.contrast import cosine_rows
from robustcl.protocols import Need
from robustcl.types import Scene


class DeACL:
    """Negative cosines of features: student to teacher on clean images, adversarial to clean in the student.

    Term ``distil``: -cos(f(w), t(w)), (B,), where the teacher t has no gradient. Term ``robust``: -cos(f(a),
    f(w)), (B,), with gradient toward both sides. The recipe's ``mix`` weighs them: DeACL's released scripts
    use 1 and 2, NCP-ACL (eq. 3, whose CosSim is the negative cosine) 1 and 6.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.TEACHER})
    citation: ClassVar[str] = (
        "Zhang, Zhang, Zhang, Niu, Feng, Yoo and Kweon, Decoupled Adversarial Contrastive Learning for "
        "Self-supervised Adversarial Robustness, ECCV 2022, stage 2"
    )
    views: ClassVar[tuple[str, ...]] = ("clean", "adversarial", "teacher")
    terms: ClassVar[tuple[str, ...]] = ("distil", "robust")
    separable: ClassVar[bool] = True

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        clean, adversarial = scene.views["clean"].h, scene.views["adversarial"].h
        return {
            "distil": -cosine_rows(clean, scene.views["teacher"].h),
            "robust": -cosine_rows(adversarial, clean),
        }
