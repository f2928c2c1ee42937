"""Losses on the differences of logits, and which wrong classes are worth aiming at.

All take logits z (R, L) in any scale, labels (R,) int64, and return (R,), to be maximised: below zero as long as the
label wins. pi_1, pi_2, ... order the classes by falling logit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.errors import UsageError

USUAL = 9
"""Targets of the published standard evaluation: all wrong classes of ten (Croce and Hein, ICML 2020, section 5)."""
_SAFE = 1e-12


def dlr(logits: Tensor, label: Tensor) -> Tensor:
    """Return -(z_y - max_(i != y) z_i) / (z_pi1 - z_pi3 + 1e-12), the difference of logits ratio.

    Croce and Hein, ICML 2020, eq. 6: free of shift and scale, so that no logits vanish its gradient. Of two classes
    the ratio would be constant: there the margin itself, max_(i != y) z_i - z_y, is returned.
    """
    order = logits.sort(1, descending=True).values
    wrong = logits.scatter(1, label[:, None], -torch.inf).amax(1)
    margin = wrong - logits.gather(1, label[:, None])[:, 0]
    return margin if logits.shape[1] < 3 else margin / (order[:, 0] - order[:, 2] + _SAFE)


def targeted_dlr(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """Return -(z_y - z_t) / (z_pi1 - (z_pi3 + z_pi4) / 2 + 1e-12), the targeted difference of logits ratio.

    Croce and Hein, ICML 2020, eq. 7, which asks for four classes. Of three, the two least logits take the place of
    pi_3 and pi_4: z_pi1 - (z_pi2 + z_pi3) / 2; dividing by z_pi1 - z_pi3 would be constant for the least likely target.
    Of two, the ratio would be constant: there the margin z_t - z_y itself is returned.
    """
    gap = margin(logits, label, target)
    if logits.shape[1] < 3:
        return gap
    order = logits.sort(1, descending=True).values[:, :4]
    return gap / (order[:, 0] - order[:, -2:].mean(1) + _SAFE)


def margin(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """Return z_t - z_y: what Gowal et al. 2019, arXiv:1910.09338, climb for each target t."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, label[:, None]))[:, 0]


def target_count(targets: int | None, classes: int, name: str) -> int:
    """Return how many wrong classes to aim at: ``targets``, or left out ``USUAL``, or all where there are fewer.

    Raises UsageError for more targets than a model of so many ``classes`` has wrong ones; ``name`` is the attack's.
    """
    wrong = classes - 1
    if targets is None:
        return min(USUAL, wrong)
    if targets > wrong:
        raise UsageError(
            f"{name}: targets = {targets}, but of {classes} classes only {wrong} are wrong for an image: "
            f"write {wrong} or fewer, or leave targets out"
        )
    return targets


def likely_targets(logits: Tensor, label: Tensor, count: int | None) -> Tensor:
    """Return the wrong classes (R, T) of largest logit first, T = min(count, L - 1); ``None``: all of them."""
    wrong = logits.scatter(1, label[:, None], -torch.inf)
    order = wrong.argsort(dim=1, descending=True, stable=True)
    classes = logits.shape[1] - 1
    return order[:, : classes if count is None else min(count, classes)]
