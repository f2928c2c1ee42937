"""A published folder, opened: sealed as it was, its packed parts laid out aside, its models loaded from it alone."""

from __future__ import annotations

import contextlib
import lzma
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robustcl.composition.parts import Parts
from robustcl.data.held import open_source
from robustcl.disk import open_file, read_json
from robustcl.errors import DataError, ProofFailed, WeightsError
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.journal import model_hash
from robustcl.proof.models import Here, differing
from robustcl.proof.publishing import FORMAT, JOURNAL, PACKED, PROOF, RESULTS, WITNESSES
from robustcl.proof.rows import Model, Row
from robustcl.recipe import Use
from robustcl.run.splits import keep_looked_through
from robustcl.train import stage_files
from robustcl.train.engine import Engine

_CHUNK = 1 << 20
_MOST = 1000
"""How many times as long as its packed form a file of lines may be."""


@contextlib.contextmanager
def lay_out(folder: Path) -> Iterator[Path]:
    """Unpack results, journal and witnesses of a published folder into one that is gone afterwards.

    Raises:
        ProofFailed: a part is missing or cannot be unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="robustcl-verify-") as name:
        place = Path(name)
        try:
            with open_file(folder / RESULTS) as source, (place / RESULTS).open("wb") as target:
                shutil.copyfileobj(source, target)
            for part in (JOURNAL, WITNESSES):
                if part == JOURNAL or (folder / f"{part}{PACKED}").exists():
                    _unpack(folder / f"{part}{PACKED}", place / part)
        except DataError as error:
            raise ProofFailed(str(error)) from None
        yield place


def models_of_published(folder: Path, here: Here) -> Callable[[Row], Model]:
    """Return what finds the model of a row in a published folder.

    Raises:
        UsageError: the data set is not on this machine, or an encoder's plugin is not installed.
        ProofFailed: a model is damaged, or another one than the folder says.
    """
    proof = _read(folder)
    engine = Engine(here.device or "auto", 1, "32-true")
    plugin = Parts().make("dataset", Use(**here.data(proof["data"])), "--dataset").plugin
    images = keep_looked_through(open_source(plugin, "test"), engine.device)
    found: dict[str, Model] = {}
    for entry in proof["models"]:
        try:
            encoder = stage_files.load(folder / entry["folder"])
        except WeightsError as error:
            raise ProofFailed(str(error)) from None
        engine.place(encoder)
        found[model_hash(encoder.state_dict())] = of_encoder(encoder, entry["route"]), images

    def find(row: Row) -> Model:
        if row.get("model") not in found:
            raise differing(row, list(found))
        return found[str(row["model"])]

    return find


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / PROOF)
    except DataError as error:
        raise ProofFailed(str(error)) from None
    data, models = (found.get(key) if isinstance(found, dict) else None for key in ("data", "models"))
    good = isinstance(data, Mapping) and isinstance(data.get("use"), str) and isinstance(models, list)
    if not good or found.get("format") != FORMAT or not all(map(_is_model, models or ())):
        raise ProofFailed(f"{folder / PROOF} describes no proof of the format {FORMAT}: copy the folder again")
    return dict(found)


def _is_model(entry: object) -> bool:
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), str) for key in ("folder", "hash", "route")
    ):
        return False
    return re.fullmatch(r"models/\d+", entry["folder"]) is not None  # and nothing outside of it


def _unpack(packed: Path, target: Path) -> None:
    reader, left = (
        lzma.LZMADecompressor(format=lzma.FORMAT_XZ),
        packed.stat().st_size * _MOST if packed.is_file() else 0,
    )
    with open_file(packed) as source, target.open("wb") as file:
        try:
            while not reader.eof:
                data = source.read(_CHUNK) if reader.needs_input else b""
                if reader.needs_input and not data:
                    raise ProofFailed(f"{packed} is cut off")
                part = reader.decompress(data, _CHUNK)
                left -= len(part)
                if left < 0:
                    raise ProofFailed(f"{packed} is too long when it is unpacked")
                file.write(part)
        except lzma.LZMAError as error:
            raise ProofFailed(f"{packed} cannot be unpacked: {error}") from None
        if reader.unused_data or source.read(1):
            raise ProofFailed(f"{packed} has something behind its end")
