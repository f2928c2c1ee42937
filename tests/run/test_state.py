"""What a run keeps of itself: weights of one recipe never stand under another's lock, damage is a sentence."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from robustcl import api, registry
from robustcl.errors import AmbiguousPlugin, CheckpointError, NonFiniteLoss, UsageError
from robustcl.run import changes
from robustcl.train import checkpoint, stage_files
from tests.shared import one_step, tiny

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")


def _resume(run: Path) -> tiny.Ended:
    (ended,) = tiny.run_legs(run.parent, [tiny.Leg(("resume", "run"))])
    assert "Traceback" not in ended.said
    return ended


def test_a_stage_of_another_recipe_is_refused(stopped_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    lock = (run / "recipe.lock.toml").read_text(encoding="utf-8")
    assert "lr = 0.1\n" in lock
    (run / "recipe.lock.toml").write_text(lock.replace("lr = 0.1\n", "lr = 0.2\n"), encoding="utf-8")
    ended = _resume(run)
    assert ended.code == 2
    assert "the stage pretrain in run was trained by another recipe" in ended.said


@pytest.mark.parametrize("text", ["{", "[]", '{"number": "x"}', '{"seconds": []}', "[" * 100_000, "9" * 6000, "NaN"])
def test_a_damaged_mark_of_a_stage_is_a_sentence(text: str, stopped_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    (run / "stages/pretrain/finished.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"finished\.json.*to train that stage again"):
        stage_files.facts(run, "pretrain")


@pytest.mark.parametrize("change", ["online", "optimizer", "step", "shape", "pairs"])
def test_a_checkpoint_that_does_not_fit_is_a_sentence(change: str, stopped_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    path = max((run / "checkpoints/robust").glob("*.pt"))
    state = checkpoint.read(path)
    if change == "shape":
        name = next(iter(state["online"]))
        state["online"][name] = torch.zeros(1, 2, 3)
    else:
        del state[change]
    checkpoint.save(path.parent, state.get("step", 9), state)
    ended = _resume(run)
    assert ended.code == 2, ended.said
    assert "does not fit the recipe" in ended.said


def test_weights_that_have_run_away_are_no_good_checkpoint(tmp_path: Path) -> None:
    text = tiny.RECIPE.replace("lr = 0.1, momentum = 0.9", "lr = 1e30, momentum = 0.0").replace(
        '"2 steps"', '"1 steps"'
    )
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    lower = ("resume", "run", "--set", "stage.pretrain.optimizer.lr=0.1", "--set", "run.log_every=3")
    ended, mended = tiny.run_legs(tmp_path, [tiny.Leg(START), tiny.Leg(lower)])
    assert ended.code == 1, ended.said
    assert "has run away" in ended.said
    assert "robustcl resume RUN --set stage.pretrain.optimizer.lr=" in ended.said
    assert mended.code == 0, mended.said
    lock = tomllib.loads((tmp_path / "run/recipe.lock.toml").read_text(encoding="utf-8"))
    assert lock["stage"][0]["optimizer"]["lr"] == 0.1
    (entry,) = lock["lock"]["history"]
    assert (entry["set"], entry["stage"], entry["step"]) == ([lower[3], lower[5]], "pretrain", 0)
    rates = [line["lr"] for line in tiny.lines(tmp_path / "run/metrics.jsonl") if line["stage"] == "pretrain"]
    assert set(rates) == {0.1}
    for path in (tmp_path / "run/checkpoints/pretrain").glob("*.pt"):
        state = checkpoint.read(path)["online"]
        assert all(float(v.abs().max()) < 1e12 for v in state.values() if v.is_floating_point())


REFUSED = {
    "seed=1": "decides what the run has learnt so far",
    "data.batch=7": "decides what the run has learnt so far",
    "stage.robust.term.deacl.views.clean=w": "decides what the run has learnt so far",
    "stage.robust.optimizer.use=sgd": "decides what the run has learnt so far",
    "stage.pretrain.optimizer.lr=0.5": "the stage pretrain of .* is finished",
    "stage.robst.clip=1": "no stage 'robst'",
    "stage.robust.clip=-1": "clip",
    "stage.robust.epochs=1": "has begun its epoch 2 already; give 2 or more",
    "stage.robust.epochs=0": "has begun its epoch 2 already",
    "stage.robust.optimizer.speed=2": "speed",
    "stage.robust.optimizer.lr": "not of the form path=value",
}


@pytest.mark.parametrize("assignment", REFUSED)
def test_what_may_not_change_is_a_sentence_and_leaves_the_lock(
    assignment: str, stopped_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    before = (run / "recipe.lock.toml").read_bytes()
    with pytest.raises(UsageError, match=REFUSED[assignment]):
        changes.change(run, ["stage.robust.clip=2.0", assignment])
    assert (run / "recipe.lock.toml").read_bytes() == before


def test_a_change_in_the_middle_of_a_stage_goes_on_from_its_checkpoint(stopped_run: Path, tmp_path: Path) -> None:
    """The first one brings a decay to an optimiser that has begun; the second states what stands already."""
    run = Path(shutil.copytree(stopped_run, tmp_path / "run"))
    asked = ("--set", "stage.robust.optimizer.lr=0.002", "--set", "stage.robust.optimizer.weight_decay=0.25")
    legs = [tiny.Leg(("resume", "run", *asked), "Ctrl-C", 1), tiny.Leg(("resume", "run", *asked))]
    first, last = tiny.run_legs(tmp_path, legs)
    assert (first.code, last.code) == (130, 0), (first, last)
    (entry,) = tomllib.loads((run / "recipe.lock.toml").read_text(encoding="utf-8"))["lock"]["history"]
    assert entry["step"] == max(checkpoint.steps(stopped_run / "checkpoints/robust")) > 0
    lines = [line for line in tiny.lines(run / "metrics.jsonl") if line["stage"] == "robust"]
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert {line["lr"] for line in lines if line["step"] > entry["step"]} == {0.002}
    state = checkpoint.newest(run / "checkpoints/robust")[0]
    assert state is not None
    assert {group["weight_decay"] for group in state["optimizer"]["param_groups"]} == {0.25}


def test_an_average_that_has_run_away_is_no_good_checkpoint_either(tmp_path: Path) -> None:
    composition = api.from_tables(tiny.tables(), "tiny")
    run = one_step.stage_run(composition, composition.stages[1], tmp_path)
    run._refuse_insane(1.0)
    with pytest.raises(NonFiniteLoss, match="the loss has run away to 1e"):
        run._refuse_insane(1e20)
    with torch.no_grad():
        next(iter(run.encoders.ema["slow"].parameters())).fill_(1e20)
    with pytest.raises(NonFiniteLoss, match=r"slow: .* has run away"):
        run._refuse_insane(1.0)


def test_the_lock_says_whose_plugin_is_meant() -> None:
    """A plugin of the same name that is installed later does not stop an old run."""
    composition = api.from_tables(tiny.tables(), "tiny")
    lock = json.loads(json.dumps(composition.lock()))
    with registry.local("generator", "ncp", registry.get("generator", "ncp")):
        with pytest.raises(AmbiguousPlugin):
            api.from_tables(tiny.tables(), "tiny")
        again = api.from_tables(lock, "the lock")
        assert str(again.parts.origins["generator ncp"]) == lock["lock"]["plugins"]["generator ncp"]
        assert again.parts.origins["generator ncp"].distribution != "local"
