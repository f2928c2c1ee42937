"""One mutant at a time: write it into the copy of the tree, run the tests that reach it, put the file back."""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants import tree
from tests.mutants.edits import Edit
from tests.mutants.reach import Reach
from tests.mutants.warm import Collected, Unpatchable, patch

_PER_FILE = 4.0  # seconds of expected tests of one file, before the other files have been asked
_IN_ALL = 8.0
_LONGEST = 1200.0  # seconds; what hangs is told by the seconds of the processor that it takes
_UNPATCHABLE = 75
_SIGNATURES = ["tests/plugins/test_defaults.py"]  # which reads every default, and executes no line of the function
_seconds = itertools.count(int(time.time()) - 500_000_000)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: killed, hung, survived or unreached; ``by`` is the test that failed."""

    state: str
    by: str
    seconds: float


def attempt(edit: Edit, reach: Reach, *, collected: Collected | None, thorough: bool = False) -> Outcome:
    """Say whether a test fails on this mutant; ``thorough`` asks every test of every file that reaches it.

    With ``collected`` the change is put into the functions that are there, and Unpatchable is raised where it cannot.
    """
    tests = reach.tests(edit.path, edit.line)
    readers = reach.beside(_SIGNATURES) if edit.imported else {}
    if not tests and not readers:
        return Outcome("unreached", "", 0.0)
    groups = _groups(reach, reach.beside(list(tests)) if thorough else tests, thorough)
    groups = [readers, *groups] if readers else groups
    expected = sum(seconds for group in groups for seconds in group.values())
    path, log, started = reach.place / edit.path, tree.KEPT / "trial.log", time.monotonic()
    original, stamp = path.read_bytes(), path.stat()
    answer = tree.KEPT / "trial.json"
    answer.unlink(missing_ok=True)
    path.write_text(edit.write(original.decode()))
    # A compiled module is known by the second of its source: no two mutants may share it.
    now = next(_seconds)
    os.utime(path, (now, now))
    if collected is None:
        work = functools.partial(_run_imported, reach.place, groups, answer)
    else:
        work = functools.partial(_run_patched, collected, groups, answer, edit, original.decode())
    try:
        code = tree.fork(work, _LONGEST, log, busy=int(15 + 4 * expected))
    finally:
        path.write_bytes(original)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    took = round(time.monotonic() - started, 1)
    if code == _UNPATCHABLE:
        raise Unpatchable(edit.key)
    if code is None:
        return Outcome("hung", "", took)
    said = json.loads(answer.read_text())["by"] if answer.exists() else f"exit code {code}"
    return Outcome("killed" if code else "survived", said if code else "", took)


def _groups(reach: Reach, tests: dict[str, float], thorough: bool) -> list[dict[str, float]]:
    """Return the tests to run by file, those of the fewest modules first; of a long file a sample, unless thorough."""
    held: dict[str, dict[str, float]] = defaultdict(dict)
    names = sorted(tests)
    random.Random(0).shuffle(names)
    for name in names:
        group = held[name.split("::")[0]]
        if thorough or sum(group.values()) < _PER_FILE:
            group[name] = tests[name]
    taken, total = [], 0.0
    for file in sorted(held, key=lambda file: (reach.width(file), file)):
        if thorough or total < _IN_ALL:
            taken.append(held[file])
            total += sum(held[file].values())
    return taken


def _run_patched(collected: Collected, groups: list[dict[str, float]], answer: Path, edit: Edit, text: str) -> int:
    """Change the functions that are there and run the groups (in a fork) until a test fails; 0 where none does."""
    try:
        patch(collected, edit, text)
    except Unpatchable:
        return _UNPATCHABLE
    by = collected.run([name for group in groups for name in sorted(group)])
    if by:
        answer.write_text(json.dumps({"by": by}))
    return int(bool(by))


def _run_imported(place: Path, groups: list[dict[str, float]], answer: Path) -> int:
    """Import everything and run the groups one after the other (in a fork) until a test fails; 0 where none does."""
    tree.enter(place)
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
    for group in groups:
        chosen = _Chosen(set(group))
        file = next(iter(group)).split("::")[0]
        code = pytest.main([*options, file], plugins=[chosen])
        if code not in (0, 5):
            answer.write_text(json.dumps({"by": chosen.failed or f"{file} ({int(code)})"}))
            return 1
    return 0


class _Chosen:
    """A pytest plugin that runs the chosen tests alone and notes the one that fails."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.names]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid
