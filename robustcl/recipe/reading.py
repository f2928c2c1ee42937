"""Reading recipes: TOML to checked sections, and faults to sentences that name the place as the file has it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from robustcl.disk import Limits, parse_toml, read_text
from robustcl.errors import UsageError
from robustcl.recipe.grammar import BallTable, Ema, Of, ProjectorTable, Recipe, Settings, Stage, ThreatTable
from robustcl.recipe.tables import Use

_LIMITS = Limits(file=8 << 20)


def parse(tables: Mapping[str, Any], where: str) -> Recipe:
    """Check a recipe's tables.

    Raises:
        UsageError: an unknown key (with near names), a missing one or a value of the wrong type, with its place.
    """
    plain = _desugar(tables)
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise UsageError(sentence(error, where, plain)) from None


def read(path: Path, noun: str = "recipe") -> dict[str, Any]:
    """Read a recipe file into plain tables; ``noun`` says in errors what else the file is.

    Raises:
        UsageError: the file is missing or is not TOML.
    """
    missing = f"there is no {noun} file {path}"
    text = read_text(path, error=UsageError, missing=missing, remedy="save it as UTF-8", limits=_LIMITS)
    return parse_toml(text, f"the {noun} file {path}", error=UsageError)


def _desugar(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``objective = ...`` and ``protocol = ...`` into the tables they stand for."""
    return {
        **tables,
        **{
            key: [sugar(entry) if isinstance(entry, Mapping) else entry for entry in tables[key]]
            for key, sugar in (("stage", _one_term), ("evaluate", _protocol))
            if isinstance(tables.get(key), list)
        },
    }


def _one_term(stage: Mapping[str, Any]) -> dict[str, Any]:
    stage = dict(stage)
    terms = stage.get("term", {})
    if "objective" in stage and isinstance(terms, Mapping) and "objective" not in terms:
        stage["term"] = {**terms, "objective": stage.pop("objective")}
    return stage


def _protocol(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {("use" if key == "protocol" else key): value for key, value in entry.items()}


def sentence(error: ValidationError, where: str, tables: Mapping[str, Any], root: type[BaseModel] = Recipe) -> str:
    """Return the deepest fault: where a value may be of several types, its own fault and not that of the others.

    ``root`` is the model of the whole file, whose keys are near to a misspelt one.
    """
    found = [(_place(fault, tables), fault) for fault in error.errors(include_url=False)]
    depth = max(len(place) for place, _ in found)
    deepest = [(place, fault) for place, fault in found if len(place) == depth]
    # A misspelt key is missing under its right name too: the misspelling is the fault.
    place, first = min(deepest, key=lambda one: one[1]["type"] != "extra_forbidden")
    others = len({tuple(place) for place, _ in deepest}) - 1
    more = f" (and {others} more)" if others else ""
    path = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {path!r}{_near(place, root)}; remove or correct it{more}"
    if first["type"] == "missing":
        return f"{where}: the key {path!r} is missing; add it{more}"
    wanted = " or ".join(dict.fromkeys(_wanted(fault["msg"]) for other, fault in found if other == place))
    return f"{where}: {path} = {_short(first.get('input'))} is not accepted; give {wanted}{more}"


def _place(fault: Mapping[str, Any], tables: Mapping[str, Any]) -> list[str]:
    """Return the path as the file has it: stages by name, without the marks of the types that were tried."""
    node: Any = tables
    place: list[str] = []
    for number, key in enumerate(fault["loc"], 1):
        missing = fault["type"] == "missing" and number == len(fault["loc"])
        if isinstance(node, Mapping) and (key in node or missing):
            place.append(str(key))
            node = node.get(key)
        elif isinstance(node, list) and isinstance(key, int):
            node = node[key]
            name = (node.get("name") or node.get("use")) if isinstance(node, Mapping) else None
            place.append(str(name or key))
    return place


def _wanted(message: str) -> str:
    if tag := re.fullmatch(r"Input tag .* found using (.*) does not match any of the expected tags: (.*)", message):
        return f"{tag[1].strip(chr(39))} = one of {tag[2]}"
    said = re.sub(r"^\w+ should (be )?", "", message).partition(" or instance of ")[0].partition(" after ")[0]
    said = re.sub(r"^(greater|less)", r"a number \1", said).replace("have at", "at")
    said = (
        said.replace("match pattern", "a text like")
        .replace("valid dictionary", "table")
        .removesuffix(" or object to extract fields from")
        .replace("valid ", "")
    )
    return said.replace("a integer", "an integer")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _near(place: list[str], root: type[BaseModel]) -> str:
    *above, key = place
    section = _section(above) if root is Recipe else _listed(above, root)
    near = difflib.get_close_matches(key, sorted(section.model_fields), n=1)
    if near:
        return f", did you mean {near[0]!r}?"
    return ", which belongs in a [[stage]]" if section is Recipe and key in Stage.model_fields else ""


def _section(above: list[str]) -> type[BaseModel]:
    """Return the section that holds a key, by the path above it."""
    if not above:
        return Recipe
    if above[0] == "stage" and len(above) == 2:
        return Stage
    sections: dict[str, type[BaseModel]] = {
        "threat": ThreatTable, "projector": ProjectorTable, "run": Settings, "of": Of, "ball": BallTable
    }  # fmt: skip
    return Ema if "encoders" in above[-2:] else sections.get(above[-1], Use)


def _listed(above: list[str], root: type[BaseModel]) -> type[BaseModel]:
    """Return the section that holds a key in a file of another model: the file itself, or a table in it."""
    section, way = root, iter(above)
    for key in way:
        field = section.model_fields.get(key)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if field is None or len(models) != 1:
            return Use
        section = models[0]
        if get_origin(field.annotation) is list:
            next(way, None)  # the name of the entry
    return section
