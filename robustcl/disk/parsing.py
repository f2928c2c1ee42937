"""JSON and TOML from texts of unknown origin: nesting, digits and keys are bounded before a parser recurses into them.

The parsers of the standard library descend one call a level, so that a text of brackets alone ends a process.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

from robustcl.errors import DataError, RobustclError

DEEPEST = 64
"""Levels of nesting; our own files have fewer than 15."""
MOST_DIGITS = 400
"""Digits of an integer; no number of ours has more than 20."""
MOST_PARTS = 64
"""Parts of one dotted key."""


def parse_json(
    text: str | bytes,
    where: str,
    *,
    error: type[RobustclError] = DataError,
    remedy: str = "copy it again from where it comes from",
    undefined: Callable[[str], Any] | None = None,
    unique: bool = False,
) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        where: names the text in errors, for example "RUN/results.json".
        error: the class of errors.
        remedy: what to do about a damaged text; the end of every sentence.
        undefined: makes the value of NaN, Infinity and -Infinity, which are refused where it is left out.
        unique: whether a key that stands twice in one object is refused.

    Raises:
        error: no JSON, not UTF-8, nested too deeply, or a number too long.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        _check_depth(_JSON, text)
        return json.loads(
            text,
            parse_int=_integer,
            parse_constant=undefined or _refuse,
            object_pairs_hook=_only_once if unique else None,
        )
    except UnicodeDecodeError as fault:
        raise error(f"{where} is damaged: byte {fault.start} is no UTF-8; {remedy}") from None
    except json.JSONDecodeError as fault:
        raise error(f"{where} is damaged: {_one_line(fault.msg)} at line {fault.lineno}; {remedy}") from None
    except (ValueError, RecursionError) as fault:
        raise error(f"{where} is damaged: {_one_line(str(fault))}; {remedy}") from None


def parse_toml(
    text: str | bytes, where: str, *, error: type[RobustclError] = DataError, remedy: str = "correct it"
) -> dict[str, Any]:
    """Return the tables of a TOML text; the arguments and errors are those of ``parse_json``."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        _check_depth(_TOML, text)
        _check_keys(text)
        tables = tomllib.loads(text)
        _check_tables(tables)
    except UnicodeDecodeError as fault:
        raise error(f"{where} is not TOML: byte {fault.start} is no UTF-8; {remedy}") from None
    except (ValueError, RecursionError) as fault:
        raise error(f"{where} is not TOML: {_one_line(str(fault))}; {remedy}") from None
    return tables


_JSON = re.compile(r'"(?:[^"\\]|\\.)*+"?+|[\[{]|[\]}]', re.DOTALL)
_TOML = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)|' + r"'''.*?(?:'''|\Z)|" + r'"(?:[^"\\\n]|\\.)*+"?|'
    r"'[^'\n]*+'?|#[^\n]*+|[\[{]|[\]}]",
    re.DOTALL,
)
"""Strings and comments, of which nothing counts, and brackets."""
_LONG_KEY = re.compile(
    rf"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')(?:\s*+\.\s*+(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')){{{MOST_PARTS}}}"""
)


def _check_depth(pattern: re.Pattern[str], text: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for found in pattern.finditer(text):
        letter = text[found.start()]
        if letter in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        elif letter in "]}":
            depth -= 1


def _check_keys(text: str) -> None:
    if text.count(".") > MOST_PARTS and _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {MOST_PARTS} parts")


def _check_tables(tables: dict[str, Any]) -> None:
    """Refuse what brackets and dotted keys have made together, and integers that Python would not print."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST + 1):
        level = [
            entry
            for node in level
            for entry in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]
        if any(isinstance(entry, int) and entry.bit_length() > MOST_DIGITS * 3 for entry in level):
            raise ValueError(f"a number has more than {MOST_DIGITS} digits")
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _one_line(text: str) -> str:
    return (" ".join(text.split()) or "it cannot be parsed").rstrip(".")[:200]
