"""The process of a task: its log, its environment, its end when it is asked for, and by force where it does not end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustcl.errors import DiskError
from robustcl.launch.commands import make_command
from robustcl.tasks import Task, attend, attendance, command_of


def task(folder: Path, code: str) -> Task:
    """Return a task of Python code."""
    return Task("t", (sys.executable, "-c", code), folder / "done", folder / "logs" / "t.log", folder)


def wait_for(file: Path) -> None:
    end = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end, f"{file} does not come"
        time.sleep(0.02)


def test_output_is_added_to_the_log_and_the_code_is_returned(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WHERE'], os.getcwd()); print('oh', file=sys.stderr); sys.exit(3)"
    one = task(tmp_path, code)
    assert [attend(one, {"WHERE": "here"}), attend(one, {"WHERE": "there"})] == [3, 3]
    assert sorted(one.log.read_text().splitlines()) == [f"here {tmp_path}", "oh", "oh", f"there {tmp_path}"]


def test_a_task_that_nobody_wants_any_more_may_save_and_is_killed_if_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready"
    polite = f"import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); open({str(ready)!r}, 'w'); "
    assert attend(task(tmp_path, polite + "time.sleep(60)"), wanted=lambda: not ready.exists()) == 130
    ready.unlink()
    monkeypatch.setattr(attendance, "GRACE", 0.2)
    deaf = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(60)"
    assert attend(task(tmp_path, deaf), wanted=lambda: not ready.exists()) == -9


@pytest.mark.parametrize("number", [15, 10])
def test_a_task_ends_with_who_started_it_and_gets_its_signals(tmp_path: Path, number: int) -> None:
    ready, heard = tmp_path / "ready", tmp_path / "heard"
    code = (
        "import os, signal, sys, time\n"
        f"def hear(number, frame): open({str(heard)!r}, 'w').write(str(number)); sys.exit(130)\n"
        "signal.signal(15, hear), signal.signal(10, hear)\n"
        f"open({str(ready)!r}, 'w').close(), time.sleep(60)"
    )
    with subprocess.Popen(command_of(task(tmp_path, code)), stdin=subprocess.PIPE) as process:
        wait_for(ready)
        process.send_signal(number) if number == 10 else process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(30) == 130
    assert heard.read_text() == str(number)


def test_who_attends_is_light(tmp_path: Path) -> None:
    code = "import sys, robustcl.tasks; print(sorted(m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert json.loads(command_of(task(tmp_path, ""))[-1])["folder"] == str(tmp_path)


def test_modules_of_the_working_folder_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the stranger ran')")
    for command in (make_command(["--version"]), command_of(task(tmp_path, ""))):
        done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert "the stranger ran" not in done.stderr


def test_a_launcher_s_process_says_in_a_sentence_what_it_cannot_do(tmp_path: Path) -> None:
    one = Task("t", ("/no/such/program",), tmp_path / "done", tmp_path / "log", tmp_path)
    with subprocess.Popen(command_of(one), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.wait(30) == 1
        said = process.stderr.read() if process.stderr else ""
    assert said.startswith("robustcl: the task t: /no/such/program cannot be used")
    assert "Traceback" not in said


def test_a_program_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    one = Task("t", ("/no/such/program",), tmp_path / "done", tmp_path / "log", tmp_path)
    with pytest.raises(DiskError, match="/no/such/program"):
        attend(one)
    assert os.path.exists(one.log)
