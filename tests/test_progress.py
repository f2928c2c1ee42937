"""What a person reads while something runs: how far it is, and an estimate where there is one to be had."""

from __future__ import annotations

import pytest

from robustcl import progress


def test_an_estimate_needs_two_points_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    said: list[str] = []
    bars = progress.Progress()
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
