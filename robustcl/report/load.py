"""Reading a finished run: what must be there, what may be missing, and a sentence for what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustcl.data.artifacts import read_arrays
from robustcl.disk import parse_json, read_json, read_lines, read_text
from robustcl.errors import DataError
from robustcl.evaluate.extras.evidence import Evidence
from robustcl.evaluate.shape import check, check_values, printable, short

SCHEMA = 1
"""The version of results.json that this code reads."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """A run directory, read. ``unheld``: place of a row -> why no journal stands behind it.

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
    unheld: Mapping[int, str] = field(default_factory=dict)
    evidence: Evidence | None = None
    """The journal behind the numbers, read once."""

    @property
    def name(self) -> str:
        """The run's name in its recipe, or else its directory's."""
        return str(self.results.get("name") or self.path.resolve().name)


def load(path: Path) -> FinishedRun:
    """Read a run directory.

    Raises ``DataError`` where the directory, its results.json or a line of its journal is missing, damaged or of
    another schema, ``Contradiction`` where the two differ; any other part that cannot be read is left out, with the
    reason under ``absent``.
    """
    results, evidence, unheld = load_held(path)
    absent: dict[str, str] = {}
    return FinishedRun(
        path=path,
        results=results,
        metrics=_metrics(path / "metrics.jsonl", absent),
        lock=_lock(path / "recipe.lock.toml", absent),
        representation=_arrays(path, "representation", ("clean", "adversarial", "label"), absent),
        strip=_arrays(path, "strip", ("clean", "adversarial", "label"), absent),
        absent=absent,
        unheld=unheld,
        evidence=evidence,
    )


def load_results(path: Path, *, unjudged: bool = False) -> Mapping[str, Any]:
    """Read results.json and hold it against the journal; infinities and NaN become ``None``.

    unjudged: whether it may hold no row at all, as that of a recipe that evaluates nothing.

    Raises:
        DataError: no such file, a damaged one, or one of another schema.
        Contradiction: a number is another one than the journal gives.
    """
    return load_held(path, unjudged=unjudged)[0]


def load_held(path: Path, *, unjudged: bool = False) -> tuple[Mapping[str, Any], Evidence, dict[int, str]]:
    """Return what ``load_results`` does, the journal behind it, and place of a row -> why none stands behind that."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}: name the directory of a finished run")
    results = _stated(path, unjudged)
    evidence = Evidence(path)
    return results, evidence, evidence.hold(results)


def _stated(path: Path, unjudged: bool) -> dict[str, Any]:
    """Return what results.json states, its shape checked, not held against anything. Raises ``DataError``."""
    file = path / "results.json"
    missing = f"{path} has no results.json: the run is not finished, or was never evaluated; evaluate it first"
    results = read_json(file, missing=missing, remedy="evaluate the run again", undefined=lambda _: None)
    if not isinstance(results, dict):
        raise DataError(f"{file} holds a {type(results).__name__}, not an object: evaluate the run again")
    if results.get("schema") != SCHEMA:
        raise DataError(
            f"{file} has schema {short(results.get('schema'))}, this version reads {SCHEMA}: "
            "use the robustcl that wrote it, or evaluate the run again"
        )
    check(file, results, unjudged)
    return results


def _metrics(file: Path, absent: dict[str, str]) -> tuple[Mapping[str, Any], ...]:
    """Read the lines that are whole: a run that was killed may leave half a line."""
    if not file.is_file():
        absent["metrics"] = "the run directory has no metrics.jsonl"
        return ()
    lines: list[Mapping[str, Any]] = []
    try:
        for text in read_lines(file):
            with suppress(DataError):
                line = parse_json(text, "a line", undefined=lambda _: None)
                if isinstance(line, dict):
                    check_values("metrics.jsonl", line)
                    lines.append(line)
    except DataError as error:
        absent["metrics"] = str(error)
        return ()
    if not lines:
        absent["metrics"] = "metrics.jsonl holds no readable line"
    return tuple(lines)


def _lock(file: Path, absent: dict[str, str]) -> str | None:
    try:
        return printable(read_text(file, missing="the run directory has no recipe.lock.toml"))
    except DataError as error:
        absent["lock"] = str(error)
        return None


def _arrays(run: Path, name: str, needed: tuple[str, ...], absent: dict[str, str]) -> Arrays | None:
    file = run / "artifacts" / f"{name}.npz"
    if not file.is_file():
        absent[name] = f"the run directory has no artifacts/{name}.npz"
        return None
    try:
        arrays = read_arrays(file)
    except DataError as error:
        absent[name] = printable(f"artifacts/{name}.npz is damaged ({error})")
        return None
    missing = [key for key in needed if key not in arrays]
    if missing:
        absent[name] = f"artifacts/{name}.npz lacks {', '.join(missing)}"
    elif any(arrays[key].dtype.kind not in "fiu" for key in needed) or any(arrays[key].ndim == 0 for key in needed):
        absent[name] = f"the arrays of artifacts/{name}.npz are none of numbers"
    elif arrays["clean"].shape != arrays["adversarial"].shape or len(arrays["clean"]) != len(arrays["label"]):
        absent[name] = f"the arrays of artifacts/{name}.npz differ in length or shape"
    elif len(arrays["clean"]) == 0:
        absent[name] = f"artifacts/{name}.npz holds no image"
    elif not (np.isfinite(arrays["clean"]).all() and np.isfinite(arrays["adversarial"]).all()):
        absent[name] = f"artifacts/{name}.npz holds infinite or undefined numbers"
    else:
        return arrays
    return None
