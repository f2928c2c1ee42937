"""What a new extra of an evaluation costs: a file of its own, its line in the list, and its key in the grammar."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import robustcl

RECIPE = """
name = "little"
encoder = { use = "resnet-small", width = 2, projector = { widths = [8, 4] } }
[[stage]]
name = "pretrain"
epochs = 0
views = { a = "weak", b = "weak" }
objective = "info-nce"
optimizer = { use = "sgd", lr = 0.1 }
[[evaluate]]
protocol = "knn"
samples = 16
attacks = []
calibration = 5
"""

EXTRA = '''"""Expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from robustcl.errors import UsageError
from robustcl.evaluate.extras.kind import AskedEvaluation, Entry, Extra
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject


def check(asked: AskedEvaluation) -> None:
    if not 1 <= asked.table.calibration <= 100:
        raise UsageError(f"{asked.where}.calibration = {asked.table.calibration}: write 1 to 100 bins")


@torch.no_grad()
def measure(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    bins, test = subject.asked.calibration, subject.test
    index = measurement.index(test, subject.asked.samples).to(test.device)
    logits = subject.classifier.embed(test.fetch(index), frozenset({"logits"})).logits.float()
    sure, predicted = logits.softmax(1).max(1)
    right = (predicted == test.labels[index]).float()
    place = (sure * bins).long().clamp(max=bins - 1)
    found = sum(float((sure[place == k] - right[place == k]).sum().abs()) for k in range(bins)) / len(index)
    measurement.say(f"{subject.name} calibration error: {found:.4f}")
    return [{**subject.question.place, "n": len(index), "samples": len(index), "bins": bins, "error": found}]


CALIBRATION = Extra("calibration", "calibration", measure, check, told=("bins",))
'''


COMMANDS = """
import json, sys
from click.testing import CliRunner
from robustcl.cli.main import robustcl
done = [CliRunner().invoke(robustcl, words, standalone_mode=False) for words in json.loads(sys.argv[1])]
print(json.dumps([str(each.exception) for each in done]))
"""
"""Command lines one after the other, in the one process that has imported the copy."""


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_extra_costs_three_files(tmp_path: Path) -> None:
    package = tmp_path / "with" / "robustcl"
    shutil.copytree(Path(robustcl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    extras, grammar = package / "evaluate" / "extras", package / "recipe" / "evaluation.py"
    (extras / "calibration.py").write_text(EXTRA, encoding="utf-8")
    line = "from robustcl.evaluate.extras.convergence import"
    new = f"from robustcl.evaluate.extras.calibration import CALIBRATION\n{line}"
    replace(extras / "__init__.py", line, new)
    replace(extras / "__init__.py", "EXTRAS = (ROWS, ", "EXTRAS = (ROWS, CALIBRATION, ")
    line = "    convergence: list[int] | None = None\n"
    replace(grammar, line, f"{line}    calibration: int | None = None\n")

    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")

    lines = [
        ["run", "recipe.toml", "--out", "wrong", "--set", "evaluate.knn.calibration=0"],
        ["run", "recipe.toml", "--out", "run", "--device", "cpu"],
        ["evaluate", "run", "--samples", "8"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(lines)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wrong, *fine = json.loads(done.stdout)
    assert wrong.endswith("evaluate.knn.calibration = 0: write 1 to 100 bins")
    assert not (tmp_path / "wrong").exists()
    assert fine == ["None", "None"]
    first, second = json.loads((tmp_path / "run" / "results.json").read_text())["calibration"]
    assert [first[key] for key in ("protocol", "route", "n", "bins")] == ["knn", "clean", 16, 5]
    assert (second["n"], 0 <= first["error"] <= 1) == (8, True)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("Calibration, knn, route clean</h2>") == 2
    assert re.search(r'<th scope="row">error</th><td>0\.\d', page)
