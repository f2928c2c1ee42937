"""Mutations that know a file's format: headers that lie, states that lack a key, numbers that are none."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import zipfile
from typing import Any

import numpy as np
import torch

from tests.fuzz.mutate import Place, splice


def artful(rng: random.Random, at: Place) -> str:
    """Change what a file says within its own format; bytes are spliced into those of no format."""
    by = {".npz": _archive, ".safetensors": _tensors, ".pt": _state}.get(at.file.suffix)
    return by(rng, at) if by is not None and at.file.is_file() else splice(rng, at)


def _archive(rng: random.Random, at: Place) -> str:
    with np.load(at.file, allow_pickle=False) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    key = rng.choice(sorted(arrays))
    value = np.atleast_1d(arrays[key] if arrays[key].dtype.kind in "fiu" else np.zeros(arrays[key].shape))
    shape = value.shape
    said, other = rng.choice((
        ("gone", None), ("of text", np.full(shape, "x")), ("complex", value.astype(complex)),
        ("a number", np.float64(1.0)), ("empty", value[:0]), ("one shorter", value[:-1]), ("flat", value.reshape(-1)),
        ("of one more axis", value[None]), ("of NaN", np.full(shape, np.nan)),
        ("of 1e300", np.full(shape, 1e300)),
        ("negative", -1 - np.abs(value)), ("of dates", np.full(shape, "2020", "datetime64[D]")),
        ("of records", np.zeros(shape, [("a", "f4"), ("b", "U3")])), ("of bytes", np.full(shape, b"\xff")),
        ("of objects", np.full(shape, None)), ("huge", "huge"), ("of negative length", "negative"),
        ("no array", "none"), ("there twice", "twice"), ("beside one out of the folder", "outside"),
        ("swapped in byte order", value.astype(value.dtype.newbyteorder())), ("of float16", value.astype(np.float16)),
    ))  # fmt: skip
    stream = io.BytesIO()
    if isinstance(other, str):
        _lie(stream, arrays, key, other)
    else:
        kept = {name: one for name, one in arrays.items() if name != key}
        np.savez(stream, **kept, **({} if other is None else {key: other}))  # type: ignore[arg-type]
    at.file.write_bytes(stream.getvalue())
    return f"{key} {said}"


def _lie(stream: io.BytesIO, arrays: dict[str, Any], key: str, how: str) -> None:
    shape = {"huge": "(1125899906842624,)", "negative": "(-4, 5)"}.get(how, "(3,)")
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in arrays.items():
            data = io.BytesIO()
            np.save(data, value)
            content = data.getvalue()
            if name == key and how in ("huge", "negative"):
                content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 24
            elif name == key and how == "none":
                content = b"no array at all"
            archive.writestr(f"{name}.npy", content)
        if how == "twice":
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), b"another")
        if how == "outside":
            archive.writestr("../../outside/file.npy", b"x")


def _tensors(rng: random.Random, at: Place) -> str:
    data = at.file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = rng.choice(sorted(key for key in header if key != "__metadata__"))
    entry = header[name]
    said, change = rng.choice((
        ("gone", None), ("of another name", {}), ("over another", {"data_offsets": [0, entry["data_offsets"][1]]}),
        ("behind a hole", {"data_offsets": [each + 4 for each in entry["data_offsets"]]}),
        ("of 64 TiB", {"shape": [1 << 44], "data_offsets": [0, 1 << 46]}), ("of a type of tomorrow", {"dtype": "F3"}),
        ("of negative length", {"shape": [-1]}), ("of another shape", {"shape": [*entry["shape"], 1]}),
        ("of floats for lengths", {"shape": [1.5]}), ("of no offsets", {"data_offsets": []}),
        ("of integers", {"dtype": "I32"}),
    ))  # fmt: skip
    header.pop(name)
    if change is not None:
        header["evil\x1b[31m" if said == "of another name" else name] = {**entry, **change}
    text = json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + data[8 + length :]
    at.file.write_bytes(whole)
    _reseal(at, whole, rng.random() < 0.7)
    return f"{name} {said}"


def _reseal(at: Place, data: bytes, honest: bool) -> None:
    """Let the description beside weights be of what they are now."""
    config = at.file.with_name("config.json")
    if honest and config.is_file():
        told = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps({**told, "sha256": hashlib.sha256(data).hexdigest()}), encoding="utf-8")


def _state(rng: random.Random, at: Place) -> str:
    """Change a checkpoint, seal it again, and take away what the stage ended with, so that it is read."""
    state = torch.load(at.file, map_location="cpu", weights_only=True)
    node, key, path = state, "", []
    while isinstance(node, dict) and node:
        key = rng.choice(sorted(node, key=str))
        path.append(str(key))
        if not isinstance(node[key], dict) or not node[key] or rng.random() < 0.3:
            break
        node = node[key]
    value = node[key]
    if rng.random() < 0.25:
        del node[key]
        said = "gone"
    elif isinstance(value, torch.Tensor) and rng.random() < 0.8:
        plain = value.float()
        said, node[key] = rng.choice((
            ("of NaN", torch.full_like(plain, float("nan"))), ("of 1e30", torch.full_like(plain, 1e30)),
            ("of one more axis", torch.zeros((*value.shape, 2))), ("complex", value.to(torch.complex64)),
            ("empty", value[..., :0] if value.dim() else value), ("sparse", torch.zeros(3).to_sparse()),
            ("of integers", torch.zeros(value.shape, dtype=torch.int64)),
        ))  # fmt: skip
    else:
        node[key] = rng.choice(_STRANGE)
        said = f"= {node[key]!r}"
    torch.save(state, at.file)
    seal = {"sha256": hashlib.sha256(at.file.read_bytes()).hexdigest(), "bytes": at.file.stat().st_size}
    at.file.with_suffix(".json").write_text(json.dumps(seal), encoding="utf-8")
    stage = at.file.parent.name
    for old in at.file.parent.glob("step-*.pt"):
        if old.name > at.file.name:
            old.unlink()
    if at.file.parent.parent.name == "checkpoints":
        shutil.rmtree(at.run / "stages" / stage, ignore_errors=True)
        (at.run / "results.json").unlink(missing_ok=True)
    return f"{'.'.join(path)} {said}"


_STRANGE = (
    None, True, -1, 0, 10**9, 2**70, float("nan"), float("inf"), "x", [], {}, {"a": 1}, [1, "a"], b"x",
)  # fmt: skip
