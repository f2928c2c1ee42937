"""How a plugin's ``__init__`` is read: its options with their resolved annotations and their defaults."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from robustcl.errors import NotAPlugin


@functools.cache
def hints(cls: type) -> dict[str, Any]:
    """Return the resolved annotation of each option."""
    names = _parameters(cls)
    if not names:
        return {}
    try:
        found = typing.get_type_hints(constructor(cls), include_extras=True)
    except Exception as error:  # a name under TYPE_CHECKING, a misspelt type: whatever evaluation raises
        raise NotAPlugin(
            f"the annotations of {path(cls)}.__init__ cannot be read: {error}; import their names at run time"
        ) from error
    for name in names:
        if name not in found:
            raise NotAPlugin(f"the option {name!r} of {path(cls)} has no annotation; write its type")
    return {name: found[name] for name in names}


def defaults(cls: type) -> dict[str, Any]:
    """Return the default of each option, ``inspect.Parameter.empty`` where there is none."""
    return {name: parameter.default for name, parameter in _parameters(cls).items()}


def constructor(cls: type) -> Any:
    """Return ``__init__`` of the class itself, not of an instance."""
    return getattr(cls, "__init__")  # noqa: B009 - mypy takes ``cls.__init__`` for an instance's


@functools.cache
def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    found = list(inspect.signature(constructor(cls)).parameters.values())[1:]
    gathers = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if "__init__" not in vars(cls) and all(parameter.kind in gathers for parameter in found):
        return {}  # object's, nn.Module's or a Protocol's: such a plugin has no options
    for parameter in found:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise NotAPlugin(
                f"the parameter {parameter} of {path(cls)}.__init__ is not keyword-only; "
                "options are named one by one after a bare '*'"
            )
    return {parameter.name: parameter for parameter in found}


def number_of(annotation: Any) -> type[float] | type[int] | None:
    """Return ``float`` or ``int`` for an annotation that admits numbers, a float where it admits both."""
    if typing.get_origin(annotation) is Annotated:
        return number_of(annotation.__origin__)
    kinds = {number_of(arg) for arg in _members(annotation)} if _members(annotation) else {annotation}
    return float if float in kinds else int if int in kinds else None


def is_whole(annotation: Any) -> bool:
    """Say whether an annotation's numbers, those of a list too, are whole ones."""
    kinds = _leaves(annotation)
    return int in kinds and float not in kinds


def _leaves(annotation: Any) -> set[Any]:
    if typing.get_origin(annotation) is Annotated:
        return _leaves(annotation.__origin__)
    if typing.get_origin(annotation) is typing.Literal:
        return set()
    parts = typing.get_args(annotation)
    return {leaf for part in parts for leaf in _leaves(part)} if parts else {annotation}


def is_table(annotation: Any) -> bool:
    """Say whether the option's own value is a table, so that a table given for it is no schedule."""
    if typing.get_origin(annotation) is Annotated:
        return is_table(annotation.__origin__)
    if members := _members(annotation):
        return any(is_table(member) for member in members)
    base = typing.get_origin(annotation) or annotation
    return isinstance(base, type) and issubclass(base, Mapping)


def _members(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else ()


def path(cls: type) -> str:
    """Return the dotted name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
