"""What must last lasts: memories in the loop and over a resume, clipping, cleared gradients, flags, the named route."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import attacks, compose, registry
from robustcl.audit import audit
from robustcl.audit.arms import CHEAP
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.judge import Judge
from robustcl.interop.subject import HeldModel
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.modes import MODES, hold_mode
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train import checkpoint
from robustcl.train.refresh import embed_all, refresh
from robustcl.types import Dims, Scene
from tests.audit.zoo.images import Tensors
from tests.shared.one_step import TINY, stage_run
from tests.shared.short import Recorder, stage, train


class Tally(nn.Module):
    """An objective that remembers how often it was told to, and what it saw last; its loss grows with it."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = "none: a test's own"
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("norm",)
    steps: Tensor
    last: Tensor

    def build(self, dims: Dims) -> None:
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros(dims.features))

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        h = next(iter(scene.views.values())).h
        return {"norm": (h - self.last).square().mean(1) * (1 + 0.1 * self.steps)}

    def remember(self, scene: Scene) -> None:
        self.steps += 1
        self.last.copy_(next(iter(scene.views.values())).h.detach().mean(0))


@pytest.fixture(autouse=True)
def parts() -> Iterator[None]:
    Recorder.scenes.clear()
    with registry.local("objective", "recorder", Recorder), registry.local("objective", "tally", Tally):
        yield


# --- memories


def pull(selector: Any) -> dict[str, Any]:
    return {"term": {"pull": {"use": "info-nce", "views": ["w", "w_adv"], "selector": selector}}}


STATEFUL: dict[str, dict[str, Any]] = {
    "fnc": pull({"use": "fnc", "bank": 300, "threshold": 0.2}),
    "glofnd": pull({"use": "glofnd", "alpha": 0.1, "lr": 0.2}),
    "tally": {"term": {"it": {"use": "tally", "views": ["w"]}}, "generator": {}},
    "a-head": {
        "views": {"w": "weak", "t": {"use": "rotation", "of": "w"}},
        "generator": {},
        "term": {"task": {"use": "pretext", "views": ["t"], "classes": 4}},
        "optimizer": {"use": "adam", "lr": 0.01},
    },
    "pseudo-labels": {
        "targets": {"use": "spherical-kmeans", "clusters": 4, "refresh": "1 epoch"},
        "generator": {},
        "term": {"ce": {"use": "pseudo-label", "views": {"input": "w"}}},
    },
    "sampler": {
        "labelled": 100,
        "batch": 96,
        "sampler": {"use": "mixed", "labelled": 32, "unlabelled": 64, "batches": 5, "every": 2},
    },
    "follower": {
        "encoders": {"slow": {"of": "online", "momentum": 0.9, "buffers": "own"}},
        "encode": {"w_adv": "slow"},
    },
}
"""Stages that have something to remember, by what it is."""


class Cut(Exception):
    """The process is gone."""


def cut_at(when: int) -> Callable[..., None]:
    def watch(name: str, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        if step == when:
            raise Cut

    return watch


def newest(run: Path) -> dict[str, Any]:
    state, passed = checkpoint.newest(run / "checkpoints/it")
    assert state is not None
    assert passed == []
    return state


@pytest.mark.parametrize("what", STATEFUL)
def test_a_run_cut_within_an_epoch_goes_on_to_the_bit(what: str, tmp_path: Path) -> None:
    from tests.shared.short import composed

    kept = {"run": {"checkpoint": "1 steps", "log_every": 1}}
    table = stage(epochs=2, **STATEFUL[what])
    composed(table, **kept).train(tmp_path / "whole", device="cpu", report=False)
    with suppress(Cut):
        composed(table, **kept).train(tmp_path / "cut", device="cpu", report=False, watcher=cut_at(8))
    assert newest(tmp_path / "cut")["step"] == 7
    robustcl.resume(tmp_path / "cut")
    whole, cut = newest(tmp_path / "whole"), newest(tmp_path / "cut")
    assert whole["step"] == cut["step"] == 10
    for part in ("online", "ema", "heads", "optimizer", "rows", "clusters", "pairs"):
        assert equal(whole[part], cut[part]), part
    assert whole["heads"] or what in ("sampler", "follower")


@pytest.mark.parametrize("what", ["fnc", "glofnd", "tally"])
def test_the_loop_lets_objectives_and_selectors_remember(what: str, tmp_path: Path) -> None:
    run = train(tmp_path / "run", stage(**STATEFUL[what]), run={"checkpoint": "1 steps", "log_every": 1})
    heads = {name.split(".")[-1]: value for name, value in newest(run.path)["heads"].items()}
    if what == "fnc":
        assert int((heads["memory_index"] >= 0).sum()) == 300, "the bank is full after five steps of 256 rows"
        assert heads["memory"].abs().sum(1).min() > 0
    elif what == "glofnd":
        assert heads["updates"].sum() == 5 * 128, "every image of five steps, once"
        assert float(heads["threshold"].min()) < 1
    else:
        assert int(heads["steps"]) == 5, "told after every step, once"


def test_every_plugin_that_remembers_is_among_these() -> None:
    known = {"fnc", "glofnd"}
    remember = {
        name
        for kind in ("objective", "selector")
        for name in registry.names(kind)
        if name not in ("recorder", "tally") and hasattr(registry.find(kind, name).cls, "remember")
    }
    assert remember == known, "add the new one to STATEFUL"


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


# --- what a step does to the weights


def moved(run: Path, step: int) -> float:
    """Return how far the parameters moved in a step, the last or the one before, as one vector's length."""
    states = {state["step"]: state["online"] for state in map(checkpoint.read, sorted(run.glob("checkpoints/it/*.pt")))}
    names = [name for name in states[step] if "running" not in name and "num_batches" not in name]
    return float(sum((states[step][n].double() - states[step - 1][n].double()).square().sum() for n in names) ** 0.5)


def test_a_step_is_no_longer_than_the_clip_allows(tmp_path: Path) -> None:
    kept = {"run": {"checkpoint": "1 steps", "log_every": 1}}
    loud = {"generator": {}, "term": {"it": {"use": "recorder", "views": ["w"], "scale": 1e3}}}
    for clip, name in ((1e-3, "clipped"), (1e-4, "more")):
        run = train(tmp_path / name, stage(clip=clip, **loud), **kept)
        assert moved(run.path, 5) == pytest.approx(0.1 * clip, rel=1e-2), "the rate times the clip"
    free = train(tmp_path / "free", stage(**loud | {"term": {"it": {"use": "recorder", "views": ["w"]}}}), **kept)
    assert moved(free.path, 5) > 1e-3


def test_gradients_of_the_step_before_are_gone(tmp_path: Path) -> None:
    weight = {"piecewise": [1.0, 0.0], "at": ["4 steps"]}
    table = stage(generator={}, term={"it": {"use": "recorder", "views": ["w"], "weight": weight}})
    run = train(tmp_path / "run", table, run={"checkpoint": "1 steps", "log_every": 1})
    assert moved(run.path, 5) == 0.0, "a loss of weight 0 has no gradient, and there is no momentum"


# --- flags


class Net(nn.Module):
    """Three parts in three modes: one in train mode by choice, one frozen, one plain."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8))
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.last.bias.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.drop(torch.relu(self.first(x))))
        return y


def flags(model: nn.Module) -> dict[str, Any]:
    """Return everything that a door could leave ajar."""
    return {
        "training": [part.training for part in model.modules()],
        "tracks": [getattr(part, "track_running_stats", None) for part in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [parameter.grad for parameter in model.parameters()],
        "data": [parameter.data_ptr() for parameter in model.parameters()],
        "strides": [parameter.stride() for parameter in model.parameters()],
        "hooks": [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()],
        "buffers": [buffer.clone().tolist() for buffer in model.buffers()],
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "precision": (torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.is_autocast_enabled()),
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().tolist(),
    }


X, Y = Rng(0, "x").uniform((4, 1, 6, 6)), torch.tensor([0, 1, 2, 0])
DOORS: dict[str, Callable[[nn.Module], Any]] = {
    "fgsm": lambda net: attacks.FGSM(net, eps=0.1)(X, Y),
    "pgd": lambda net: attacks.PGD(net, eps=0.1, steps=2)(X, Y),
    "pgd in batch mode": lambda net: attacks.PGD(net, eps=0.1, steps=2, mode="batch")(X, Y),
    "pgd in train mode": lambda net: attacks.PGD(net, eps=0.1, steps=2, mode="train")(X, Y),
    "pgd in bf16": lambda net: attacks.PGD(net, eps=0.1, steps=2, precision="bf16-mixed")(X, Y),
    "square": lambda net: attacks.Square(net, eps=0.1, queries=3)(X, Y),
    "an evaluation": lambda net: attacks.PGD(net, eps=0.1, steps=2, stop_early=True).run_standard_evaluation(X, Y),
    "a sentence": lambda net: refused(lambda: attacks.PGD(net, eps=0.1, steps=2)(X[:, :, :3], Y)),
    "a guard": lambda net: rude(net),
    "a judge": lambda net: judged(net),
    "an audit": lambda net: audited(net),
}


def judged(net: nn.Module) -> None:
    judge = Judge(of_model(net), Ball("Linf", 0.1), Rng(0), nullcontext)
    for attack in ("pgd-20", "apgd-ce", "fab-t"):
        judge.attack(X, Y, torch.arange(4), attack, registry.find("attack", attack).cls().members(3, judge.ball))


def audited(net: nn.Module) -> None:
    few = replace(CHEAP, black_box=replace(CHEAP.black_box, options={"queries": 3}), noise=2, second=())
    found = audit(of_model(net), Tensors(X, Y), torch.arange(4), Ball("Linf", 0.1), Rng(0), effort=few)
    assert all("could not be checked" not in finding.evidence for finding in found.findings)


def rude(net: nn.Module) -> None:
    """Attack as scripts do: in train mode, through the weights as well."""
    with robustcl.guard(net, quiet=True):
        net.train().requires_grad_()
        with torch.enable_grad():
            net(X).sum().backward()


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(UsageError):
        call()


@pytest.mark.parametrize("grad", [True, False], ids=["with gradients", "under no_grad"])
@pytest.mark.parametrize("door", DOORS)
def test_a_door_leaves_every_flag_as_it_was(door: str, grad: bool) -> None:
    torch.manual_seed(0)
    net = Net()
    before = flags(net)
    with torch.set_grad_enabled(grad):
        DOORS[door](net)
        assert torch.is_grad_enabled() is grad
    assert flags(net) == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fails", [False, True])
def test_a_mode_is_held_for_its_block_alone(mode: str, fails: bool) -> None:
    net = Net()
    net.drop.train()
    net.first[2].track_running_stats = True
    before = flags(net)
    with suppress(Cut), hold_mode(net, mode), frozen_for_attack(net):
        assert net.drop.training is (mode == "train")
        assert net.first[2].training is (mode != "eval")
        assert not any(parameter.requires_grad for parameter in net.parameters())
        if fails:
            raise Cut
    assert flags(net) == before


def test_a_model_that_changes_its_mode_on_the_way_is_put_back() -> None:
    class Restless(Net):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            self.drop.train()
            return y

    net = Restless()
    before = flags(net)["training"]
    subject = HeldModel(net, None, Rng(0))
    with suppress(UsageError):
        subject.look(X, Y)
    assert flags(net)["training"] == before


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    own = nn.Linear(1, 1)
    before = flags(own)
    train(tmp_path / "run", stage())
    assert flags(own) == before


# --- clusters


@pytest.mark.parametrize("route", ["clean", "adv"])
def test_clusters_are_of_the_route_that_the_recipe_names(route: str, tmp_path: Path) -> None:
    composition = compose(recipe="ncp", budget="smoke", overrides=[*TINY, f"stage.robust.targets.of.route={route}"])
    plan = composition.stages[1]
    assert plan.targets is not None
    run = stage_run(composition, plan, tmp_path)
    other = {"clean": "adv", "adv": "clean"}[route]
    index = torch.arange(run.images.samples)
    layer, x = frozenset({"h"}), run.images.fetch(index).double()
    wanted, wrong = (run.encoders.embed_constant(x, "online", r, layer).h for r in (route, other))
    features = embed_all(plan.targets, run.encoders, run.images, Rng(0))
    assert torch.allclose(features, wanted, atol=1e-9)
    assert not torch.allclose(features, wrong, atol=1e-3)
    refresh(run.clusters, plan.targets, run.encoders, run.images, 0.0, Rng(0))
    assert run.clusters.clustering is not None
    unit = nn.functional.normalize(wanted)
    centroids = nn.functional.normalize(run.clusters.clustering.centroids[0].double())
    assert torch.equal((unit @ centroids.T).argmax(1), run.clusters.clustering.assignment[0])
