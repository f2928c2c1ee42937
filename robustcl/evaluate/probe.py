"""How a model that somebody else has built is called: in which layout and type, and in batches of which size.

What runs in plain torch is judged. Channels last is tried first because it is quicker; where a forward cannot bear it,
as one that views a convolution's output cannot, the model runs contiguous throughout. A forward that takes batches of
one size alone, or none of one row, gets them: fooled samples leave an attack, and few may be left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustcl import gradients
from robustcl.errors import RobustclError, UsageError, words
from robustcl.evaluate.output import failure, logits_of
from robustcl.nn.layout import bears_channels_last, channels_last
from robustcl.nn.lazy import refuse_lazy
from robustcl.nn.snapshot import Snapshot
from robustcl.types import Embedding

_ROWS = 8
"""Rows of the first inputs that are kept to fill batches with."""

_SAME = 1e-3
"""Up to this share of the logits' spread a row's neighbours may move it: sums in another order do."""


_SIZES = (1, 2, *range(3, 17), 20, 25, 32, 50, 64, 100, 128, 250, 256, 512)
"""Sizes of batches that are tried where a model does not take the first one."""

_COARSE = 0.05
"""The same in half precision."""


class Caller:
    """Calls one model, or a copy of it, in the way that its first calls have found; classifiers keep one each."""

    def __init__(self) -> None:
        self._layout: bool | None = None
        self._cast: set[tuple[torch.dtype, torch.dtype]] = set()
        self._taken = 0
        self._seen: Tensor | None = None
        self._filled: set[int] = set()

    @property
    def channels_last(self) -> bool:
        """Whether inputs and weights may lie channels last, as far as a call has shown it."""
        return self._layout is True

    def __call__(self, model: nn.Module, x: Tensor, layers: frozenset[str] = frozenset({"logits"})) -> Embedding:
        """Return the logits (R, L) of inputs x (R, *item).

        Raises:
            UsageError: the forward fails, whether or not a gradient is asked for, or its output is something else.
        """
        if self._layout is None:
            refuse_lazy(model)
            kept = Snapshot(model, parameters=False)
            self._layout = bears_channels_last(self._called, model, x)
            kept.restore()  # what the model does to itself, it does in the call below
        x = channels_last(x) if self._layout else x
        if len(x) in self._filled:
            return Embedding(logits=self._of_filled(model, x, self._seen))
        try:
            logits = logits_of(self._called(model, x), len(x))
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            return Embedding(logits=self._otherwise(model, x, error))
        if len(x) > self._taken:
            self._taken, self._seen = len(x), x[:_ROWS].detach()
        return Embedding(logits=logits)

    def _called(self, model: nn.Module, x: Tensor) -> Any:
        """Call a model; one whose weights are of another type gets inputs of that type if it cannot take these."""
        kinds = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
        if len(kinds) != 1 or x.dtype in kinds or torch.is_autocast_enabled(x.device.type):
            return model(x)
        (kind,) = kinds
        if (x.dtype, kind) not in self._cast:
            try:
                return model(x)
            except RuntimeError:
                self._cast.add((x.dtype, kind))
        return model(x.to(kind))

    def _otherwise(self, model: nn.Module, x: Tensor, error: Exception) -> Tensor:
        """Return the logits of inputs on which the model has failed, from a batch of a size that it takes.

        Raises ``UsageError`` with the reason: it fails only where a gradient is asked for, whatever the batch, or its
        rows depend on each other, so that no batch can be filled.
        """
        if x.requires_grad and torch.is_grad_enabled() and self._runs(model, x):
            raise gradients.cut(error) from error
        if self._taken == len(x):
            raise _told(error, model, x) from error
        if not self._taken:
            return self._first(model, x, error)
        left = f", where a batch of {len(x)} is left because fooled samples leave," if len(x) < self._taken else ""
        try:
            logits = self._of_filled(model, x, self._seen)
            with torch.no_grad():
                other = self._of_filled(model, x.detach(), None)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:
            raise _told(error, model, x, left) from error
        self._require_own_rows(logits, other, x, left, error)
        self._filled.add(len(x))
        return logits

    def _first(self, model: nn.Module, x: Tensor, error: Exception) -> Tensor:
        """Return the logits of the first inputs in batches of another size, if the model takes one of the usual ones.

        An exported program, for one, often takes the single input that it was exported with.
        """
        for size in _SIZES:
            self._taken, self._seen = size, None
            try:
                with torch.no_grad():
                    other = self._of_filled(model, x.detach(), x.detach()[:_ROWS].flip(0))
                logits = self._of_filled(model, x, None)
            except (torch.OutOfMemoryError, MemoryError):
                raise
            except Exception:
                continue
            self._require_own_rows(logits, other, x, "", error)
            self._seen = x[:_ROWS].detach()
            self._filled.add(len(x))
            return logits
        self._taken = 0
        raise _told(error, model, x) from error

    def _require_own_rows(self, logits: Tensor, other: Tensor, x: Tensor, left: str, error: Exception) -> None:
        """Raise ``UsageError`` where logits (R, L) of the same inputs differ from those among other neighbours."""
        spread = float((other.max() - other.min()).float())
        share = _SAME if other.itemsize >= 4 else _COARSE
        if bool(((logits.detach() - other).abs() > share * spread).any()):
            raise UsageError(
                f"the model fails on a batch of {len(x)} ({words(error)}){left or ','} and it cannot be filled up, "
                "because rows of a batch change each other's logits: hold its batch norms in eval mode"
            ) from error

    def _runs(self, model: nn.Module, x: Tensor) -> bool:
        """Say whether the same inputs pass where no gradient is asked for."""
        try:
            with torch.no_grad():
                logits_of(self._called(model, x.detach()), len(x))
        except Exception:
            return False
        return True

    def _of_filled(self, model: nn.Module, x: Tensor, seen: Tensor | None) -> Tensor:
        """Return the logits (R, L) of inputs x, in batches as large as the model takes, filled up with ``seen`` ones.

        Without any, a batch is filled with its own rows, dimmed where there is only one.
        """
        size, found = self._taken, []
        for part in torch.split(x, size):
            spare = part.detach() * (0.5 if len(part) == 1 else 1.0) if seen is None else seen.to(part)
            more = spare[torch.arange(size - len(part), device=x.device) % len(spare)]
            batch = torch.cat([part, more])
            batch = channels_last(batch) if self._layout else batch
            found.append(logits_of(self._called(model, batch), size)[: len(part)])
        return torch.cat(found)


def _told(error: Exception, model: nn.Module, x: Tensor, left: str = "") -> Exception:
    """Return what a user should read of an error; what is said on purpose already stays as it is."""
    return error if isinstance(error, RobustclError) else failure(error, model, x, left)
