"""Where a study comes from: an installed one or a file, scaled to a data set and a budget."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from robustcl import registry
from robustcl.claims import checking
from robustcl.composition import choice, exchange
from robustcl.composition.choice import Flags
from robustcl.errors import RobustclError, UsageError
from robustcl.recipe import inherit, reading
from robustcl.study.grammar import scaling
from robustcl.study.grammar.parsing import parse
from robustcl.study.grammar.spots import shape
from robustcl.study.grammar.study import Row, Study


def tables(name: str) -> dict[str, Any]:
    """Return the tables of an installed study, or of a file where the name ends with ``.toml``.

    Raises:
        UsageError: it is unknown, cannot be read, or is no TOML.
    """
    if name.endswith(".toml"):
        return reading.read(Path(name), "study")
    text = registry.study_text(name)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the study {name!r} of {registry.studies()[name]} is not TOML: {error}") from None


def read(name: str, *, dataset: str | None = None, budget: str = "small") -> Study:
    """Return a study as a data set and a budget change it, the most precise last.

    ``[adapt.DATASET]``, ``[budget.NAME]`` and ``[adapt.DATASET.budget.NAME]`` are tables of dotted paths and values of
    the study itself; their table ``set`` is joined with the study's.
    """
    written, where = tables(name), f"the study {name}"
    plain = parse(scaling.plain(written, where), where)
    checking.check_values(plain.claim, shape(plain), where)
    return parse(scaling.scale(written, dataset or _dataset(plain, name), budget, where), where)


def read_base(row: Row, study: str) -> tuple[str, dict[str, Any]]:
    """Return name and whole tables of the recipe that a row starts from; a file is looked for beside the study's.

    Raises:
        UsageError: there is no such recipe, or none for the row's objective.
    """
    parts = Flags(generator=row.generator, objective=row.objective, selector=row.selector)
    use = row.recipe or choice.choose_base(parts)
    return use, inherit.read_named(use, Path(study).parent if study.endswith(".toml") else Path())


def _dataset(study: Study, name: str) -> str:
    row = next((row for row in study.row if row.is_trained), None)
    if row is None:
        return "digits"
    try:
        return exchange.plugin_of(read_base(row, name)[1].get("data", {"use": "digits"}))
    except UsageError as error:
        raise place_in_row(error, name, row.name) from None


def place_in_row(error: RobustclError, study: str, row: str) -> RobustclError:
    """Return an error with the study and the row that it is about; what a flag says elsewhere, a key of a row says."""
    said = _FLAG.sub(r"\1", str(error))
    return type(error)(f"the study {study}, row {row!r}: {said}")


_FLAG = re.compile(r"--(recipe|generator|objective|selector|target)\b")
