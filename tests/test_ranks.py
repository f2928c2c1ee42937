"""One process and two compute the same: losses, gradients, perturbed views, statistics, whole runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcl.train import checkpoint
from tests.shared import tiny, tiny_ranks
from tests.shared.forks import Asked, fork, fork_all

_BOTH = ("objective info-nce", "objective deacl", "generator ncp", "generator pgd", "a follower encodes a view")
CASES = [
    f"{name}, {mode}"
    for name in tiny_ranks.cases()
    for mode in ("train", "eval")
    if (mode == "eval" if name == tiny_ranks.MICRO else mode == "train" or name in _BOTH)
]
"""All in train mode, where batch norms exchange too; a mode reaches every part by the same encoder."""
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process computed alone, and what each of two computed together, in the cases that are asked for."""
    folder = tmp_path_factory.mktemp("ranks")
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    asked = [found.params["case"] for found in parameters if found is not None and "case" in found.params]
    (folder / tiny_ranks.ASKED).write_text(json.dumps(asked), encoding="utf-8")
    places = [(0, 1), (0, 2), (1, 2)]
    ends = fork_all([
        Asked([str(rank), str(world), str(folder)], folder, tiny.environment(), "tests.shared.tiny_ranks:script")
        for rank, world in places
    ])  # fmt: skip
    said, codes = [done.stderr for done in ends], [done.returncode for done in ends]
    if tiny_ranks.NO_GLOO in codes:
        without_gloo(" ".join(said))
    assert codes == [0, 0, 0], said
    return [torch.load(folder / f"{world}-{rank}.pt") for rank, world in places]


def without_gloo(reason: str) -> None:
    """Skip, unless whoever runs the tests relies on these."""
    if "ranks" in os.environ.get("ROBUSTCL_REQUIRE", ""):
        pytest.fail(f"ROBUSTCL_REQUIRE asks for ranks, but {reason}")
    pytest.skip(reason)


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_compute_what_one_does(case: str, outcomes: list[dict[str, Any]]) -> None:
    alone, *both = (outcome[case] for outcome in outcomes)
    for outcome in (alone, *both):
        assert "error" not in outcome, outcome["error"]
    for name in alone["written"]:
        assert_near(torch.cat([rank["views"][name] for rank in both]), alone["views"][name], f"view {name}")
        moved = (alone["views"][name] - alone["views"]["w" if "w" in alone["views"] else "a"]).abs().max()
        assert moved <= 8 / 255 + 1e-9 or name == "b_adv"
    assert alone["gradients"]
    assert any(bool(gradient.any()) for gradient in alone["gradients"].values())
    for rank in both:
        for what in ("losses", "gradients", "online"):
            assert_equal_tables(rank[what], alone[what], what)
        for name, state in alone["ema"].items():
            assert_equal_tables(rank["ema"][name], state, f"follower {name}")


def assert_equal_tables(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], what: str) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(value.double().abs().max()) for value in expected.values() if value.numel())
    for name, value in expected.items():
        assert_near(found[name], value, f"{what} {name}", scale if what == "gradients" else None)


def assert_near(found: torch.Tensor, expected: torch.Tensor, what: str, scale: float | None = None) -> None:
    """Relative to the largest entry: of the tensor, or of all gradients, whose smallest are rounding of zeros."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.numel():
        largest = scale if scale is not None else float(expected.double().abs().max())
        difference = float((found.double() - expected.double()).abs().max())
        assert difference <= TOLERANCE * max(largest, 1e-6), f"{what} differs by {difference} of {largest}"


def test_every_registered_generator_and_objective_is_compared() -> None:
    from robustcl import registry

    for name in registry.names("objective"):
        assert f"objective {name}, train" in CASES
    assert {"generator pgd, eval", "generator ncp, train"} <= set(CASES)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the second process is found in /proc")
def test_a_run_that_loses_a_process_ends_with_a_sentence_and_resumes_to_the_loss_trace_of_one(tmp_path: Path) -> None:
    settings = (
        "encoder.width=2", "encoder.projector.widths=[8,4]", "run.log_every=1", "data.validation=0.5",
        "stage.pretrain.epochs=1", "stage.robust.targets.clusters=5", "stage.robust.generator.steps=2",
        "evaluate.slf.epochs=1", "evaluate.slf.samples=8", "evaluate.slf.route=[\"clean\"]",
        "evaluate.slf.attacks=[\"fgsm\"]", "evaluate.slf.curve=[]", "evaluate.slf.audit=0",
    )  # fmt: skip
    common = ["compose", "--objective", "deacl", "--generator", "ncp"]
    common += ["--encoder", "resnet-small", "--budget", "smoke", "--device", "cpu", "--precision", "64-true"]
    common += [flag for setting in settings for flag in ("--set", setting)]
    one, two = ([*common, "--devices", devices, "--out", f"run-{devices}"] for devices in "12")
    done = fork(one, tmp_path, tiny.environment())
    assert done.returncode == 0, done.stderr
    code, said = lose_a_rank([sys.executable, "-m", "robustcl", *two], tmp_path)
    if "gloo" in said and code != 1:
        without_gloo(said[-2000:])
    assert (code, "another process of this run has ended" in said, "Traceback" in said) == (1, True, False), said
    again = [sys.executable, "-m", "robustcl", "resume", "run-2"]
    done = subprocess.run(again, cwd=tmp_path, env=tiny.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    hold_traces(tmp_path)


def lose_a_rank(command: list[str], folder: Path) -> tuple[int, str]:
    """Start a run of two processes, kill the second one in its first stage, and return how the first one ends."""
    with subprocess.Popen(command, cwd=folder, env=tiny.environment(), stderr=subprocess.PIPE, text=True) as first:
        log, children = folder / "run-2/metrics.jsonl", Path(f"/proc/{first.pid}/task/{first.pid}/children")
        while first.poll() is None and not (log.is_file() and log.read_bytes()):
            time.sleep(0.05)
        for child in children.read_text().split() if children.exists() else ():
            os.kill(int(child), signal.SIGKILL)
        said = first.communicate(timeout=120)[1]
        return first.returncode, said


def hold_traces(tmp_path: Path) -> None:
    """Hold what the run of two processes logged and judged against what one did."""
    one, two = (tiny.lines(tmp_path / f"run-{devices}" / "metrics.jsonl", "seconds") for devices in "12")
    assert [(line["stage"], line["step"]) for line in one] == [(line["stage"], line["step"]) for line in two]
    assert {"pretrain", "robust"} < {line["stage"] for line in one}
    for mine, other in zip(one, two, strict=True):
        assert mine.pop("stage") == other.pop("stage")
        assert mine == pytest.approx(other, rel=1e-5, abs=1e-8)
    states = [checkpoint.newest(tmp_path / f"run-{devices}/checkpoints/pretrain")[0] or {} for devices in "12"]
    assert states[0]["passes"] == states[1]["passes"], "the shares of both, a resume included"
    # The weights differ by rounding, and with them the model's hash in each question, and so the questions' names.
    journals = [tiny.lines(tmp_path / f"run-{devices}" / "journal.jsonl", "hash", "spec", "check") for devices in "12"]
    outcomes = [[line for line in journal if "question" not in line] for journal in journals]
    assert outcomes[0] == outcomes[1]
