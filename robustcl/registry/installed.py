"""What installed distributions register, read from their metadata: once for all groups, without imports."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from typing import Any, Final

KINDS: Final = (
    "generator",
    "objective",
    "selector",
    "target",
    "view",
    "encoder",
    "dataset",
    "optimizer",
    "sampler",
    "attack",
    "protocol",
    "launcher",
)
"""The kinds of plugins, as in ``robustcl.protocols.KINDS``, which would bring torch."""


LOCAL: Final = "local"
"""What stands for the distribution of a plugin added by ``registry.local``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who brings a plugin: the distribution, its version, and the entry point's target."""

    distribution: str
    version: str
    target: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered name, not imported; ``source`` is an entry point, a class, or a file of TOML."""

    kind: str
    name: str
    origin: Origin
    source: Any = field(compare=False, repr=False)

    @property
    def qualified(self) -> str:
        """``distribution/name``, which selects this entry among several of its name."""
        return f"{self.origin.distribution}/{self.name}"

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.origin} ({self.origin.target})"


@functools.cache
def scan() -> Mapping[str, tuple[Entry, ...]]:
    """Return kind -> entries by name and distribution; packages of TOML are of the kinds recipe, study and preset."""
    groups = {f"robustcl.{kind}s": kind for kind in (*KINDS, "recipe", "preset")} | {"robustcl.studies": "study"}
    found: dict[str, list[Entry]] = {}
    for distribution in _distributions():
        try:
            points = list(distribution.entry_points)
        except Exception:  # malformed metadata registers nothing, and must not keep the others from it
            continue
        for point in points:
            if kind := groups.get(point.group):
                origin = Origin(distribution.metadata["Name"], distribution.version, point.value)
                found.setdefault(kind, []).append(Entry(kind, point.name, origin, point))
    return {kind: tuple(sorted(rows, key=by_name)) for kind, rows in found.items()}


def normal(distribution: str) -> str:
    """Return a distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def version() -> str:
    """Return the version of the installed robustcl; a bare checkout has none."""
    try:
        return importlib.metadata.version("robustcl")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def by_name(entry: Entry) -> tuple[str, str]:
    """Return what entries are sorted by."""
    return entry.name, entry.origin.distribution


def _distributions() -> Iterable[Distribution]:
    """Return the distributions that register plugins, each once; dist-info outranks a build's egg-info."""
    unique: dict[str, Distribution] = {}
    for distribution in importlib.metadata.distributions():
        # Reading the name parses all metadata: only done where there is something of ours.
        if "robustcl." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        name = normal(distribution.metadata["Name"] or "")
        earlier = unique.get(name)
        if earlier is None or (_is_build(earlier) and not _is_build(distribution)):
            unique[name] = distribution
    return unique.values()


def _is_build(distribution: Distribution) -> bool:
    return distribution.read_text("METADATA") is None
