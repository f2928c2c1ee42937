"""Audits in results.json, held against themselves and against what ``audits/`` of the run keeps of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl.disk import read_json
from robustcl.errors import Contradiction, DataError

FOLDER = "audits"
_SEVERITY = ("pass", "warn", "fail")


def path_of(folder: Path, entry: Mapping[str, Any]) -> Path | None:
    """Return the file that keeps an audit, named by its question, samples and outcomes; ``None`` for older ones."""
    reported = entry.get("reported")
    parts = entry.get("question"), entry.get("samples"), reported.get("hash") if isinstance(reported, Mapping) else None
    words = [str(part) for part in parts if isinstance(part, str | int) and str(part).isalnum()]
    return folder / FOLDER / f"{'-'.join(words)}.json" if len(words) == len(parts) else None


def read_kept(path: Path) -> dict[str, Any] | None:
    """Return an audit that was made before; ``None`` where its file is missing or damaged."""
    try:
        found = read_json(path)
    except DataError:
        return None
    return found if isinstance(found, dict) and {"samples", "findings", "verdict"} <= found.keys() else None


def check(folder: Path, entry: Mapping[str, Any], advice: str) -> None:
    """Hold an audit against its own findings, and against the file that was written with it.

    Raises:
        Contradiction: a verdict or a share is another one than they give; ``advice`` ends the sentence.
    """
    place = " ".join(str(entry[name]) for name in ("protocol", "route") if entry.get(name))
    found = _verdicts(entry)
    worst = max(found, key=_SEVERITY.index, default="pass")
    if entry.get("verdict") in _SEVERITY and found and entry["verdict"] != worst:
        raise Contradiction(
            f"{folder}/results.json says {str(entry['verdict']).upper()} for the audit of {place}, and its own "
            f"findings {worst.upper()}: {advice}"
        )
    path = path_of(folder, entry)
    other = read_kept(path) if path is not None else None
    if other is not None and (fault := _difference(entry, other)):
        raise Contradiction(f"{folder}/results.json says {fault[0]} for the audit of {place}, and {path} says "
                            f"{fault[1]}: {advice}")  # fmt: skip


def _difference(entry: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what two records of one audit say differently; a deeper one may have found more, and says so."""
    here, there = _findings(entry), _findings(other)
    for code in here.keys() & there.keys():
        if here[code][0] == there[code][0] and here[code][1] != there[code][1]:
            return f"{str(here[code][1]).upper()} at {code}", str(there[code][1]).upper()
    if here == there:
        for key in ("clean", "worst", "verdict", "samples"):
            if entry.get(key) != other.get(key):
                return f"{key} {entry.get(key)!s:.40}", f"{other.get(key)!s:.40}"
    return None


def _findings(entry: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    found = entry.get("findings")
    tables = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    return {str(each.get("code")): (each.get("evidence"), each.get("verdict")) for each in tables}


def _verdicts(entry: Mapping[str, Any]) -> list[str]:
    return [verdict for _, verdict in _findings(entry).values() if isinstance(verdict, str) and verdict in _SEVERITY]
