"""Numbers that change during a stage: every number of a recipe may be written as one of these tables.

``{ constant = 1 }``
``{ linear = [a, b] }``; ``{ cosine = [a, b] }``: from a at the start to b at the end of the stage
``{ cosine = [0.5, 0.0], warmup = "10 epochs" }``: first linearly from ``warmup_from`` (default 0) to a
``{ piecewise = [0.1, 0.01, 0.001], at = [15, 20] }``: the next value from each point on
``{ stepped = [1.0, 0.0], every = "50 epochs", offset = 1 }``: a linear ramp, refreshed once every so often

A duration is ``"10 epochs"``, ``"500 steps"``, ``"5%"`` of the stage, a whole number of epochs, or a fraction
below 1 of the stage. Ramps also take ``until`` (where b is reached, instead of the stage's end), ``every``
(evaluated at multiples of this duration only) and ``offset`` (evaluated this much ahead). Times are epochs
since the start of the stage, fractional within an epoch: the first step is at 0.
"""

from __future__ import annotations

import abc
import contextlib
import difflib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robustcl.errors import OptionError
from robustcl.options.duration import Duration as Duration
from robustcl.options.duration import Progress as Progress
from robustcl.options.duration import parse_duration
from robustcl.ratio import ratio

_NONE, _WHOLE = Duration(0), Duration(1.0, "fraction")


class Schedule(abc.ABC):
    """A number as a function of the stage's progress."""

    @abc.abstractmethod
    def at(self, progress: Progress) -> float:
        """Return the number that holds for the step at ``progress``."""


def is_schedule(value: object) -> bool:
    """Say whether a recipe's value is a schedule: one already read, or a table with a key like one's."""
    if not isinstance(value, Mapping):
        return isinstance(value, Schedule)
    return any(difflib.get_close_matches(str(key), _KEYS, 1, 0.75) for key in value)


def with_numbers(table: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schedule's table with its numbers changed, its times as they are; a table that is no schedule, too."""
    return {key: change(value) if key in _KEYS or key == "warmup_from" else value for key, value in table.items()}


def parse(value: object, where: str) -> float | Schedule:
    """Read a number, a ratio such as ``"8/255"``, or a schedule table.

    ``where`` names the value in errors, e.g. ``stage.robust.optimizer.lr``.
    Raises OptionError for anything else.
    """
    if isinstance(value, Schedule):
        return value
    if not isinstance(value, Mapping):
        return _number(value, where)
    kinds = [key for key in value if key in _KEYS]
    if len(kinds) != 1:
        found = f"has {' and '.join(kinds)}" if kinds else f"has only {', '.join(map(str, value)) or 'nothing'}"
        raise OptionError(
            f"{where}: a schedule is one of {', '.join(_KEYS)}, but this table {found}{_near(value, list(_KEYS))}"
        )
    kind = kinds[0]
    for key in value:
        if key not in _KEYS[kind] and key != kind:
            known = [kind, *_KEYS[kind]]
            raise OptionError(
                f"{where}: a {kind} schedule has no {key!r}; it takes {', '.join(known)}{_near([key], known)}"
            )
    return _READERS[kind](value, kind, where)


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same number throughout."""

    value: float

    def at(self, progress: Progress) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True, slots=True)
class Ramp(Schedule):
    """From ``start`` to ``end`` along ``shape``, a map of [0, 1] onto itself, after a linear warm-up."""

    start: float
    end: float
    shape: Callable[[float], float]
    name: str
    warmup: Duration = _NONE
    warmup_from: float = 0.0
    until: Duration = _WHOLE
    every: Duration | None = None
    offset: Duration = _NONE

    def at(self, progress: Progress) -> float:
        time = progress.epoch + self.offset.epochs(progress)
        if self.every is not None:
            time = _floor(time, self.every.epochs(progress))
        warm, last = self.warmup.epochs(progress), self.until.epochs(progress)
        if time < warm:
            return self.warmup_from + (self.start - self.warmup_from) * time / warm
        passed = 1.0 if last <= warm else min(max((time - warm) / (last - warm), 0.0), 1.0)
        return self.start + (self.end - self.start) * self.shape(passed)

    def __str__(self) -> str:
        parts = [f"{self.name} {self.start:g} to {self.end:g}"]
        if self.warmup.amount:
            parts.append(f"after a warm-up of {self.warmup} from {self.warmup_from:g}")
        if self.until != Duration(1.0, "fraction"):
            parts.append(f"until {self.until}")
        if self.every is not None:
            parts.append(f"every {self.every}")
        if self.offset.amount:
            parts.append(f"ahead by {self.offset}")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Piecewise(Schedule):
    """``values[k]`` from the k-th point in time on."""

    values: tuple[float, ...]
    points: tuple[Duration, ...]

    def at(self, progress: Progress) -> float:
        return self.values[sum(progress.epoch + _ROUNDING >= point.epochs(progress) for point in self.points)]

    def __str__(self) -> str:
        return f"{', '.join(f'{v:g}' for v in self.values)} at {', '.join(map(str, self.points))}"


_ROUNDING = 1e-9
"""Epochs are quotients of whole numbers: a step that falls on a boundary must not miss it by rounding."""

_RAMP = ("warmup", "warmup_from", "until", "every", "offset")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "constant": (),
    "linear": _RAMP,
    "cosine": _RAMP,
    "piecewise": ("at",),
    "stepped": ("until", "every", "offset"),
}


def _floor(time: float, every: float) -> float:
    return math.floor(time / every + _ROUNDING) * every


def _straight(passed: float) -> float:
    return passed


def _half_cosine(passed: float) -> float:
    return 0.5 * (1.0 - math.cos(math.pi * passed))


_SHAPES: Mapping[str, Callable[[float], float]] = {
    "linear": _straight,
    "cosine": _half_cosine,
    "stepped": _straight,
}


def _constant(table: Mapping[str, Any], kind: str, where: str) -> Schedule:
    return Constant(_number(table[kind], f"{where}.{kind}"))


def _ramp(table: Mapping[str, Any], kind: str, where: str) -> Schedule:
    ends = table[kind]
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        raise OptionError(f"{where}.{kind} is {ends!r}: write two numbers, [start, end]")
    start, end = (_number(v, f"{where}.{kind}") for v in ends)
    if kind == "stepped" and "every" not in table:
        raise OptionError(f'{where}: a stepped schedule needs every, e.g. every = "50 epochs"')
    if "warmup_from" in table and "warmup" not in table:
        raise OptionError(f'{where}: warmup_from is read only with warmup, e.g. warmup = "10 epochs"')
    given: dict[str, Any] = {
        key: parse_duration(table[key], f"{where}.{key}")
        for key in ("warmup", "until", "every", "offset")
        if key in table
    }
    if "warmup_from" in table:
        given["warmup_from"] = _number(table["warmup_from"], f"{where}.warmup_from")
    if "every" in given and given["every"].amount == 0:
        raise OptionError(f"{where}.every is 0: write a positive duration")
    return Ramp(start, end, _SHAPES[kind], kind, **given)


def _piecewise(table: Mapping[str, Any], kind: str, where: str) -> Schedule:
    values, points = table[kind], table.get("at")
    if not isinstance(values, list | tuple) or not isinstance(points, list | tuple) or len(values) != len(points) + 1:
        raise OptionError(
            f"{where}: a piecewise schedule has one value more than points, e.g. "
            f"{{ piecewise = [0.1, 0.01], at = [15] }}, but it has {values!r} at {points!r}"
        )
    read = tuple(parse_duration(p, f"{where}.at") for p in points)
    same_unit = len({p.unit for p in read}) == 1
    if same_unit and any(a.amount >= b.amount for a, b in itertools.pairwise(read)):
        raise OptionError(f"{where}.at is {points!r}: write the points in rising order")
    return Piecewise(tuple(_number(v, f"{where}.{kind}") for v in values), read)


_READERS: Mapping[str, Callable[[Mapping[str, Any], str, str], Schedule]] = {
    "constant": _constant,
    "linear": _ramp,
    "cosine": _ramp,
    "piecewise": _piecewise,
    "stepped": _ramp,
}


def _number(value: object, where: str) -> float:
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            number = ratio(value)
    if not math.isfinite(number):
        raise OptionError(f'{where} is {value!r}: write a finite number, a ratio such as "8/255", or a schedule table')
    return number


def _near(words: Any, known: list[str]) -> str:
    for word in words:
        close = difflib.get_close_matches(str(word), known, 1, 0.6)
        if close and close[0] != word:
            return f" (did you mean {close[0]!r}?)"
    return ""
