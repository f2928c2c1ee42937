"""A plugin's options: the keyword-only, annotated parameters of ``__init__``, checked by a pydantic model.

Nothing is guessed: no bool passes for a number, no text for a float, except that a ``Ratio`` may be "8/255".
Any numeric option may be given as a schedule; what it takes at its ends must satisfy the option's own bounds.
"""

from __future__ import annotations

import functools
import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, Any, Final, cast

import annotated_types
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError

from robustcl.errors import NotAPlugin, OptionError, RobustclError, near, words
from robustcl.options import signature, wording
from robustcl.options.duration import Progress
from robustcl.options.schedule import Constant, Piecewise, Ramp, Schedule, is_schedule, parse
from robustcl.ratio import plain, ratio

Ratio = Annotated[float, BeforeValidator(ratio)]
"""A float that may be written as a ratio, "8/255"."""
Length = Annotated[Ratio, annotated_types.Gt(0)]
"""How far a step goes: one of 0 goes nowhere, one below 0 the other way, and what it attacks looks robust."""
Positive = Annotated[float, annotated_types.Gt(0)]
NonNegative = Annotated[float, annotated_types.Ge(0)]
Fraction = Annotated[float, annotated_types.Ge(0), annotated_types.Le(1)]
Count = Annotated[int, annotated_types.Ge(1)]
Class = Annotated[int, annotated_types.Ge(0)]
"""The number of a class, from 0 on."""

REQUIRED: Final = inspect.Parameter.empty
"""The default of an option that has none."""

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
_START = Progress(step=0, steps=1000, epoch=0.0, epochs=100.0)
"""Where an instance stands before the loop sets its options for the first step."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option as users see it; ``default`` is ``REQUIRED`` where there is none."""

    name: str
    type: str
    default: Any
    constraints: str
    doc: str

    @property
    def required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Whole(Schedule):
    """The schedule of an integer option: the nearest whole number."""

    schedule: Schedule

    def at(self, progress: Progress) -> int:
        """Return the whole number that holds for the step at ``progress``."""
        return round(self.schedule.at(progress))

    def __str__(self) -> str:
        return str(self.schedule)


@dataclass(frozen=True, slots=True)
class Built:
    """A plugin and the schedules of its options; the plugin starts with each schedule's first value."""

    instance: Any
    schedules: Mapping[str, Schedule]


def build(cls: type, given: Mapping[str, Any], where: str) -> Built:
    """Make a plugin from a table of options.

    ``where`` is the place of the table, for example ``stage.robust.generator.w_adv``; it opens every error.
    Raises ``OptionError`` for what the user wrote, ``NotAPlugin`` for an ``__init__`` that cannot be read.
    """
    values, schedules = validate(cls, given, where)
    try:
        instance = cls(**values)
    except ValueError as error:
        raise OptionError(f"{where}: {cls.__name__} refuses these options: {error}") from error
    except (RobustclError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise OptionError(f"{where}: {cls.__name__} cannot be made, {words(error)}: a mistake in the plugin") from error
    return Built(instance, MappingProxyType(schedules))


def resolve(cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return every option of a table with the defaults filled in, as TOML and JSON can hold it.

    Ratios and schedules stay as they were written; an option that is ``None`` is left out: TOML has no null.
    """
    values, schedules = validate(cls, given, where)
    kept = {name: given[name] for name in values if name in schedules or isinstance(given.get(name), str)}
    plain = json.loads(_json({**values, **kept}, where))
    return {name: value for name, value in plain.items() if value is not None}


def validate(cls: type, given: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Schedule]]:
    """Return the value of every option as the class takes it, and the schedules among them; errors as ``build``."""
    given = {name: plain(value) for name, value in given.items()}
    annotations = signature.hints(cls)
    _refuse_unknown(cls, given, where)
    schedules: dict[str, Schedule] = {}
    first: dict[str, Any] = {}
    for name, value in given.items():
        if is_schedule(value) and not signature.is_table(annotations[name]):
            schedules[name] = _schedule(annotations[name], value, f"{where}.{name}")
            first[name] = schedules[name].at(_START)
    return _values(cls, {**given, **first}, where), schedules


def describe(cls: type) -> list[Option]:
    """Return the options of a plugin class in the order of its ``__init__``."""
    return list(_described(cls))


@functools.cache
def _described(cls: type) -> tuple[Option, ...]:
    annotations, defaults = signature.hints(cls), signature.defaults(cls)
    text = wording.docs(cls, annotations)
    return tuple(
        Option(name, wording.type_of(kind), defaults[name], wording.bounds_of(kind), text.get(name, ""))
        for name, kind in annotations.items()
    )


@functools.cache
def model_of(cls: type) -> type[BaseModel]:
    """Return the pydantic model of a class's options; ``NotAPlugin`` says what cannot be read."""
    defaults = signature.defaults(cls)
    fields: dict[str, Any] = {
        name: (kind, ... if defaults[name] is REQUIRED else defaults[name])
        for name, kind in signature.hints(cls).items()
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an option may be called as a method of BaseModel is, "copy"
            return create_model(cls.__name__, __config__=_STRICT, **fields)
    except (PydanticUserError, NameError, TypeError) as error:
        raise NotAPlugin(
            f"the options of {signature.path(cls)} cannot be checked: {str(error).splitlines()[0]}"
        ) from error


def _values(cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Validate as if read from JSON, where a list stands for a tuple and a text for a path."""
    defaults = {name: value for name, value in signature.defaults(cls).items() if value is not REQUIRED}
    try:
        return dict(vars(model_of(cls).model_validate_json(_json({**defaults, **given}, where))))
    except ValidationError as error:
        raise OptionError(_sentence(cls, given, where, error.errors(include_url=False)[0])) from None


def _sentence(cls: type, given: Mapping[str, Any], where: str, error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    annotations = signature.hints(cls)
    wanted = wording.say_wanted(annotations[name])
    if error["type"] == "missing":
        if where.startswith("--") and getattr(cls, "preset", None) == name:  # a flag has no table to add it to
            return f"{where}: {cls.__name__} needs the option {name!r}; write {where} NAME:{name.upper()}"
        return f"{where}: {cls.__name__} needs the option {name!r}; add {name} = ... ({wanted})"
    if name not in given:
        default = signature.defaults(cls)[name]
        return f"{where}: {cls.__name__}'s own default {name} = {default!r} is not {wanted}; give {name}"
    said = str(error["ctx"]["error"]) if error["type"] == "value_error" else f"not accepted; give {wanted}"
    return f"{where}.{name} = {given[name]!r}: {said}"


def _refuse_unknown(cls: type, given: Mapping[str, Any], where: str) -> None:
    known = list(signature.hints(cls))
    for name in given:
        if name not in known:
            hint = near(name, known) or f"; it has: {', '.join(known) or 'none'}"
            raise OptionError(f"{where}.{name}: {cls.__name__} has no option {name!r}{hint}")


def _schedule(annotation: Any, table: Any, where: str) -> Schedule:
    """Read a schedule and hold its ends against the option's own type and bounds."""
    number, wanted = signature.number_of(annotation), wording.say_wanted(annotation)
    if number is None:
        raise OptionError(f"{where} = {table!r}: only numbers can be scheduled; give {wanted}")
    schedule = cast(Schedule, parse(table, where))
    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_STRICT)
    for end in _ends(schedule):
        try:
            adapter.validate_python(number(end) if end == number(end) else end)
        except ValidationError:
            said = f"the schedule reaches {end:g}, outside the option's range; give {wanted}"
            raise OptionError(f"{where} = {table!r}: {said}") from None
    return Whole(schedule) if number is int else schedule


def _ends(schedule: Schedule) -> tuple[float, ...]:
    """Return the numbers between which a schedule moves."""
    if isinstance(schedule, Ramp):
        return (schedule.start, schedule.end, *((schedule.warmup_from,) if schedule.warmup.amount else ()))
    if isinstance(schedule, Piecewise):
        return schedule.values
    return (schedule.value if isinstance(schedule, Constant) else schedule.at(_START),)


def _json(values: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(values, default=_jsonable)
    except TypeError as error:
        raise OptionError(f"{where}: {error}") from error


def _jsonable(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}, which no recipe can hold; give numbers, text or lists")
