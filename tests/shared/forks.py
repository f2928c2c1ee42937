"""Processes of the command line without their start-up: one Python imports robustcl, and forks for each command.

Each is a process of its own with the command line's arguments, folder and environment; it may be killed or interrupted
at a chosen moment (see ``tiny``), and a fault that nobody caught ends it with FAULT. What the start of Python itself
does is held in tests that start it: those of environments, of lost ranks and of the imports of the start.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

FAULT = 70
"""Exit code of a process that ended with a traceback: 1 is that of a run that failed."""


LONGEST = 600
"""Seconds after which a process that hangs is ended by SIGALRM."""


@dataclass(frozen=True)
class Asked:
    """One process: arguments, working folder, environment, and what it does with them.

    target: module:function, which reads sys.argv and leaves by SystemExit, or returns. moment: one of
    ``tiny.MOMENTS`` and the number of its call. after: seconds until it begins. together: both streams are told as
    stdout, in their order.
    """

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    target: str = "robustcl.cli.console:main"
    moment: tuple[str, int] | None = None
    after: float = 0.0
    together: bool = False


def fork(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command line of robustcl."""
    (done,) = fork_all([Asked(arguments, folder, environment)])
    return done


def fork_all(asked: Sequence[Asked]) -> list[subprocess.CompletedProcess[str]]:
    """Run some processes at the same time; return how they ended, when all have."""
    with tempfile.TemporaryDirectory() as kept:
        said = [[f"{kept}/{number}-{name}" for name in ("out", "err")] for number in range(len(asked))]
        codes = _answer([asdict(one) | {"folder": str(one.folder), "said": paths}
                         for one, paths in zip(asked, said, strict=True)])  # fmt: skip
        texts = [
            [Path(path).read_text(encoding="utf-8", errors="replace") for path in paths if os.path.exists(path)] + [""]
            for paths in said
        ]
    return [
        subprocess.CompletedProcess(list(one.arguments), code, text[0], text[1])
        for one, code, text in zip(asked, codes, texts, strict=True)
    ]


def _answer(asked: Sequence[Mapping[str, Any]]) -> list[int]:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the process that forks has ended; what it said went to standard error"
    codes: list[int] = json.loads(answer)
    return codes


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks; it lives as long as this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.shared.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )

    def close() -> None:
        with server:  # its standard input ends, and so does it
            pass

    atexit.register(close)
    return server


_HEAVY = (
    "robustcl.cli.console",
    "robustcl.cli.run",
    "robustcl.cli.resume",
    "robustcl.run.execution",
    "robustcl.report",
    "sklearn.datasets",
    "sklearn.decomposition",
    "torch.utils.tensorboard.writer",
)


def _serve() -> None:
    import torch

    for module in _HEAVY:
        importlib.import_module(module)  # here once, for all commands
    torch.set_num_threads(1)
    for line in sys.stdin:
        children = [_begun(asked) for asked in json.loads(line)]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


def _begun(asked: Mapping[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            _become(asked)
            sys.exit()
        except SystemExit as leaving:
            _leave(int(leaving.code or 0))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            _leave(FAULT)
    return child


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become(asked: Mapping[str, Any]) -> None:
    """Be the process that was asked for."""
    out, err = asked["said"]
    for number, path in ((0, os.devnull), (1, out), (2, out if asked["together"] else err)):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    _take_up(os.environ.get("PYTHONPATH", ""))
    sys.argv = ["robustcl", *asked["arguments"]]
    signal.alarm(LONGEST)
    time.sleep(asked["after"])
    if asked["moment"] is not None:
        from tests.shared import tiny

        name, call = asked["moment"]
        tiny.MOMENTS[name](call)
    module, _, function = asked["target"].partition(":")
    getattr(importlib.import_module(module), function)()


def _take_up(paths: str) -> None:
    """Find the modules and distributions of PYTHONPATH, as a Python that starts with it does."""
    from robustcl import registry

    sys.path[1:1] = [path for path in paths.split(os.pathsep) if path]
    registry.refresh()


if __name__ == "__main__":
    _serve()
