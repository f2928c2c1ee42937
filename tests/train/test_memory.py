"""The most memory that a stage holds: seen while there, forgotten by the next stage, kept over an interruption."""

from __future__ import annotations

import sys

import pytest
import torch

from robustcl.train.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_a_peak_is_seen_and_forgotten_by_the_next_stage() -> None:
    memory = PeakMemory(torch.device("cpu"))
    before = memory.read() or 0
    # Far above what a process that has run other tests may itself take or give back in between.
    held = torch.ones(256 * MIB // 4)
    assert (memory.read() or 0) >= before + 200 * MIB
    del held
    assert (memory.read() or 0) >= before + 200 * MIB, "the most, not what is held now"
    assert (PeakMemory(torch.device("cpu")).read() or 0) < before + 100 * MIB


@pytest.mark.parametrize(
    ("told", "carried"), [(2**50, 2**50), (None, 0), ("many", 0), (-1, 0), (True, 0), (2.0**50, 0)]
)
def test_an_interrupted_attempt_is_carried_on(told: object, carried: int) -> None:
    memory = PeakMemory(torch.device("cpu"))
    memory.carry(told)
    found = memory.read()
    assert found is None or found == carried or 0 < found < 2**45
