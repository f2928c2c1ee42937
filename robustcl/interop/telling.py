"""What a verbose evaluation prints at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome
from robustcl.evaluate.rows import per_member


def accuracies(journal: Journal, key: Key, outcomes: Sequence[Outcome], members: Sequence[str]) -> None:
    """Print the clean accuracy, and what is left of it after each member."""
    known = journal.known(key)
    clean = sum(known[outcome.index][0].correct for outcome in outcomes) / len(outcomes)
    print(f"clean accuracy: {clean:.2%}")
    for name, share in per_member(journal, key, outcomes, members).items():
        print(f"robust accuracy after {name}: {share:.2%}")


def targets(outcomes: Sequence[Outcome], aims: Callable[[Tensor], Tensor | None]) -> None:
    """Print how many inputs reached their target, of those that were attacked toward another class than their own.

    ``aims`` returns the targets (B,) of inputs of index (B,), ``None`` where any wrong class will do.
    """
    met = [outcome for outcome in outcomes if outcome.member != CLEAN]
    target = aims(torch.tensor([outcome.index for outcome in met], dtype=torch.int64))
    if target is None:
        return
    pairs = [(outcome, aim) for outcome, aim in zip(met, target.tolist(), strict=True) if outcome.label != aim]
    reached = sum(outcome.prediction == aim for outcome, aim in pairs)
    print(f"target reached by {reached} of {len(pairs)} inputs that were attacked")
