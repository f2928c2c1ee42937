"""Processes of the command line without their start-up: one Python imports robustcl, and forks for each command.

Each command is a process of its own with the command line's arguments, folder and environment; it may be killed or
interrupted at a chosen moment (see ``tiny``), and a fault that nobody caught ends it with FAULT. What the start of
Python itself does is held in tests that start it: those of environments, of ranks and of the imports of the start.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FAULT = 70
"""Exit code of a command that ended with a traceback: 1 is that of a run that failed."""


def fork(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    moment: tuple[str, int] | None = None,
    together: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``folder``.

    ``moment`` is one of ``tiny.MOMENTS`` and the number of its call; ``together`` writes both streams to stdout.
    """
    with tempfile.TemporaryDirectory() as kept:
        said = [Path(kept) / name for name in ("out", "out" if together else "err")]
        asked = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
        code = _answer(asked | {"moment": moment, "said": [str(path) for path in said]})
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in said)
    return subprocess.CompletedProcess(["robustcl", *arguments], code, out, "" if together else err)


def _answer(asked: Mapping[str, Any]) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the process that forks has ended; what it said went to standard error"
    return int(json.loads(answer))


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks; it lives as long as this one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
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
    "robustcl.composition.run",
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
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(asked: Mapping[str, Any]) -> None:
    """Turn this process into the one that was asked for, and end it."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, path in enumerate(asked["said"], 1):
        with open(path, "a", encoding="utf-8") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    _take_up(os.environ.get("PYTHONPATH", ""))
    sys.argv = ["robustcl", *asked["arguments"]]
    if asked["moment"] is not None:
        import tiny

        name, call = asked["moment"]
        tiny.MOMENTS[name](call)
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
        os._exit(FAULT)


def _take_up(paths: str) -> None:
    """Find the modules and distributions of PYTHONPATH, as a Python that starts with it does."""
    from robustcl import registry

    sys.path[1:1] = [path for path in paths.split(os.pathsep) if path]
    registry.refresh()


if __name__ == "__main__":
    _serve()
