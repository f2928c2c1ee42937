"""results.json: what was measured, under which threat, by which composition, in which environment."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from robustcl.composition.lock import digest
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.recipe import Recipe
from robustcl.registry.installed import version
from robustcl.run.splits import Splits
from robustcl.train import stage_files
from robustcl.train.engine import Engine

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("protocol", "route", "split", "attack", "metric", "n", "correct", "value", "low", "high")


@dataclass(frozen=True, slots=True)
class Results:
    """The tables of results.json."""

    tables: Mapping[str, Any]

    def __repr__(self) -> str:
        """Return what it is in a line; ``to_frame`` shows the numbers."""
        return f"<Results of {self.tables.get('name')}: {len(self.tables.get('rows', ()))} rows, see to_frame()>"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per measured number: protocol, route, split, attack, metric, n, correct, value, interval."""
        import pandas as pd

        return pd.DataFrame(list(self.tables["rows"]), columns=list(_COLUMNS))


def describe_run(
    composition: RecipePlan,
    folder: Path,
    splits: Splits,
    measured: Mapping[str, Any],
    evaluate_seconds: float,
    engine: Engine,
) -> dict[str, Any]:
    """Return everything that the report and later comparisons need to know of a run."""
    recipe = composition.recipe
    facts = {stage.name: stage_files.facts(folder, stage.name) or {} for stage in recipe.stage}
    return {
        "schema": 1,
        "name": recipe.name,
        "seed": recipe.seed,
        "made": recipe.made.model_dump(exclude_defaults=True) if recipe.made is not None else {},
        "pretrained": _pretrained(recipe),
        "recipe_hash": digest(composition),
        **({} if recipe.judged is None else {"branch": recipe.judged}),
        "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "threat": {
            "norm": composition.ball.norm,
            "eps": str(recipe.threat.eps),
            "eps_value": float(composition.ball.eps),
        },
        "data": {
            "use": recipe.data.use,
            "classes": list(splits.classes),
            "train": splits.train.samples,
            "validation": splits.validation.samples if splits.validation is not None else 0,
            "test": max((row["n"] for row in measured["rows"] if row["split"] == "test"), default=0),
            "item": list(splits.train.item),
        },
        "composition": composition_of(composition),
        **measured,
        "silhouette": _silhouettes(facts),
        "timing": {
            "train_seconds": sum(float(fact.get("seconds", 0.0)) for fact in facts.values()),
            "evaluate_seconds": evaluate_seconds,
        },
        "environment": environment(composition.parts, engine),
    }


def _pretrained(recipe: Recipe) -> str | None:
    """Return the weights from outside that the run starts from: "run:FOLDER" or "file:FOLDER"."""
    origins = [stage.init for stage in recipe.stage if stage.init is not None]
    return next((origin for origin in origins if not origin.startswith("stage:")), None)


def _silhouettes(facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the curve over numbers of clusters of each stage that chose its own by silhouette."""
    return [
        {
            "stage": name,
            "grid": [clusters for clusters, _ in fact["curve"]],
            "score": [score for _, score in fact["curve"]],
            "chosen": fact["chosen"][0],
        }
        for name, fact in facts.items()
        if fact.get("curve")
    ]


def composition_of(composition: RecipePlan) -> dict[str, Any]:
    """Return the stages as the report draws them."""
    stages = []
    for stage, plan in zip(composition.recipe.stage, composition.stages, strict=True):
        targets = None
        if plan.targets is not None and stage.targets is not None:
            clusters = stage.targets.clusters
            targets = {"use": plan.targets.part.name, "clusters": clusters, "refresh": stage.targets.refresh}
        stages.append({
            "name": stage.name,
            "epochs": stage.epochs,
            "views": {view.name: view.part.name for view in plan.views},
            "generators": [
                {"name": g.name, "use": g.part.name, "reads": list(g.reads), "writes": list(g.writes),
                 "origin": str(composition.parts.origins[f"generator {g.part.name}"])}
                for g in plan.generators
            ],
            "targets": targets,
            "encoders": {"online": stage.init or "new", **{n: str(o) for n, o in stage.encoders.items()}},
            "terms": [
                {"name": t.name, "use": t.objective.name, "selector": t.selector.name if t.selector else None,
                 "views": {role: str(ref).removesuffix("@online") for role, ref in t.roles},
                 "mix": {n: w if isinstance(w, float) else str(w) for n, w in t.weights.items()}}
                for t in plan.terms
            ],
            "routes": dict(plan.routes),
        })  # fmt: skip
    return {"stages": stages}


def environment(parts: Parts, engine: Engine) -> dict[str, Any]:
    """Return the facts of the machine and the software that produced a number."""
    distributions = {origin.distribution: origin.version for origin in parts.origins.values()}
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "robustcl": version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "device": str(engine.device) if engine.device.type == "cpu" else torch.cuda.get_device_name(engine.device),
        "precision": engine.precision,
        "plugins": distributions,
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
