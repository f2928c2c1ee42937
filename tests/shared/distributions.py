"""Distributions made by hand: a ``*.dist-info`` (or ``*.egg-info``) folder and modules on a path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GOOD = '''
from robustcl.options import Count, Ratio
from robustcl.protocols import Need


class Nudge:
    """Adds a constant.

    amount: what is added to every pixel,
        as a part of the range.
    times: how often.
    """

    needs = frozenset({Need.FEATURES})
    citation = "Nobody, Nothing, 2020, eq. 1"
    preset = "label"

    def __init__(self, *, label: str = "plain", amount: Ratio = 1 / 255, times: Count = 1) -> None:
        self.label, self.amount, self.times = label, amount, times

    def perturb(self, x, attack):
        return attack.ball.project(x + self.times * self.amount, x)


class Other(Nudge):
    """Another owner's."""

    preset = None


class Lacking:
    """Has no perturb."""

    needs = frozenset()
    citation = "Nobody, Nothing, 2020"


class Untold:
    """Perturbs, but says neither what it needs nor where it is from."""

    def perturb(self, x, attack):
        return x


def function():
    pass
'''
"""The source of a module with good and bad plugins."""


def install(
    site: Path,
    name: str,
    groups: Mapping[str, Mapping[str, str]],
    modules: Mapping[str, str] | None = None,
    *,
    version: str = "1.0",
    egg: bool = False,
) -> None:
    """Write a distribution into ``site``: metadata, entry points (group -> name -> target), modules."""
    folder = site / (f"{name.replace('-', '_')}.egg-info" if egg else f"{name.replace('-', '_')}-{version}.dist-info")
    folder.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / ("PKG-INFO" if egg else "METADATA")).write_text(metadata)
    lines = [line for g, names in groups.items() for line in [f"[{g}]", *(f"{n} = {t}" for n, t in names.items())]]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for path, source in (modules or {}).items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
