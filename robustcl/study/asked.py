"""What each accuracy of a study asks: attack, protocol, route, split and number of images, in words."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.study.grammar import Accuracy, Study
from robustcl.study.grid import Planned
from robustcl.study.places import evaluation
from robustcl.study.table import Line


def questions(study: Study, planned: Sequence[Planned], lines: Sequence[Line]) -> list[str]:
    """Return a sentence for each column that is an accuracy; what differs between rows stands with "or"."""
    said = []
    names = dict.fromkeys(column.name for run in planned for column in study.columns_of(run.row))
    for name in names:
        words = [word for run in planned if (word := _words(study, run, name))]
        if not words:
            continue
        parts = [" or ".join(dict.fromkeys(column)) for column in zip(*words, strict=True)]
        cells = [cell for line in lines for cell in line.cells if cell.column == name]
        n = " or ".join(str(n) for n in dict.fromkeys(cell.n for cell in cells if cell.n is not None))
        said.append(f"{name}: {', '.join([*parts, *([f'n = {n}'] if n else [])])}")
    return said


def _words(study: Study, run: Planned, name: str) -> tuple[str, ...] | None:
    column = next((column for column in study.columns_of(run.row) if column.name == name), None)
    if not isinstance(column, Accuracy):
        return None
    plan, route = evaluation(run.composition, column.protocol, column.route, "")
    attack = plan.attacks[0].name if column.attack == "first" else column.attack
    return attack or "clean images", f"protocol {plan.table.use}", f"route {route}", f"{column.split} split"
