"""ProFeAT's four alignments: teacher and adversary, each on features and on projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from robustcl.contrast import cosine_rows
from robustcl.protocols import Need
from robustcl.types import Scene


class ProFeAT:
    """Negative cosines of features h and of projections z = g(h), behind the frozen projector g of the teacher.

    Term ``distil-h``: -cos(h_f(s), h_t(w)), ``distil-z``: -cos(z_f(s), z_t(w)): the student f on its strong view s
    against the teacher t on its weak view w, without gradient to the teacher. Term ``robust-h``: -cos(h_f(a), h_f(s)),
    ``robust-z``: -cos(z_f(a), z_f(s)): the adversary a of s, with gradient toward both sides. Each is (B,). The
    recipe's ``mix`` weighs them: 1 - w_p and w_p for the first two, beta times that for the others, with w_p = 0.5 and
    beta = 8.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.PROJECTION, Need.TEACHER})
    citation: ClassVar[str] = (
        "Addepalli, Dey and Babu, ProFeAT: Projected Feature Adversarial Training for Self-Supervised Learning of "
        "Robust Representations, TMLR 2024, the defence loss"
    )
    views: ClassVar[tuple[str, ...]] = ("clean", "adversarial", "teacher")
    terms: ClassVar[tuple[str, ...]] = ("distil-h", "distil-z", "robust-h", "robust-z")
    separable: ClassVar[bool] = True

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        clean, adversarial, teacher = (scene.views[role] for role in self.views)
        return {
            "distil-h": -cosine_rows(clean.h, teacher.h),
            "distil-z": -cosine_rows(clean.z, teacher.z),
            "robust-h": -cosine_rows(adversarial.h, clean.h),
            "robust-z": -cosine_rows(adversarial.z, clean.z),
        }
