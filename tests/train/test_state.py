"""What a stage writes and reads back, each number at its bounds: checkpoints, optimisers, metrics."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcl.errors import CheckpointError
from robustcl.train import checkpoint, log, state
from robustcl.train.log import Log
from robustcl.train.loop import StageRun
from robustcl.train.pairs import EpochMeans
from robustcl.train.refresh import ClusterState
from robustcl.types import Clustering
from tests.shared import tiny
from tests.shared.one_step import stage_run


def begun(run: StageRun) -> torch.optim.Optimizer:
    """Return an optimiser that has taken a step."""
    optimizer: torch.optim.Optimizer = run.plan.optimizer.plugin.make(run.parameters)
    for number, parameter in enumerate(run.parameters):
        parameter.grad = torch.full_like(parameter, 0.1 + number)
    optimizer.step()
    return optimizer


CLUSTERS = Clustering(
    (torch.eye(3), torch.eye(2)), torch.tensor([[0, 2], [1, 0]]), torch.tensor([[0.5, 0.25], [1.0, 0.0]]), (0.5, 1.5),
    {"seed": 3},
)  # fmt: skip


def test_all_of_a_stage_comes_back(run: StageRun, composition: Any, tmp_path: Path) -> None:
    optimizer = begun(run)
    run.done, run.epoch, run.within, run.seconds = 7, 2, 1, 3.5
    run.chosen_rows = torch.tensor([4, 2])
    run.clusters = ClusterState(CLUSTERS, (3, 2), ((3, 0.5), (2, 0.25)), 1.5)
    run.pairs = EpochMeans({"pairs/a/positive": 4.0}, 2)
    run.curve.add(2.0, 0.1)
    run.curve.end_epoch()
    run.curve.add(1.0, 0.3)
    for value in (*run.encoders.online.state_dict().values(), *run.encoders.ema["slow"].state_dict().values()):
        value.add_(1)
    checkpoint.save(run.keeping.folder, 7, state.snapshot(run, optimizer, 99))
    again = stage_run(composition, run.plan, tmp_path)
    other = again.plan.optimizer.plugin.make(again.parameters)
    assert state.restore(again, other) == 99
    assert (again.done, again.epoch, again.within, again.seconds) == (7, 2, 1, 3.5)
    assert torch.equal(again.chosen_rows, torch.tensor([4, 2]))  # type: ignore[arg-type]
    for mine, theirs in zip((run.encoders.online, run.encoders.ema["slow"]), (again.encoders.online,
                            again.encoders.ema["slow"]), strict=True):  # fmt: skip
        for name, value in theirs.state_dict().items():
            assert torch.equal(value, mine.state_dict()[name])
    clusters = again.clusters
    assert (clusters.chosen, clusters.curve, clusters.epoch) == ((3, 2), ((3, 0.5), (2, 0.25)), 1.5)
    assert clusters.clustering is not None
    assert torch.equal(clusters.clustering.assignment, CLUSTERS.assignment)
    assert torch.equal(clusters.clustering.confidence, CLUSTERS.confidence)
    assert (clusters.clustering.inertia, clusters.clustering.provenance) == ((0.5, 1.5), {"seed": 3})
    assert [len(each) for each in clusters.clustering.centroids] == [3, 2]
    assert (again.pairs.sums, again.pairs.steps) == ({"pairs/a/positive": 4.0}, 2)
    assert again.curve == run.curve
    for old, new in zip(optimizer.state.values(), other.state.values(), strict=True):
        assert torch.equal(old["exp_avg"], new["exp_avg"])
        assert torch.equal(old["exp_avg_sq"], new["exp_avg_sq"])


@pytest.mark.parametrize("key", ["step", "epoch", "within", "mark"])
@pytest.mark.parametrize(("value", "fits"), [
    (0, True), (2**53 - 1, True), (2**53, False), (-1, False), (True, False), (1.0, False), (None, False),
])  # fmt: skip
def test_counts_of_a_checkpoint(run: StageRun, key: str, value: object, fits: bool) -> None:
    kept = {**state.snapshot(run, None, 5), "mark": 5, key: value}
    if fits:
        assert state._put(run, None, kept) == kept["mark"]
    else:
        with pytest.raises(ValueError, match=f"^{key} is {value!r}, no count$"):
            state._put(run, None, kept)


@pytest.mark.parametrize(("seconds", "fits"), [(0, True), (1.5, True), (float("inf"), False), (float("nan"), False),
                                               ("1", False)])  # fmt: skip
def test_seconds_of_a_checkpoint(run: StageRun, seconds: object, fits: bool) -> None:
    kept = {**state.snapshot(run, None, 5), "seconds": seconds}
    if fits:
        state._put(run, None, kept)
    else:
        with pytest.raises(ValueError, match=r"^seconds is "):
            state._put(run, None, kept)


def test_a_checkpoint_of_another_recipe(run: StageRun) -> None:
    assert state.restore(run, None) is None
    checkpoint.save(run.keeping.folder, 1, {**state.snapshot(run, None, 5), "recipe": "before"})
    with pytest.raises(CheckpointError, match="belong to another recipe; use another --out"):
        state.restore(run, None)
    run.keeping = replace(run.keeping, earlier=frozenset({"before"}))
    assert state.restore(run, None) == 5


def test_a_checkpoint_that_does_not_fit_says_why(run: StageRun) -> None:
    kept = state.snapshot(run, None, 5)
    for changed, words in (
        (
            {key: value for key, value in kept.items() if key != "within"},
            "does not fit the recipe: it lacks 'within'; r",
        ),
        ({**kept, "step": -1}, "does not fit the recipe: step is -1, no count; remove it"),
    ):
        checkpoint.save(run.keeping.folder, 1, changed)
        with pytest.raises(CheckpointError, match=words):
            state.restore(run, None)


def test_which_checkpoint_is_used_is_told(run: StageRun) -> None:
    said: list[str] = []
    run.say = said.append
    first, second = (checkpoint.save(run.keeping.folder, step, state.snapshot(run, None, step)) for step in (1, 2))
    second.write_bytes(b"x")
    assert state.restore(run, None) == 1
    assert [line.rpartition("; ")[2] for line in said] == ["the one before it is used"]
    first.with_suffix(".json").unlink()
    said.clear()
    assert state.restore(run, None) is None
    assert [line.rpartition("; ")[2] for line in said] == ["the one before it is used", "the stage starts anew"]
    assert "is damaged: its content differs from its seal" in said[0]
    assert "was not finished: its seal step-000000001.json is missing" in said[1]


def test_an_optimiser_keeps_its_options_only_where_the_recipe_changed() -> None:
    def made(rate: float) -> torch.optim.Optimizer:
        weight = torch.nn.Parameter(torch.ones(2, 3))
        weight.grad = torch.ones(2, 3)
        optimizer = torch.optim.SGD([weight], lr=rate, momentum=0.5)
        optimizer.step()
        return optimizer

    old = made(0.1).state_dict()
    for keep, rate in ((False, 0.1), (True, 0.7)):
        fresh = made(0.7)
        state._load(fresh, old, keep=keep)
        assert fresh.param_groups[0]["lr"] == rate
        assert len(fresh.param_groups[0]["params"]) == 1
    old["state"][0]["momentum_buffer"] = torch.ones(3, 2)
    with pytest.raises(ValueError, match=r"momentum_buffer of the optimiser has the shape \(3, 2\)"):
        state._load(made(0.1), old, keep=False)
    old["state"][0] = {"momentum_buffer": torch.ones(2, 3), "step": torch.ones(5)}
    state._load(made(0.1), old, keep=False)


def test_two_checkpoints_are_kept_and_rests_of_others_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step in (1, 20, 3, 400):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (folder / ".step-000000001.pt.abc").write_bytes(b"half")
        path = checkpoint.save(folder, step, {"step": step})
        assert path.name == f"step-{step:09d}.pt"
        seal = json.loads(path.with_suffix(".json").read_text())
        assert seal["bytes"] == path.stat().st_size
    assert sorted(path.name for path in folder.iterdir()) == [
        f"step-{step:09d}.{end}" for step in (20, 400) for end in ("json", "pt")
    ]
    assert checkpoint.steps(folder) == [20, 400]
    (folder / "step-x.pt").write_bytes(b"")
    assert checkpoint.steps(folder) == [20, 400]
    (folder / "step-x.pt").unlink()
    assert checkpoint.newest(folder) == ({"step": 400}, [])
    assert checkpoint.newest(tmp_path / "nowhere") == (None, [])


def test_what_is_no_state_is_said(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, {"a": 1})
    for stored, words in (([1], "holds a list, not a training state"), (None, "cannot be read: ")):
        with path.open("wb") as file:
            torch.save(stored, file) if stored is not None else file.write(b"\x80\x04nothing")
        seal = path.with_suffix(".json")
        seal.write_text(json.dumps({"sha256": checkpoint._digest(path)}))
        with pytest.raises(CheckpointError, match=words):
            checkpoint.read(path)
        seal.write_text("[]")
        with pytest.raises(CheckpointError, match=r"its seal step-000000001\.json is missing"):
            checkpoint.read(path)


def test_metrics_are_cut_back_to_the_mark_and_told(tmp_path: Path) -> None:
    heard: list[tuple[Any, ...]] = []
    first = Log(tmp_path, "a")
    assert first.mark() == 0
    first.write(1, 9, {"loss": 1.0})  # before it is opened nobody hears of it
    assert not (tmp_path / "metrics.jsonl").exists()
    first.open(None, 0)
    first.write(1, 9, {"loss": 1.0})
    mark = first.mark()
    first.write(2, 9, {"loss": 0.5})
    first.close()
    first.close()
    lines = [{"stage": "a", "step": 1, "loss": 1.0}, {"stage": "a", "step": 2, "loss": 0.5}]
    assert tiny.lines(tmp_path / "metrics.jsonl") == lines
    assert mark == len(json.dumps(lines[0])) + 1
    again = Log(tmp_path, "a", lambda *told: heard.append(told))
    again.open(mark, 1)
    assert tiny.lines(tmp_path / "metrics.jsonl") == lines[:1]
    again.write(2, 9, {"loss": 0.25})
    again.close()
    assert heard == [("a", 2, 9, {"loss": 0.25})]
    assert [line["loss"] for line in tiny.lines(tmp_path / "metrics.jsonl")] == [1.0, 0.25]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir()] == ["a"]
    longer = Log(tmp_path, "a")
    longer.open(1 << 20, 2)  # a mark beyond the end cuts nothing
    longer.close()
    assert len(tiny.lines(tmp_path / "metrics.jsonl")) == 2


def test_only_the_first_rank_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log.ranks, "rank", lambda: 1)
    other = Log(tmp_path, "a")
    other.open(None, 0)
    other.write(1, 1, {"loss": 1.0})
    assert other.mark() == 0
    other.close()
    assert list(tmp_path.iterdir()) == []
