"""Gradients toward an attack's inputs: one place takes them, whatever a stranger's model makes of them.

Square roots and norms at 0 give NaN or infinity in an entry and leave the others sound. Such entries count as 0, so
that the others still lead somewhere; whoever runs the attack hears of how many rows that is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from robustcl.errors import RobustclError, UsageError, words
from robustcl.rng import Rng

_CUT = "the model's logits have no gradient toward its inputs"
_INSTEAD = (
    "take torch.no_grad, detach and reentrant checkpoints out of its forward, or choose an attack that needs none, "
    "square or rays"
)


def toward(
    value: Tensor, at: Tensor, places: Tensor | None = None, *, weights: Tensor | None = None, again: bool = False
) -> Tensor:
    """Return the gradient of the summed ``value`` with respect to ``at`` (R, *item) alone, finite in every entry.

    Entries that are NaN or infinite become 0. A row in which nothing else is left steps at random there, by signs
    that are always the same: staying at the one point without a gradient would make it look robust.

    Args:
        value: (R,), or of any shape.
        at: a leaf with a gradient.
        places: (R,) int64, which rows of the attack's these are; left out, all of them.
        weights: of the shape of ``value``, with which it is summed; left out, 1.
        again: the graph is needed once more.

    Raises:
        UsageError: no gradient reaches ``at``, or the backward pass fails.
    """
    try:
        # Not by a sum of our own: a backward pass may call this, where nothing that is computed has a graph.
        outer = torch.ones_like(value) if weights is None else weights
        (found,) = torch.autograd.grad(value, at, outer, retain_graph=again, allow_unused=True)
    except (RobustclError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the backward pass is the model's own code
        raise cut(error) from error
    if found is None:
        raise cut()
    found = _finite(found, places)
    tally = _LISTENING.get()
    if tally is not None:
        tally.note_slopes(found, places)
    return found


def cut(error: Exception | None = None) -> UsageError:
    """Return the error of a model whose logits have no gradient toward its inputs, with torch's own words for it."""
    said = f" ({words(error)})" if error is not None else ""
    return UsageError(f"{_CUT}{said}: {_INSTEAD}")


class Tally:
    """Which of an attack's rows (R,) had a gradient that was not finite, and which never one that led anywhere."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._broken, self._asked, self._led = (torch.zeros(rows, dtype=torch.bool) for _ in range(3))

    def note(self, broken: Tensor, places: Tensor | None) -> None:
        """Take note of rows (S,) bool that have a gradient which is not finite, at ``places`` (S,) int64."""
        self._broken = self._joined(self._broken, broken, places)

    def note_slopes(self, found: Tensor, places: Tensor | None) -> None:
        """Take note of gradients (S, *item) that were asked for."""
        leading = (found != 0).flatten(1).any(1)
        self._led = self._joined(self._led, leading, places)
        self._asked = self._joined(self._asked, torch.ones_like(leading), places)

    @property
    def broken(self) -> Tensor:
        """The rows (R,) bool with a gradient that was not finite."""
        return self._broken

    @property
    def flat(self) -> Tensor:
        """The rows (R,) bool whose gradients were all exactly 0, among those that were asked for."""
        return self._asked & ~self._led

    @property
    def asked(self) -> bool:
        """Whether any gradient was asked for."""
        return bool(self._asked.any())

    def _joined(self, known: Tensor, more: Tensor, places: Tensor | None) -> Tensor:
        if places is None and len(more) != self._rows:
            return known  # of other rows than the attack's: nobody could say which
        known = known.to(more.device)
        at = torch.arange(self._rows, device=more.device) if places is None else places
        known[at] = known[at] | more
        return known


@contextmanager
def listen(rows: int) -> Iterator[Tally]:
    """Yield who hears of gradients that are not finite, among an attack's ``rows``, as long as the block lasts."""
    tally = Tally(rows)
    token = _LISTENING.set(tally)
    try:
        yield tally
    finally:
        _LISTENING.reset(token)


_LISTENING: ContextVar[Tally | None] = ContextVar("gradients", default=None)


def _finite(found: Tensor, places: Tensor | None) -> Tensor:
    sound = found.isfinite()
    if bool(sound.all()):
        return found
    broken = ~sound.flatten(1).all(1)
    tally = _LISTENING.get()
    if tally is not None:
        tally.note(broken, places)
    clean = torch.where(sound, found, 0.0)
    lost = broken & (clean == 0).flatten(1).all(1)
    signs = Rng(0, "gradients", "lost").uniform(found.shape[1:], -1.0, 1.0, device=found.device).sign().to(found.dtype)
    return torch.where(lost.reshape(-1, *[1] * (found.dim() - 1)) & ~sound, signs, clean)
