"""What a run keeps of itself: weights of one recipe never stand under another's lock, damage is a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch

from robustcl import registry
from robustcl.composition import api, store
from robustcl.errors import AmbiguousPlugin, CheckpointError
from robustcl.train import checkpoint

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second stage, of which it keeps checkpoints."""
    place = tmp_path_factory.mktemp("stopped")
    (place / "tiny.toml").write_text(tiny.RECIPE, encoding="utf-8")
    (ended,) = tiny.run_legs(place, [tiny.Leg(START, "Ctrl-C", 17)])
    assert ended.code == 130, ended.said
    return place / "run"


def _resume(run: Path) -> tiny.Ended:
    (ended,) = tiny.run_legs(run.parent, [tiny.Leg(("resume", "run"))])
    assert "Traceback" not in ended.said
    return ended


def test_a_stage_of_another_recipe_is_refused(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    lock = (run / "recipe.lock.toml").read_text(encoding="utf-8")
    assert "lr = 0.1\n" in lock
    (run / "recipe.lock.toml").write_text(lock.replace("lr = 0.1\n", "lr = 0.2\n"), encoding="utf-8")
    ended = _resume(run)
    assert ended.code == 2
    assert "the stage pretrain in run was trained by another recipe" in ended.said


@pytest.mark.parametrize("text", ["{", "[]", '{"number": "x"}', '{"seconds": []}', "[" * 100_000, "9" * 6000, "NaN"])
def test_a_damaged_mark_of_a_stage_is_a_sentence(text: str, stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    (run / "stages/pretrain/finished.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"finished\.json.*to train that stage again"):
        store.facts(run, "pretrain")


@pytest.mark.parametrize("change", ["online", "optimizer", "step", "shape", "pairs"])
def test_a_checkpoint_that_does_not_fit_is_a_sentence(change: str, stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
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
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(START)])
    assert ended.code == 1, ended.said
    assert "has run away" in ended.said
    for path in (tmp_path / "run/checkpoints/pretrain").glob("*.pt"):
        state = checkpoint.read(path)["online"]
        assert all(float(v.abs().max()) < 1e12 for v in state.values() if v.is_floating_point())


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
