"""Model cards in RobustBench's JSON: ``model_info/DATASET/THREAT_MODEL/ID.json``, written from a finished run.

Field names and units are those of RobustBench's leaderboard (Croce et al., RobustBench: a standardized adversarial
robustness benchmark, NeurIPS 2021, and its ``ModelInfo``): accuracies are texts, in percent with two decimals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from robustcl.disk import as_usage, make_folder, read_json, read_toml
from robustcl.errors import DataError, UsageError
from robustcl.report.load import load_results
from robustcl.report.page import store
from robustcl.report.tables import flat, percent, spec, told_apart
from robustcl.zoo import benchmark as benchmark
from robustcl.zoo import load_model as load_model

_SPLIT = "test"
_WHERE = ("protocol", "route", "stage", "encoder")
_OWN = "robustcl"
"""The key under which a card holds what RobustBench has no field for."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One entry of a leaderboard; ``None`` is what is not known.

    eps: "8/255". clean_acc, reported, corruptions_* and autoattack_acc: percent as text, "85.34"; ``reported`` is the
    robust accuracy of the publication, ``autoattack_acc`` the one that was measured.
    """

    link: str | None = None
    name: str | None = None
    authors: str | None = None
    additional_data: bool | None = None
    number_forward_passes: int | None = None
    dataset: str | None = None
    venue: str | None = None
    architecture: str | None = None
    eps: str | None = None
    clean_acc: str | None = None
    reported: str | None = None
    corruptions_acc: str | None = None
    corruptions_acc_3d: str | None = None
    corruptions_mce: str | None = None
    corruptions_mce_3d: str | None = None
    autoattack_acc: str | None = None
    footnote: str | None = None


_LONGEST = 200
"""Bytes of a part of a path: file systems take 255, and the card's ending and its passing name want some."""

_MEASURED = ("clean_acc", "autoattack_acc", "corruptions_acc", "corruptions_acc_3d")
"""The fields that are metrics of results.json, all shares of images."""


def write_model_info(
    run: Path,
    folder: Path,
    *,
    id: str,
    dataset: str | None = None,
    protocol: str | None = None,
    route: str | None = None,
    encoder: str | None = None,
    link: str | None = None,
    name: str | None = None,
    authors: str | None = None,
    venue: str | None = None,
    additional_data: bool | None = None,
    reported: str | None = None,
    footnote: str | None = None,
    force: bool = False,
) -> Path:
    """Write the card of a finished run to ``FOLDER/DATASET/THREAT_MODEL/ID.json`` and return its path.

    Measured fields are the run's on its test split, under one protocol, route and encoder: name them where the run was
    judged under several. What was not measured stays ``None``. ``dataset`` is the run's own unless given, ``name`` too.
    Below the key "robustcl" stands what RobustBench has no field for: protocol, images, seed, recipe, other metrics.

    Raises:
        DataError: the folder is no finished run.
        UsageError: an id that is no file name, an unclear choice, or a card that exists already, unless ``force``.
    """
    results = load_results(run)
    rows = _rows(run, results, {"protocol": protocol, "route": route, "encoder": encoder})
    threat, data = results.get("threat") or {}, results.get("data") or {}
    info = ModelInfo(
        link=link,
        name=name or results.get("name"),
        authors=authors,
        additional_data=additional_data,
        number_forward_passes=1,  # a verdict is one prediction of the classifier
        dataset=_part("data set", dataset or data.get("use"), "--dataset"),
        venue=venue,
        architecture=_architecture(run),
        eps=None if threat.get("eps") is None else str(threat["eps"]),
        reported=_percentage(reported, "--reported"),
        footnote=" ".join(part for part in (footnote, _judged(rows)) if part),
        **_measured(rows),
    )
    threat_model = _part("threat model", threat.get("norm"), "a finished run")
    file = folder / str(info.dataset) / threat_model / f"{_part('id', id, '--id')}.json"
    return _keep({**asdict(info), _OWN: _more(results, rows)}, file, force)


def read_model_info(path: Path) -> ModelInfo:
    """Read a card, ours or RobustBench's; keys beyond ``ModelInfo`` are passed over. Raises ``DataError``."""
    try:
        card = read_json(path, remedy="name a JSON file")
    except DataError as error:
        raise DataError(f"{path} is no model card ({error}): name a JSON file") from error
    if not isinstance(card, dict):
        raise DataError(f"{path} is no model card: it holds a {type(card).__name__}, not an object")
    known: dict[str, Any] = {field.name: card.get(field.name) for field in fields(ModelInfo)}
    for name, value in known.items():
        if value is not None and name not in ("additional_data", "number_forward_passes"):
            known[name] = str(value)
    return ModelInfo(**known)


def _rows(run: Path, results: Mapping[str, Any], choice: Mapping[str, str | None]) -> dict[str, Mapping[str, Any]]:
    """Return the test rows of the one way of judging that is meant, by metric; settings tell those of one apart."""
    found: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row, metric in zip(results["rows"], told_apart(results["rows"]), strict=True):
        where = _where(row)
        if row.get("split") == _SPLIT and all(v is None or where[name] == v for name, v in choice.items()):
            found.setdefault(tuple(where.values()), {})[metric] = row
    asked = ", ".join(f"{name} {value}" for name, value in choice.items() if value is not None)
    if not found:
        raise UsageError(f"{run} has no number on its test images{f' for {asked}' if asked else ''}: evaluate it first")
    if len(found) > 1:
        said = "; ".join(" ".join(f"{n} {v}" for n, v in zip(_WHERE, where, strict=True) if v) for where in found)
        raise UsageError(f"{run} was judged in several ways: choose protocol, route and encoder of {said}")
    return next(iter(found.values()))


def _measured(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {
        row["metric"]: percent(row["value"])
        for row in rows.values()
        if row["metric"] in _MEASURED and row.get("value") is not None and _published(row)
    }


def _published(row: Mapping[str, Any]) -> bool:
    """Say whether an attack is the one that goes by its name: the standard version, and all of its members."""
    attack = flat(spec(row)).get
    return attack("attack.version") in (None, "standard") and not attack("attack.attacks_to_run")


def _where(row: Mapping[str, Any]) -> dict[str, str]:
    said = {"encoder": "online", **spec(row)}
    return {name: str(row.get(name) or said.get(name) or "") for name in _WHERE}


def _judged(rows: Mapping[str, Mapping[str, Any]]) -> str:
    where = _where(next(iter(rows.values())))
    said = ", ".join(f"{name} {value}" for name, value in where.items() if value)
    counts = dict.fromkeys(str(row["n"]) for row in rows.values() if row.get("n") is not None)
    return f"Measured by robustcl under {said}" + (f" on {' or '.join(counts)} test images." if counts else ".")


def _more(results: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    first = next(iter(rows.values()))
    kept = ("n", "low", "high", "protocol_version", "protocol_hash", "spec", "resolved")
    return {
        **_where(first),
        "split": _SPLIT,
        "seed": results.get("seed"),
        "recipe_hash": results.get("recipe_hash"),
        "metrics": {
            metric: {"value": row.get("value"), **{key: row[key] for key in kept if row.get(key) is not None}}
            for metric, row in rows.items()
        },
    }


def _architecture(run: Path) -> str | None:
    """Return the encoder's name in the run's lock, ``None`` where there is none."""
    try:
        lock = read_toml(run / "recipe.lock.toml")
    except DataError:
        return None
    encoder = lock.get("encoder")
    return encoder.get("use") if isinstance(encoder, dict) else None


def _keep(card: Mapping[str, Any], file: Path, force: bool) -> Path:
    if file.exists() and not force:
        raise UsageError(f"{file} exists already: choose another id, or replace it with --force")
    with as_usage(str(file.parent), "name another folder"):
        make_folder(file.parent)
    return store(json.dumps(card, indent=2) + "\n", file)


def _percentage(text: str | None, where: str) -> str | None:
    """Return a text in percent, refused where it is none: a share or another unit would stand in a leaderboard."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", text.strip(), re.ASCII) or float(text) > 100:
        raise UsageError(f"{where} {text}: write a percentage from 0 to 100, such as 45.31")
    return text.strip()


def _part(what: str, name: object, where: str) -> str:
    """Return one part of a path, refused where it is not a plain name."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w+-][\w.+-]*", name):
        raise UsageError(f"the {what} {name!r} is no plain name of a file: give one with {where}")
    if len(name.encode()) > _LONGEST:
        said = f"{name[:40]}... has {len(name.encode())} bytes"
        raise UsageError(f"the {what} {said}, too long for a file's name: give one of at most {_LONGEST} with {where}")
    return name
