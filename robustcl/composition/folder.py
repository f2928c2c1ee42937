"""The run directory: made whole or not at all, reopened by its lock, and used by one process at a time."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from robustcl import ranks
from robustcl.composition import api
from robustcl.disk import as_usage, make_folder, write_atomically
from robustcl.errors import UsageError


def free(composition: api.Composition, out: str | Path | None) -> Path:
    """Return the run directory's path, which is free to be made."""
    if out is None:
        moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{moment}-{composition.recipe.name}-seed{composition.recipe.seed}"
    folder = Path(out)
    try:
        there = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be used: {error.strerror}; choose another directory") from None
    if there:
        held = "another run" if (folder / "recipe.lock.toml").is_file() else "other files"
        raise UsageError(
            f"--out {folder} exists and holds {held}; choose another directory"
            + (f", or continue it with robustcl resume {folder}" if held == "another run" else "")
        )
    return folder


def create(composition: api.Composition, folder: Path, options: dict[str, Any]) -> None:
    """Make the directory with the recipe, its lock, and the device options."""
    with as_usage(f"--out {folder}", "choose another directory"):
        make_folder(folder)
        write_atomically(folder / "recipe.toml", tomli_w.dumps(dict(composition.tables)))
        write_atomically(folder / "run.json", json.dumps(options))
        write_atomically(folder / "recipe.lock.toml", tomli_w.dumps(composition.lock()))


def reopen(folder: Path) -> tuple[api.Composition, dict[str, Any]]:
    """Return a run's composition, from its lock, and the device options it was started with."""
    if not folder.is_dir():
        raise UsageError(f"there is no run directory {folder}")
    if not (folder / "recipe.lock.toml").is_file():
        raise UsageError(f"{folder} holds no run: recipe.lock.toml is missing; start one with robustcl compose")
    composition = api.from_file(folder / "recipe.lock.toml")
    try:
        options = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        options = {"device": "auto", "devices": 1, "precision": "32-true"}
    return composition, options


@contextlib.contextmanager
def only_one(folder: Path, shard: tuple[int, int] = (0, 1)) -> Iterator[None]:
    """Refuse a second process on the same run directory, or on the same share of its evaluation.

    The lock dies with its process.
    """
    if ranks.rank() != 0:
        yield
        return
    import fcntl

    share = "" if shard == (0, 1) else f".{shard[0] + 1}-of-{shard[1]}"
    with (folder / f".lock{share}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is at work on {folder}; wait for it, or choose another --out") from None
        file.write(str(os.getpid()))
        yield


def made(target: Path, what: str) -> Path:
    """Return the folder of ``--out`` for something that is no run, which is there afterwards.

    Raises:
        UsageError: it is the folder of a run, or cannot be made; ``what`` says what would have gone there.
    """
    if (target / "recipe.lock.toml").is_file():
        raise UsageError(f"--out {target} is the folder of a run; give {what} one of its own")
    with as_usage(f"--out {target}", "choose another folder"):
        return make_folder(target)
