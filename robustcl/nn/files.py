"""A weights file's bytes: what they really are, and whether they are whole."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl.disk import parse_json
from robustcl.errors import WeightsError


def check_whole(data: bytes, path: Path) -> None:
    """Raise WeightsError unless the bytes are one whole safetensors file; nothing is ever unpickled."""
    if not data:
        raise WeightsError(f"{path} is empty: copy or download it again")
    header = int.from_bytes(data[:8], "little")
    # First what it should be: the length of a header may happen to begin like a pickle.
    if data[8:9] != b"{" or header > _LONGEST_HEADER:
        kinds = (kind for pattern, kind in _OTHERS.items() if re.match(pattern, data[:512]))
        kind = next(kinds, "it begins like no file of weights; give the model.safetensors that a run has saved")
        raise WeightsError(f"{path} is no safetensors file: {kind}")
    start = 8 + header
    if len(data) < start:
        raise WeightsError(f"{path} is truncated within its header: copy or download it again")
    whole = start + _extent(data[8:start], path)
    if len(data) != whole:
        fault = "truncated" if len(data) < whole else "longer than it says"
        raise WeightsError(f"{path} is {fault}: {len(data):,} bytes instead of {whole:,}; copy or download it again")


def _extent(header: bytes, path: Path) -> int:
    """Return how many bytes of numbers the header announces."""
    remedy = "copy or download it again"
    table = parse_json(header, f"the safetensors header of {path}", error=WeightsError, remedy=remedy, unique=True)
    spans: list[tuple[int, int, str]] = []
    entries: dict[str, Any] = table if isinstance(table, dict) else {"": None}
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = (int(offset) for offset in entry["data_offsets"])
            size = _BYTES[entry["dtype"]] * math.prod(int(length) for length in entry["shape"])
            whole = all(length >= 0 for length in (begin, end, *entry["shape"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise WeightsError(f"{path} is damaged: its safetensors header is unreadable; {remedy}") from None
        if not whole or end - begin != size:
            raise WeightsError(f"{path} is damaged: {name!r:.80} claims {size:,} bytes in {end - begin:,}; {remedy}")
        spans.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            fault = "lies over another tensor" if begin < reached else "follows a hole"
            raise WeightsError(f"{path} is damaged: {name!r:.80} {fault}; {remedy}")
        reached = end
    return reached


_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes of one number."""

_LONGEST_HEADER = 100_000_000
"""The format's own limit, in bytes."""

_PICKLE = (
    "it is a PyTorch pickle, which can run any code when it is read and is therefore refused; "
    "where you trust it, save its tensors with safetensors.torch.save_file"
)
_OTHERS: Mapping[bytes, str] = {
    rb"\s*<": "it is an HTML page, probably the answer of a failed download; download it again",
    rb"PK\x03\x04": _PICKLE,
    rb"\x80[\x02-\x05]": _PICKLE,
    rb"version https://git-lfs": "it is a Git LFS pointer; run git lfs pull",
    rb"\x1f\x8b": "it is a gzip archive; unpack it first",
    rb"\s*\{": "it is JSON; give the folder that holds model.safetensors",
}
"""How files that people take for weights begin."""
