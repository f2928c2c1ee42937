"""A study whose runs are tasks: several at once, a stage that two share trained once, and one run that fails."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.launch.standings import tabulate
from robustcl.study import api, launching
from robustcl.study.launching import launch
from robustcl.study.plan.setting import Setting
from robustcl.study.runs.cards import RUNS
from robustcl.study.runs.execution import Machine, is_finished
from robustcl.study.runs.launched import plan_tasks
from robustcl.tasks import Event
from robustcl_plugins.launchers.local import Local
from tests.shared.tiny_study import compose_smoke, tables, write_study

ROWS = [*tables()["row"], {"name": "bad", "recipe": "tiny.toml", "set": {"stage.robust.optimizer.lr": 1e30}}]
WORDS = ["study", "run", "study.toml", "--budget", "smoke"]


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "robustcl", *WORDS, "--out", str(folder / "out"), *words]


def test_a_stage_that_runs_share_is_a_task_of_its_own_for_which_they_wait(tmp_path: Path) -> None:
    made = compose_smoke(tmp_path, Setting(budget="smoke", seeds=2))
    plan = plan_tasks(made.planned, tmp_path / "out", WORDS)
    assert {task.name: task.after for task in plan.tasks} == {
        "near-seed0.pretrain": (),
        "near-seed0": ("near-seed0.pretrain",),
        "far-seed0": ("near-seed0.pretrain",),
        "near-seed1.pretrain": (),
        "near-seed1": ("near-seed1.pretrain",),
        "far-seed1": ("near-seed1.pretrain",),
    }
    first = plan.tasks[0]
    assert first.command[-4:] == ("--only", "near-seed0", "--until", "pretrain")
    assert first.outcome == tmp_path / "out/runs/near-seed0/stages/pretrain/finished.json"
    assert plan.cards[1].command == f"cd {Path.cwd()} && robustcl study run study.toml --budget smoke --only near-seed0"
    assert {task.devices for task in plan_tasks(made.planned, tmp_path / "out", WORDS, devices=0).tasks} == {0}
    alone = plan_tasks(made.planned[:1], tmp_path / "out", WORDS)
    assert [task.name for task in alone.tasks] == ["near-seed0"], "what nobody shares is trained by its own run"


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A study of three rows, launched two at a time, as a process; one of its rows cannot be trained."""
    folder = tmp_path_factory.mktemp("launched")
    write_study(folder, row=ROWS)
    done = subprocess.run(command(folder, "--slots", "2"), cwd=folder, capture_output=True, text=True, timeout=300)
    return folder, done


def test_what_is_launched_equals_what_one_process_does_to_the_bit(
    launched: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, done = launched
    made = compose_smoke(tmp_path, row=ROWS[:2])
    api.run(made, tmp_path / "out")
    for name in ("near-seed0", "far-seed0"):
        mine, theirs = tmp_path / "out" / RUNS / name, folder / "out" / RUNS / name
        for file in sorted(mine.glob("stages/*/*.safetensors")):
            assert file.read_bytes() == (theirs / file.relative_to(mine)).read_bytes(), (name, file.parent.name)
        one, other = (json.loads((run / "results.json").read_text()) for run in (mine, theirs))
        assert one["rows"] == other["rows"]
    # Nothing is trained twice: the second run's log has the first stage's lines as the first run wrote them.
    logs = [folder / "out" / RUNS / name / "metrics.jsonl" for name in ("near-seed0", "far-seed0")]
    lines = [log.read_text().splitlines()[0] for log in logs]
    assert lines[0] == lines[1], "they tell the seconds of one training"
    assert done.returncode == 1, done.stderr


def test_a_row_that_fails_is_told_and_the_others_go_on(
    launched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = launched
    assert "bad, seed 0: it ended with the exit code 1" in done.stderr
    assert f"alone: cd {folder} && robustcl study run --budget=smoke" in done.stderr.replace("study.toml ", "")
    (note,) = [line for line in done.stdout.splitlines() if line.startswith("- bad-seed0 is left out")]
    assert "the term deacl/distil became nan" in note, "the last line that its log has"
    assert [row[:2] for row in tabulate(folder / "out")] == [
        ("near, seed 0: pretrain", "done"),
        ("near, seed 0", "done"),
        ("far, seed 0", "done"),
        ("bad, seed 0", "failed"),
    ]


def test_status_tells_it_from_the_folder_alone(launched: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = launched
    words = [sys.executable, "-m", "robustcl", "study", "status", str(folder / "out")]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.startswith("4 tasks: 3 done, 1 failed\n")
    assert f"alone: cd {folder} && robustcl study run" in told


def test_a_second_call_does_what_is_left_and_ctrl_c_ends_the_tasks(
    launched: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = launched
    before = {file: file.stat().st_mtime_ns for file in (folder / "out" / RUNS).glob("*-seed0/results.json")}
    with subprocess.Popen(command(folder, "--slots", "1"), cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while [row[1] for row in tabulate(folder / "out")] != ["done", "done", "running"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(120) == 130, said
    assert "stopped, and the tasks with it; the same command goes on" in said
    assert {file: file.stat().st_mtime_ns for file in before} == before
    running = subprocess.run(["pgrep", "-f", f"out={folder / 'out'} --only"], capture_output=True, text=True)
    assert not running.stdout, "a task outlives its launcher"


def test_a_page_that_cannot_be_made_yet_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every row has values that were not tried yet, no run of the study counts as finished."""
    made, said = compose_smoke(tmp_path), list[str]()
    monkeypatch.setattr(launching, "EVERY", 0.0)
    page = launching._Page(made, tmp_path / "out", said.append)
    page.hear(Event(made.planned[0].folder, "done", "slot 1", 1))
    assert said[0].startswith(f"no page so far: {tmp_path / 'out'}: no run of the study is finished there")


def test_a_run_that_was_killed_before_its_lock_begins_again(tmp_path: Path) -> None:
    made = compose_smoke(tmp_path)
    folder = tmp_path / "out" / RUNS / made.planned[0].folder
    folder.mkdir(parents=True)
    (folder / f".recipe.toml.{'a' * 16}").touch()
    assert not is_finished(made.planned[0], tmp_path / "out")


def test_a_second_launch_of_the_same_study_is_refused(tmp_path: Path) -> None:
    made = compose_smoke(tmp_path)
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is at work on"):
            launch(made, tmp_path, Local(slots=1), WORDS, Machine("cpu"), print)
    assert not (tmp_path / "tasks").exists(), "the other's board stays"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "nera-seed0"), "--only nera-seed0: the study has no such run, did you mean 'near-seed0'?"),
        (("--only", "near-seed0", "--until", "x"), "has no stage 'x'; it has pretrain, robust"),
        (("--until", "pretrain"), "--until pretrain is of one run: name it with --only"),
        (("--slots", "2", "--so-far"), "--so-far trains nothing that a launcher could launch"),
        (("--only", "near-seed0", "--dry-run"), "--only runs one run and makes no table: leave --dry-run out"),
        (("--only", "near-seed0", "--slots", "2"), "--only runs one run and makes no table: leave --launcher"),
        (("--launcher", "slrum"), "launcher called 'slrum'"),
        (("--slots", "2", "--device", "cuda:1"), "--device cuda:1: each task is given a device of its own"),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    from click.testing import CliRunner

    from robustcl.cli import study

    write_study(tmp_path)
    text = ["run", str(tmp_path / "study.toml"), "--budget", "smoke", "--out", str(tmp_path / "out"), *words]
    found = CliRunner().invoke(study.command, text)
    assert isinstance(found.exception, UsageError), found.output
    assert said in str(found.exception)
    assert os.listdir(tmp_path / "out") == ["runs"] if (tmp_path / "out").exists() else True
