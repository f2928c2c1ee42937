"""What a stage in progress must remember to go on as if it had never stopped."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from robustcl.errors import CheckpointError
from robustcl.train import checkpoint
from robustcl.train.falling import LossCurve
from robustcl.train.pairs import EpochMeans
from robustcl.train.refresh import ClusterState

if TYPE_CHECKING:
    from robustcl.train.loop import StageRun


def snapshot(run: StageRun, optimizer: torch.optim.Optimizer | None, mark: int) -> dict[str, Any]:
    """Return the state of a stage; ``mark`` is how many bytes of the metrics belong to it."""
    return {
        "recipe": run.keeping.recipe_hash,
        "stage": run.plan.name,
        "step": run.done,
        "epoch": run.epoch,
        "within": run.within,
        "seconds": run.seconds,
        "mark": mark,
        "online": run.encoders.online.state_dict(),
        "ema": {name: encoder.state_dict() for name, encoder in run.encoders.ema.items()},
        "heads": run.step.heads.state_dict(),
        "optimizer": optimizer.state_dict() if optimizer is not None else {},
        "rows": run.chosen_rows,
        "clusters": run.clusters.packed(),
        "pairs": {"sums": run.pairs.sums, "steps": run.pairs.steps},
        "curve": asdict(run.curve),
    }


def restore(run: StageRun, optimizer: torch.optim.Optimizer | None) -> int | None:
    """Load the newest valid checkpoint into a stage, if there is one; return its mark in the metrics.

    Raises:
        CheckpointError: the checkpoints belong to another recipe.
    """
    state, passed = checkpoint.newest(run.keeping.folder)
    for number, sentence in enumerate(passed, 1):
        last = state is None and number == len(passed)
        run.say(f"{sentence}; {'the stage starts anew' if last else 'the one before it is used'}")
    if state is None:
        return None
    if state.get("recipe") != run.keeping.recipe_hash:
        raise CheckpointError(f"the checkpoints in {run.keeping.folder} belong to another recipe; use another --out")
    try:
        return _put(run, optimizer, state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
        fault = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the newest checkpoint in {run.keeping.folder} does not fit the recipe: {fault}; remove it, and the one "
            "before it is used"
        ) from None


def _put(run: StageRun, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]) -> int:
    """Load a state; return its mark."""
    run.encoders.online.load_state_dict(state["online"])
    for name, encoder in run.encoders.ema.items():
        encoder.load_state_dict(state["ema"][name])
    run.step.heads.load_state_dict(state["heads"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    run.done, run.epoch, run.within = state["step"], state["epoch"], state["within"]
    run.seconds, run.chosen_rows = state["seconds"], state["rows"]
    run.clusters = ClusterState.unpacked(state["clusters"], run.engine.device)
    run.pairs = EpochMeans(**state["pairs"])
    run.curve = LossCurve(**state.get("curve", {}))  # earlier checkpoints have none
    mark: int = state["mark"]
    return mark
