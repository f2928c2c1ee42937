"""The columns of a study: the number of each in a finished run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.analysis.other_data import stage_name
from robustcl.comparison.outcomes import Outcomes, Verdicts
from robustcl.disk import parse_json, read_lines
from robustcl.errors import DataError, NotMeasured
from robustcl.report.load import load_held
from robustcl.study.grammar.columns import Accuracy, AnyColumn, Clusters, Corrupted, Derived, Metric, Transferred
from robustcl.study.numbers import corrupted, questions, transfer
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.places import evaluation, stage
from robustcl.study.plan.planned import Planned
from robustcl.train import stage_files
from robustcl.train.encoders import ONLINE


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one line of a figure; ``mark`` is the x of a chosen one, ``paper`` are points that a paper reports.

    reach: how far down and up the error bar of each point goes; none where it is empty.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    mark: float | None = None
    paper: tuple[tuple[float, float], ...] = ()
    reach: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a run's results.json states, and the journal that it was held against; none where nothing is stated."""

    results: Mapping[str, Any]
    outcomes: Outcomes | None = None


def read(columns: Sequence[AnyColumn], run: Planned, folder: Path, runs: transfer.Runs = ()) -> list[Reading | None]:
    """Return the numbers of a row's columns in a finished run, ``None`` where there is none.

    ``runs``: all finished ones, and their folders.
    """
    told = _results(folder)
    return [None if column.name in run.lacks else _number(column, run, folder, told, columns, runs)
            for column in columns]  # fmt: skip


def _number(
    column: AnyColumn,
    run: Planned,
    folder: Path,
    told: Told,
    beside: Sequence[AnyColumn],
    runs: transfer.Runs,
) -> Reading | None:
    if isinstance(column, Accuracy):
        return _accuracy(column, run, folder, told)
    if isinstance(column, Corrupted):
        return _corrupted(column, run, folder, told, runs)
    if isinstance(column, Metric):
        curve = _by_epoch(folder, stage(run.composition, column.stage, "").name, column.metric)
        if not curve.y:
            return None
        chosen = {"first epoch": curve.y[:1], "last epoch": curve.y[-1:], "all epochs": curve.y}[column.over]
        return Reading(sum(chosen) / len(chosen))
    if isinstance(column, Clusters):
        facts = stage_files.facts(folder, stage(run.composition, column.stage, "", targets=True).name) or {}
        return Reading(float(facts["chosen"][0])) if facts.get("chosen") else None
    if isinstance(column, Derived):
        return None  # of several lines: ``robustcl.study.tables.derived``
    judged = evaluation(run.composition, column.protocol, column.route, "")
    if isinstance(column, Transferred):
        return transfer.measure(column, judged, run, folder, runs)
    return questions.measure(column, judged, run.composition, folder, beside)


def epochs(run: Planned, folder: Path, name: str | None, metric: str) -> Curve:
    """Return a metric of a stage by epoch, without points where the recipe has no such stage."""
    try:
        return _by_epoch(folder, stage(run.composition, name, "").name, metric)
    except NotMeasured:
        return Curve(metric, (), ())


def silhouettes(folder: Path) -> list[Curve]:
    """Return the silhouette scores of each stage that chose its clusters by them."""
    return [
        Curve(str(entry["stage"]), tuple(map(float, entry["grid"])), tuple(map(float, entry["score"])), entry["chosen"])
        for entry in _results(folder).results.get("silhouette") or ()
    ]


def _results(folder: Path) -> Told:
    """Return a run's results.json, held against its journal; without rows where its evaluation was given up."""
    if not os.path.lexists(folder / "results.json"):
        return Told({"rows": []})
    results, evidence, _ = load_held(folder, unjudged=True)
    return Told(results, Outcomes(folder, evidence))


def _accuracy(column: Accuracy, run: Planned, folder: Path, told: Told) -> Reading | None:
    if column.on == "other" and run.elsewhere is not None:
        told = _results(folder / run.elsewhere.folder)
    row = _row(column, run, told.results)
    if row is None:
        return None
    known = told.outcomes.of(row) if told.outcomes is not None else ""
    images = known if isinstance(known, Verdicts) else None
    return Reading(row["value"], row.get("low"), row.get("high"), row.get("n"), images)


def _row(column: Accuracy, run: Planned, told: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of results.json that answers a column, ``None`` where none does."""
    plan, route = evaluation(run.composition, column.protocol, column.route, "")
    names = [part.name for part in plan.attacks]
    number = None if column.attack is None else 0 if column.attack == "first" else names.index(column.attack)
    attack = None if number is None else names[number]
    wanted = {"protocol": plan.table.use, "route": route, "split": column.split, "attack": attack}
    stage, encoder = plan.table.stage or "", plan.table.encoder
    if column.on == "other" and run.elsewhere is not None:
        stage, encoder = stage_name(stage or run.composition.stages[-1].name, encoder), ONLINE
    parts = run.composition.parts
    asked = {"protocol": parts.resolved(plan.table)}
    asked |= {} if number is None else {"attack": parts.resolved(plan.table.attacks[number])}
    samples = plan.table.samples if number is None else plan.table.first(number)
    found = []
    for row in told["rows"]:
        spec: Mapping[str, Any] = row.get("spec") or {}
        same = spec.get("stage", "") == stage and spec.get("encoder", ONLINE) == encoder
        if same and all(row.get(key) == value for key, value in wanted.items()):
            found.append(row)
    return max(found, key=lambda row: _fitness(row, asked, samples), default=None)


def _fitness(row: Mapping[str, Any], asked: Mapping[str, Any], samples: int | None) -> tuple[bool, bool, bool, int]:
    """Return how well an answer fits a study's question: its settings, then its images; the most images where it can.

    Beside it may stand answers to what somebody asked of the same run later.
    """
    spec = row.get("spec") or {}
    same = all(spec.get(key) == json.loads(json.dumps(value)) for key, value in asked.items())
    n = row.get("n") or 0
    return same, not row.get("partial"), samples is not None and n == samples, n


def _corrupted(column: Corrupted, run: Planned, folder: Path, told: Told, runs: transfer.Runs) -> Reading | None:
    clean, theirs = None, None
    if column.value == "relative-drop":
        same = Accuracy(name=column.name, protocol=column.protocol, route=column.route)
        clean = _accuracy(same, run, folder, told)
    if isinstance(column.baseline, str):
        found = [(other, place) for other, place in runs
                 if (other.row.name, other.seed, other.point) == (column.baseline, run.seed, run.point)]  # fmt: skip
        theirs = (_judged(column, found[0][0]), _results(found[0][1]).results) if found else None
    return corrupted.read(column, _judged(column, run), told.results, clean, theirs)


def _judged(column: Corrupted, run: Planned) -> tuple[str, str]:
    """Return by which protocol and on which route a column is read of a run."""
    plan, route = evaluation(run.composition, column.protocol, column.route, "")
    return plan.table.use, route


def _by_epoch(folder: Path, stage: str, metric: str) -> Curve:
    """Average what is logged within each epoch; epoch 1 is the first."""
    values: dict[int, list[float]] = {}
    path = folder / "metrics.jsonl"
    for number, text in enumerate(read_lines(path) if os.path.lexists(path) else (), 1):
        try:
            line = parse_json(text, f"{path}: line {number}", undefined=float)
            if line["stage"] == stage and metric in line:
                values.setdefault(math.ceil(line["epoch"] - 1e-9), []).append(float(line[metric]))
        except (DataError, KeyError, TypeError, ValueError, OverflowError):
            if not text.endswith(b"\n"):
                break  # torn by a kill
            raise DataError(f"{path}: line {number} is none that a stage has logged; train the run again") from None
    found = sorted(values)
    return Curve(metric, tuple(map(float, found)), tuple(sum(values[e]) / len(values[e]) for e in found))
