"""A process of several that is asked to end while it waits, inside a library, for one that does not answer."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from robustcl.processes.lost import STUCK
from robustcl.train.interrupt import Interrupt

PATIENCE = 0.6


def deadlock() -> None:
    """Wait inside a library for ever: no handler of Python's runs, as in a collective."""
    lock = ctypes.create_string_buffer(256)
    library = ctypes.CDLL(None)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)


def forked(body: Callable[[], None], said: Path) -> int:
    """Run ``body`` in a process of its own, which writes a line to ``said`` first; return its number."""
    number = os.fork()
    if number:
        while not said.is_file() or not said.read_bytes():
            time.sleep(0.01)
        return number
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w")
    try:
        body()
    finally:
        os._exit(99)
    return 0


def waiting(inner: Callable[[], None], patience: float | None = PATIENCE) -> Callable[[], None]:
    def body() -> None:
        with Interrupt(patience) as interrupt:
            os.write(2, b"ready\n")
            inner()
        os._exit(7 if interrupt.number is not None else 8)

    return body


def ended(number: int, within: float) -> int | None:
    """Return the exit code of a process, ``None`` where it is still there after some seconds; it is gone then."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return None


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_it_ends_with_a_sentence_when_its_patience_does(sent: signal.Signals, tmp_path: Path) -> None:
    number = forked(waiting(deadlock), tmp_path / "said")
    os.kill(number, sent)
    started = time.monotonic()
    assert ended(number, 60) == 130
    assert time.monotonic() - started > PATIENCE / 2, "it was given time to reach a border"
    assert (tmp_path / "said").read_text() == f"ready\nrobustcl: {STUCK}\n"


def test_without_a_signal_it_waits_on(tmp_path: Path) -> None:
    number = forked(waiting(deadlock), tmp_path / "said")
    assert ended(number, 2 * PATIENCE) is None


def test_without_other_ranks_nobody_watches(tmp_path: Path) -> None:
    number = forked(waiting(deadlock, None), tmp_path / "said")
    os.kill(number, signal.SIGTERM)
    assert ended(number, 2 * PATIENCE) is None


def test_who_reaches_a_border_in_time_is_left_alone(tmp_path: Path) -> None:
    """Another context, another stage's, begins anew."""

    def border() -> None:
        end = time.monotonic() + PATIENCE / 3
        while time.monotonic() < end:
            time.sleep(0.01)

    def twice() -> None:
        with Interrupt(PATIENCE) as first:
            os.write(2, b"ready\n")
            border()
        with Interrupt(PATIENCE) as second:
            time.sleep(2 * PATIENCE)
        os._exit(5 if (first.number, second.number) == (signal.SIGTERM, None) else 6)

    number = forked(twice, tmp_path / "said")
    os.kill(number, signal.SIGTERM)
    assert ended(number, 60) == 5
    assert (tmp_path / "said").read_text() == "ready\n"
