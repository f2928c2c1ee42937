"""What machines are asked to see before tasks begin, and the sentence of each that does not."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from robustcl.errors import UsageError
from robustcl.tasks import (
    SharedFolder,
    Sight,
    Task,
    decode_task,
    encode_task,
    explain_blind,
    explain_unanswered,
    leave_sights,
    probe_command,
    sight,
    take_away,
)


def a_task(folder: Path, *shared: Path) -> Task:
    stores = tuple(SharedFolder(each, "take another store") for each in shared)
    return Task("one", ("true",), None, folder / "log", folder, shared=stores)


def ask(sights: tuple[Sight, ...], answer: Path) -> int:
    return subprocess.run(probe_command(sights, answer), cwd="/").returncode


def test_a_task_keeps_what_it_shares_on_its_way_to_a_machine(tmp_path: Path) -> None:
    task = a_task(tmp_path, tmp_path / "store")
    assert decode_task(encode_task(task)) == task
    assert task.key == replace(task, shared=()).key, "where its store lies makes no other task of it"


def test_who_sees_all_answers_and_who_does_not_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, store, answer = tmp_path / "own", tmp_path / "store", tmp_path / "answers" / "one"
    answer.parent.mkdir()
    sights = leave_sights([a_task(tmp_path, store), a_task(tmp_path, store)], own, "word")
    assert [one.shared.folder for one in sights] == [own, store, tmp_path]
    assert ask(sights, answer) == 0
    assert answer.is_file()
    (store / ".seen-word").rename(store / ".seen-other")  # as in a copy of it that this machine has
    monkeypatch.setattr(sight, "_LATE", 0.2)
    code = sight.look(probe_command(sights, answer)[-2], answer)
    sentence = f"the machine far does not see the folder {store} of this one: take another store; nothing began"
    with pytest.raises(UsageError, match=re.escape(sentence)):
        raise explain_blind("far", code, sights)
    take_away(sights)
    assert not [*own.iterdir()]
    assert tmp_path.is_dir(), "the folder in which a task runs is nobody's to remove"
    code = sight.look(probe_command(sights, answer)[-2], answer)
    with pytest.raises(UsageError, match=f"does not see the folder {own} of this one: put it on a disk that all"):
        raise explain_blind("far", code, sights)


def test_a_machine_that_only_reads_or_has_no_such_python(tmp_path: Path) -> None:
    sights = leave_sights([a_task(tmp_path)], tmp_path / "own", "word")
    assert sight.look(probe_command(sights, tmp_path)[-2], tmp_path / "nowhere" / "answer") == 63
    assert "cannot write into" in str(explain_blind("far", 63, sights))
    for code in (1, 127, 200):
        assert f"cannot run {sys.executable} -m robustcl (exit code {code})" in str(explain_blind("far", code, sights))
    assert f"its answer in {tmp_path}, and it is not seen here" in str(explain_unanswered("far", tmp_path))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no folder in which nobody writes")
def test_a_store_that_is_read_only_is_looked_for_by_its_folder(tmp_path: Path) -> None:
    sights = leave_sights([a_task(tmp_path, Path("/proc"))], tmp_path / "own", "word")
    assert sights[1].path == Path("/proc")


def test_a_store_that_cannot_be_made_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sights = leave_sights([a_task(tmp_path, tmp_path / "file" / "store")], tmp_path / "own", "word")
    assert len(sights) == 2
