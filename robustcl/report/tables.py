"""Result tables: a data frame per run, Wilson intervals, and the table of a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustcl.evaluate.interval import wilson
from robustcl.terminal.markdown import render_table

COLUMNS = ("protocol", "route", "split", "attack", "metric", "n", "correct", "value", "low", "high")
"""The columns of ``frame``, in order."""

MISSING = "-"
"""What a cell without a number shows; never 0."""


def frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per result, with ``COLUMNS``; an interval that results.json lacks is Wilson's.

    n and correct are nullable integers; value, low and high are float64 with NaN where there is no number.
    """
    rows = [_complete(row) for row in results["rows"]]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = {"n": "Int64", "correct": "Int64", "value": "float64", "low": "float64", "high": "float64"}
    return table.astype(kinds)


def _complete(row: Mapping[str, Any]) -> dict[str, Any]:
    full = {column: row.get(column) for column in COLUMNS}
    correct, n = full["correct"], full["n"]
    if correct is not None and n is not None and 0 <= correct <= n and None in (full["low"], full["high"]):
        full["low"], full["high"] = wilson(correct, n)
    return full


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as plain mappings, with ``None`` for missing numbers."""
    plain = table.astype(object)
    rows = plain.where(plain.notna(), None).to_dict(orient="records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def percent(value: float | None) -> str:
    """Return a share as percent with two decimals, "-" where there is none."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.2f}"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval as percent, "[88.35, 94.11]", "-" where there is none."""
    left, right = percent(low), percent(high)
    return MISSING if MISSING in (left, right) else f"[{left}, {right}]"


def inert(value: Any) -> Any:
    """Return a cell of a CSV file that no spreadsheet takes for a formula: an apostrophe stands before such a text."""
    return (
        f"'{value}" if isinstance(value, str) and value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    )


def spec(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a row says of how it was measured, always as a mapping."""
    said = row.get("spec") or {}
    return said if isinstance(said, Mapping) else {"spec": said}


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def markdown(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results of runs, label -> results, as a Markdown table that is aligned in a terminal.

    A line is one run under one protocol, route and split; what two rows of one metric differ in stands in its name.
    Nothing is ranked: that is ``robustcl.comparison``'s.
    """
    rows = [
        {"run": run, **row, "metric": metric, "route": _marked(row["route"], results)}
        for run, results in runs.items()
        for row, metric in zip(records(frame(results)), told_apart(results["rows"]), strict=True)
    ]
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    lines: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        where = tuple(MISSING if row[key] is None else str(row[key]) for key in _WORDS)
        where += (str(row["n"]),) if str(row["metric"]) in lines.get(where, {}) else ()
        lines.setdefault(where, {})[row["metric"]] = row
    body = [
        [*where[: len(_WORDS)], _count(cells), *(_cell(cells.get(m), _count(cells)) for m in metrics)]
        for where, cells in lines.items()
    ]
    marked = any(str(row["route"] or "").endswith(_JUDGED) for row in rows)
    legend = (
        f"{_LEGEND} {_JUDGED.strip()} the judged branch, whose numbers are the method's own." if marked else _LEGEND
    )
    return "\n".join([_aligned([[*_WORDS, "n", *metrics], *body]), "", legend])


_JUDGED = " (judged)"
"""What marks the branch whose numbers are a method's own."""


def _marked(route: str | None, results: Mapping[str, Any]) -> str | None:
    """Return a route as the table shows it; the judged branch is marked where there are others beside it."""
    others = {row.get("route") for row in results["rows"]} - {route}
    return f"{route}{_JUDGED}" if others and route is not None and route == results.get("branch") else route


_WORDS = ("run", "protocol", "route", "split")
_LEGEND = "Percent with the 95 % Wilson interval over n images."


def told_apart(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the metric of each row, with its settings where another row under the same words has others."""
    settings = [flat(spec(row)) | {key: row[key] for key in ("stage", "encoder") if row.get(key)} for row in rows]
    words = [tuple(row.get(key) for key in (*_WORDS[1:], "metric")) for row in rows]
    names = []
    for row, own, where in zip(rows, settings, words, strict=True):
        rivals = [other for other, there in zip(settings, words, strict=True) if there == where]
        keys = dict.fromkeys(key for other in rivals for key in other)
        apart = [key for key in keys if any(other.get(key) != rivals[0].get(key) for other in rivals)]
        came = {f"attack.{key}": value for key, value in flat(row.get("resolved") or {}).items()}
        said = ", ".join(f"{key.rpartition('.')[2]} = {_given(own.get(key), came.get(key))}" for key in apart)
        names.append(f"{row['metric']} ({said})" if said else str(row["metric"]))
    return names


def _given(stated: Any, came: Any) -> Any:
    """Return a setting as it was given; one that was left out as what it came to, where that is told."""
    if stated is not None or came is None:
        return MISSING if stated is None else stated
    return f"{came:.4g}, left out" if isinstance(came, float) else f"{came}, left out"


def _aligned(table: Sequence[Sequence[str]]) -> str:
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in table]
    return render_table(rows, len(_WORDS))


def _count(cells: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the number of images of a line: of its first metric."""
    return next((str(row["n"]) for row in cells.values() if row["n"] is not None), MISSING)


def _cell(row: Mapping[str, Any] | None, count: str) -> str:
    """Return a number with its interval, and of how many images it is where the line's are others."""
    text = MISSING if row is None else f"{percent(row['value'])} {interval(row['low'], row['high'])}"
    if row is None or text == f"{MISSING} {MISSING}":
        return MISSING
    return text if row["n"] is None or str(row["n"]) == count else f"{text}, n = {row['n']}"
