"""What each member of an ensemble of attacks left standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.report.entries import is_number, place
from robustcl.report.headline import is_partial
from robustcl.report.headline import place as classifier


@dataclass(frozen=True, slots=True)
class MemberStep:
    """One member: the share of the judged images that stood after it, and the share that fell to it, if known."""

    member: str
    standing: float
    fell: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """An attack's members in the order in which images met them; ``clean`` is the share they began with, if known."""

    attack: str
    where: str
    n: int | None
    partial: bool
    clean: float | None
    steps: tuple[MemberStep, ...]


def list_standing(rows: Sequence[Mapping[str, Any]]) -> list[Standing]:
    """Return one table for each row that names its members."""
    return [_of(row, rows) for row in rows if _shares(row)]


def _of(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Standing:
    clean = _clean(row, rows)
    steps, before = [], clean
    for member, share in _shares(row).items():
        steps.append(MemberStep(member, share, None if before is None else before - share))
        before = share
    where = ", ".join(word for word in (place(row), str(row.get("split") or "")) if word)
    return Standing(str(row.get("attack")), where, row.get("n"), is_partial(row), clean, tuple(steps))


def _shares(row: Mapping[str, Any]) -> dict[str, float]:
    members = row.get("members")
    return (
        {str(name): share for name, share in members.items() if is_number(share)} if isinstance(members, dict) else {}
    )


def _clean(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return clean accuracy on the same images: where both numbers are whole and of as many images."""
    for other in rows:
        same = classifier(other) == classifier(row) and other.get("n") == row.get("n")
        if other.get("attack") is None and same and not is_partial(other) and not is_partial(row):
            return other.get("value")
    return None
