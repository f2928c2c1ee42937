"""What an attack takes away: accuracy in proportion, and the probability of the true class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import checked


def relative_drop(clean: float, attacked: float) -> float:
    """Return (clean - attacked) / clean, in (-inf, 1]: the share of the accuracy that is lost.

    Source: Gupta et al., 2022, tables 1 to 3 ("percentage drop relative to clean data accuracy": 95.4 -> 29.6 is
    0.69). Both accuracies are in the same unit, shares or percent. Negative where the attack helped.

    Raises:
        UsageError: an accuracy that is negative or not finite, or a clean one of 0, of which there is no share.
    """
    if not (math.isfinite(clean) and math.isfinite(attacked) and clean > 0 and attacked >= 0):
        raise UsageError(f"no relative drop from accuracy {clean:g} to {attacked:g}: the clean one must be above 0")
    return (clean - attacked) / clean


@dataclass(frozen=True, slots=True, eq=False)
class ProbabilityDrop:
    """What perturbed images do to the true class, over the images that are classified correctly before.

    fooled: the share of them that is classified wrongly after, in [0, 1]; nan where there are none.
    drop: their mean p(y | x) - p(y | x'), in [-1, 1]; nan where there are none.
    judged: how many there are.
    each: (n,) float64, the drop of every image, in [-1, 1].
    """

    fooled: float
    drop: float
    judged: int
    each: Tensor


@torch.no_grad()
def class_probability_drop(clean: Tensor, adversarial: Tensor, label: Tensor) -> ProbabilityDrop:
    """Return the attack success rate and the decrease of the true class's probability.

    Source: NCP-ACL, table 1 (Attk. Succ. and Prob. Dec.). Names and conditions are those of a study's columns
    ``fooled`` and ``drop``.

    Args:
        clean: (n, L) logits of the clean images.
        adversarial: (n, L) logits of the same images, perturbed.
        label: (n,) from 0 to L - 1.

    Raises:
        UsageError: shapes that do not fit, logits that are not finite, or a label outside 0 .. L - 1.
    """
    before, after = checked.pair(clean, adversarial)
    own = checked.labels(label, before)
    if int(own.max()) >= before.shape[1]:
        raise UsageError(f"the label {int(own.max())} has no logit: there are {before.shape[1]} classes, from 0")
    right, kept = before.argmax(dim=1) == own, after.argmax(dim=1) == own
    each = _probability(before, own) - _probability(after, own)
    judged = int(right.sum())
    if judged == 0:
        return ProbabilityDrop(math.nan, math.nan, 0, each)
    return ProbabilityDrop(int((right & ~kept).sum()) / judged, float(each[right].mean()), judged, each)


def _probability(logits: Tensor, own: Tensor) -> Tensor:
    return logits.softmax(dim=1).gather(1, own[:, None]).squeeze(1)
