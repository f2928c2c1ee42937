"""A method that trains in a second, and real processes to run it in: several legs, each may be cut off.

``python tests/tiny.py legs.json`` imports robustcl once and forks for each leg, so that a leg costs no start-up: every
leg is a process of its own with the command line's arguments, and may be killed at a chosen moment.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
[run]
checkpoint = "2 steps"
log_every = 1
"""
"""Two stages, clusters, a frozen teacher, an EMA, two batch-norm branches, an attack, linear evaluation of both."""

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
    plan = folder / "legs.json"
    plan.write_text(json.dumps([asdict(leg) for leg in legs]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, __file__, str(plan)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Ended(**ended) for ended in json.loads(plan.with_name("ended.json").read_text(encoding="utf-8"))]


def environment() -> dict[str, str]:
    """Return the environment of a process that shares the machine with others."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "PYTHONWARNINGS": "default"}


def lines(path: Path, *without: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file, some keys left out."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in without} for line in found]


_HEAVY = (
    "robustcl.cli.console",
    "robustcl.cli.run",
    "robustcl.cli.resume",
    "robustcl.composition.run",
    "robustcl.report",
    "sklearn.datasets",
    "sklearn.decomposition",
    "torch.utils.tensorboard.writer",
)


def _main(plan: Path) -> None:
    import torch

    for module in _HEAVY:
        importlib.import_module(module)  # here once, for all legs
    torch.set_num_threads(1)
    ended = [_forked(leg, plan.with_name(f"said-{number}")) for number, leg in enumerate(json.loads(plan.read_text()))]
    plan.with_name("ended.json").write_text(json.dumps([asdict(one) for one in ended]), encoding="utf-8")


def _forked(leg: dict[str, Any], said: Path) -> Ended:
    child = os.fork()
    if child == 0:
        with said.open("w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv = ["robustcl", *leg["arguments"]]
        if leg["at"] is not None:
            _MOMENTS[leg["at"]](leg["call"])
        from robustcl.cli.console import main

        try:
            main()
        except SystemExit as leaving:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(leaving.code or 0))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(70)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), said.read_text(encoding="utf-8", errors="replace"))


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


_MOMENTS: dict[str, Callable[[int], None]] = {
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

if __name__ == "__main__":
    _main(Path(sys.argv[1]))
