"""Forks of one process that has collected every test: a mutated function gets its new code, nothing is imported."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.mutants import tree
from tests.mutants.edits import Edit

_PLAIN = (int, float, str, tuple, frozenset)


class Unpatchable(Exception):
    """A change that cannot be put into functions that exist: it must be imported."""


def collect(place: Path, files: list[str], loop: Callable[[Collected], None]) -> int:
    """Collect the test ``files`` of ``place`` (in a fork) and hand them to ``loop`` instead of running them."""
    tree.enter(place)
    options = [
        "-x",
        "-q",
        "-s",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--ignore=tests/mutants",
    ]
    return int(pytest.main([*options, *files], plugins=[Collected(place, loop)]))


class Collected:
    """A pytest plugin: all tests, to be run by name in forks."""

    def __init__(self, place: Path, loop: Callable[[Collected], None]) -> None:
        self.place = place
        self.loop = loop
        self.items: dict[str, pytest.Item] = {}
        self.functions: dict[str, list[FunctionType]] = defaultdict(list)
        self.failed = ""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        for found in gc.get_objects():
            if type(found) is FunctionType and found.__code__.co_filename.startswith(str(self.place)):
                self.functions[found.__code__.co_filename].append(found)
        gc.freeze()
        self.loop(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def run(self, names: list[str]) -> str:
        """Run the tests (in a fork) in this order until one fails; return its name."""
        scratch = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = str(tree.KEPT / "scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        os.makedirs(scratch)
        chosen = [self.items[name] for name in names if name in self.items]
        for number, item in enumerate(chosen):
            following = chosen[number + 1] if number + 1 < len(chosen) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                break
        return self.failed


def patch(collected: Collected, edit: Edit, text: str) -> None:
    """Give the functions of the mutated file their new code; ``text`` is the file's without the change.

    A module that no test has imported yet will be read from the mutated file.
    """
    path = str(collected.place / edit.path)
    module = next((m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == path), None)
    if module is None:
        return
    if edit.imported:
        _renew(module, collected.functions[path], compile(edit.write(text), path, "exec", dont_inherit=True))
        return
    old, new = (_codes(compile(t, path, "exec", dont_inherit=True)) for t in (text, edit.write(text)))
    changed = [key for key in old if key in new and old[key] != new[key]]
    if not changed or old.keys() != new.keys():
        raise Unpatchable(edit.key)
    done = 0
    for function in collected.functions[path]:
        key = next((key for key in changed if function.__code__ == old[key]), None)
        if key is None:
            continue
        try:
            function.__code__ = new[key]
        except ValueError as error:
            raise Unpatchable(str(error)) from None
        done += 1
    if not done:
        raise Unpatchable(edit.key)


def _renew(module: ModuleType, functions: list[FunctionType], code: CodeType) -> None:
    """Give a module and its classes the plain values and the defaults that ``code`` makes; a survivor is imported."""
    fresh = ModuleType(module.__name__)
    fresh.__dict__.update(__file__=module.__file__, __package__=module.__package__, __spec__=module.__spec__)
    exec(code, fresh.__dict__)
    _take_values(module, fresh)
    for function in functions:
        made: Any = fresh
        for part in function.__qualname__.split("."):
            made = getattr(made, part, None)
        made = inspect.unwrap(made) if callable(made) else None
        if isinstance(made, FunctionType):
            function.__defaults__, function.__kwdefaults__ = made.__defaults__, made.__kwdefaults__


def _take_values(old: Any, new: Any) -> None:
    for name, value in list(vars(new).items()):
        if name.startswith("__") or name not in vars(old):
            continue
        if isinstance(value, type) and isinstance(vars(old)[name], type) and value.__module__ == old.__name__:
            for inner, constant in list(vars(value).items()):
                if isinstance(constant, _PLAIN) and not inner.startswith("__"):
                    setattr(vars(old)[name], inner, constant)
        elif isinstance(value, _PLAIN):
            setattr(old, name, value)


def _codes(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """Return the code of each function of a module by its name and its number among those of that name."""
    found: dict[tuple[str, int], CodeType] = {}
    count: dict[str, int] = defaultdict(int)
    queue = [code]
    while queue:
        now = queue.pop(0)
        for inner in now.co_consts:
            if isinstance(inner, CodeType):
                found[inner.co_qualname, count[inner.co_qualname]] = inner
                count[inner.co_qualname] += 1
                queue.append(inner)
    return found
