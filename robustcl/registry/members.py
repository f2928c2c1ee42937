"""What a class lacks to be a plugin of its kind, judged by the members of the kind's Protocol."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Protocol

from robustcl import hooks
from robustcl.options.signature import constructor
from robustcl.protocols import KINDS, Need


def faults(kind: str, found: object) -> list[str]:
    """Return what is wrong with a would-be plugin, as parts of a sentence; empty for a good one.

    A member may be an attribute of the class, or an option, which ``__init__`` stores under its own name.
    """
    if not isinstance(found, type):
        return [f"is a {type(found).__name__}, not a class"]
    options = inspect.signature(constructor(found)).parameters
    wrong = []
    for member, is_method in sorted(members(kind).items()):
        if is_method and not callable(getattr(found, member, None)):
            wrong.append(f"has no method {member!r}")
        elif not is_method and not hasattr(found, member) and member not in options:
            wrong.append(f"has no {member!r}")
    return wrong or _wrong_values(found) or hooks.misspelt(kind, found, {*members(kind), *options})


@functools.cache
def members(kind: str) -> Mapping[str, bool]:
    """Return the members that a kind requires, each with whether it is a method."""
    found: dict[str, bool] = {}
    for base in KINDS[kind].__mro__:
        if base in (object, Protocol) or not getattr(base, "_is_protocol", False):
            continue
        names = [*vars(base), *inspect.get_annotations(base)]
        found.update({n: inspect.isfunction(vars(base).get(n)) for n in names if not n.startswith("_")})
    return found


def _wrong_values(cls: type) -> list[str]:
    needs, citation = getattr(cls, "needs", None), getattr(cls, "citation", None)
    wrong = []
    if not isinstance(needs, frozenset) or not all(isinstance(need, Need) for need in needs):
        wrong.append("its 'needs' is not a frozenset of robustcl.protocols.Need")
    if not isinstance(citation, str) or not citation.strip():
        wrong.append("its 'citation' is not a sentence")
    return wrong
