"""Black-box matrices: which model's adversaries fool which other, on a page of its own and on the pages of its runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robustcl.disk import as_usage, make_folder, read_json
from robustcl.errors import DataError
from robustcl.report.composition import say
from robustcl.report.entries import is_number
from robustcl.report.heat import matrix
from robustcl.report.load import FinishedRun
from robustcl.report.rendering import environment, store

_FOLDER = "transfers"
"""Where a run keeps the matrices that it is part of."""


def write(tables: Mapping[str, Any], folder: Path) -> Path:
    """Write ``transfer.html`` beside transfer.json, of which ``tables`` is the content, and return its path.

    Raises ``UsageError`` where the page cannot be written.
    """
    told = _told([str(run["name"]) for run in tables["runs"]])
    page = environment().get_template("transfer.html.j2").render(
        attack=tables["attack"]["name"], norm=tables["norm"], eps=tables["eps"],
        n=tables["n"], heat=matrix(told, tables["accuracy"], "Accuracy under transferred adversaries"),
        clean=list(zip(told, tables["clean"], strict=True)), rows=dict(tables),
    )  # fmt: skip
    return store(page, folder / "transfer.html")


def hand_out(tables: Mapping[str, Any], folder: Path) -> list[Path]:
    """Keep a matrix, which ``folder`` holds, with each of its runs; return those whose page can show it.

    A matrix of the same folder is replaced. A run that was never evaluated has no page.
    Raises ``UsageError`` where a run's folder cannot be written.
    """
    digest = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=4).hexdigest()
    shown = []
    for run in (Path(str(run["folder"])) for run in tables["runs"]):
        with as_usage(str(run / _FOLDER), f"the matrix is in {folder}"):
            make_folder(run / _FOLDER, within=run)
        kept = json.dumps({**tables, "kept": str(folder)}, indent=1)
        store(kept, run / _FOLDER / f"{folder.resolve().name}-{digest}.json")
        if (run / "results.json").is_file():
            shown.append(run)
    return shown


def matrices(run: FinishedRun) -> list[Markup]:
    """Return the tables that a run's page shows: its results' own, then those handed out, by file name."""
    found = [run.results.get("transfer"), *_handed(run.path)]
    return [table for table in map(_table, found) if table is not None]


def _handed(run: Path) -> Iterator[object]:
    for file in sorted((run / _FOLDER).glob("*.json")):
        try:
            yield read_json(file, undefined=lambda _: None)
        except DataError:
            continue


def _table(found: object) -> Markup | None:
    """Return one matrix as HTML, ``None`` where it is none that is square."""
    if not isinstance(found, Mapping):
        return None
    runs, values = found.get("runs"), found.get("accuracy")
    if not isinstance(runs, list) or not isinstance(values, list) or not runs:
        return None
    if not all(isinstance(row, list) for row in values):
        return None
    try:
        names = _told([str(each["name"] if isinstance(each, Mapping) else each) for each in runs])
        return matrix(names, values, _caption(found))
    except (ValueError, KeyError):
        return None


def _caption(found: Mapping[str, Any]) -> str:
    attack = found.get("attack")
    name = attack.get("name") if isinstance(attack, Mapping) else attack
    words = [f"Percent right under adversaries of {say(name or 'an attack')}"]
    if found.get("norm") and is_number(found.get("eps")):
        words.append(f"{say(found['norm'])} eps {found['eps']:.4g}")
    if is_number(found.get("n")):
        words.append(f"n = {found['n']}")
    kept = f" The intervals are in {found['kept']}/transfer.json." if found.get("kept") else ""
    return f"{', '.join(words)}.{kept}"


def _told(names: list[str]) -> list[str]:
    """Return the names, those that stand twice with their place."""
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
