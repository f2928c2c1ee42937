"""The threat model: a norm ball around each input, cut by the range of valid values.

A norm (``norms.py``) knows four things: the length of a move, the projection onto the ball within the range,
the steepest ascent and a uniform draw. Items may have any shape; a row never depends on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.ratio import plain, ratio
from robustcl.rng import Rng, drawing
from robustcl.threat.norms import NORMS, Range

_LEAST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class Ball:
    """All inputs within ``eps`` of x in ``norm`` ("Linf", "L2", "L1") whose values lie in ``range``.

    ``eps``: one number, or (R,) with one for each row. ``range``: lowest and highest value, inside which x
    itself lies; ``None`` where every value is valid. Raises ``UsageError`` for what is none of these; ``checked``
    also reads what users write.
    """

    norm: str
    eps: float | Tensor
    range: Range = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UsageError(f"the norm {self.norm!r} is not known: write one of {', '.join(NORMS)}")
        if isinstance(self.eps, Tensor) and self.eps.dim() == 1 and self.eps.is_floating_point():
            pass  # of each row: whether they are distances is known to who made them, and asking would wait for a GPU
        else:
            object.__setattr__(self, "eps", _radius(self.eps, each=True))
        if self.range is not None:
            object.__setattr__(self, "range", _two_ends(self.range))

    @classmethod
    def checked(cls, norm: str | float, eps: float | str, range: Range = (0.0, 1.0)) -> Ball:
        """Make a ball from what a user wrote, ``Ball.checked("linf", "8/255")``; raises ``UsageError``.

        norm: as ``parse_norm``. eps: a number or a ratio; 0 is a ball too, but not what is too small for float32.
        """
        name, radius = parse_norm(norm), _radius(eps)
        if range is not None:
            low, high = range = _two_ends(range)
            if name == "Linf" and radius > high - low:
                advice = f"write {radius:g}/255" if radius <= 255 else "choose a smaller eps"
                raise UsageError(f"eps {radius:g} is wider than the pixels' range {low:g} .. {high:g}: {advice}")
        return cls(name, radius, range)

    def project(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return the point nearest to ``adv`` (R, *item) that is in the ball around x and in the range, detached.

        An infinite entry of ``adv`` lies farther away than any other; a row that holds NaN keeps it, and is in no
        ball. Raises ``UsageError`` unless ``adv`` and x are floats of one shape.
        """
        self._fit(x, adv)
        adv, x = adv.detach(), x.detach()
        return NORMS[self.norm].project(adv, x, _column(self.eps, x), self.range)

    def ascend(self, adv: Tensor, gradient: Tensor, step_size: float | Tensor) -> Tensor:
        """Return ``adv`` after one step in the norm's steepest direction, not projected.

        ``step_size``: the step's length in the norm, a number or (R,). A row whose gradient is zero stays.
        """
        self._fit(adv, gradient)
        wide = drawing(adv.dtype)
        moved = NORMS[self.norm].ascend(adv.to(wide), gradient.to(wide), _column(step_size, adv), self.range)
        return moved.to(adv.dtype)

    def sample(self, x: Tensor, rng: Rng) -> Tensor:
        """Return a point drawn uniformly from the ball around each row, then clamped to the range."""
        self._fit(x)
        inside = NORMS[self.norm].sample(x.to(drawing(x.dtype)), rng) * _column(self.eps, x)
        start = x + inside.to(x.dtype)
        return start if self.range is None else start.clamp_(*self.range)

    def distance(self, adv: Tensor, x: Tensor) -> Tensor:
        """Return how far each row is from x in the norm, (R,)."""
        self._fit(x, adv)
        return NORMS[self.norm].length((adv - x).to(drawing(x.dtype)).flatten(1))

    def contains(self, adv: Tensor, x: Tensor) -> Tensor:
        """Say of each row whether it is in the ball and the range, (R,) bool.

        Forgives a millionth of eps and what rounding to the dtype can add; a row with NaN is not inside.
        """
        self._fit(x, adv)
        unit = torch.finfo(adv.dtype).eps * max(1.0, float(x.abs().max()) if x.numel() else 1.0)
        like = x[:1].flatten(1).to(drawing(x.dtype))
        rounding = NORMS[self.norm].length(torch.full_like(like, unit)) if len(x) else unit
        inside = self.distance(adv, x) <= self.eps * (1.0 + 1e-6) + rounding
        if self.range is None:
            return inside
        low, high = self.range
        return inside & ((adv >= low) & (adv <= high)).flatten(1).all(1)

    def take(self, rows: Tensor) -> Ball:
        """Return the ball of some rows, (S,) int64."""
        return self if not isinstance(self.eps, Tensor) else replace(self, eps=self.eps[rows])

    def _fit(self, x: Tensor, *others: Tensor) -> None:
        for each in (x, *others):
            if not isinstance(each, Tensor) or not each.is_floating_point() or each.dim() < 2:
                kind = f"{tuple(each.shape)} ({each.dtype})" if isinstance(each, Tensor) else type(each).__name__
                raise UsageError(f"inputs of {kind} are no batch (R, *item) of floats: divide integers by 255 first")
            if each.shape != x.shape:
                raise UsageError(f"inputs of shapes {tuple(x.shape)} and {tuple(each.shape)} differ: give row for row")
        if isinstance(self.eps, Tensor) and len(self.eps) not in (1, len(x)):
            raise UsageError(f"{len(self.eps)} radii do not fit {len(x)} rows: give one number, or one for each row")


def parse_norm(norm: str | float) -> str:
    """Return "Linf", "L2" or "L1" for the name in any case or for the norm's order; raises ``UsageError``.

    The orders are 1, 2 and infinity, as a number or as the text "1", "2", "inf".
    """
    key: object = norm.lower() if isinstance(norm, str) else norm
    if isinstance(key, str | Real) and not isinstance(key, bool):
        for name, known in NORMS.items():
            if key in (name.lower(), known.order, f"{known.order:g}"):
                return name
    raise UsageError(f"the norm {norm!r} is not known: write one of {', '.join(NORMS)}")


def _column(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Shape one number per row so that it multiplies (R, *item)."""
    return value.reshape(-1, *[1] * (like.dim() - 1)) if isinstance(value, Tensor) and value.dim() else value


def _two_ends(range: object) -> tuple[float, float]:
    given = plain(list(range)) if isinstance(range, Iterable) and not isinstance(range, str) else ()
    ends = [end for end in given if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(given) != 2 or len(ends) != 2:
        raise UsageError(f"range = {range!r}: write the lowest and the highest value, (0, 1), or None for no range")
    low, high = float(ends[0]), float(ends[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"the range {low:g} .. {high:g} holds no values: write the lower bound first")
    return low, high


def excess(values: Tensor, range: tuple[float, float]) -> str:
    """Say how far values leave the range, "above 1 by 1.2e-07: clamp them"; nothing where it is more than rounding."""
    low, high = range
    over, under = float(values.max()) - high, low - float(values.min())
    said = [
        f"{side} by {size:.2g}" for side, size in ((f"below {low:g}", under), (f"above {high:g}", over)) if size > 0
    ]
    if max(over, under) > 1e-3 * (high - low):
        return ""
    return f"{' and '.join(said)}: clamp them, x.clamp({low:g}, {high:g})"


def _radius(eps: object, each: bool = False) -> float:
    shape = getattr(eps, "shape", (len(eps),) if isinstance(eps, list | tuple) else ())
    if tuple(shape) != ():
        many = " or a tensor (R,) of floats" if each else ""
        raise UsageError(f"eps = {eps!r} is no radius: write one number for all rows{many}, or a ratio such as '8/255'")
    eps = plain(eps)
    if not isinstance(eps, str | Real | Tensor) or isinstance(eps, bool):
        raise UsageError(f"eps = {eps!r} is no radius: write a number or a ratio such as '8/255'")
    try:
        radius = float(ratio(eps))
    except (ValueError, OverflowError, RuntimeError) as error:
        raise UsageError(f"eps {eps!r}: {error}") from None
    if not math.isfinite(radius) or radius < 0.0:
        raise UsageError(f"eps {eps} is not a distance: write a finite number that is not negative")
    if 0.0 < radius < _LEAST and not each:
        raise UsageError(f"eps {eps} is too small for float32 and leaves nothing to attack: write a larger radius")
    return radius
