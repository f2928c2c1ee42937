"""From templates to a file: where templates are found, what they may call, and how a page is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from robustcl.disk import as_usage, write_atomically
from robustcl.report import composition, headline, picture, tables, web

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Return where templates are found, with the filters that they use."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": tables.percent,
        "say": composition.say,
        "exact": exact,
        "flags": flags,
        "flat": tables.flat,
        "bounds": headline.bounds,
        "parts": web.parts,
    }
    made.tests |= {"accuracy": headline.is_accuracy, "text": lambda part: isinstance(part, str)}
    made.globals |= {
        "interval": tables.interval,
        "missing": tables.MISSING,
        "width": picture.WIDTH,
        "narrow": web.NARROW,
    }
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return made


def store(text: str, file: Path) -> Path:
    """Write a page whole or not at all. Raises ``UsageError`` where the place cannot be written."""
    with as_usage(str(file), "name another file with --out"):
        write_atomically(file, text)
    return file


def flags(sentence: str) -> Markup:
    """Return a sentence whose flags, with a value behind them, stand in one piece; a browser breaks at hyphens."""
    return Markup(_FLAG.sub(r"<code>\g<0></code>", str(escape(sentence))))


_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*(?: (?:[A-Z]+|[a-z]+(?:-[a-z0-9]+)*)(?= |$|;|,))?")


def exact(value: object) -> str:
    """Return a number as JSON writes it, "" for none: what ``data-value`` holds."""
    return "" if value is None or (isinstance(value, float) and pd.isna(value)) else json.dumps(value)
