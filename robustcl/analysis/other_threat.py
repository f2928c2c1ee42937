"""A finished run under another threat: the same classifiers and attacks, the numbers in a folder of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustcl import hooks
from robustcl.analysis.again import Wanted
from robustcl.analysis.subject import open_run
from robustcl.composition.asked import attack_of
from robustcl.composition.assembly import assemble
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.promises import class_names
from robustcl.disk import read_json
from robustcl.errors import DataError, UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.work import WHOLE, Work
from robustcl.hooks import GeneratorHooks
from robustcl.recipe import AttackTable
from robustcl.run import answers
from robustcl.run.execution import Run
from robustcl.run.folder import make_out, only_one
from robustcl.run.results import Results, describe_run
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing


def evaluate_under(
    folder: Path,
    eps: str,
    wanted: Wanted,
    *,
    norm: str | None = None,
    out: Path | None = None,
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Judge a finished run within a ball of another size, or of another norm; its own results stay as they are.

    The protocols' classifiers are the run's own, trained under its own threat. A step size grows with the ball: it
    keeps its share of eps. Results, journal, audit and images go below ``out``, by default
    ``FOLDER/threat-NORM-EPS``; the same call goes on there where it was cut off. The curve and the convergence are
    measured where ``wanted`` asks for them; budgets of a curve are of the new norm.

    Raises:
        UsageError: no finished run, a ball without room or wider than the pixels' range, the run's own threat, an
            attack that does not know the norm, or a folder that holds something else.
    """
    asked = replace(wanted, curve=(), corruptions=False)
    tables, options = asked.tables(folder, say)
    judged = under(assemble(tables, str(folder)), folder, eps, norm, wanted)
    if bare := [plan.table.use for plan in judged.evaluations if not plan.attacks]:
        raise UsageError(f"evaluate.{bare[0]}: there is no attack to judge with; name one with --attack")
    ball = judged.ball
    target = _empty_or_alike(out or place(folder, ball, eps), ball)
    engine = Engine(options["device"], 1, options["precision"])
    opened = open_run(judged, folder, engine, say, home=target, work=work, watcher=watcher)
    with opened as run, only_one(target, work.occupies):
        started = time.monotonic()
        measured = run.measure()
        described = describe_run(judged, folder, run.stages.splits, measured, time.monotonic() - started, engine)
        threat = {"norm": ball.norm, "eps": str(eps), "eps_value": float(ball.eps)}
        name = f"{described['name']}-under-{ball.norm.lower()}-{_slug(eps)}"
        results = Results({**described, "name": name, "threat": threat, "judged": str(folder)})
        if work.whole:
            results = Results(answers.keep(target, results.tables, say))
    return Run(target, results)


def under(
    composition: RecipePlan, folder: Path, eps: str, norm: str | None, wanted: Wanted | None = None
) -> RecipePlan:
    """Return a run's composition with another ball to judge in; whatever is trained keeps the ball it was built with.

    Raises:
        UsageError: as ``evaluate_under``; ``folder`` is the run's.
    """
    wanted = wanted or Wanted()
    ball = ball_of(norm or composition.ball.norm, eps, "--eps")
    if (ball.norm, float(ball.eps)) == (composition.ball.norm, float(composition.ball.eps)):
        raise UsageError(f"--eps {eps} is the threat of {folder} itself: leave it out")
    for budget in wanted.curve:
        ball_of(ball.norm, budget, "--curve")
    times = float(ball.eps) / float(composition.ball.eps)
    plans = [_scaled(plan, composition.parts, ball, times, wanted) for plan in composition.evaluations]
    classes = len(class_names(composition.dataset.plugin))
    for attack in (attack for plan in plans for attack in plan.attacks):
        scaled.members(attack.plugin, classes, ball)  # an attack that does not know the norm says so before any work
    return replace(composition, ball=ball, evaluations=tuple(plans))


def place(folder: Path, ball: Ball, eps: str) -> Path:
    """Return where a run keeps its numbers in another ball, unless another place is asked for."""
    return folder / f"threat-{ball.norm.lower()}-{_slug(eps)}"


def _scaled(plan: EvaluationPlan, parts: Parts, ball: Ball, times: float, wanted: Wanted) -> EvaluationPlan:
    """Return a plan whose attacks take steps of the same share of eps; the tables say which, and so do the keys."""
    tables = []
    for table, attack in zip(plan.table.attacks, plan.attacks, strict=True):
        step = hooks.of(scaled.mover(attack.plugin), GeneratorHooks).step_size
        moved: dict[str, Any] = {"step_size": step * times} if isinstance(step, int | float) else {}
        moved |= scaled.grow(attack.plugin, times)
        tables.append(AttackTable(use=table.use, samples=table.samples, **{**parts.resolved(table), **moved}))
    attacks = tuple(attack_of(table, parts, f"evaluate.{plan.table.use}.attacks") for table in tables)
    changes: dict[str, Any] = {"attacks": tables, "curve": list(wanted.curve), "corruptions": None}
    changes |= {} if wanted.convergence else {"convergence": None}
    changed = plan.table.model_copy(update=changes)
    protocol = parts.make("protocol", changed, f"evaluate.{changed.use}")  # the new table's options are looked up by it
    return replace(plan, table=changed, protocol=protocol, attacks=attacks)


def _empty_or_alike(target: Path, ball: Ball) -> Path:
    """Return the folder, which is empty or holds numbers under the very same threat."""
    if (target / "results.json").is_file():
        results = read_json(target / "results.json", remedy="choose another folder", undefined=lambda _: None)
        held = results.get("threat") if isinstance(results, dict) else None
        if not isinstance(held, dict):
            raise DataError(f"{target / 'results.json'} names no threat: choose another folder")
        if (held.get("norm"), held.get("eps_value")) != (ball.norm, float(ball.eps)):
            said = f"{held.get('norm')} eps {held.get('eps')}"
            raise UsageError(f"--out {target} holds numbers under another threat, {said}; choose another folder")
    return make_out(target, "the other threat")


def _slug(eps: str) -> str:
    """Return a radius as a folder's name can carry it: "8/255" is 8-255."""
    return re.sub(r"[^0-9a-z.]+", "-", eps.lower()).strip("-")
