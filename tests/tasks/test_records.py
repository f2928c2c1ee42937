"""The record of a task's attempt, and that two attempts never run at once."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.tasks import Record, Task, attend_on_record, read_record


def task(folder: Path, code: str) -> Task:
    """Return a task of Python code."""
    return Task("t", (sys.executable, "-c", code), folder / "done", folder / "t.log", folder)


def test_what_is_written_is_read_and_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "records" / "t.json"
    assert read_record(path) is None
    with pytest.raises(UsageError, match="records is not seen by the machine"):
        attend_on_record(task(tmp_path, ""), path, Record("1", "here"))
    path.parent.mkdir()
    assert attend_on_record(task(tmp_path, "import sys; sys.exit(3)"), path, Record("1", "here")) == 3
    assert read_record(path) == Record("1", "here", 3)
    for text in ("", "[]", "{", json.dumps({"attempt": "1"}), json.dumps({"attempt": "1", "place": "x", "more": 1})):
        path.write_text(text)
        assert read_record(path) is None


def test_a_program_that_is_not_there_is_in_the_record(tmp_path: Path) -> None:
    one = Task("t", ("/no/such/program",), tmp_path / "done", tmp_path / "log", tmp_path)
    assert attend_on_record(one, tmp_path / "t.json", Record("1", "here")) == 1
    record = read_record(tmp_path / "t.json")
    assert record is not None
    assert "/no/such/program" in record.why


def test_one_that_has_lost_its_lease_ends_and_writes_nothing_more(tmp_path: Path) -> None:
    """As on a machine that stood still for long: another has taken the task over by now."""
    path, ready = tmp_path / "t.json", tmp_path / "ready"
    one = task(tmp_path, f"import time; open({str(ready)!r}, 'w').close(); time.sleep(60)")

    def taken_over() -> bool:
        if ready.exists() and (lease := tmp_path / "t.lease").read_text().split()[0] != "other":
            lease.unlink()
            lease.write_text("other machine 1 0")
            path.write_text(json.dumps({"attempt": "2", "place": "there"}))
        return True

    assert attend_on_record(one, path, Record("1", "here"), wanted=taken_over, patience=0.6) == -15
    assert read_record(path) == Record("2", "there")


def test_one_that_nobody_wants_any_more_has_no_code_of_its_own(tmp_path: Path) -> None:
    path, ready = tmp_path / "t.json", tmp_path / "ready"
    one = task(tmp_path, f"import time; open({str(ready)!r}, 'w').close(); time.sleep(60)")
    assert attend_on_record(one, path, Record("1", "here"), wanted=lambda: not ready.exists()) == -15
    assert read_record(path) == Record("1", "here")


def test_a_second_attempt_waits_for_the_first_and_finds_its_outcome(tmp_path: Path) -> None:
    path, go = tmp_path / "t.json", tmp_path / "go"
    code = f"import os, time\nopen('runs', 'a').write('x')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    one = task(tmp_path, f"{code}\nopen('done', 'w').close()")
    codes = list[int]()
    first = threading.Thread(target=lambda: codes.append(attend_on_record(one, path, Record("1", "here"))))
    first.start()
    while not (tmp_path / "runs").exists():
        assert first.is_alive()
    assert attend_on_record(one, path, Record("2", "there"), wanted=lambda: False) == 143
    second = threading.Thread(target=lambda: codes.append(attend_on_record(one, path, Record("2", "there"))))
    second.start()
    assert read_record(path) == Record("1", "here")
    go.touch()
    first.join(30)
    second.join(30)
    assert codes == [0, 0]
    assert (tmp_path / "runs").read_text() == "x"
    assert read_record(path) == Record("2", "there", 0)
