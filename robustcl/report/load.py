"""Reading a finished run: what must be there, what may be missing, and a sentence for what is damaged."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustcl.errors import DataError

SCHEMA = 1
"""The version of results.json that this code reads."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """A run directory, read.

    results: results.json; metrics: the lines of metrics.jsonl; lock: the text of recipe.lock.toml.
    representation, strip: the arrays of the two artifacts. ``absent`` says why a part is ``None``.
    """

    path: Path
    results: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    lock: str | None
    representation: Arrays | None
    strip: Arrays | None
    absent: Mapping[str, str]

    @property
    def name(self) -> str:
        """The run's name in its recipe, or else its directory's."""
        return str(self.results.get("name") or self.path.resolve().name)


def load(path: Path) -> FinishedRun:
    """Read a run directory.

    Raises ``DataError`` where the directory or its results.json is missing, damaged or of another schema; any
    other part that cannot be read is left out, with the reason under ``absent``.
    """
    results = load_results(path)
    absent: dict[str, str] = {}
    return FinishedRun(
        path=path,
        results=results,
        metrics=_metrics(path / "metrics.jsonl", absent),
        lock=_lock(path / "recipe.lock.toml", absent),
        representation=_arrays(path, "representation", ("clean", "adversarial", "label"), absent),
        strip=_arrays(path, "strip", ("clean", "adversarial", "label"), absent),
        absent=absent,
    )


def load_results(path: Path) -> Mapping[str, Any]:
    """Read and check results.json alone; infinities and NaN become ``None``. Raises ``DataError``."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the directory of a finished run")
    file = path / "results.json"
    if not file.is_file():
        raise DataError(
            f"{path} has no results.json: the run is not finished, or was never evaluated; evaluate it first"
        )
    try:
        results = json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({_short(error)}): evaluate the run again to write a new one"
        ) from error
    if not isinstance(results, dict):
        raise DataError(f"{file} holds a {type(results).__name__}, not an object: evaluate the run again")
    if results.get("schema") != SCHEMA:
        raise DataError(
            f"{file} has schema {results.get('schema')!r}, this version reads {SCHEMA}: "
            "use the robustcl that wrote it, or evaluate the run again"
        )
    _check_rows(file, results.get("rows"))
    return results


def _check_rows(file: Path, rows: object) -> None:
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file} has no result rows: evaluate the run first")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("metric"), str):
            raise DataError(f"{file}: row {place} names no metric: evaluate the run again")
        for key in ("value", "low", "high", "n", "correct", "samples", "upper"):
            number = row.get(key)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
                raise DataError(f"{file}: {key} of row {place} is {number!r}, not a number: evaluate the run again")


def _metrics(file: Path, absent: dict[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Read the lines that are whole: a run that was killed may leave half a line."""
    if not file.is_file():
        absent["metrics"] = "the run directory has no metrics.jsonl"
        return ()
    lines: list[Mapping[str, Any]] = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text, parse_constant=lambda _: None)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    if not lines:
        absent["metrics"] = "metrics.jsonl holds no readable line"
    return tuple(lines)


def _lock(file: Path, absent: dict[str, str]) -> str | None:
    if not file.is_file():
        absent["lock"] = "the run directory has no recipe.lock.toml"
        return None
    return file.read_text(encoding="utf-8", errors="replace")


def _arrays(run: Path, name: str, needed: tuple[str, ...], absent: dict[str, str]) -> Arrays | None:
    file = run / "artifacts" / f"{name}.npz"
    if not file.is_file():
        absent[name] = f"the run directory has no artifacts/{name}.npz"
        return None
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        absent[name] = f"artifacts/{name}.npz is damaged ({_short(error)})"
        return None
    missing = [key for key in needed if key not in arrays]
    if missing:
        absent[name] = f"artifacts/{name}.npz lacks {', '.join(missing)}"
    elif arrays["clean"].shape != arrays["adversarial"].shape or len(arrays["clean"]) != len(arrays["label"]):
        absent[name] = f"the arrays of artifacts/{name}.npz differ in length or shape"
    elif len(arrays["clean"]) == 0:
        absent[name] = f"artifacts/{name}.npz holds no image"
    elif not (np.isfinite(arrays["clean"]).all() and np.isfinite(arrays["adversarial"]).all()):
        absent[name] = f"artifacts/{name}.npz holds infinite or undefined numbers"
    else:
        return arrays
    return None


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
