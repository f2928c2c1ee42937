"""A weights file's bytes: what they really are, and whether they are whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

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
    try:
        table = json.loads(header)
        ends = [int(entry["data_offsets"][1]) for name, entry in table.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise WeightsError(
            f"{path} is damaged: its safetensors header is unreadable; copy or download it again"
        ) from None
    return max(ends, default=0)


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
