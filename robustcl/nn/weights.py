"""An encoder on disk: ``model.safetensors``, ``config.json`` and a card, loaded strictly or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from robustcl.disk import make_folder, parse_json, write_atomically
from robustcl.errors import WeightsError
from robustcl.nn.card import render_card
from robustcl.nn.encoder import Encoder
from robustcl.nn.files import check_whole
from robustcl.nn.strict import fill

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "robustcl-encoder-1"


def save(encoder: Encoder, folder: Path | str, *, about: Mapping[str, str] | None = None) -> None:
    """Write an encoder into a folder, which is made; each file is replaced as a whole.

    about: lines for the model card, for example the recipe and its results.
    """
    folder = make_folder(Path(folder))
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in encoder.state_dict().items()}
    data = safetensors.torch.save(tensors, metadata={"format": "pt"})
    config = {
        "format": FORMAT,
        **encoder.config,
        "mean": _short(encoder.mean),
        "std": _short(encoder.std),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_atomically(folder / MODEL, data)
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    write_atomically(folder / CARD, render_card(config, about or {}).encode())


def load(encoder: Encoder, path: Path | str, *, skip: Collection[str] = ()) -> None:
    """Load weights, statistics and normalisation from a saved folder, or from the model file in it.

    skip: parts that keep what they have: "projector", "classifier".
    Raises WeightsError, before anything is changed, for a file that is missing, damaged or of another kind,
    and for an encoder of another architecture, stem, routes or tensors.
    """
    model = _model(Path(path))
    data = read(model)
    config = read_config(model.parent)
    if hashlib.sha256(data).hexdigest() != config["sha256"]:
        raise WeightsError(f"{model} is damaged or not the one that {CONFIG} describes: its SHA-256 differs; copy both")
    _compare(config, encoder, model, skip)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise WeightsError(f"{model} is damaged: {error}; copy it again") from error
    fill(encoder, tensors, model, "encoder", skip)


def read(model: Path) -> bytes:
    """Return the bytes of a model file; raises WeightsError for one that is missing, damaged or of another kind."""
    data = _read(model)
    check_whole(data, model)
    return data


def read_config(path: Path | str) -> dict[str, Any]:
    """Return a saved encoder's ``config.json``; raises WeightsError where it is missing or unreadable."""
    file = _model(Path(path)).with_name(CONFIG)
    if not file.is_file():
        raise WeightsError(
            f"{file} is missing: without it the stem, the routes and the normalisation of these weights are "
            f"unknown; copy it from where the weights come from"
        )
    remedy = "copy it again from where the weights come from"
    config = parse_json(_read(file), str(file), error=WeightsError, remedy=remedy)
    if not isinstance(config, dict) or config.get("format") != FORMAT or "sha256" not in config:
        raise WeightsError(f"{file} describes no encoder of the format {FORMAT}: give a saved encoder's")
    return config


def _model(path: Path) -> Path:
    return path / MODEL if path.is_dir() else path


def _read(path: Path) -> bytes:
    if not path.is_file():
        folder = path.parent
        there = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else []
        beside = f"its folder holds {', '.join(there)}" if there else "its folder is empty or missing"
        raise WeightsError(f"{path} does not exist: {beside}; give the folder of a saved encoder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


_PARTS: Mapping[str, tuple[str, ...]] = {
    "backbone": ("encoder", "geometry", "features", "routes"),
    "projector": ("projector", "projection"),
    "classifier": ("classes",),
}
"""What must be equal for each part. ``item`` may differ: a network may serve several sizes of image."""


def _compare(config: Mapping[str, Any], encoder: Encoder, model: Path, skip: Collection[str]) -> None:
    if unknown := set(skip) - {"projector", "classifier"}:
        raise WeightsError(f"{min(unknown)!r} cannot be skipped in {model}: only projector and classifier can")
    here = json.loads(json.dumps(encoder.config))
    found = [
        f"{key} {_say(config.get(key))} instead of {_say(here.get(key))}"
        for part, keys in _PARTS.items()
        if part not in skip
        for key in keys
        if config.get(key) != here.get(key)
    ]
    if found:
        raise WeightsError(f"{model} is of another encoder: it has {'; '.join(found)}; build it as its {CONFIG} says")


def _short(values: Tensor) -> list[float]:
    """Return numbers as they were written, 0.2 for its float32; the exact ones are in the file."""
    return [float(f"{value:.7g}") for value in values.flatten().tolist()]


def _say(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_say(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "nothing" if value is None else str(value)
