"""What is asked of a model that somebody else has built before its numbers can mean anything."""

from __future__ import annotations

import warnings
from contextlib import suppress

import torch
from torch import Tensor

from robustcl.errors import DataError, RobustclError, UsageError
from robustcl.evaluate.classifier import LOGITS, Classifier
from robustcl.evaluate.output import failure
from robustcl.nn.snapshot import differ, random_states, set_random_states
from robustcl.nn.traces import Traces


def check(classifier: Classifier, x: Tensor, labels: Tensor) -> int:
    """Return the number of the model's outputs L, after a look at its logits on some inputs x (R, *item).

    Raises:
        DataError: logits that are not finite, or labels outside 0 .. L - 1.
        UsageError: probabilities instead of logits, one output only, what ``look`` refuses, or verdicts that would
            not stay.
    """
    outputs = check_logits(look(classifier, x), labels)
    check_steady(classifier, x[:_STEADY])
    return outputs


@torch.no_grad()
def look(classifier: Classifier, x: Tensor) -> Tensor:
    """Return the logits (R, L) of inputs x (R, *item).

    Raises:
        UsageError: the model cannot take them, writes into them, or is changed by them.
    """
    given, traces = x.clone(), Traces([classifier.module], randomness=False)
    try:
        logits = classifier.embed(given, LOGITS).logits
    except (RobustclError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise failure(error, classifier.module, x) from error
    if not torch.equal(given, x):
        raise UsageError("the model writes into its input: let its forward work on a copy, x.clone()")
    _refuse_changed(traces)
    return logits


@torch.no_grad()
def check_steady(classifier: Classifier, x: Tensor) -> None:
    """Refuse a model of which no verdict would stay: others come in another pass, or among other inputs x (R, *item).

    Raises:
        UsageError: a pass changes the model, also backward, it draws at random, or its rows depend on each other.
    """
    before = random_states()
    first = look(classifier, x)
    if differ(before, random_states()) or wavers(classifier, x, first):
        set_random_states(before)
        raise UsageError(_RANDOM)
    if mingles(classifier.embed(x[:1].clone(), LOGITS).logits, first):
        raise UsageError(f"{MINGLED}: no verdict would stay; {UNMINGLE}")
    check_backward(classifier, x)


@torch.no_grad()
def wavers(classifier: Classifier, x: Tensor, first: Tensor) -> bool:
    """Say whether a model says something else of inputs x (R, *item) than its logits ``first`` (R, L), a pass earlier.

    It then draws from a generator of its own, or counts: no state that anybody sees tells.
    """
    again = classifier.embed(x.clone(), LOGITS).logits
    spread = float((first.max() - first.min()).float())
    sound = first.isfinite() & again.isfinite()
    return bool((sound & ((first - again).abs() > _WAVER * spread)).any())


def mingles(alone: Tensor, together: Tensor) -> bool:
    """Say whether a row's logits ``alone`` (1, L) are others than the first of those ``together`` (R, L) with it."""
    alone, first = alone.double(), together[:1].double()
    spread = float(first.max() - first.min())
    rounding = 16.0 * torch.finfo(together.dtype).eps * float(first.abs().max())
    sound = first.isfinite() & alone.isfinite()
    return bool((sound & ((first - alone).abs() > _MINGLED * spread + rounding)).any())


def check_backward(classifier: Classifier, x: Tensor) -> None:
    """Refuse a model that changes where a gradient is asked for: whoever attacks it would be blamed.

    Raises:
        UsageError: what changes, and that the model does it.
    """
    before, traces = random_states(), Traces([classifier.module], randomness=False)
    with torch.enable_grad(), classifier.attacked():
        leaf = x.detach().clone().requires_grad_()
        with suppress(Exception):  # a cut graph is the attack's to tell
            torch.autograd.grad(classifier.embed(leaf.view_as(leaf), LOGITS).logits.float().sum(), leaf)
    drew = differ(before, random_states())
    set_random_states(before)
    _refuse_changed(traces)
    if drew:
        raise UsageError(_RANDOM)


def _refuse_changed(traces: Traces) -> None:
    for trace in traces.found():
        raise UsageError(
            f"a forward pass in eval mode changes the model: {trace}; mend it, its verdicts would not stay"
        )


def check_logits(logits: Tensor, labels: Tensor) -> int:
    """Return the number of outputs of logits (R, L); raises as ``check`` does, for labels (n,) too."""
    logits, outputs = logits.float(), logits.shape[1]
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise DataError(
            f"the model returns logits that are not finite for {int((~finite).sum())} of {len(logits)} inputs, the "
            f"first is number {row}: mend the model, no verdict can be had of them"
        )
    if outputs < 2:
        raise UsageError(
            "the model has one output: a classifier has one for each of two classes or more; of a single logit z make "
            "two columns, torch.cat([torch.zeros_like(z), z], 1)"
        )
    if probabilities(logits):
        raise UsageError(
            "the model returns probabilities: return the logits instead, without the softmax, because gradients of "
            "saturated probabilities vanish and robust accuracy would be overstated"
        )
    check_labels(labels, outputs)
    low, high = float(logits.min()), float(logits.max())
    if 0.0 <= low < _NEAR and 1.0 - _NEAR < high <= 1.0:
        warnings.warn(
            f"the model's outputs lie between {low:.2g} and {high:.6g}, as a sigmoid's do: return what goes into it, "
            "because gradients of saturated outputs vanish and robust accuracy would be overstated",
            RuntimeWarning,
            stacklevel=2,
        )
    return outputs


_RANDOM = (
    "the model draws at random in eval mode, so that its verdicts differ from one pass to the next: make it "
    'deterministic, or attack it from Python, robustcl.AutoAttack(model, version="rand")'
)

MINGLED = "rows of a batch change each other's logits in eval mode, as batch norms without running statistics do"
UNMINGLE = "let each row stand for itself, for example with track_running_stats = True"

_STEADY = 8
"""Inputs that are asked twice, and one of them alone: a model that draws or mingles shows it in few."""

_MINGLED = 0.05
"""Up to this share of a row's own logits' spread its neighbours may move them: sums in another order do."""

_WAVER = 1e-3
"""Up to this share of the logits' spread two passes may differ: some machines add in another order each time."""

_NEAR = 1e-3
"""How near outputs come to 0 and to 1 before they are taken for a sigmoid's."""


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
