"""What a launcher of SLURM finds again: jobs that go on, and none of another question, or that has failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustcl.tasks import Task
from robustcl_plugins.launchers import slurm_queue
from robustcl_plugins.launchers.slurm import Slurm
from robustcl_plugins.launchers.slurm_queue import Seen
from robustcl_plugins.launchers.slurm_sending import Sending


@pytest.mark.parametrize(
    ("state", "code", "outcome", "found"),
    [
        ("RUNNING", None, True, True),
        ("PENDING", -10, True, True),  # it came to its limit and is queued again
        (None, 0, False, True),  # ended, and the code alone says that it is done
        (None, 0, True, False),  # its outcome is asked for anew, or is gone
        (None, 2, True, False),  # it failed while nobody looked: who asks again has it sent again
        ("CANCELLED", None, True, False),
        (None, None, True, False),
    ],
)
def test_a_job_is_found_again_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None, code: int | None, outcome: bool, found: bool
) -> None:
    task = Task("worker-1", ("evaluate", "--a"), tmp_path / "done" if outcome else None, tmp_path / "log", tmp_path)
    other = Task("worker-1", ("evaluate", "--b"), task.outcome, task.log, tmp_path)
    seen = {} if state is None else {"7_0": Seen(state, "name", "node", "")}
    monkeypatch.setattr(slurm_queue, "look", lambda: seen)
    before = Sending(Slurm(), tmp_path / "slurm", False)
    before.ledger.intend("name", [task.key])
    before.ledger.send("name", ["7_0"], 1)
    if code is not None:
        before.record_of(task).write_text(json.dumps({"attempt": "7_0.0", "place": "node", "code": code, "why": ""}))
    after = Sending(Slurm(), tmp_path / "slurm", False)
    assert not after.recover([other]), "another command is another task"
    assert bool(after.recover([task])) is found
    assert bool(Sending(Slurm(), tmp_path / "slurm", False).recover([task])) is found, "and so it stays"
