"""What lies in a stage's entry of the store: ``manifest.json``, with what decided the stage, and each file's digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.disk import Limits, read_json
from robustcl.errors import CheckpointError

FILE = "manifest.json"
FORMAT = 1
LARGEST = 1 << 38
"""Bytes of a file of a stage."""

_LIMITS = Limits(file=4 << 20)
_MOST_FILES = 1000
_NAME = re.compile(
    r"(?:[^/\\\0.][^/\\\0]{0,200}/)?(?:model\.safetensors|config\.json|README\.md)"
    r"|clusters/step-[0-9]{9}\.(?:pt|json)|finished\.json|metrics\.jsonl"
)
"""The files of a stage, none of which can call code: clusters are read as tensors and plain values alone."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A stage in the store.

    about: what it is, in words, for people. decides: everything that decides its outcome, whose digest is the key.
    files: name -> SHA-256 and bytes.
    """

    about: Mapping[str, Any]
    decides: Mapping[str, Any]
    files: Mapping[str, tuple[str, int]]

    @property
    def key(self) -> str:
        """The name of its entry."""
        return key_of(self.decides)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size in self.files.values())


def key_of(decides: Mapping[str, Any]) -> str:
    """Return the key of what decides a stage: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _seal(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def is_file_of_stage(name: str) -> bool:
    """Say whether a name, relative to the entry and with ``/``, is that of a file which a stage leaves."""
    return _NAME.fullmatch(name) is not None


def render(manifest: Manifest) -> str:
    """Return the text of a manifest's file."""
    files = {name: {"sha256": digest, "bytes": size} for name, (digest, size) in sorted(manifest.files.items())}
    said = {"about": manifest.about, "files": files, "decides": manifest.decides}
    return (
        json.dumps({"format": FORMAT, "key": manifest.key, "seal": _seal(said), **said}, indent=1, default=str) + "\n"
    )


def read(entry: Path) -> Manifest:
    """Read the manifest of an entry, a folder that is called by its key.

    Raises:
        CheckpointError: it is missing, damaged, of another format or key, or names what no stage leaves.
    """
    path = entry / FILE
    if entry.is_symlink() or path.is_symlink():
        raise CheckpointError(f"{entry} is a symbolic link, or its {FILE} is")
    found = read_json(path, error=CheckpointError, remedy="remove its folder", undefined=float, limits=_LIMITS)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CheckpointError(f"{path} describes no stage of the format {FORMAT}")
    about, decides, files = (found.get(name) for name in ("about", "decides", "files"))
    if not isinstance(about, dict) or not isinstance(decides, dict) or not isinstance(files, dict):
        raise CheckpointError(f"{path} is damaged: it lacks what it is of, or its files")
    if found.get("seal") != _seal({"about": about, "files": files, "decides": decides}):
        raise CheckpointError(f"{path} is damaged: it differs from its seal")
    if key_of(decides) != entry.name:
        raise CheckpointError(f"{path} is of another stage: its key is {key_of(decides)}")
    return Manifest(about, decides, _files(files, path))


def _files(files: Mapping[str, Any], path: Path) -> dict[str, tuple[str, int]]:
    if len(files) > _MOST_FILES:
        raise CheckpointError(f"{path} names {len(files):,} files, more than the {_MOST_FILES:,} that a stage may have")
    found = {}
    for name, said in files.items():
        digest, size = (said.get("sha256"), said.get("bytes")) if isinstance(said, dict) else (None, None)
        if not is_file_of_stage(name):
            raise CheckpointError(f"{path} names the file {name[:100]!r}, which no stage leaves")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int:
            raise CheckpointError(f"{path} is damaged: it does not say what {name} is")
        if not 0 <= size <= LARGEST:
            raise CheckpointError(f"{path} says that {name} has {size:,} bytes")
        found[name] = (digest, size)
    if "finished.json" not in found:
        raise CheckpointError(f"{path} names no finished.json")
    return found
