"""A method that trains in a second, and real processes to run it in: several legs, each may be cut off.

Every leg is a process of its own (see ``forks``) with the command line's arguments; a moment may be chosen for its end.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.shared.forks import Asked, fork_all

RECIPE = """
name = "tiny"
[data]
use = "digits"
batch = 128
[threat]
eps = "8/255"
[encoder]
use = "resnet-small"
width = 2
projector = { widths = [8, 4] }
[[stage]]
name = "pretrain"
epochs = 1
views = { a = "weak", b = "weak" }
objective = { use = "info-nce", temperature = 0.5 }
optimizer = { use = "sgd", lr = 0.1, momentum = 0.9 }
[[stage]]
name = "robust"
epochs = 2
batch = 256
init = "stage:pretrain"
encoders = { teacher = "stage:pretrain", slow = { of = "online", momentum = 0.9 } }
views = { w = "weak" }
routes = { w = "clean", w_adv = "adv" }
targets = { use = "spherical-kmeans", clusters = 5 }
[stage.generator.w_adv]
use = "ncp"
reads = ["w"]
steps = 2
[stage.term.deacl]
use = "deacl"
views = { clean = "w", adversarial = "w_adv", teacher = "w@teacher" }
[stage.term.slow]
use = "deacl"
views = { clean = "w", adversarial = "w_adv", teacher = "w@slow" }
[stage.optimizer]
use = "adam"
lr = { cosine = [0.01, 0.0] }
[[evaluate]]
protocol = "slf"
route = ["clean", "adv"]
attacks = ["fgsm"]
epochs = 1
samples = 16
audit = 0
[run]
checkpoint = "2 steps"
log_every = 1
"""
"""Two stages, clusters, a frozen teacher, an EMA, two batch-norm branches, an attack, linear evaluation of both."""

AUDITED = RECIPE.replace("audit = 0\n", "")
"""The same with an audit of each branch, which takes as long as half of the rest."""

STEPS = 20
"""Optimiser steps of the two stages together."""


def tables(**changes: Any) -> dict[str, Any]:
    """Return the recipe's tables; ``changes`` replace top-level ones."""
    return tomllib.loads(RECIPE) | changes


@dataclass(frozen=True)
class Leg:
    """One process: the command line's arguments, and at which call of which function it dies (or is interrupted)."""

    arguments: Sequence[str]
    at: str | None = None
    call: int = 1


@dataclass(frozen=True)
class Ended:
    """How a leg ended: its exit code (minus the signal's number if a signal ended it) and what it said."""

    code: int
    said: str


def run_legs(folder: Path, legs: Sequence[Leg]) -> list[Ended]:
    """Run the legs one after the other in ``folder``."""
    found = []
    for leg in legs:
        moment = None if leg.at is None else (leg.at, leg.call)
        (done,) = fork_all([Asked(leg.arguments, folder, environment(), moment=moment, together=True)])
        found.append(Ended(done.returncode, done.stdout))
    return found


def environment() -> dict[str, str]:
    """Return the environment of a process that shares the machine with others."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "PYTHONWARNINGS": "default"}


def lines(path: Path, *without: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, some keys left out."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in without} for line in found]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at(holder: Any, name: str, call: int, act: Callable[..., None]) -> None:
    """Call ``act`` with the function's arguments just before its ``call``-th call."""
    original, calls = getattr(holder, name), [0]

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            act(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(holder, name, watched)


def _in_logging(call: int) -> None:
    from robustcl.train.log import Log

    _at(Log, "write", call, lambda *args: _die())


def _after_logging(call: int) -> None:
    """The line of this step has reached the disk, its checkpoint has not been begun."""
    from robustcl.train.log import Log

    def mark_then_die(log: Any, *args: Any) -> None:
        log.mark()
        with log.path.open("a", encoding="utf-8") as file:
            file.write('{"stage": "half a li')
        _die()

    _at(Log, "write", call, mark_then_die)


def _in_torch_save(call: int) -> None:
    import torch

    def half(state: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        file.flush()
        _die()

    _at(torch, "save", call, half)


def _in_replace(call: int) -> None:
    _at(os, "replace", call, lambda *args: _die())


def _in_journal(call: int) -> None:
    from robustcl.evaluate.journal import Journal

    def half(journal: Any, *args: Any) -> None:
        with journal.path.open("a", encoding="utf-8") as file:
            file.write('{"protocol": "sl')
        _die()

    _at(Journal, "append", call, half)


def _signalled(number: int, judging: bool, call: int) -> None:
    """A signal arrives while a step is logged, or before a block's verdicts are."""
    from robustcl.evaluate.journal import Journal
    from robustcl.train.log import Log

    holder: tuple[Any, str] = (Journal, "append") if judging else (Log, "write")
    _at(*holder, call, lambda *args: os.kill(os.getpid(), number))


MOMENTS: dict[str, Callable[[int], None]] = {
    "before a log line": _in_logging,
    "within a log line": _after_logging,
    "within a checkpoint": _in_torch_save,
    "before a rename": _in_replace,
    "within the journal": _in_journal,
    "Ctrl-C": functools.partial(_signalled, signal.SIGINT, False),
    **{
        f"{signal.Signals(number).name} {what}": functools.partial(_signalled, number, what == "while judging")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        for what in ("while training", "while judging")
    },
}
