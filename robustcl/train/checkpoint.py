"""Training state that survives a kill at any moment: written aside, flushed, renamed, sealed by its digest, two kept.

A checkpoint is valid when its seal names its digest; anything else (a half-written file, a flipped bit) is passed over
for the one before it, and reported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from robustcl.disk import Limits, make_folder, open_file, read_json, replacing, write_atomically
from robustcl.errors import CheckpointError, DataError

KEPT = 2


def save(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write the state of a step; returns the file. Older checkpoints beyond two are removed afterwards."""
    make_folder(folder)
    path = folder / f"step-{step:09d}.pt"
    with replacing(path) as file:
        torch.save(dict(state), file)
    seal = {"sha256": _digest(path), "bytes": path.stat().st_size}
    write_atomically(path.with_suffix(".json"), json.dumps(seal))
    for aside in folder.glob(".step-*"):  # what a kill has left of an earlier one, as large as a whole checkpoint
        aside.unlink(missing_ok=True)
    for old in sorted(folder.glob("step-*.pt"))[:-KEPT]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink()
    return path


def newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest valid state, or ``None``, and a sentence for each checkpoint that had to be passed over."""
    passed: list[str] = []
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        try:
            return read(path), passed
        except CheckpointError as error:
            passed.append(str(error))
    return None, passed


def steps(folder: Path) -> list[int]:
    """Return the steps that checkpoints are kept of, valid or not."""
    names = (path.stem.removeprefix("step-") for path in folder.glob("step-*.pt"))
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def read(path: Path) -> dict[str, Any]:
    """Read one checkpoint.

    Raises:
        CheckpointError: the file lacks its seal, differs from it, or holds anything but tensors and plain values.
    """
    seal_path = path.with_suffix(".json")
    try:
        expected = read_json(seal_path, limits=Limits(file=1 << 16))["sha256"]
    except (DataError, KeyError, TypeError):
        raise CheckpointError(f"the checkpoint {path} was not finished: its seal {seal_path.name} is missing") from None
    if _digest(path) != expected:
        raise CheckpointError(f"the checkpoint {path} is damaged: its content differs from its seal")
    try:
        with open_file(path, error=CheckpointError) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # the unpickler of a stranger's bytes raises whatever it meets
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"the checkpoint {path} cannot be read: {said}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"the checkpoint {path} holds a {type(state).__name__}, not a training state")
    return state


def _digest(path: Path) -> str:
    with open_file(path, error=CheckpointError) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
