"""The launcher ``local``: how many run at once, and whose the cores are."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustcl_plugins.launchers.local import Local
from tests.plugins.launchers.engines import WAIT, a_task, runs


@pytest.mark.golden("launcher", "local")
def test_as_many_run_at_once_as_there_are_slots(tmp_path: Path) -> None:
    meets = f"(pathlib.Path({str(tmp_path)!r}) / OTHER).touch(); {{}}\n{WAIT}"
    tasks = [a_task(tmp_path, name, meets.replace("OTHER", repr(f"{other}.go")).format("time.sleep(0)"))
             for name, other in (("one", "two"), ("two", "one"))]  # fmt: skip
    events = list(Local(slots=2).launch(tasks, tmp_path))
    assert [event.state for event in events[:2]] == ["started", "started"]
    assert {event.place for event in events} == {"slot 1", "slot 2"}
    alone = [a_task(tmp_path, name, "") for name in ("a", "b")]
    events = list(Local(slots=1).launch(alone, tmp_path))
    assert [(event.task, event.state) for event in events] == [
        ("a", "started"), ("a", "done"), ("b", "started"), ("b", "done"),
    ]  # fmt: skip
    assert [runs(tmp_path, name) for name in ("one", "two", "a", "b")] == [1, 1, 1, 1]
