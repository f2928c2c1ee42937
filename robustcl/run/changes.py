"""``resume --set``: what may change in a run that has begun, and its lock's history of what did."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from robustcl.composition.assembly import assemble
from robustcl.composition.lock import digest
from robustcl.composition.plan import RecipePlan
from robustcl.cost.rehearsal import Rehearsed, build
from robustcl.cost.sizes import find_sizes
from robustcl.disk import write_atomically
from robustcl.errors import UsageError
from robustcl.recipe import override, reading
from robustcl.run.folder import only_one, reopen
from robustcl.train import checkpoint, rowwise, stage_files

_STAGE = re.compile(r"stage\.([^.]+)\.(optimizer\..+|clip|epochs|micro_batch)")
_RUN = re.compile(r"run\.(checkpoint|log_every)")
_MAY = (
    "stage.NAME.optimizer.OPTION, stage.NAME.clip, stage.NAME.epochs and stage.NAME.micro_batch of a stage that is "
    "not finished, run.checkpoint and run.log_every"
)


def change(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Change a run's lock by ``path=value`` each, and note it in ``lock.history``; return what was changed, in words.

    Nothing is written unless all of them may change and the recipe composes afterwards. What stands already changes
    nothing.

    Raises:
        UsageError: no run, a finished stage, or something that decides what the checkpoints hold.
    """
    reopen(folder)  # no lock file in what is no run
    path = folder / "recipe.lock.toml"
    with only_one(folder):
        before, _ = reopen(folder)
        tables: dict[str, Any] = reading.read(path)
        old = copy.deepcopy(tables)
        for assignment in overrides:
            _check(folder, before, assignment)
            override.apply(tables, assignment)
        if tables == old:
            return []
        after = assemble(tables, f"{path}, with {' and '.join(f'--set {text}' for text in overrides)}")
        if any(".micro_batch" in text.partition("=")[0] for text in overrides):
            _check_micro_batches(after)
        stage = next((each.name for each in after.recipe.stage if stage_files.facts(folder, each.name) is None), None)
        if stage is not None:
            _check_epochs(folder, stage, after.recipe.find(stage).epochs)
        steps = checkpoint.steps(folder / "checkpoints" / stage) if stage is not None else []
        entry = {"set": list(overrides), "stage": stage or "", "step": max(steps, default=0), "before": digest(before)}
        lock = tables.setdefault("lock", {})
        lock["history"] = [*earlier(lock), entry]
        write_atomically(path, tomli_w.dumps(tables), within=folder)
    where = f"from step {entry['step']} of the stage {stage}" if stage is not None else "from now"
    return [f"{', '.join(overrides)}: {where} (written into lock.history)"]


def earlier(lock: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a lock's history."""
    found = lock.get("history")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def digests(lock: dict[str, Any]) -> frozenset[str]:
    """Return the digests that a run's recipe had before its changes, which its older checkpoints carry."""
    return frozenset(str(entry.get("before")) for entry in earlier(lock))


def _check(folder: Path, composition: RecipePlan, assignment: str) -> None:
    key = assignment.partition("=")[0].strip()
    if _RUN.fullmatch(key):
        return
    found = _STAGE.fullmatch(key)
    if found is None or found[2] == "optimizer.use":
        raise UsageError(
            f"--set {assignment}: {key} decides what the run has learnt so far; what may change is {_MAY}; for "
            "anything else start a new run with another --out"
        )
    stage = composition.recipe.find(found[1])
    if stage_files.facts(folder, stage.name) is not None:
        raise UsageError(
            f"--set {assignment}: the stage {stage.name} of {folder} is finished, and its weights stay what they are; "
            "start a new run with another --out"
        )
    if found[2] == "micro_batch" and stage.batch_norm is not None:
        raise UsageError(
            f"--set {assignment}: the statistics of stage.{stage.name}.batch_norm = {stage.batch_norm!r} are those of "
            "micro batches, so that their size decides what the run has learnt so far; start a new run with another "
            "--out"
        )


def _check_micro_batches(composition: RecipePlan) -> None:
    """Refuse micro batches that would alter what is learnt, before the lock says that there are some."""
    sizes = find_sizes(composition)
    for stage, plan in zip(composition.recipe.stage, composition.stages, strict=True):
        if plan.micro_batch is not None:
            encoder = build(Rehearsed(composition, stage, plan, sizes), plan, composition.encoder.plugin)
            rowwise.require(plan, encoder, f"stage.{stage.name}")


def _check_epochs(folder: Path, stage: str, epochs: int) -> None:
    """Refuse fewer epochs than the newest checkpoint has begun: the lock would tell of less than was learnt."""
    state = checkpoint.newest(folder / "checkpoints" / stage)[0] or {}
    epoch, within = state.get("epoch"), state.get("within")
    if not isinstance(epoch, int) or not isinstance(within, int):
        return  # what a damaged one lacks is said by whoever goes on from it
    begun = epoch + (within > 0)
    if epochs < begun:
        raise UsageError(
            f"--set stage.{stage}.epochs={epochs}: the stage {stage} of {folder} has begun its epoch {begun} already; "
            f"give {begun} or more"
        )
