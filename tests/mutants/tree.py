"""A copy of the working tree that mutants are written into, and forks of one warm process that run tests in it."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "mutants"
"""What is kept between runs: the copy of the tree, which tests reach which lines, and what became of each mutant."""

_LIBRARIES = """torch torchvision numpy scipy.stats scipy.optimize sklearn.linear_model sklearn.metrics
sklearn.cluster sklearn.neighbors pandas matplotlib.pyplot kornia lightning_fabric pydantic click rich.console
jinja2 safetensors.torch pytest torch.utils.data PIL.Image tomli_w tensorboard
torch.utils.tensorboard coverage"""


def warm_up() -> None:
    """Import the libraries, so that a fork need not; nothing of this project may be imported before the fork."""
    import warnings

    import matplotlib as mpl
    import torch

    mpl.use("Agg")
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _LIBRARIES.split():
            importlib.import_module(name)


def copy(name: str) -> Path:
    """Return a fresh copy of the working tree: what git tracks, and what it would."""
    place = KEPT / name
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    wanted = {path for path in listed.stdout.decode().split("\0") if path and (ROOT / path).is_file()}
    if place.exists():
        for old in [path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts]:
            if old.relative_to(place).as_posix() not in wanted:
                old.unlink()
    for path in sorted(wanted):
        here, there = ROOT / path, place / path
        if not there.exists() or there.read_bytes() != here.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(here, there)
    return place


def enter(place: Path) -> None:
    """Make this process (a fork) take the project from ``place``, as what it starts will."""
    places = [str(place), str(place / "plugins")]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # a mutant may be as long as the original, and of the same second
    sys.dont_write_bytecode = True
    sys.path[:0] = places
    for name in [n for n in sys.modules if n.split(".")[0] in {"tests", "robustcl", "robustcl_plugins"}]:
        del sys.modules[name]
    os.chdir(place)


def fork(
    work: Callable[[], int], seconds: float, log: Path, *, busy: int | None = None, echo: bool = False
) -> int | None:
    """Return the exit code of ``work`` in a fork, or None where it took more than ``seconds``.

    ``busy``: of the processor's time, which others on the machine do not lengthen. What the fork prints goes to
    ``log``; with ``echo`` its standard error stays where it is.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            if busy is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (busy, busy + 5))
            opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(opened, 1)
            if not echo:
                os.dup2(opened, 2)
            code = work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        finally:
            sys.stdout.flush()
            os._exit(code)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return None if busy is not None and code == -signal.SIGXCPU else code
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
