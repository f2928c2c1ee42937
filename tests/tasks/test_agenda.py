"""The order of tasks, and what becomes of those that wait for one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustcl.errors import UsageError
from robustcl.tasks import Agenda, Event, Task, decode_task, encode_task


def task(folder: Path, name: str, *after: str) -> Task:
    """Return a task that nobody runs."""
    return Task(name, ("true",), folder / f"{name}.done", folder / f"{name}.log", folder, after)


def names(agenda: Agenda) -> list[str]:
    return [one.name for one in agenda.ready()]


def test_what_waits_begins_when_all_that_it_waits_for_is_done(tmp_path: Path) -> None:
    stage, one, two = task(tmp_path, "stage"), task(tmp_path, "one", "stage"), task(tmp_path, "two", "stage", "one")
    agenda = Agenda([two, one, stage])
    assert names(agenda) == ["stage"]
    assert agenda.start("stage", "here") == Event("stage", "started", "here", 1)
    assert names(agenda) == []
    (tmp_path / "stage.done").touch()
    assert agenda.finish("stage", 0) == [Event("stage", "done", "here", 1)]
    assert names(agenda) == ["one"]
    agenda.start("one", "here")
    (tmp_path / "one.done").touch()
    agenda.finish("one", 0)
    assert names(agenda) == ["two"]
    assert not agenda.over


def test_a_signal_begins_a_task_again_so_often_and_a_lost_machine_always(tmp_path: Path) -> None:
    agenda = Agenda([task(tmp_path, "one")], retries=1)
    for _ in range(5):
        agenda.start("one", "node")
        assert [event.state for event in agenda.finish("one", None, "preempted")] == ["again"]
    states = []
    for code in (-9, 143):
        agenda.start("one", "node")
        states += [(event.state, event.attempt, event.why) for event in agenda.finish("one", code)]
    assert states == [("again", 1, "a signal ended it (9)"), ("failed", 2, "a signal ended it (15)")]
    assert agenda.over


def test_what_its_machines_die_of_does_not_begin_for_ever(tmp_path: Path) -> None:
    agenda, states = Agenda([task(tmp_path, "one")]), list[str]()
    while not agenda.over:
        agenda.start("one", "node")
        states += [event.state for event in agenda.finish("one", None)]
    assert states == ["again"] * 100 + ["failed"]


def test_a_task_of_the_same_name_that_does_something_else_is_another(tmp_path: Path) -> None:
    one, other = (Task("worker-1", ("evaluate", flag), None, tmp_path, tmp_path) for flag in ("--a", "--b"))
    assert one.key != other.key
    assert one.key == decode_task(encode_task(one)).key
    assert one.key.startswith("worker-1-")


@pytest.mark.parametrize("code", [1, 2, 3])
def test_an_error_fails_for_good_and_leaves_out_all_that_waits(tmp_path: Path, code: int) -> None:
    made = [task(tmp_path, "a"), task(tmp_path, "b", "a"), task(tmp_path, "c", "b"), task(tmp_path, "d")]
    agenda = Agenda(made)
    agenda.start("a", "")
    assert [(event.task, event.state, event.why) for event in agenda.finish("a", code)] == [
        ("a", "failed", f"it ended with the exit code {code}"),
        ("b", "left out", "a is not done"),
        ("c", "left out", "b is not done"),
    ]
    assert names(agenda) == ["d"]


def test_a_task_without_an_outcome_is_done_by_its_exit_code(tmp_path: Path) -> None:
    one = Task("a", ("true",), None, tmp_path / "log", tmp_path)
    agenda = Agenda([one])
    assert names(agenda) == ["a"]
    agenda.start("a", "")
    assert [event.state for event in agenda.finish("a", 0)] == ["done"]
    assert decode_task(encode_task(one)) == one


def test_a_good_end_without_an_outcome_is_none(tmp_path: Path) -> None:
    agenda = Agenda([task(tmp_path, "a")])
    agenda.start("a", "")
    (event,) = agenda.finish("a", 0)
    assert event.state == "failed"
    assert "do all machines see that folder?" in event.why


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"a": (), "b": ("c",)}, "the task 'b' waits for 'c', which is not among the tasks"),
        ({"a": ("b",), "b": ("a",)}, "the task 'a' waits, over others, for itself"),
        ({"a": ("a",)}, "the task 'a' waits, over others, for itself"),
    ],
)
def test_orders_that_cannot_be(tmp_path: Path, after: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        Agenda([task(tmp_path, name, *before) for name, before in after.items()])
    with pytest.raises(UsageError, match="two tasks have one name"):
        Agenda([task(tmp_path, "a"), task(tmp_path, "a")])


@given(data=st.data(), count=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_every_task_ends_once_and_in_order(
    data: st.DataObject, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tasks")
    made = [
        task(folder, str(n), *map(str, data.draw(st.sets(st.integers(0, n - 1)) if n else st.just(set[int]()))))
        for n in range(count)
    ]
    agenda, done, ended = Agenda(made, retries=1), set[str](), list[str]()
    while not agenda.over:
        ready = agenda.ready()
        assert ready, "nothing runs, and nothing may begin"
        one = data.draw(st.sampled_from(ready))
        assert {*one.after} <= done
        agenda.start(one.name, "")
        code = data.draw(st.sampled_from([0, 0, 1, -15]))
        if code == 0:
            (folder / f"{one.name}.done").touch()
        for event in agenda.finish(one.name, code):
            ended += [event.task] if event.state != "again" else []
            done |= {event.task} if event.state == "done" else set()
    assert sorted(ended) == sorted(one.name for one in made)
