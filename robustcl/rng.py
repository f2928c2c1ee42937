"""Randomness keyed by (seed, purpose, step, row): counter-based, without state outside the object.

The same key gives the same numbers on every device, with any number of ranks and after a resume, because a row's
numbers depend on its key alone and never on its neighbours in the batch. The mixer is SplitMix64 (Steele, Lea and
Flood, OOPSLA 2014), applied to key + counter * golden gamma.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustcl.ratio import plain

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number


class Rng:
    """A stream of random numbers named by a path, for example ``Rng(0, "stage", "robust", "w_adv", step)``.

    ``rows`` binds one stream to each row: every draw then has ``len(rows)`` rows, and row ``i`` depends on
    ``rows[i]`` alone. Successive draws of one object differ; an object made again from the same key repeats them.
    """

    __slots__ = ("_draws", "key", "rows")

    def __init__(self, seed: int, *path: str | int, rows: Tensor | None = None) -> None:
        self.key = _digest(seed, *path)
        self.rows = rows
        self._draws = 0

    def child(self, *path: str | int) -> Rng:
        """Return an independent stream below this one; the parent's draws do not move it."""
        return Rng(self.key, *path, rows=self.rows)

    def for_rows(self, rows: Tensor) -> Rng:
        """Return this stream with one sub-stream per row; ``rows`` (R,) int64 names them."""
        return Rng(self.key, "rows", rows=rows)

    def take(self, rows: Tensor) -> Rng:
        """Return the sub-streams of some rows, at the same position; unchanged where no rows are bound."""
        other = Rng.__new__(Rng)
        other.key, other._draws = self.key, self._draws
        other.rows = None if self.rows is None else self.rows[rows]
        return other

    def uniform(
        self,
        shape: Sequence[int],
        low: float = 0.0,
        high: float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Return uniform numbers in [low, high) of ``shape``; the first axis is the rows where rows are bound.

        In less than single precision they are drawn in float32 and rounded last; what rounds up to ``high`` becomes
        the number before it. Where no number of ``dtype`` lies between, all are ``low``.
        """
        bits = self._bits(shape, device)
        if dtype == torch.float64:
            drawn = _shift(bits, 11).to(dtype) * 2.0**-53 * (high - low) + low
        else:
            drawn = (_shift(bits, 40).to(torch.float32) * 2.0**-24 * (high - low) + low).to(dtype)
        return drawn.clamp_(max=max(_below(high, dtype), low)) if high > low else drawn

    def normal(
        self,
        shape: Sequence[int],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Return standard normal numbers (Box and Muller) of ``shape``."""
        single = drawing(dtype)
        radius = 1.0 - self.uniform(shape, device=device, dtype=single)
        angle = self.uniform(shape, high=2.0 * math.pi, device=device, dtype=single)
        return (torch.sqrt(-2.0 * torch.log(radius)) * torch.cos(angle)).to(dtype)

    def integers(self, high: int, shape: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
        """Return int64 numbers in [0, high) of ``shape``."""
        return (self.uniform(shape, device=device, dtype=torch.float64) * high).long()

    def permutation(self, n: int, *, device: torch.device | str | None = None) -> Tensor:
        """Return a random order of 0 .. n-1, (n,) int64; never bound to rows."""
        return torch.argsort(
            Rng(self.key, "permutation", self._next()).uniform((n,), device=device, dtype=torch.float64)
        )

    def generator(self, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a torch generator seeded by this key, for libraries that take one."""
        return torch.Generator(device).manual_seed(_digest(self.key, "generator", self._next()) & (2**63 - 1))

    def seed(self) -> int:
        """Return a 32-bit seed for libraries that take a number."""
        return _digest(self.key, "seed", self._next()) & (2**32 - 1)

    def _next(self) -> int:
        self._draws += 1
        return self._draws

    def _bits(self, shape: Sequence[int], device: torch.device | str | None) -> Tensor:
        base = _digest(self.key, self._next())
        if self.rows is None:
            counter = torch.arange(math.prod(shape), dtype=torch.int64, device=device).reshape(tuple(shape))
            return _mix(counter * _GAMMA + base)
        rows = self.rows.to(device) if device is not None else self.rows
        if len(shape) == 0 or shape[0] != rows.shape[0]:
            raise ValueError(f"a stream of {rows.shape[0]} rows cannot draw the shape {tuple(shape)}")
        counter = torch.arange(math.prod(shape[1:]), dtype=torch.int64, device=rows.device)
        keys = _mix(rows * _GAMMA + base)
        return _mix(keys[:, None] + counter * _GAMMA).reshape(tuple(shape))


def drawing(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which numbers of ``dtype`` are drawn and transformed: float32 for half precision."""
    return dtype if dtype == torch.float64 else torch.float32


@functools.cache
def _below(high: float, dtype: torch.dtype) -> float:
    """Return the largest number of ``dtype`` below ``high``."""
    end = torch.tensor(high, dtype=torch.float64)
    near = end.to(dtype)
    return float(near if near < end else torch.nextafter(near, torch.tensor(-math.inf, dtype=dtype)))


def _digest(*path: str | int) -> int:
    """Hash a path to a signed 64-bit number; stable across processes and Python versions."""
    parts = [part if type(part) in (int, str) else plain(part) for part in path]  # NumPy's 3 names what 3 names
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right filling with zeros; torch's ``>>`` on int64 copies the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    bits = (bits ^ _shift(bits, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return bits ^ _shift(bits, 31)
