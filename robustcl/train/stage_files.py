"""Finished stages on disk: one folder per encoder, and a mark that is written last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from robustcl import options
from robustcl.disk import read_json, write_atomically
from robustcl.errors import CheckpointError, UsageError, WeightsError
from robustcl.nn import weights
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.nn.projector import Projector
from robustcl.protocols import EncoderPlugin
from robustcl.registry import owners
from robustcl.rng import Rng
from robustcl.train import checkpoint
from robustcl.train.encoders import ONLINE, Encoders
from robustcl.train.refresh import ClusterState

_MARK = "finished.json"


def stage_folder(run: Path, stage: str) -> Path:
    """Return where a stage's outcome is kept."""
    return run / "stages" / stage


def save(run: Path, stage: str, encoders: Encoders, clusters: ClusterState, facts: Mapping[str, Any]) -> None:
    """Keep a finished stage: its online encoder, its followers, its clusters, and some facts as JSON."""
    folder = stage_folder(run, stage)
    weights.save(encoders.online, folder)
    for name, encoder in encoders.ema.items():
        weights.save(encoder, folder / name)
    if clusters.clustering is not None:
        checkpoint.save(folder / "clusters", 0, clusters.packed())
    write_atomically(folder / _MARK, json.dumps(facts))


def clusters(run: Path, origin: str, device: torch.device) -> ClusterState:
    """Return the clusters that ``stage:NAME`` ended with.

    Raises:
        UsageError: that stage has none.
        CheckpointError: they are damaged.
    """
    stage = origin.partition(":")[2]
    state, _ = checkpoint.newest(stage_folder(run, stage) / "clusters")
    if state is None:
        raise UsageError(f"targets.init = {origin!r}: the stage {stage} ended without clusters")
    try:
        return ClusterState.unpacked(state, device)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, OverflowError) as error:
        fault = f"they lack {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the clusters in {stage_folder(run, stage) / 'clusters'} are damaged: {fault}; remove the folder "
            f"{stage_folder(run, stage)} to train that stage again"
        ) from None


def facts(run: Path, stage: str) -> dict[str, Any] | None:
    """Return what a finished stage left, or ``None`` where it is not finished."""
    return read_facts(stage_folder(run, stage))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return the facts of a stage in a folder of its own, which lies in no run, or ``None`` where it is not finished.

    Raises:
        CheckpointError: they are damaged.
    """
    path = folder / _MARK
    if not path.is_file():
        return None
    remedy = f"remove the folder {path.parent} to train that stage again"
    found = read_json(path, error=CheckpointError, remedy=remedy)
    if not isinstance(found, dict) or any(not isinstance(found.get(key, 0), int | float) for key in _NUMBERS):
        raise CheckpointError(f"{path} is damaged: it does not say what the stage took; {remedy}")
    return found


_NUMBERS = ("number", "seconds", "steps", "passes", "memory")


def require_recipe(run: Path, stage: str, digest: str) -> None:
    """Refuse a finished stage that was trained by another recipe than the run's lock has now.

    Raises:
        CheckpointError: its mark names another recipe. Marks of earlier versions name none.
    """
    trained = (facts(run, stage) or {}).get("recipe", digest)
    if trained != digest:
        raise CheckpointError(
            f"the stage {stage} in {run} was trained by another recipe ({trained}, the lock says {digest}): use "
            "another --out, or put back the recipe.lock.toml that belongs to it"
        )


def require_settings(run: Path, stage: str, digest: str) -> None:
    """Refuse a protocol's classifier that was trained by other settings than are asked for now.

    Raises:
        CheckpointError: its mark names others. Marks of earlier versions name none.
    """
    trained = (facts(run, stage) or {}).get("settings", digest)
    if trained != digest:
        raise CheckpointError(
            f"the classifier {stage} in {run} was trained by other settings of its protocol ({trained}, asked for are "
            f"{digest}): remove the folder {stage_folder(run, stage)} to train it again, by the settings of today"
        )


def resolve(origin: str, run: Path) -> Path:
    """Return the folder of ``stage:NAME``, ``run:FOLDER`` or ``file:FOLDER``, each with ``@encoder`` if not online.

    Raises:
        UsageError: a run without a finished stage.
    """
    kind, _, rest = origin.partition(":")
    name, _, encoder = rest.partition("@")
    if kind == "stage":
        folder = stage_folder(run, name)
    elif kind == "run":
        folder = newest(Path(name))
    else:
        folder = Path(name)
    return folder if encoder in ("", ONLINE) else folder / encoder


def newest(run: Path) -> Path:
    """Return the folder of a run's last finished training stage."""
    marks = [mark for mark in (run / "stages").glob(f"*/{_MARK}") if not mark.parent.name.startswith("evaluate-")]
    if not marks:
        raise UsageError(f"{run} holds no finished stage; train it first, or name a weights folder with file:FOLDER")
    return max(marks, key=lambda mark: (facts(run, mark.parent.name) or {}).get("number", 0)).parent


def load(folder: Path) -> Encoder:
    """Rebuild an encoder from its ``config.json`` and load its weights strictly.

    Raises:
        WeightsError: the folder holds no encoder of ours, a damaged one, or one of another shape.
    """
    config = weights.read_config(folder)
    try:
        table, item = dict(config["encoder"]), _item(config["item"])
        plugin = options.build(_encoder(table.pop("use"), folder), table, f"{folder}/config.json").instance
        _check_size(plugin, item, config, folder)
        encoder = build_encoder(
            plugin,
            name=config["encoder"]["use"],
            item=item,
            classes=config["classes"],
            projector=options.build(Projector, config["projector"], f"{folder}/config.json").instance,
            mean=(0.0,) * item[0],
            std=(1.0,) * item[0],
            routes=config["routes"],
            rng=Rng(0, "load"),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, MemoryError) as error:
        said = _one_line(error)
        raise WeightsError(f"{folder}/config.json does not describe an encoder of robustcl: {said}") from None
    weights.load(encoder, folder)
    return encoder


def _item(value: object) -> tuple[int, ...]:
    """Return the shape of an item; ValueError where it is none."""
    if not isinstance(value, list) or not value or not all(isinstance(size, int) and size > 0 for size in value):
        raise ValueError(f"item is {json.dumps(value)[:60]}, not a list of sizes")
    return tuple(value)


def _encoder(name: str, folder: Path) -> type:
    """Return the class of an encoder's plugin, that of the run in which it lies."""
    return owners.find("encoder", name, owners.of_folder(folder), f"{folder}/config.json").cls


def _check_size(plugin: EncoderPlugin, item: tuple[int, ...], config: Mapping[str, Any], folder: Path) -> None:
    """Refuse a description of more weights than the file beside it can hold, before they take memory.

    Raises:
        ValueError: as said.
        WeightsError: the file is no whole file of weights.
    """
    size = (folder / weights.MODEL).stat().st_size if (folder / weights.MODEL).is_file() else None
    if size is None:
        return  # said by whoever reads it
    for name, number in _numbers(config):
        if number > max(size // 4, 1 << 16):
            raise ValueError(f"{name} = {number} is more than {weights.MODEL} has numbers")
    try:
        with torch.device("meta"):
            backbone, _ = plugin.backbone(item)
    except (RuntimeError, NotImplementedError):
        return  # a network that cannot be sketched is built at once
    count = sum(parameter.numel() for parameter in backbone.parameters())
    if count > size:  # each takes a byte at least
        weights.read(folder / weights.MODEL)  # says it where that is no file of weights
        raise ValueError(f"it is of {count:,} weights, and {weights.MODEL} has {size:,} bytes")


def _numbers(table: object, name: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield from _numbers(value, f"{name}.{key}".lstrip("."))
    elif isinstance(table, list):
        for value in table:
            yield from _numbers(value, name)
    elif isinstance(table, int):
        yield name, table


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
