"""A study as a command whose processes die under it and are started again, and what it must come to all the same."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustcl.launch.standings import tabulate
from tests.plugins.launchers.engines import PATIENCE, wait_until
from tests.shared import counted_study

AGAIN = 2
"""Optimiser steps that a killed process costs at most: the recipe keeps a checkpoint every second one."""


class Disturbed:
    """The counted study, written into a folder, as a command with a launcher.

    What it needs to know stands in the environment from then on, until ``patch`` is undone: a cluster that is started
    afterwards knows it as well.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        for name, value in counted_study.write(folder).items():
            patch.setenv(name, value)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, launcher: str) -> None:
        """Start the command: it has done what is not done yet."""
        command = counted_study.command(self.folder, "--slots", "2", "--launcher", launcher)
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def kill(self) -> None:
        """Kill the command, and it alone."""
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait until the command has ended well."""
        assert self._process is not None
        assert self._process.wait(3 * PATIENCE) == 0, self.said()

    def close(self) -> None:
        """End the command if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def hold(self, stage: str, count: int) -> list[int]:
        """Stop the steps of a stage, wait until so many processes stand in one, and return those."""
        (self.folder / f"hold {stage}").touch()

        def held() -> list[int]:
            marks = [re.fullmatch(r"held (\w+) (\d+)", path.name) for path in self.folder.glob("held *")]
            return [int(mark[2]) for mark in marks if mark and mark[1] == stage and lives(int(mark[2]))]

        wait_until(lambda: len(held()) >= count or not self._goes_on(), f"{count} processes that train {stage}")
        assert self._goes_on(), self.said()
        return held()

    def let_go(self, stage: str) -> None:
        """Let the steps of a stage go on."""
        (self.folder / f"hold {stage}").unlink()

    def said(self) -> str:
        return (self.folder / "said").read_text(encoding="utf-8")

    def _goes_on(self) -> bool:
        return self._process is not None and self._process.poll() is None


def hold_against(whole: Path, study: Disturbed, killed: Mapping[str, int]) -> None:
    """Hold what a disturbed study has come to against the same study done by one undisturbed process.

    Weights and results are those to the bit, and nothing was trained twice: beyond the steps of one process only those
    since the last checkpoint of each of the processes that were ``killed``, so many in each stage.
    """
    for name in counted_study.RUNS:
        mine, theirs = study.folder / "out" / "runs" / name, whole / "out" / "runs" / name
        weights = sorted(path.relative_to(theirs) for path in theirs.glob("stages/*/*.safetensors"))
        assert len(weights) > 2
        for path in weights:
            assert (mine / path).read_bytes() == (theirs / path).read_bytes(), (name, path)
        assert _rows(mine) == _rows(theirs)
        assert (mine / "journal.jsonl").read_bytes() == (theirs / "journal.jsonl").read_bytes()
    assert _numbers(study.folder) == _numbers(whole)
    assert {state for _, state, *_ in tabulate(study.folder / "out")} == {"done"}
    steps, needed = counted_study.count_steps(study.folder), counted_study.count_steps(whole)
    for stage, least in needed.items():
        assert least <= steps[stage] <= least + AGAIN * killed[stage], (stage, steps, needed)


def lives(process: int) -> bool:
    """Say whether a process of this machine still runs."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _rows(run: Path) -> Any:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]


def _numbers(folder: Path) -> Sequence[str]:
    """Return the lines of the study's table."""
    text = (folder / "out" / "study.md").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if line.startswith("| row")][: counted_study.ROWS]
    assert len(found) == counted_study.ROWS
    return found
