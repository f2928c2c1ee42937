"""What a launcher must satisfy: with real commands, on whatever it launches them."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from robustcl.errors import UsageError
from robustcl.tasks import Event, Task, encode_task
from robustcl.testing.subject import Check, PluginSubject, Skip

_LONG = 120.0
"""Seconds that a check waits at most: a queue may take its time."""


def runs_every_task_and_says_so(subject: PluginSubject) -> None:
    """Each task runs once, its output goes to its log, and its events are "started" and "done"."""
    with _folder() as folder:
        tasks = [_task(folder, name, f"print('it is', {name!r})") for name in ("one", "two", "three")]
        events = _launch(subject, tasks, folder)
        for task in tasks:
            states = [event.state for event in events if event.task == task.name]
            assert states == ["started", "done"], f"the events of {task.name} are {states}"
            assert _times(folder, task.name) == 1, f"{task.name} ran {_times(folder, task.name)} times"
            said = task.log.read_text() if task.log.exists() else ""
            assert f"it is {task.name}" in said, "what a task prints is not in its log"


def begins_no_task_before_those_that_it_waits_for(subject: PluginSubject) -> None:
    """A task finds the outcome of those it waits for, in whatever order they were given."""
    with _folder() as folder:
        second = _task(folder, "second", f"assert os.path.exists({str(folder / 'first.done')!r})", after=("first",))
        events = _launch(subject, [second, _task(folder, "first", "time.sleep(0.3)")], folder)
        assert _last(events) == {"first": "done", "second": "done"}, f"{_last(events)}"


def begins_again_what_a_signal_has_ended(subject: PluginSubject) -> None:
    """A task that is killed is "again", and begins once more."""
    with _folder() as folder:
        once = folder / "killed"
        code = f"os.path.exists({str(once)!r}) or (open({str(once)!r}, 'w').close(), os.kill(os.getpid(), 9))"
        events = _launch(subject, [_task(folder, "one", code)], folder)
        states = [event.state for event in events]
        assert states == ["started", "again", "started", "done"], f"its events are {states}"


def leaves_out_what_waits_for_a_failure(subject: PluginSubject) -> None:
    """A task with an exit code of its own fails at once, what waits for it is left out, and the others go on."""
    with _folder() as folder:
        tasks = [_task(folder, "bad", "print('for this reason'); sys.exit(2)"),
                 _task(folder, "child", "", after=("bad",)), _task(folder, "grandchild", "", after=("child",)),
                 _task(folder, "other", "")]  # fmt: skip
        events = _launch(subject, tasks, folder)
        wanted = {"bad": "failed", "child": "left out", "grandchild": "left out", "other": "done"}
        assert _last(events) == wanted, f"{_last(events)}"
        assert _times(folder, "bad") == 1, "a task that fails by itself is not begun again"
        assert next(event.why for event in events if event.state == "failed"), "it does not say why"
        assert "for this reason" in tasks[0].log.read_text(), "what it said last is not in its log"


def does_nothing_twice(subject: PluginSubject) -> None:
    """Tasks whose outcome is there are done, and are not begun."""
    with _folder() as folder:
        tasks = [_task(folder, name, "") for name in ("one", "two")]
        (folder / "one.done").touch()
        events = _launch(subject, tasks, folder)
        assert _last(events) == {"one": "done", "two": "done"}, f"{_last(events)}"
        assert _times(folder, "one") == 0, "a task that was done ran again"


def goes_on_after_its_own_death(subject: PluginSubject) -> None:
    """A launcher that is killed and started again begins nothing twice that is done or runs, and ends all."""
    if subject.cls.__qualname__ != subject.cls.__name__:
        raise Skip("the class cannot be imported by its name in another process")
    subject.make()
    with _folder() as folder:
        tasks = [_task(folder, "short", ""), _task(folder, "long", "time.sleep(3)", after=("short",)),
                 _task(folder, "last", "", after=("long",))]  # fmt: skip
        script = _SCRIPT.format(module=subject.cls.__module__, name=subject.cls.__name__, preset=dict(subject.preset))
        file = folder / "tasks.json"
        file.write_text(json.dumps([encode_task(task) for task in tasks]))
        process = subprocess.Popen([sys.executable, "-c", script, str(file), str(folder)])
        end = time.monotonic() + _LONG
        while _times(folder, "long") == 0 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        events = _launch(subject, tasks, folder)
        assert _last(events) == {task.name: "done" for task in tasks}, f"{_last(events)}"
        assert _times(folder, "short") == 1, "what was done ran again"
        assert _times(folder, "both") == 0, "a task ran while it was still running"


def ends_its_tasks_or_leaves_them_to_a_queue(subject: PluginSubject) -> None:
    """Where the iterator is closed, a running task is asked to end by SIGTERM, or goes on to its end."""
    with _folder() as folder:
        code = (
            f"signal.signal(signal.SIGTERM, lambda *_: (open({str(folder / 'saved')!r}, 'w').close(), sys.exit(130)))"
        )
        task = _task(folder, "one", f"{code}; open({str(folder / 'ready')!r}, 'w').close(); time.sleep(5)")
        launching = subject.make().launch([task], folder)
        end = time.monotonic() + _LONG
        for event in launching:
            if event.state == "started":
                break
        while not (folder / "ready").exists() and time.monotonic() < end:
            time.sleep(0.05)
        launching.close()
        while not (folder / "saved").exists() and not task.is_done and time.monotonic() < end:
            time.sleep(0.05)
        assert (folder / "saved").exists() or task.is_done, "it was neither asked to end nor left to its end"


def refuses_an_order_that_cannot_be(subject: PluginSubject) -> None:
    """Two tasks that wait for each other are one sentence, and nothing runs."""
    with _folder() as folder:
        tasks = [_task(folder, "one", "", after=("two",)), _task(folder, "two", "", after=("one",))]
        try:
            _launch(subject, tasks, folder)
        except UsageError:
            assert _times(folder, "one") == 0, "it was begun all the same"
            return
        raise AssertionError("it is not refused")


LAUNCHER: tuple[Check, ...] = (
    runs_every_task_and_says_so,
    begins_no_task_before_those_that_it_waits_for,
    begins_again_what_a_signal_has_ended,
    leaves_out_what_waits_for_a_failure,
    does_nothing_twice,
    goes_on_after_its_own_death,
    ends_its_tasks_or_leaves_them_to_a_queue,
    refuses_an_order_that_cannot_be,
)


_SCRIPT = """
import importlib, json, sys
from pathlib import Path
from robustcl import options
from robustcl.tasks import decode_task
cls = getattr(importlib.import_module({module!r}), {name!r})
tasks = [decode_task(text) for text in json.loads(Path(sys.argv[1]).read_text())]
for event in options.build(cls, {preset!r}, {name!r}).instance.launch(tasks, Path(sys.argv[2])):
    pass
"""


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder; of machines that do not share their temporary one, TMPDIR has to name one that they do."""
    with tempfile.TemporaryDirectory(prefix="robustcl-launcher-") as name:
        yield Path(name)


def _task(folder: Path, name: str, code: str, after: tuple[str, ...] = ()) -> Task:
    """Return a task that notes each of its runs, refuses to run twice at once, and leaves an outcome."""
    outcome, times, running = folder / f"{name}.done", folder / f"{name}.times", folder / f"{name}.running"
    lines = [
        "import os, signal, sys, time",
        f"open({str(times)!r}, 'a').write('x')",
        f"old = open({str(running)!r}).read() if os.path.exists({str(running)!r}) else ''",
        f"twice = bool(old) and os.path.isdir('/proc/' + old) and open({str(folder / 'both.times')!r}, 'a').write('x')",
        f"open({str(running)!r}, 'w').write(str(os.getpid()))",
        code,
        f"open({str(outcome)!r}, 'w').close()",
        f"os.remove({str(running)!r})",
    ]
    return Task(name, (sys.executable, "-c", "\n".join(lines)), outcome, folder / "logs" / f"{name}.log", folder, after)


def _launch(subject: PluginSubject, tasks: Sequence[Task], folder: Path) -> list[Event]:
    events, end = list[Event](), time.monotonic() + _LONG
    for event in subject.make().launch(tasks, folder):
        if event.state != "waits":  # words on the way, of a queue or a look at the machines
            events.append(event)
        assert time.monotonic() < end, f"it has not ended within {_LONG:g} s"
    return events


def _last(events: Sequence[Event]) -> dict[str, str]:
    return dict(sorted((event.task, event.state) for event in {event.task: event for event in events}.values()))


def _times(folder: Path, name: str) -> int:
    """Return how often a task ran."""
    file = folder / f"{name}.times"
    return len(file.read_text()) if file.exists() else 0
