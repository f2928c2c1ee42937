"""Options in words: the type, the bounds and the documentation, for error messages and ``plugins show``."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BeforeValidator

from robustcl.options.signature import constructor
from robustcl.ratio import ratio

_HEAD = re.compile(
    r"(?:^|\n|(?<=[.;])[ \n])\s*[-*]?\s*"  # a line's start, or behind a sentence
    r"(?P<names>(?:`*\w+`*, )*`*\w+`*)(?:\s*\([^)]*\))?\s*:(?!:)(?=\s)"
)


def type_of(annotation: Any) -> str:
    """Return a type as users write it: ``int``, ``ratio``, ``'a' | 'b'``, ``list of int``."""
    base, metadata = _split(annotation)
    if any(isinstance(item, BeforeValidator) and item.func is ratio for item in metadata):
        return "ratio"
    origin, args = get_origin(base), get_args(base)
    if origin is Literal:
        return " | ".join(repr(arg) for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_of(arg) for arg in args if arg is not type(None))
    if origin in (tuple, list, set, frozenset) or (isinstance(origin, type) and issubclass(origin, Iterable)):
        return _collection(origin, args)
    return str(getattr(base, "__name__", base))


def bounds_of(annotation: Any) -> str:
    """Return the bounds in words, ``>= 0, <= 1``; empty where there are none."""
    base, metadata = _split(annotation)
    if get_origin(base) in (typing.Union, types.UnionType):
        inner = {bounds_of(arg) for arg in get_args(base)} - {""}
        return ", ".join(sorted(inner)) if len(inner) == 1 else ""
    return ", ".join(words for item in metadata for words in _bounds(item))


def say_wanted(annotation: Any) -> str:
    """Return type and bounds together, ``int >= 1``."""
    return f"{type_of(annotation)} {bounds_of(annotation)}".strip()


def docs(cls: type, names: Iterable[str]) -> dict[str, str]:
    """Return what the docstrings of ``__init__`` and the class say of each option: lines ``name: text``."""
    known = set(names)
    found: dict[str, str] = {}
    for text in (inspect.cleandoc(constructor(cls).__doc__ or ""), inspect.cleandoc(cls.__doc__ or "")):
        found.update(_option_lines(text, known))
    return found


def _option_lines(text: str, known: set[str]) -> dict[str, str]:
    """Find ``name: text`` and ``one, other: text``, at a line's start or behind a sentence, to the paragraph's end."""
    found: dict[str, str] = {}
    for paragraph in re.split(r"\n\s*\n", text):
        heads = [(head, re.findall(r"\w+", head["names"])) for head in _HEAD.finditer(paragraph)]
        heads = [(head, names) for head, names in heads if known.issuperset(names)]
        ends = [head.start() for head, _ in heads[1:]] + [len(paragraph)]
        for (head, names), end in zip(heads, ends, strict=False):
            said = " ".join(paragraph[head.end() : end].split()).rstrip(";")
            found.update(dict.fromkeys(names, said))
    return found


def _collection(origin: Any, args: tuple[Any, ...]) -> str:
    inner = [type_of(arg) for arg in args if arg is not Ellipsis]
    if isinstance(origin, type) and issubclass(origin, typing.Mapping):
        return f"table of {inner[-1]}" if inner else "table"
    if origin is tuple and args and Ellipsis not in args:
        return f"[{', '.join(inner)}]"
    return f"list of {inner[0]}" if inner else "list"


def _split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _bounds(item: Any) -> Iterable[str]:
    grouped = list(item) if isinstance(item, annotated_types.GroupedMetadata) else [item]
    for one in grouped:
        for kind, sign, field in _SIGNS:
            if isinstance(one, kind):
                yield f"{sign} {getattr(one, field):g}"


_SIGNS = (
    (annotated_types.Ge, ">=", "ge"),
    (annotated_types.Gt, ">", "gt"),
    (annotated_types.Le, "<=", "le"),
    (annotated_types.Lt, "<", "lt"),
    (annotated_types.MultipleOf, "a multiple of", "multiple_of"),
    (annotated_types.MinLen, "length >=", "min_length"),
    (annotated_types.MaxLen, "length <=", "max_length"),
)
