"""Result tables: a data frame per run, Wilson intervals, and the comparison of several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

COLUMNS = ("protocol", "route", "split", "attack", "metric", "n", "correct", "value", "low", "high")
"""The columns of ``frame``, in order."""

MISSING = "-"
"""What a cell without a number shows; never 0."""

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion, (low, high) in [0, 1]; (0, 1) where n = 0.

    Raises ``ValueError`` unless 0 <= correct <= n. Source: E. B. Wilson, Probable inference, the law of succession,
    and statistical inference, JASA 22, 1927.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}: correct must lie between 0 and n")
    if n == 0:
        return 0.0, 1.0
    share, weight = correct / n, z * z / n
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    # Rounding may leave 1e-17 instead of 0 at the two ends, where the interval touches them exactly.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


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
    counted = full["n"] is not None and full["correct"] is not None and 0 <= full["correct"] <= full["n"]
    if counted and (full["low"] is None or full["high"] is None):
        full["low"], full["high"] = wilson(full["correct"], full["n"])
    return full


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

    value: float
    low: float
    high: float
    n: int | None
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a comparison: a run under one protocol, route and split; metric -> cell."""

    run: str
    protocol: str
    route: str
    split: str
    cells: Mapping[str, Cell]

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

    A number counts as best only if its whole interval lies above every other run's under the same protocol, split and
    metric, and if nothing is noted: numbers of different data, threats or specifications are not ranked.
    """
    rows = pd.concat([frame(results).assign(run=label) for label, results in runs.items()], ignore_index=True)
    for column in ("protocol", "route", "split"):
        rows[column] = [MISSING if pd.isna(value) else str(value) for value in rows[column]]
    notes = _differences(runs)
    best = set() if notes or len(runs) < 2 else _best(rows)
    metrics = tuple(dict.fromkeys(rows["metric"]))
    lines = []
    for key, group in rows.groupby(["run", "protocol", "route", "split"], sort=False):
        cells = {
            str(row.metric): Cell(row.value, row.low, row.high, None if pd.isna(row.n) else int(row.n), row.Index in best)
            for row in group.itertuples()
        }
        lines.append(Line(*(str(part) for part in key), cells=cells))
    return Comparison(metrics, tuple(lines), notes)


def _best(rows: pd.DataFrame) -> set[int]:
    """Return the rows whose interval lies above those of every other run in their group."""
    best: set[int] = set()
    for _, group in rows.groupby(["protocol", "split", "metric"]):
        if group["run"].nunique() < 2 or group["value"].isna().all():
            continue
        top = group.loc[group["value"].idxmax()]
        others = group[group["run"] != top["run"]]
        if top["low"] > others["high"].fillna(1.0).max():
            best.add(int(str(top.name)))
    return best


def _differences(runs: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Say what differs between the runs besides the method: threat, data, and each metric's specification."""
    seen: dict[str, dict[str, list[str]]] = {}
    for label, results in runs.items():
        facts = {f"threat.{key}": value for key, value in (results.get("threat") or {}).items()}
        facts |= {f"data.{key}": value for key, value in (results.get("data") or {}).items() if key != "classes"}
        for row in results["rows"]:
            where = f"{row['metric']} under {row.get('protocol')}, {row.get('split')}"
            facts[f"{where}: n"] = row.get("n")
            facts |= {f"{where}: {key}": value for key, value in flat(row.get("spec") or {}).items()}
        for fact, value in facts.items():
            seen.setdefault(fact, {}).setdefault(str(value), []).append(label)
    return tuple(
        f"{fact} differs: " + "; ".join(f"{value} ({', '.join(labels)})" for value, labels in values.items())
        for fact, values in seen.items()
        if len(values) > 1
    )


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
    body = [[line.run, line.protocol, line.route, line.split, line.n, *_cells(line, comparison.metrics)] for line in comparison.lines]
    rows = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *body]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    ruler = ["-" * (width if place < 4 else width - 1) + ("" if place < 4 else ":") for place, width in enumerate(widths)]
    rows.insert(1, ruler)
    lines = ["| " + " | ".join(_pad(cell, width, place) for place, (cell, width) in enumerate(zip(row, widths, strict=True))) + " |" for row in rows]
    lines += ["", "Percent correct with the 95 % Wilson interval; n images; bold where the interval lies above all others."]
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
