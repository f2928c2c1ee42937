"""A study of four rows and two seeds that counts its optimiser steps, and whose steps whoever disturbs it can hold.

Its objectives are of a distribution that is written beside it. Each step adds a line to a file that all processes
share, and waits while the file ``hold STAGE`` is there, so that it is known what is at work when something dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.shared import distributions, tiny_study

SEEDS = 2
ROWS = 4
RUNS = tuple(f"row{number}-seed{seed}" for seed in range(SEEDS) for number in range(1, ROWS + 1))

_OBJECTIVES = '''
import os
import pathlib
import time

from robustcl_plugins.objectives.deacl import DeACL
from robustcl_plugins.objectives.info_nce import InfoNCE

FOLDER = pathlib.Path(os.environ["COUNTED_IN"])


def count(stage):
    with open(FOLDER / "steps", "a") as file:
        file.write(f"{stage}\\n")
    hold, held = FOLDER / f"hold {stage}", FOLDER / f"held {stage} {os.getpid()}"
    while hold.exists():
        held.touch()
        time.sleep(0.02)
    held.unlink(missing_ok=True)


class CountedNCE(InfoNCE):
    """NT-Xent that counts."""

    def remember(self, scene):
        count("pretrain")


class CountedDeACL(DeACL):
    """DeACL's alignments that count."""

    def remember(self, scene):
        count("robust")
'''


def write(folder: Path) -> dict[str, str]:
    """Write the study and its distribution into a folder; return the variables that its processes need."""
    names = {"counted-nce": "counted:CountedNCE", "counted-deacl": "counted:CountedDeACL"}
    distributions.install(folder / "site", "counted", {"robustcl.objectives": names}, {"counted.py": _OBJECTIVES})
    rows = [{"name": f"row{number}", "recipe": "tiny.toml", "set": {"stage.robust.generator.neighbour": number + 1}}
            for number in range(1, ROWS + 1)]  # fmt: skip
    tiny_study.write_study(folder, row=rows)
    recipe = folder / "tiny.toml"
    text = recipe.read_text(encoding="utf-8")
    for name in ("info-nce", "deacl"):
        text = text.replace(f'use = "{name}"', f'use = "counted-{name.removeprefix("info-")}"', 1)
    recipe.write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(folder / "site"), "COUNTED_IN": str(folder), "OMP_NUM_THREADS": "1"}


def command(folder: Path, *words: str) -> list[str]:
    """Return the command that does the study, its outcome in the folder ``out``."""
    study = [
        "study",
        "run",
        "study.toml",
        "--seeds",
        str(SEEDS),
        "--out",
        str(folder / "out"),
        "--budget",
        "smoke",
        "--device",
        "cpu",
    ]
    return [sys.executable, "-m", "robustcl", *study, *words]


def run(folder: Path) -> None:
    """Write the study and do it in one process."""
    environment = os.environ | write(folder)
    done = subprocess.run(command(folder), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def count_steps(folder: Path) -> Counter[str]:
    """Return how many optimiser steps of each stage there were, of all processes together."""
    return Counter((folder / "steps").read_text(encoding="utf-8").split())
