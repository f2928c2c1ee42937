"""Tables of shares whose cells are coloured by their value; the number stands in each cell as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from robustcl.report.entries import numbers
from robustcl.report.rendering import environment
from robustcl.report.tables import percent

_NONE, _ALL = (255, 255, 255), (134, 176, 214)
"""The colours of 0 and 1; dark text has a contrast of at least 4.5 to every mixture."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One share: the exact value, its text, its colour "#rrggbb", and whether it stands out."""

    value: float | None
    text: str
    colour: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Heat:
    """A table: what its corner says, the heads of its columns, its rows as (head, cells), and its caption."""

    corner: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    caption: str


def cell(value: object, *, marked: bool = False) -> HeatCell:
    """Return a share in [0, 1] as a cell; "-" without a colour for anything else."""
    found = numbers([value])
    if not found:
        return HeatCell(None, percent(None), "#ffffff", marked)
    share = found[0]
    part = min(max(share, 0.0), 1.0)
    mixed = (round(low + part * (high - low)) for low, high in zip(_NONE, _ALL, strict=True))
    return HeatCell(share, percent(share), "#" + "".join(f"{each:02x}" for each in mixed), marked)


def matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], caption: str = "") -> Markup:
    """Return the table of a transfer attack as HTML, with every name escaped.

    Args:
        names: the models, of which there are k.
        values: k rows of k shares in [0, 1]: in row i and column j, the accuracy of model j on adversaries that were
            made on model i. ``None`` where it was not measured.
        caption: what was measured.

    Raises:
        ValueError: the values are not k by k.
    """
    if len(values) != len(names) or any(len(row) != len(names) for row in values):
        raise ValueError(f"the values of {len(names)} models must be {len(names)} rows of as many numbers")
    rows = tuple(
        (name, tuple(cell(value, marked=source == judged) for judged, value in enumerate(row)))
        for source, (name, row) in enumerate(zip(names, values, strict=True))
    )
    return markup(Heat("made on \\ judged on", tuple(names), rows, caption))


def markup(table: Heat) -> Markup:
    """Return a table as HTML, in a box that scrolls sideways where the page is too narrow."""
    return Markup(environment().get_template("heat.html.j2").render(table=table))
