"""What a stage in progress must remember to go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch

from robustcl import ranks
from robustcl.errors import CheckpointError
from robustcl.train import checkpoint
from robustcl.train.falling import LossCurve
from robustcl.train.pairs import EpochMeans
from robustcl.train.passes import Passes
from robustcl.train.refresh import ClusterState
from robustcl.train.stage import StageState


def snapshot(run: StageState, optimizer: torch.optim.Optimizer | None, mark: int) -> dict[str, Any]:
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
        "passes": run.encoders.passes.packed(),
        "memory": run.memory.read(),
    }


def restore(run: StageState, optimizer: torch.optim.Optimizer | None) -> int | None:
    """Load the newest valid checkpoint into a stage, if there is one; return its mark in the metrics.

    Raises:
        CheckpointError: the checkpoints belong to another recipe.
    """
    # By one rank for all: a network disk may show another machine an older checkpoint.
    state, passed = ranks.by_first(lambda: checkpoint.newest(run.keeping.folder))
    for number, sentence in enumerate(passed, 1):
        last = state is None and number == len(passed)
        run.say(f"{sentence}; {'the stage starts anew' if last else 'the one before it is used'}")
    if state is None:
        return None
    of = state.get("recipe")
    if of != run.keeping.recipe_hash and of not in run.keeping.earlier:
        raise CheckpointError(f"the checkpoints in {run.keeping.folder} belong to another recipe; use another --out")
    try:
        return _put(run, optimizer, state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
        fault = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the newest checkpoint in {run.keeping.folder} does not fit the recipe: {fault}; remove it, and the one "
            "before it is used"
        ) from None


def _put(run: StageState, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]) -> int:
    """Load a state; return its mark."""
    run.encoders.online.load_state_dict(state["online"])
    for name, encoder in run.encoders.ema.items():
        encoder.load_state_dict(state["ema"][name])
    run.step.heads.load_state_dict(state["heads"])
    if optimizer is not None:
        _load(optimizer, state["optimizer"], keep=state["recipe"] != run.keeping.recipe_hash)
    for key in ("step", "epoch", "within", "mark"):
        if type(state[key]) is not int or not 0 <= state[key] < 2**53:
            raise ValueError(f"{key} is {state[key]!r:.40}, no count")
    if not isinstance(state["seconds"], int | float) or not math.isfinite(state["seconds"]):
        raise ValueError(f"seconds is {state['seconds']!r:.40}")
    run.done, run.epoch, run.within = state["step"], state["epoch"], state["within"]
    run.seconds, run.chosen_rows = state["seconds"], state["rows"]
    run.clusters = ClusterState.unpacked(state["clusters"], run.engine.device)
    run.pairs = EpochMeans(**state["pairs"])
    run.curve = LossCurve(**state.get("curve", {}))  # earlier checkpoints have none
    run.encoders.passes = Passes.unpacked(state.get("passes"))
    run.memory.carry(state.get("memory"))
    mark: int = state["mark"]
    return mark


def _load(optimizer: torch.optim.Optimizer, state: dict[str, Any], *, keep: bool) -> None:
    """Load what an optimiser has remembered; ``keep``: its options stay those of the recipe, which were changed.

    Raises:
        ValueError: a memory of another shape than its parameter.
    """
    options = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    if keep:
        for group, own in zip(optimizer.param_groups, options, strict=True):
            group.update(own)
    for parameter, memory in optimizer.state.items():
        for name, value in memory.items():
            if name in _ALIKE and isinstance(value, torch.Tensor) and value.shape != parameter.shape:
                raise ValueError(f"{name} of the optimiser has the shape {tuple(value.shape)}")


_ALIKE = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
"""What the optimisers of torch remember in their parameter's own shape."""
