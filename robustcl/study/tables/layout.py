"""The table of a study as texts: a column of the paper's numbers beside ours, the values of a sweep below one head."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.report.grid import Grid, Head, Text
from robustcl.study.grammar.columns import spread
from robustcl.study.grammar.study import Study, merge
from robustcl.study.tables.table import StudyLine


def make_grid(study: Study, lines: Sequence[StudyLine], data: str, said: str = "") -> Grid:
    """Return the table of the numbers; ``data`` is the paper's data set, ``said`` what its caption says of the bold."""
    names = [cell.column for cell in lines[0].cells]
    reported = {cell.column for line in lines for cell in line.cells if cell.paper is not None}
    groups = _groups(study)
    head = [Head(study.axis[0].name if len(study.axis) == len(study.row) == 1 else "")]
    for name in names:
        if name in reported:
            head += [Head("ours", name), Head(f"paper, {data}", name)]
        else:
            head.append(groups.get(name, Head(name)))
    rows = [(Text(line.label), *_cells(line, reported)) for line in lines]
    return Grid(_caption(lines, reported, data, said), tuple(head), tuple(rows), name=study.name)


def _cells(line: StudyLine, reported: set[str]) -> Sequence[Text]:
    found: list[Text] = []
    for cell in line.cells:
        found += [cell.shown(), cell.reported()] if cell.column in reported else [cell.shown()]
    return found


def _groups(study: Study) -> dict[str, Head]:
    """Return the head of each swept column: what its name has before the value above, the value below."""
    heads: dict[str, Head] = {}
    for column in study.column:
        before, _, _ = column.name.partition("{}")
        group = before.strip(" ,:")
        tables = spread(merge(column, study.row[0]))
        if column.sweep is not None and group and len(tables) > 1:
            heads |= {table["name"]: Head(table["name"].removeprefix(before).strip(), group) for table in tables}
    return heads


def _caption(lines: Sequence[StudyLine], reported: set[str], data: str, said: str) -> str:
    cells = [cell for line in lines for cell in line.cells]
    papers = f", and beside them those that the paper reports for {data}" if reported else ""
    spreads = [
        "mean ± standard deviation over seeds" if any(cell.std is not None for cell in cells) else "",
        "the 95 % interval over images in brackets" if any(cell.low is not None for cell in cells) else "",
    ]
    told = "; ".join(filter(None, spreads))
    parts = [
        f"Our numbers{papers}.",
        "Accuracies are in percent." if any(cell.percent for cell in cells) else "",
        f"{told[0].upper()}{told[1:]}." if told else "",
        said,
    ]
    return " ".join(filter(None, parts))
