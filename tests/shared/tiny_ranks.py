"""One training step, computed by one process or shared by two: the cases, and the process that computes them.

``script`` with the arguments RANK WORLD FOLDER takes its slice of each batch through ``StageRun`` and ``Step`` in
float64, averages the gradients over the ranks by hand, and keeps what came out in ``FOLDER/WORLD-RANK.pt``.
"""

from __future__ import annotations

import copy
import datetime
import inspect
import json
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn

from robustcl import api, registry
from robustcl.errors import RobustclError
from robustcl.options import describe
from robustcl.options.schedule import Progress
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.train.refresh import refresh
from robustcl.train.step import Moment
from tests.shared.one_step import stage_run

NO_GLOO = 77
"""Exit code of a process that cannot start gloo."""

ASKED = "asked.json"
"""The names of the cases to compute, in the folder."""

BATCH = 8

MICRO = "micro batches"
"""A case for mode "eval" alone: batch statistics would be those of a micro batch."""

_TABLES: dict[str, Any] = {
    "name": "ranks",
    "data": {"use": "digits", "batch": BATCH},
    "threat": {"eps": "8/255"},
    "encoder": {"use": "resnet-small", "width": 2, "projector": {"widths": [6, 4]}},
}
_FIRST = {
    "name": "first",
    "epochs": 0,
    "views": {"a": "none", "b": "none"},
    "objective": "info-nce",
    "optimizer": "sgd",
}
_PGD = {"use": "pgd", "steps": 2, "step_size": "4/255"}
_SELECTORS = {"adaptive-fnc": {"rho": 0.9999}, "glofnd": {"lr": 1e-4}}
"""In a fresh encoder all images look alike: with the usual thresholds no negative would be left."""
_CLUSTERS = {"use": "spherical-kmeans", "clusters": 4}


def cases() -> dict[str, dict[str, Any]]:
    """Return name -> stage table, for every registered objective, generator and selector, and some compositions."""
    found = {f"objective {name}": _objective(name) for name in registry.names("objective")}
    found |= {f"generator {name}": _generator(name) for name in registry.names("generator") if _runs(name)}
    found |= {
        f"selector {name}": _with_needs({
            "views": {"a": "weak", "b": "weak"},
            "term": {"contrast": {"use": "info-nce", "views": ["a", "b"], "selector": _selector(name)}},
        }) for name in registry.names("selector")
    }  # fmt: skip
    found["joint perturbation of two views"] = _with_needs({
        "views": {"a": "weak", "b": "weak"},
        "generator": {"pair": _PGD | {"reads": ["a", "b"], "writes": ["a_adv", "b_adv"], "restarts": 2}},
        "routes": {"a_adv": "adv", "b_adv": "adv"},
        "term": {
            "clean": {"use": "info-nce", "views": ["a", "b"]},
            "contrast": {"use": "info-nce", "views": ["a_adv", "b_adv"]},
        },
    })  # fmt: skip
    found["a follower encodes a view"] = _with_needs({
        "views": {"a": "weak", "b": "weak"},
        "encoders": {"slow": {"of": "online", "momentum": 0.5}},
        "encode": {"b": "slow"},
        "generator": {"a_adv": _PGD | {"reads": ["a"]}},
        "term": {"contrast": {"use": "info-nce", "views": ["a_adv", "b"]}},
    })  # fmt: skip
    found["an attack in train mode"] = _with_needs({
        "views": {"a": "weak"},
        "generator": {"a_adv": _PGD | {"reads": ["a"], "mode": "train"}},
        "term": {"ce": {"use": "cross-entropy", "views": ["a_adv"]}},
        "classifier": "default",
    })  # fmt: skip
    found["one forward for two routes apart"] = _with_needs({
        "views": {"a": "weak", "b": "weak"},
        "generator": {"a_adv": {"use": "noise", "reads": ["a"]}},
        "forward": "by-view",
        "routes": {"a_adv": "adv"},
        "term": {"contrast": {"use": "info-nce", "views": ["a", "b", "a_adv"]}},
    })  # fmt: skip
    found[MICRO] = found["joint perturbation of two views"] | {"micro_batch": 3}
    return found


def _selector(name: str) -> dict[str, Any]:
    return {"use": name, **_SELECTORS.get(name, {})}


def _runs(name: str) -> bool:
    """Leave out generators without their library, and those that say nothing without an option."""
    cls: Any = registry.get("generator", name)
    available = getattr(cls, "available", None)
    return not any(option.required for option in describe(cls)) and (available is None or available() is None)


def _objective(name: str) -> dict[str, Any]:
    """Bind the roles of any objective: an adversarial view where it asks for one, or else as its first view."""
    cls: Any = registry.get("objective", name)
    if Need.TARGET in cls.needs:
        return _pretext(name, cls)
    if Need.VALUES in cls.needs:
        return _of_values(name)
    if cls.views == ("*",):
        roles: Any = ["a_adv", "a", "b"]
    else:
        adversarial = next((role for role in cls.views if role.startswith("adv")), cls.views[0])
        plain = [role for role in cls.views if role != adversarial]
        roles = {adversarial: "a_adv"} | {role: ("a", "b")[i % 2] for i, role in enumerate(plain)}
        roles |= {"teacher": "a@teacher"} if "teacher" in cls.views else {}
    read = set(roles if isinstance(roles, list) else roles.values())
    drawn = {"a": "weak"} | ({"b": "weak"} if "b" in read else {})
    return _with_needs({
        "views": drawn,
        "generator": {"a_adv": _PGD | {"reads": ["a"]}},
        "routes": {"a_adv": "adv"},
        "term": {"it": {"use": name, "views": roles}},
    })  # fmt: skip


def _pretext(name: str, cls: Any) -> dict[str, Any]:
    """Let an objective predict what a view did; one that reads patches is attacked through the cut."""
    views: dict[str, Any] = {"a": "rotation"}
    roles = ["a_adv", "a"]
    if hasattr(cls, "patches"):
        views = {"a": "weak", "p": {"use": "patches", "of": "a"}, "p_adv": {"use": "patches", "of": "a_adv"}}
        roles = ["p_adv", "p"]
    return _with_needs({
        "views": views,
        "generator": {"a_adv": _PGD | {"reads": ["a"]}},
        "term": {"it": {"use": name, "views": roles}},
    })  # fmt: skip


def _of_values(name: str) -> dict[str, Any]:
    """Let an objective read the gradients of a contrastive term, which looks at the rows of all ranks."""
    return _with_needs({
        "views": {"a": "weak", "b": "weak"},
        "generator": {"a_adv": _PGD | {"reads": ["a"]}},
        "differentiable": ["a_adv", "b"],
        "term": {
            "first": {"use": "info-nce", "views": ["a_adv", "b"]},
            "it": {"use": name, "views": ["a_adv", "b"]},
        },
    })  # fmt: skip


def _generator(name: str) -> dict[str, Any]:
    """Let a generator attack what it can: a classifier where it reads one, otherwise features beside a teacher's."""
    cls: Any = registry.get("generator", name)
    term = {"use": "deacl", "views": {"clean": "w", "adversarial": "w_adv", "teacher": "w@teacher"}}
    constants = dict.fromkeys(getattr(cls, "constants", ()), "w@teacher")
    taken = inspect.signature(cls).parameters
    short = {option: value for option, value in {"steps": 3, "queries": 20}.items() if option in taken}
    if Need.PREDICTIONS in cls.needs:
        term = {"use": "cross-entropy", "views": ["w_adv"]}
    return _with_needs({
        "views": {"w": "weak"},
        "generator": {"w_adv": {"use": name, "reads": ["w"], "constants": constants} | short},
        "routes": {"w_adv": "adv"},
        "term": {"it": term},
    })  # fmt: skip


def _with_needs(stage: dict[str, Any]) -> dict[str, Any]:
    """Add what the parts of a stage need: teacher, clusters, classifier."""
    used: list[Any] = [registry.get("generator", table["use"]) for table in stage.get("generator", {}).values()]
    for table in stage["term"].values():
        used.append(registry.get("objective", table["use"]))
        used += [registry.get("selector", table["selector"]["use"])] if "selector" in table else []
    needs = frozenset[Need]().union(*(getattr(cls(), "needs", cls.needs) for cls in used))
    stage = {"name": "it", "epochs": 1, "split": "train", "optimizer": {"use": "sgd", "lr": 0.1}, **stage}
    if Need.TEACHER in needs:
        stage["encoders"] = {"teacher": "stage:first", **stage.get("encoders", {})}
    if Need.CLUSTERS in needs:
        stage["targets"] = _CLUSTERS
    if Need.PREDICTIONS in needs:
        stage["classifier"] = "default"
        if not any(Need.PREDICTIONS in registry.get("objective", t["use"]).needs for t in stage["term"].values()):
            stage["term"]["ce"] = {"use": "cross-entropy", "views": [next(iter(stage["views"]))]}
    return stage


def compute(stage: dict[str, Any], mode: str, rank: int, world: int, folder: Path) -> dict[str, Any]:
    """Take one step of a stage; in mode "train" attacks look at batch statistics, in mode "eval" nothing does."""
    table = copy.deepcopy(stage) | {"mode": mode}
    for generator in table.get("generator", {}).values():
        lockstep = getattr(registry.get("generator", generator["use"]), "lockstep", True)
        generator.setdefault("mode", "batch") if mode == "train" and lockstep else generator.update(mode="eval")
    composition = api.from_tables({**_TABLES, "stage": [_FIRST, table]}, "ranks")
    run = stage_run(composition, composition.stages[1], folder)
    for encoder in (run.encoders.online, *run.encoders.frozen.values(), *run.encoders.ema.values()):
        _move_statistics(encoder)
    rng = Rng(0, "step")
    share = BATCH // world
    rows = torch.arange(100, 100 + BATCH)[rank * share : (rank + 1) * share]
    optimizer = run.plan.optimizer.plugin.make(run.parameters)
    if run.plan.targets is not None:
        refresh(run.clusters, run.plan.targets, run.encoders, run.images, 0.0, Rng(0, "clusters"))
    run.step.moment = Moment(Progress(0, 10, 0.0, 1.0), rng, run.clusters.clustering)
    run.step.train()
    losses = run.step(**run.inputs(rows, run.images.fetch(rows), rng))
    losses["total"].backward()
    for parameter in run.parameters:
        if world > 1 and parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world
    optimizer.step()
    run.encoders.follow(run.step.moment.progress, before_optimiser=False)
    views = run.step.scenes[0][1].batch.views
    gradients = {name: p.grad for name, p in run.step.named_parameters() if p.grad is not None}
    return {
        "losses": {name: value.detach() for name, value in losses.items()},
        "gradients": gradients,
        "views": {name: value.detach() for name, value in views.items()},
        "written": [name for generator in run.plan.generators for name in generator.writes],
        "online": run.encoders.online.state_dict(),
        "ema": {name: encoder.state_dict() for name, encoder in run.encoders.ema.items()},
    }


def _move_statistics(encoder: nn.Module) -> None:
    """Give every norm running statistics as after training."""
    for number, (key, buffer) in enumerate(encoder.named_buffers()):
        if key.endswith("running_mean"):
            buffer.copy_(Rng(1, number).uniform(buffer.shape, -0.2, 0.2))
        if key.endswith("running_var"):
            buffer.copy_(Rng(1, number).uniform(buffer.shape, 0.5, 1.5))


def main(rank: int, world: int, folder: Path) -> int:
    """Compute every case in both modes and keep the outcomes."""
    torch.set_num_threads(1)
    if world > 1:
        try:
            meeting = f"file://{folder}/meeting"
            limit = datetime.timedelta(seconds=120)
            dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world, timeout=limit)
        except (RuntimeError, ValueError, OSError) as error:
            print(f"gloo does not start: {error}", file=sys.stderr)
            return NO_GLOO
    outcomes: dict[str, Any] = {}
    asked = set(json.loads((folder / ASKED).read_text(encoding="utf-8")))
    for name, stage in cases().items():
        for mode in ("eval", "train"):
            if f"{name}, {mode}" not in asked:
                continue
            try:
                outcomes[f"{name}, {mode}"] = compute(stage, mode, rank, world, folder)
            except (RobustclError, RuntimeError, ValueError, KeyError, AttributeError, TypeError):
                outcomes[f"{name}, {mode}"] = {"error": traceback.format_exc()}
    torch.save(outcomes, folder / f"{world}-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()
    return 0


def script() -> NoReturn:
    """Be one process of a few: rank, number of processes and folder are its arguments."""
    rank, world, folder = sys.argv[1:]
    sys.exit(main(int(rank), int(world), Path(folder)))
