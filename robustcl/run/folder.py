"""The run directory: made whole or not at all, reopened by its lock, and used by one process at a time."""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomli_w

from robustcl.composition.assembly import read_plan
from robustcl.composition.lock import lock
from robustcl.composition.plan import RecipePlan
from robustcl.disk import as_usage, make_folder, read_json, say_why, write_atomically
from robustcl.errors import DataError, UsageError
from robustcl.recipe import Recipe, reading
from robustcl.run.occupation import only_one as only_one

FILE = "run.json"
"""The device options of a run."""


def free(composition: RecipePlan, out: str | Path | None) -> Path:
    """Return the run directory's path, which is free to be made; by default one that nobody else was given.

    What a start was killed in before it wrote the lock is free as well.

    Raises:
        UsageError: ``out`` holds something, or cannot be used.
        DiskError: the default directory cannot be made.
    """
    if out is None:
        return _fresh(f"{composition.recipe.name}-seed{composition.recipe.seed}")
    folder = Path(out)
    try:
        if "\0" in str(out):
            raise UsageError(f"--out {str(out)!r} is no name of a folder: it holds a character of value 0")
        there = {file.name for file in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be used: {error.strerror}; choose another directory") from None
    if not there or (".lock" in there and is_begun(there)):
        return folder
    held = "another run" if "recipe.lock.toml" in there else "other files"
    raise UsageError(
        f"--out {folder} exists and holds {held}; choose another directory"
        + (f", or continue it with robustcl resume {folder}" if held == "another run" else "")
    )


def is_begun(there: Iterable[str]) -> bool:
    """Say whether a folder of these files holds nothing but what a start leaves that was killed before its lock."""
    return all(_BEGUN.fullmatch(name) for name in there)


_BEGUN = re.compile(
    r"\.lock|\.+lock\.lease(\.[0-9a-f]{16})?|recipe\.toml|run\.json"
    r"|\.(recipe\.toml|run\.json|recipe\.lock\.toml)\.[0-9a-f]{16}"
)
"""What a start leaves beside .lock, which it takes first, if it is killed before the recipe's lock is written."""


def _fresh(name: str) -> Path:
    """Make a directory below ``runs`` that is this process's alone."""
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    make_folder(Path("runs"), within=Path("runs"))  # which may itself be a link to a larger disk
    for number in itertools.count(1):
        folder = Path("runs") / (f"{moment}-{name}" + (f"-{number}" if number > 1 else ""))
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise say_why(folder, error, "made") from None
        return folder
    raise AssertionError("counting has no end")


def create(composition: RecipePlan, folder: Path, options: dict[str, Any]) -> None:
    """Make the directory with the recipe, its lock, and the device options."""
    with as_usage(f"--out {folder}", "choose another directory"):
        make_folder(folder, within=folder)
        for aside in (path for path in folder.iterdir() if path.name[0] == "." and _BEGUN.fullmatch(path.name)):
            if aside.name != ".lock":
                aside.unlink(missing_ok=True)
        write_atomically(folder / "recipe.toml", tomli_w.dumps(dict(composition.tables)), within=folder)
        write_atomically(folder / FILE, json.dumps(options), within=folder)
        write_atomically(folder / "recipe.lock.toml", tomli_w.dumps(lock(composition)), within=folder)


def reopen(folder: Path) -> tuple[RecipePlan, dict[str, Any]]:
    """Return the plan of a run, from its lock, and the device options it was started with."""
    return read_plan(_lock_of(folder)), _options(folder / FILE)


def read_lock(folder: Path) -> tuple[dict[str, Any], Recipe, dict[str, Any]]:
    """Return the tables of a run's lock, the recipe that they are, nothing built yet, and the device options."""
    path = _lock_of(folder)
    tables: dict[str, Any] = reading.read(path)
    return tables, reading.parse(tables, str(path)), _options(folder / FILE)


def _lock_of(folder: Path) -> Path:
    """Return the lock of a run, which is there."""
    if not folder.is_dir():
        raise UsageError(f"there is no run directory {folder}")
    if not (folder / "recipe.lock.toml").is_file():
        raise UsageError(f"{folder} holds no run: recipe.lock.toml is missing; start one with robustcl compose")
    return folder / "recipe.lock.toml"


def _options(path: Path) -> dict[str, Any]:
    """Return the device options of a run; the defaults where the file is gone."""
    options = {"device": "auto", "devices": 1, "num_nodes": 1, "precision": "32-true", "store": ""}
    if not path.exists():
        return options
    remedy = "remove it to go on with the defaults"
    found = read_json(path, remedy=remedy)
    for key, default in options.items():
        value = found.get(key, default) if isinstance(found, dict) else None
        if (type(value) is not type(default) or value == 0) and (key, value) != ("devices", "auto"):
            raise DataError(f"{path}: {key} = {value!r} is no {key} of a run; {remedy}")
        options[key] = value
    return options


def make_out(target: Path, what: str) -> Path:
    """Return the folder of ``--out`` for something that is no run, which is there afterwards.

    Raises:
        UsageError: it is the folder of a run, or cannot be made; ``what`` says what would have gone there.
    """
    if (target / "recipe.lock.toml").is_file():
        raise UsageError(f"--out {target} is the folder of a run; give {what} one of its own")
    with as_usage(f"--out {target}", "choose another folder"):
        return make_folder(target)
