"""A finished run's encoder on another data set: a recipe that trains no step, only the protocols' own classifiers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from robustcl.analysis.again import Wanted
from robustcl.composition import exchange
from robustcl.composition.assembly import assemble
from robustcl.composition.plan import RecipePlan
from robustcl.disk import as_usage, make_folder
from robustcl.errors import UsageError
from robustcl.evaluate.work import WHOLE, Work
from robustcl.nn.modes import hold_mode
from robustcl.recipe import Use
from robustcl.run import folder as folder_of
from robustcl.run import preflight
from robustcl.run.execution import Run, execute
from robustcl.run.splits import Splits, open_splits
from robustcl.train import stage_files
from robustcl.train.encoders import ONLINE
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing


def evaluate_elsewhere(
    folder: Path,
    dataset: str,
    wanted: Wanted,
    *,
    data_dir: str | None = None,
    out: Path | None = None,
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Train and judge the run's protocols on another data set's splits; the encoder keeps its own normalisation.

    The result is a run of its own below ``out``, by default ``FOLDER/transfer-DATASET``: it can be resumed, judged
    again and reported as any other. Protocols, attacks and threat are the run's, where ``wanted`` says nothing else.

    Raises:
        UsageError: no finished run, an unknown data set, a folder that is taken, a classifier of other classes.
        WeightsError: the images have other channels, or a size that the backbone cannot take.
    """
    tables, options = wanted.tables(folder, say)
    table = Use(use=dataset, **exchange.files(dataset, data_dir))
    target = out or folder / f"transfer-{slug(dataset)}"
    return judged_on(table, tables, options, folder, target, work=work, watcher=watcher, say=say)


def judged_on(
    dataset: Use,
    tables: Mapping[str, Any],
    options: Mapping[str, Any],
    folder: Path,
    target: Path,
    *,
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Judge the run in ``folder`` on another data set, into the new run ``target``; see ``evaluate_elsewhere``.

    tables: the run's recipe with the evaluations that are asked for. options: where it computes, as ``run.json``.
    """
    judged = assemble(recipe(tables, folder, dataset), f"{folder} on {dataset.use}")
    target = folder_of.free(judged, target)
    engine = Engine(options["device"], 1, options["precision"])
    splits = open_splits(judged, engine.device, test=bool(judged.evaluations))
    preflight.check(judged, splits)
    _check_size(judged, splits, dataset.use)
    with as_usage(f"--out {target}", "choose another directory"):
        make_folder(target)
    with folder_of.only_one(target):
        folder_of.free(judged, target)
        folder_of.create(judged, target, {key: options[key] for key in ("device", "precision")} | {"devices": 1})
        return execute(judged, target, engine, watcher, say, splits, work)


def recipe(tables: Mapping[str, Any], folder: Path, dataset: Use) -> dict[str, Any]:
    """Return the recipe: for each judged encoder a stage of 0 epochs that starts from it, and the run's evaluations."""
    last = tables["stage"][-1]["name"]
    stages: dict[str, dict[str, Any]] = {}
    entries = []
    for entry in tables["evaluate"]:
        stage, encoder = entry.get("stage") or last, entry.get("encoder") or ONLINE
        name = stage_name(stage, encoder)
        origin = (
            f"run:{folder.resolve()}" if stage == last else f"file:{stage_files.stage_folder(folder.resolve(), stage)}"
        )
        init = origin if encoder == ONLINE else f"{origin}@{encoder}"
        stages[name] = {"name": name, "epochs": 0, "init": init}
        entries.append({**entry, "stage": name, "encoder": ONLINE})
    data = {key: tables["data"][key] for key in ("batch", "validation") if key in tables["data"]}
    return {
        "name": f"{tables['name']}-on-{slug(dataset.use)}",
        "about": f"The frozen encoder of {folder}, judged on {dataset.use}.",
        "seed": tables["seed"],
        "data": {"use": dataset.use, **data, **dataset.options},
        "threat": tables["threat"],
        "encoder": tables["encoder"],
        **({"judged": tables["judged"]} if "judged" in tables else {}),
        "stage": list(stages.values()),
        "evaluate": entries,
    }


def stage_name(stage: str, encoder: str) -> str:
    """Return what the stage is called that starts from this encoder of a run's stage."""
    return stage if encoder == ONLINE else f"{stage}-{encoder}"


def _check_size(composition: RecipePlan, splits: Splits, dataset: str) -> None:
    """Send two images of another size through each encoder, before a folder is made."""
    for stage in composition.recipe.stage:
        assert stage.init is not None
        encoder = stage_files.load(stage_files.resolve(stage.init, Path()))
        if splits.train.item == encoder.item:
            continue
        images = splits.train.fetch(torch.arange(min(2, splits.train.samples))).cpu()
        try:
            with torch.no_grad(), hold_mode(encoder, "eval"):
                encoder(images, encoder.routes[0], frozenset({"h"}))
        except RuntimeError as error:
            raise UsageError(
                f"--dataset {dataset}: its images are {splits.train.item}, and the backbone of {stage.init} cannot "
                f"take them, because it was made for {encoder.item}: {str(error).splitlines()[0]}"
            ) from None


def slug(dataset: str) -> str:
    """Return a data set's name as folders and recipes can carry it: "npz:my/images.npz" is npz-images."""
    kind, _, path = dataset.partition(":")
    return re.sub(r"[^a-z0-9]+", "-", f"{kind} {Path(path).stem}".lower()).strip("-")
