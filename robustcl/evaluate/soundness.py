"""What is asked of a model that somebody else has built before its numbers can mean anything."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.errors import DataError, UsageError
from robustcl.evaluate.classifier import LOGITS, Classifier


@torch.no_grad()
def check(classifier: Classifier, x: Tensor, labels: Tensor) -> int:
    """Return the number of the model's outputs L, after a look at its logits on some inputs x (R, *item).

    Raises:
        DataError: logits that are not finite, or labels outside 0 .. L - 1.
        UsageError: probabilities instead of logits, or one output only.
    """
    logits = classifier.embed(x, LOGITS).logits.float()
    outputs = logits.shape[1]
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise DataError(
            f"the model returns logits that are not finite for {int((~finite).sum())} of {len(x)} inputs, the first is "
            f"number {row}: mend the model, no verdict can be had of them"
        )
    if outputs < 2:
        raise UsageError("the model has one output: a classifier has one for each of two classes or more")
    if probabilities(logits):
        raise UsageError(
            "the model returns probabilities: return the logits instead, without the softmax, because gradients of "
            "saturated probabilities vanish and robust accuracy would be overstated"
        )
    check_labels(labels, outputs)
    return outputs


def check_labels(labels: Tensor, outputs: int) -> None:
    """Raise ``DataError`` unless labels (n,) lie in 0 .. outputs - 1."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= outputs:
        wrong = low if low < 0 else high
        row = int((labels == wrong).nonzero()[0])
        raise DataError(
            f"label {wrong} of sample {row} is outside 0 .. {outputs - 1}: the model has {outputs} outputs; "
            "give labels of the classes that it was trained on"
        )


def probabilities(logits: Tensor) -> bool:
    """Say whether rows (R, L) are probabilities: nowhere negative, each with the sum 1."""
    return bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-4).all())
