"""The runs that are mutated: tiny, real, with everything in them that a command may read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.fuzz.call import call
from tests.shared import tiny

RECIPE = tiny.AUDITED.replace("epochs = 2\nbatch", "epochs = 1\nbatch").replace("log_every = 1", "log_every = 2")

INIT = RECIPE.replace('init = "stage:pretrain"', 'init = "run:a"').replace('"stage:pretrain"', '"run:a"')
"""A recipe whose encoders come from the run a; its first stage is taken out."""


STUDY = """
name = "fuzzed"
[[row]]
name = "a"
recipe = "tiny.toml"
[[column]]
name = "SA"
[[column]]
name = "RA"
attack = "first"
[[column]]
name = "even"
use = "representation"
value = "alignment"
attack = { use = "fgsm" }
[[column]]
name = "loss"
use = "metric"
metric = "loss"
stage = "robust"
"""
"""A study of the tiny recipe; its runs of the seeds 0 and 1 are a and b."""


def enter(place: Path) -> Path:
    """Make the runs below ``place``, where they are not there yet, and a copy of them the working folder."""
    if not (place / "whole/made").is_file():
        build(place / "whole")
    os.chdir(place)
    copy = place / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(place / "whole", copy, symlinks=True)
    os.chdir(copy)
    return copy


def build(place: Path) -> None:
    """Make the workspace in ``place``, which becomes the working folder: the runs a and b, and what surrounds them.

    a: the run that is mutated; b: another seed; t: their transfer matrix; s: a study whose runs they are.
    """
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    Path("tiny.toml").write_text(RECIPE, encoding="utf-8")
    Path("init.toml").write_text(INIT, encoding="utf-8")
    Path("study.toml").write_text(STUDY, encoding="utf-8")
    Path("outside").mkdir()
    Path("s/runs").mkdir(parents=True)
    for seed, run in enumerate("ab"):
        Path(f"s/runs/a-seed{seed}").symlink_to(f"../../{run}", target_is_directory=True)
    Path("outside/file.txt").write_text("nobody writes here\n", encoding="utf-8")
    steps = [
        ("run", "tiny.toml", "--device", "cpu", "--out", "a"),
        ("run", "tiny.toml", "--device", "cpu", "--seed", "1", "--out", "b"),
        ("evaluate", "a", "--curve", "4/255,8/255", "--convergence", "1,2", "--attack", "pgd-20",
        "--audit-samples", "2",
         "--route", "clean"),
        ("evaluate", "a"),
        ("measure", "a", "--what", "alignment", "--what", "input-landscape", "--samples", "20"),
        ("transfer", "a", "b", "--samples", "8", "--out", "t"),
        ("evaluate", "a", "--eps", "4/255", "--no-audit"),
        ("evaluate", "a", "--shard", "1/2"),
        ("evaluate", "a", "--shard", "2/2"),
        ("study", "study.toml", "--budget", "paper", "--seeds", "2", "--out", "s", "--device", "cpu"),
    ]  # fmt: skip
    for step in steps:
        ended = call(step)
        assert ended.code == 0, (step, ended)
    older = {"question": {"attack": {"use": "fgsm"}, "times": 1.0, "protocol": "slf"}, "alignment": {"value": 0.5}}
    Path("a/measures.json").write_text(json.dumps({"0": older}), encoding="utf-8")
    Path("made").write_text("whole\n", encoding="utf-8")
