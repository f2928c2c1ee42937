"""The page: everything a run has to say, gathered for the templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from robustcl.recipe.made import headline, of_results
from robustcl.report import blackbox, composition, curves, figures, picture, tables
from robustcl.report.audits import badge, read_audits
from robustcl.report.canvas import Drawing
from robustcl.report.commands import list_commands
from robustcl.report.corruptions import draw_grids
from robustcl.report.drops import list_drops
from robustcl.report.facts import list_facts
from robustcl.report.headline import rows, verdict
from robustcl.report.images import Strip, strip
from robustcl.report.load import FinishedRun
from robustcl.report.measured import read_measured
from robustcl.report.others import list_others
from robustcl.report.rendering import TEMPLATES, environment, store
from robustcl.report.representation import Projection, draw_representation
from robustcl.report.samples import read_samples
from robustcl.report.standing import list_standing
from robustcl.report.threats import read_threats
from robustcl.report.unmeasured import list_missing

__all__ = ["environment", "render", "store"]

Part = Drawing | str
"""A drawing, or the sentence that says why there is none."""


def render(run: FinishedRun, method: Projection = "t-sne") -> str:
    """Return a run's page as HTML; ``method`` draws the map of representations."""
    classes = [str(name) for name in (run.results.get("data") or {}).get("classes") or ()]
    panels = composition.panels(run.results)
    made, told, head = rows(run.results), read_audits(run.results), verdict(run.results)
    under, unread = read_threats(run.path)
    view, asked = read_samples(run, classes), list_commands(run.results, run.path)
    script = Markup((TEMPLATES / "filter.js").read_text(encoding="utf-8")) if view else None
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            results=run.results,
            headline=_headline(run.results),
            outside=run.results["model"] if isinstance(run.results.get("model"), Mapping) else None,
            rows=made,
            verdict=head,
            badge=badge(head.attacked, told, run.results, asked.audit) if head.attacked else None,
            audits=told,
            questions=list(dict.fromkeys(question for audit in told for question in audit.questions)),
            standing=list_standing(made),
            threats=under,
            unread=unread,
            pictures=[picture.draw_picture(panels, columns) for columns in (4, 2, 1)],
            words=composition.words(run.results),
            training=_training(run),
            silhouettes=_silhouettes(run.results),
            security=_security(run.results, classes),
            convergence=curves.draw_convergence(run.results),
            corruptions=draw_grids(run.results),
            others=list_others(run.results),
            transfer=blackbox.matrices(run),
            view=view,
            script=script,
            script_hash=_hash(script) if script else None,
            map=_map(run, classes, method),
            measures=read_measured(run, classes),
            drops=list_drops(made),
            strip=_strip(run, classes),
            environment=tables.flat(run.results.get("environment") or {}),
            facts=list_facts(run.results),
            unmeasured=list_missing(run, made, asked),
        )
    )


def _headline(results: Mapping[str, Any]) -> list[str]:
    """Return seed, budget, base recipe and what differs from it; nothing for a model from elsewhere."""
    if isinstance(results.get("model"), Mapping) or results.get("seed") is None:
        return []
    first, *rest = headline("", results["seed"], of_results(results))
    return [first.removeprefix(", "), *rest]


def _hash(script: str) -> str:
    """Return what the page's policy says of the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _training(run: FinishedRun) -> list[Part]:
    if "metrics" in run.absent:
        return [f"Left out: {run.absent['metrics']}."]
    stages = dict.fromkeys(str(line.get("stage", "")) for line in run.metrics)
    drawn = [
        figures.draw_training(stage, place, [line for line in run.metrics if str(line.get("stage", "")) == stage])
        for place, stage in enumerate(stages)
    ]
    return [part for part in drawn if part] or ["Left out: metrics.jsonl holds no loss."]


def _silhouettes(results: Mapping[str, Any]) -> list[Part]:
    drawn = [figures.draw_silhouette(entry, place) for place, entry in enumerate(results.get("silhouette") or ())]
    return [part for part in drawn if part] or [
        "Left out: no stage of this run chose a number of clusters by silhouette."
    ]


def _security(results: Mapping[str, Any], classes: Sequence[str]) -> Part:
    eps = (results.get("threat") or {}).get("eps_value")
    drawn = figures.draw_security(results.get("security") or (), eps, 1 / len(classes) if classes else None)
    return drawn or "Left out: this run was attacked with one budget only."


def _map(run: FinishedRun, classes: Sequence[str], method: Projection) -> Part:
    if run.representation is None:
        return f"Left out: {run.absent['representation']}."
    drawn = draw_representation(run.representation, classes, method)
    return f"Left out: {drawn}." if isinstance(drawn, str) else drawn


def _strip(run: FinishedRun, classes: Sequence[str]) -> Strip | str:
    if run.strip is None:
        return f"Left out: {run.absent['strip']}."
    made = strip(run.strip, classes)
    return f"Left out: {made}." if isinstance(made, str) else made
