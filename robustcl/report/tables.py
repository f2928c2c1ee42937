"""Result tables: a data frame per run, Wilson intervals, and the comparison of several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustcl.evaluate.interval import wilson

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


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a comparison; ``best`` where its interval lies above every other run's."""

    value: float | None
    low: float | None
    high: float | None
    n: int | None
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison: a run under one protocol, route and split; metric -> cell."""

    run: str
    protocol: str
    route: str
    split: str
    cells: dict[str, Cell]

    @property
    def n(self) -> str:
        """The number of images, or the numbers where the metrics differ in it."""
        counts = dict.fromkeys(str(cell.n) for cell in self.cells.values() if cell.n is not None)
        return "/".join(counts) or MISSING


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs side by side; ``notes`` say what keeps their numbers from being compared."""

    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def compare(runs: Mapping[str, Mapping[str, Any]]) -> Comparison:
    """Lay several runs side by side, label -> results.

    A number counts as best only if its whole interval lies above every other run's under the same protocol,
    split and metric, and if nothing is noted: different data, threats or specifications are not ranked.
    """
    rows = [{"run": run, **row} for run, results in runs.items() for row in records(frame(results))]
    notes = _differences(runs)
    lines: dict[tuple[str, ...], Line] = {}
    for row in rows:
        where = [MISSING if row[key] is None else str(row[key]) for key in ("run", "protocol", "route", "split")]
        line = lines.setdefault(tuple(where), Line(where[0], where[1], where[2], where[3], {}))
        best = not notes and _best(row, rows)
        line.cells[row["metric"]] = Cell(row["value"], row["low"], row["high"], row["n"], best)
    return Comparison(tuple(dict.fromkeys(row["metric"] for row in rows)), tuple(lines.values()), notes)


def _best(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether a row's interval lies above all other runs'; a missing one might lie anywhere."""
    same = [other for other in rows if all(other[key] == row[key] for key in ("protocol", "split", "metric"))]
    others = [other for other in same if other["run"] != row["run"]]
    highs = [1.0 if other["high"] is None else other["high"] for other in others]
    return bool(highs) and row["low"] is not None and row["low"] > max(highs)


def _differences(runs: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Say what differs between the runs besides the method: threat, data, and each metric's specification."""
    seen: dict[str, dict[str, list[str]]] = {}
    for label, results in runs.items():
        facts = {f"threat.{key}": value for key, value in (results.get("threat") or {}).items()}
        facts |= {f"data.{key}": value for key, value in (results.get("data") or {}).items() if key != "classes"}
        for row in results["rows"]:
            where = f"{row['metric']} under {row.get('protocol')}, {row.get('split')}"
            facts[f"{where}: n"] = row.get("n")
            facts |= {f"{where}: {key}": value for key, value in flat(spec(row)).items()}
        for fact, value in facts.items():
            seen.setdefault(fact, {}).setdefault(str(value), []).append(label)
    return tuple(
        f"{fact} differs: " + "; ".join(f"{value} ({', '.join(labels)})" for value, labels in values.items())
        for fact, values in seen.items()
        if len(values) > 1
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


def markdown(comparison: Comparison) -> str:
    """Return a comparison as a Markdown table that is aligned in a terminal, with its notes below."""
    head = ["run", "protocol", "route", "split", "n", *comparison.metrics]
    body = [
        [line.run, line.protocol, line.route, line.split, line.n, *_cells(line, comparison.metrics)]
        for line in comparison.lines
    ]
    rows = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *body]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    ruler = [
        "-" * (width if place < 4 else width - 1) + ("" if place < 4 else ":") for place, width in enumerate(widths)
    ]
    rows.insert(1, ruler)
    lines = [
        "| "
        + " | ".join(_pad(cell, width, place) for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    lines += [
        "",
        "Percent with the 95 % Wilson interval over n images; bold where it lies above every other run's.",
    ]
    lines += [f"Not comparable as they stand: {note}." for note in comparison.notes]
    return "\n".join(lines)


def _cells(line: Line, metrics: Sequence[str]) -> list[str]:
    texts = []
    for metric in metrics:
        cell = line.cells.get(metric)
        text = MISSING if cell is None else f"{percent(cell.value)} {interval(cell.low, cell.high)}"
        texts.append(MISSING if text == f"{MISSING} {MISSING}" else f"**{text}**" if cell and cell.best else text)
    return texts


def _pad(text: str, width: int, place: int) -> str:
    return text.ljust(width) if place < 4 else text.rjust(width)
