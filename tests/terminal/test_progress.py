"""What a person reads while something runs: how far it is, and an estimate where there is one to be had."""

from __future__ import annotations

import io
import sys

import pytest

from robustcl.terminal import progress


def test_an_estimate_needs_two_points_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    said: list[str] = []
    bars = progress.ProgressBar()
    monkeypatch.setattr(bars, "say", said.append)
    for now, step in ((0.0, 10), (10.0, 20), (50.0, 40), (103.0, 10), (108.0, 20)):  # noqa: B007 - the clock reads it
        bars.watch("pgd-20 test", step, 40, {})
    assert said == [
        "pgd-20 test 10/40",
        "pgd-20 test 20/40 about 20 s left",
        "pgd-20 test 40/40",
        "pgd-20 test 10/40",
        "pgd-20 test 20/40 about 10 s left",
    ]


@pytest.mark.parametrize(("terminal", "bars"), [(True, True), (False, False)])
def test_bars_are_drawn_on_terminals_alone(terminal: bool, bars: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's kernel sets FORCE_COLOR, and shows every refresh of a bar below the one before."""

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream := Stream())
    with progress.ProgressBar() as shown:
        for step in range(1, 41):
            shown.watch("pretrain", step, 40, {"loss": 1.0})
    told = stream.getvalue()
    assert ("\x1b[" in told) is bars
    assert told.count("pretrain") == 10 or bars
