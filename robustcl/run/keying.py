"""What decides the outcome of a run's stage, written out whole: recipe, images, weights it starts from, software."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from robustcl import ranks, registry
from robustcl.composition.lock import deciding
from robustcl.composition.plan import RecipePlan
from robustcl.disk import open_file, read_toml
from robustcl.errors import UsageError
from robustcl.nn import weights
from robustcl.registry import owners
from robustcl.registry.installed import version
from robustcl.run import changes, contents
from robustcl.run.stages import Stages
from robustcl.train import stage_files

_LIBRARIES = ("kornia", "numpy")
"""What views are made of, beside torch."""


def describe_stage(stages: Stages, number: int) -> dict[str, Any]:
    """Return everything that decides what a stage ends with, to the bit, as far as we can know.

    Places of files are replaced by what lies there. The images are those of the digests that the run keeps
    (``contents``), so that these have to be there.

    Raises:
        UsageError: a reason why the outcome of this stage cannot be told by its content.
    """
    folder, splits, engine = stages.folder, stages.splits, stages.engine
    written = read_toml(folder / owners.LOCK)
    if changes.earlier(written.get("lock", {})):
        raise UsageError("its recipe was changed on the way, by resume --set")
    tables = deciding(written, number)
    return {
        "format": 1,
        "seed": tables["seed"],
        "data": _without_places(tables["data"]),
        "splits": {name: each for name, each in contents.digests_of(folder).items() if name != "test"},
        "classes": list(splits.classes),
        "statistics": [list(splits.mean), list(splits.std)],
        "threat": tables["threat"],
        "encoder": _by_content(tables["encoder"], folder),
        "stage": [_by_content(stage, folder) for stage in tables["stage"]],
        "starts": {origin: _digest_stage(folder, origin) for origin in sorted(_origins(tables["stage"][-1]))},
        "precision": engine.precision,
        "device": engine.device.type,
        "processes": ranks.world(),
        **_software(stages.composition, number),
    }


def _without_places(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data's table without the places of files: the images themselves are digested."""
    return {key: value for key, value in table.items() if key == "use" or _lies_at(value) is None}


def _by_content(value: Any, folder: Path) -> Any:
    """Return tables in which outside weights and files stand by their content."""
    if isinstance(value, Mapping):
        return {key: each if key == "use" else _by_content(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_by_content(each, folder) for each in value]
    if isinstance(value, str) and value.startswith(("run:", "file:")):
        place = stage_files.resolve(value, folder)
        return f"weights:{_digest_files(place, [weights.MODEL, weights.CONFIG])}"
    found = _lies_at(value)
    if found is None:
        return value
    if not found.is_file():
        raise UsageError(f"it reads the folder {value}, whose content is not told by a digest")
    return f"{found.name}:{_digest_files(found.parent, [found.name])}"


def _lies_at(value: object) -> Path | None:
    """Return the file or folder that a text names with a path, ``None`` where it names none."""
    if not isinstance(value, str) or not {"/", "\\"} & set(value):
        return None
    try:
        place = Path(value).expanduser()
        return place if place.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _origins(value: Any) -> set[str]:
    """Return the earlier stages of the run that a stage's table names."""
    if isinstance(value, Mapping):
        return set().union(*(_origins(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(_origins(each) for each in value))
    return {value} if isinstance(value, str) and value.startswith("stage:") else set()


def _digest_stage(folder: Path, origin: str) -> str:
    """Return a digest of what an earlier stage has left: what it was trained with does not matter any more."""
    place = stage_files.stage_folder(folder, origin.partition(":")[2].partition("@")[0])
    found = [*place.rglob(weights.MODEL), *place.rglob(weights.CONFIG), *place.glob("clusters/step-*.pt")]
    return _digest_files(place, sorted(path.relative_to(place).as_posix() for path in found))


def _digest_files(folder: Path, names: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for name in names:
        with open_file(folder / name) as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _software(composition: RecipePlan, number: int) -> dict[str, Any]:
    """Return versions of what takes part, and digests of its code: an editable copy changes under one version."""
    parts = [composition.dataset, composition.encoder]
    parts += [part for plan in composition.stages[: number + 1] for part in plan.parts()]
    names = {part.name for part in parts}
    brought = [origin for name, origin in composition.parts.origins.items() if name.partition(" ")[2] in names]
    if any(origin.distribution == registry.LOCAL for origin in brought):
        raise UsageError("a part of it is of no installed distribution, and its code may change")
    versions = {origin.distribution: origin.version for origin in brought} | {
        "robustcl": version(),
        "torch": str(torch.__version__),
    }
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    packages = {"robustcl", *(type(part.plugin).__module__.partition(".")[0] for part in parts)}
    return {"versions": versions, "code": {name: _digest_code(name) for name in sorted(packages)}}


@functools.cache
def _digest_code(package: str) -> str:
    """Return a digest of a package's code as it lies on the disk.

    Raises:
        UsageError: it lies on none, as that of a notebook.
    """
    module = sys.modules[package]
    places = [Path(place) for place in getattr(module, "__path__", [])]
    files = [path for place in places for path in sorted(place.rglob("*")) if path.name.endswith(_CODE)]
    if not places and getattr(module, "__file__", None):
        files = [Path(str(module.__file__))]
    if not files:
        raise UsageError(f"the code of {package} lies in no file")
    whole = hashlib.sha256()
    for path in files:
        whole.update(f"{path.name}\0".encode("utf-8", "surrogateescape"))
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


_CODE = tuple(suffix for suffix in importlib.machinery.all_suffixes() if suffix != ".pyc")
