"""The page: everything a run has to say, gathered for the templates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from robustcl.errors import UsageError
from robustcl.report import composition, figures, picture, tables
from robustcl.report.canvas import Drawing
from robustcl.report.images import Strip, strip
from robustcl.report.load import FinishedRun
from robustcl.report.representation import Projection, representation

Part = Drawing | str
"""A drawing, or the sentence that says why there is none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The headline: the clean row and the hardest attacked row of the first protocol and route."""

    clean: Mapping[str, Any] | None
    attacked: Mapping[str, Any] | None


def render(run: FinishedRun, method: Projection = "t-sne") -> str:
    """Return a run's page as HTML; ``method`` draws the map of representations."""
    classes = [str(name) for name in (run.results.get("data") or {}).get("classes") or ()]
    panels = composition.panels(run.results)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            results=run.results,
            rows=rows(run.results),
            verdict=verdict(run.results),
            pictures=[picture.picture(panels, columns) for columns in (4, 2, 1)],
            words=composition.words(run.results),
            training=_training(run),
            silhouettes=_silhouettes(run.results),
            security=_security(run.results, classes),
            map=_map(run, classes, method),
            strip=_strip(run, classes),
            environment=tables.flat(run.results.get("environment") or {}),
            facts=facts(run.results),
        )
    )


def render_comparison(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page that lays several runs side by side, label -> results."""
    comparison = tables.compare(runs)
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            runs=runs,
            rows=[{"run": label, **row} for label, results in runs.items() for row in results["rows"]],
        )
    )


def store(text: str, file: Path) -> Path:
    """Write a page whole or not at all. Raises ``UsageError`` where the place cannot be written."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(file)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UsageError(f"{file} cannot be written ({error.strerror}): name another file with --out") from error
    return file


def rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the result rows for the table: the frame's columns and each row's own spec."""
    made = tables.records(tables.frame(results))
    return [{**row, "spec": tables.spec(raw)} for row, raw in zip(made, results["rows"], strict=True)]


def verdict(results: Mapping[str, Any]) -> Verdict:
    """Choose the headline without looking for the best number: the first test row's protocol and route.

    Of several attacks the one that leaves the least counts: robust accuracy is what survives the hardest.
    """
    accuracies = [row for row in rows(results) if is_accuracy(row) and row["value"] is not None]
    tested = [row for row in accuracies if row["split"] == "test"] or accuracies
    if not tested:
        return Verdict(None, None)
    where = [tested[0][key] for key in ("protocol", "route", "split")]
    same = [row for row in tested if [row[key] for key in ("protocol", "route", "split")] == where]
    clean = [row for row in same if row["attack"] is None]
    attacked = sorted((row for row in same if row["attack"] is not None), key=lambda row: row["value"])
    return Verdict(clean[0] if clean else None, attacked[0] if attacked else None)


def is_accuracy(row: Mapping[str, Any]) -> bool:
    """Say whether a row is a share of images, shown as percent, rather than another measure."""
    return row.get("correct") is not None or str(row["metric"]).endswith("_acc")


def facts(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what else identifies the run: seed, hash, times, sizes, threat."""
    data, threat, timing = (results.get(key) or {} for key in ("data", "threat", "timing"))
    found: dict[str, Any] = {
        "seed": results.get("seed"),
        "finished": results.get("finished"),
        "data set": data.get("use"),
        "images (train / validation / test)": _joined(data, ("train", "validation", "test")),
        "threat": f"{threat.get('norm')}, eps {threat.get('eps')}" if threat else None,
        "recipe hash": results.get("recipe_hash"),
        **{
            key.replace("_", " "): f"{value:.1f}" if isinstance(value, float) else value
            for key, value in timing.items()
        },
    }
    return {key: str(value) for key, value in found.items() if value is not None}


def _joined(data: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return " / ".join(str(data.get(key, tables.MISSING)) for key in keys) if any(key in data for key in keys) else None


def _training(run: FinishedRun) -> list[Part]:
    if "metrics" in run.absent:
        return [f"Left out: {run.absent['metrics']}."]
    stages = dict.fromkeys(str(line.get("stage", "")) for line in run.metrics)
    drawn = [
        figures.training(stage, place, [line for line in run.metrics if str(line.get("stage", "")) == stage])
        for place, stage in enumerate(stages)
    ]
    return [part for part in drawn if part] or ["Left out: metrics.jsonl holds no loss."]


def _silhouettes(results: Mapping[str, Any]) -> list[Part]:
    drawn = [figures.silhouette(entry, place) for place, entry in enumerate(results.get("silhouette") or ())]
    return [part for part in drawn if part] or [
        "Left out: no stage of this run chose a number of clusters by silhouette."
    ]


def _security(results: Mapping[str, Any], classes: Sequence[str]) -> Part:
    eps = (results.get("threat") or {}).get("eps_value")
    drawn = figures.security(results.get("security") or (), eps, 1 / len(classes) if classes else None)
    return drawn or "Left out: this run was attacked with one budget only."


def _map(run: FinishedRun, classes: Sequence[str], method: Projection) -> Part:
    if run.representation is None:
        return f"Left out: {run.absent['representation']}."
    drawn = representation(run.representation, classes, method)
    return f"Left out: {drawn}." if isinstance(drawn, str) else drawn


def _strip(run: FinishedRun, classes: Sequence[str]) -> Strip | str:
    if run.strip is None:
        return f"Left out: {run.absent['strip']}."
    made = strip(run.strip, classes)
    return f"Left out: {made}." if isinstance(made, str) else made


def environment() -> Environment:
    """Return where templates are found, with the filters that they use."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": tables.percent, "say": composition.say, "exact": exact, "flat": tables.flat}
    made.tests |= {"accuracy": is_accuracy, "text": lambda part: isinstance(part, str)}
    made.globals |= {"interval": tables.interval, "missing": tables.MISSING, "width": picture.WIDTH}
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return made


def exact(value: object) -> str:
    """Return a number as JSON writes it, "" for none: what ``data-value`` holds."""
    return "" if value is None or (isinstance(value, float) and pd.isna(value)) else json.dumps(value)
