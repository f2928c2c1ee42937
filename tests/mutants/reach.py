"""Which tests execute which line: one run of each test file under coverage, kept until that file changes."""

from __future__ import annotations

import difflib
import functools
import gzip
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import tree

_SLOW = tuple(
    f"tests/{each}"
    for each in (
        "disk/", "fuzz/", "mutants/", "nn/test_strangers_code.py", "processes/", "report/test_report_browser.py",
        "run/test_starts.py", "run/test_state.py", "terminal/test_said.py", "test_ranks.py",
        "train/test_together.py",
    )
)  # fmt: skip
"""Test files that no mutant is held against: they start processes of their own, or mutate themselves."""


def measure(place: Path, wanted: list[str], *, seconds: float = 900.0) -> None:
    """Run each test file of ``place`` whose record is missing or old; with ``wanted`` those files alone."""
    for path in sorted(place.glob("tests/**/test_*.py")):
        name = path.relative_to(place).as_posix()
        if name.startswith(_SLOW) or (wanted and name not in wanted) or (not wanted and _is_current(name, path)):
            continue
        started = time.monotonic()
        code = tree.fork(functools.partial(_record, place, name), seconds, tree.KEPT / "reach.log")
        print(f"reach {name}: {code}, {time.monotonic() - started:.0f} s", flush=True)


class Reach:
    """The tests that reach a line, with how long each takes."""

    def __init__(self, place: Path, only: list[str]) -> None:
        """``only``: patterns of the test files that count; all that are measured where there are none."""
        self.place = place
        self.records = [json.loads(gzip.decompress(p.read_bytes())) for p in sorted(tree.KEPT.glob("reach/*.json.gz"))]
        self.records = [
            record
            for record in self.records
            if (place / record["name"]).exists() and (not only or any(fnmatch(record["name"], each) for each in only))
        ]

    @property
    def files(self) -> list[str]:
        """The test files that have been measured."""
        return [record["name"] for record in self.records]

    def tests(self, path: str, line: int) -> dict[str, float]:
        """Return the tests that execute ``line`` of ``path``, with their seconds."""
        found: dict[str, float] = {}
        for record in self.records:
            file = record["files"].get(path)
            if file is None:
                continue
            names, seconds = list(record["tests"]), list(record["tests"].values())
            at = str(_lines(file["sha"], self.place / path).get(line, 0)) if line else None
            numbers = "import" if at is None else file["lines"].get(at)
            if numbers == "import":
                numbers = {n for lines in file["lines"].values() if lines != "import" for n in lines}
            found |= {names[n]: seconds[n] for n in numbers or ()}
        return found

    def width(self, name: str) -> int:
        """Return how many modules a test file reaches: few, where it is about those."""
        return next(len(record["files"]) for record in self.records if record["name"] == name)

    def beside(self, names: list[str]) -> dict[str, float]:
        """Return all tests of the test files that hold ``names``: caches and shared state hide who reaches a line."""
        held = {name.split("::")[0] for name in names}
        return {t: s for record in self.records if record["name"] in held for t, s in record["tests"].items()}


@functools.lru_cache(maxsize=4096)
def _lines(sha: str, now: Path) -> dict[int, int]:
    """Return where each line of a file stood when its text was ``sha``."""
    old, new = (tree.KEPT / "texts" / sha).read_text().splitlines(), now.read_text().splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.b + i + 1: block.a + i + 1 for block in blocks for i in range(block.size)}


def _is_current(name: str, path: Path) -> bool:
    kept = _kept(name)
    return kept.exists() and json.loads(gzip.decompress(kept.read_bytes()))["sha"] == _sha(path)


def _kept(name: str) -> Path:
    return tree.KEPT / "reach" / (name.replace("/", "__") + ".json.gz")


def _sha(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=12).hexdigest()


def _record(place: Path, name: str) -> int:
    """Run one test file under coverage (in a fork) and keep what it reached."""
    tree.enter(place)
    import coverage

    watch = coverage.Coverage(data_file=None, include=[f"{place}/robustcl/*", f"{place}/plugins/robustcl_plugins/*"])
    watched = _Watched(watch)
    watch.start()
    code = int(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", name], plugins=[watched]))
    watch.stop()
    files = {}
    data = watch.get_data()
    for measured in sorted(data.measured_files()):
        lines: dict[str, Any] = {}
        for line, contexts in data.contexts_by_lineno(measured).items():
            numbers = sorted({n for context in contexts for n in watched.numbers(context)})
            lines[str(line)] = numbers or "import"
        text = tree.KEPT / "texts" / _sha(Path(measured))
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_bytes(Path(measured).read_bytes())
        files[Path(measured).relative_to(place).as_posix()] = {"sha": text.name, "lines": lines}
    record = {"name": name, "sha": _sha(place / name), "tests": watched.seconds, "files": files}
    _kept(name).parent.mkdir(parents=True, exist_ok=True)
    _kept(name).write_bytes(gzip.compress(json.dumps(record).encode(), mtime=0))
    return code


class _Watched:
    """A pytest plugin that names the running test to coverage; what a shared fixture runs counts for all its tests."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch
        self.seconds: dict[str, float] = {}
        self._sharing: dict[str, set[str]] = defaultdict(set)
        self._now = ""
        self._began = 0.0

    def numbers(self, context: str) -> list[int]:
        """Return the numbers of the tests that a context stands for, without those that did not pass."""
        names = list(self.seconds)
        wanted = self._sharing[context[1:]] if context.startswith("@") else {context}
        return [number for number, name in enumerate(names) if name in wanted]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now, self._began = item.nodeid, time.process_time()
        for fixture in getattr(item, "fixturenames", ()):
            self._sharing[fixture].add(item.nodeid)
        self.watch.switch_context(item.nodeid)
        yield
        self.watch.switch_context("")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        shared = fixturedef.scope != "function"
        if shared:
            self.watch.switch_context("@" + fixturedef.argname)
        yield
        if shared:
            self.watch.switch_context(self._now)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # The processor's seconds, set-up included: others on the machine make no test longer.
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = round(time.process_time() - self._began, 4)
