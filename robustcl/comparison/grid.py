"""The two tables that every readable format shows: the numbers, and the differences with their tests."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.comparison.columns import Column
from robustcl.comparison.pairing import Difference
from robustcl.comparison.statistics import Bootstrap, McNemar
from robustcl.comparison.table import ComparedCell, Comparison
from robustcl.comparison.titles import title
from robustcl.report.grid import MISSING, Grid, Text, plain

_WHERE = ("protocol", "stage", "encoder", "route", "split")


def grids(comparison: Comparison) -> list[Grid]:
    """Return the table of numbers and, where methods were compared, the table of differences."""
    titles = headings(comparison.columns)
    numbers = plain(
        _title(comparison.columns),
        ("method", "seeds", *titles),
        [
            (Text(group.label), Text(str(len(group.runs))),
             *(_cell(cell, column, len(group.runs)) for cell, column in zip(cells, comparison.columns, strict=True)))
            for group, cells in zip(comparison.groups, comparison.cells, strict=True)
        ],
        notes=comparison.notes,
    )  # fmt: skip
    if not comparison.differences:
        return [numbers]
    rows = [_difference(difference, comparison, titles) for difference in comparison.differences]
    head = ("metric", "method", "against", "verdict", "test", "difference", "p", "corrected p")
    return [numbers, plain("Differences", head, rows, words=5, keys=2)]


def headings(columns: Sequence[Column]) -> list[str]:
    """Return a name for each column: its metric, and as much of the rest as differs between columns."""
    varying = [name for name in _WHERE if len({getattr(column, name) for column in columns}) > 1]
    titles = []
    for column in columns:
        parts = [getattr(column, name) or f"no {name}" for name in varying]
        parts += [column.settings] if column.settings else []
        titles.append(", ".join([head_metric(column.metric), *parts]) + (" (mixed)" if column.mixed else ""))
    return titles


def head_metric(metric: str) -> str:
    """Return a metric as the field's tables head it: SA for clean accuracy, RA with its attack for robust accuracy.

    "pgd-20_acc" is RA (PGD-20), "autoattack_acc" RA (AutoAttack).
    """
    partial, name = ("partial " if metric.startswith("partial ") else ""), metric.removeprefix("partial ")
    if name == "clean_acc":
        return f"{partial}SA"
    if not name.endswith("_acc"):
        return metric
    return f"{partial}RA ({title(name.removesuffix('_acc'))})"


def cell_text(cell: ComparedCell, column: Column, seeds: int) -> str:
    """Return mean and spread as a table shows them; how many seeds, where some of them lack the number."""
    if cell.mean is None:
        return MISSING
    text = number(cell.mean, column)
    if cell.std is not None:
        text = f"{text} ± {number(cell.std, column)}"
    elif cell.low is not None and cell.high is not None:
        text = f"{text} [{number(cell.low, column)}, {number(cell.high, column)}]"
    lacking = len(cell.values) < seeds
    return f"{text} ({len(cell.values)} of {seeds} seeds)" if lacking else text


def number(value: float, column: Column) -> str:
    """Return a share as percent with two decimals, another measure with four digits."""
    return f"{100 * value:.2f}" if column.share else f"{value:.4g}"


def _title(columns: Sequence[Column]) -> str:
    """Return what all columns have in common."""
    parts = []
    for name in _WHERE:
        values = {getattr(column, name) for column in columns}
        value = values.pop()
        if not values and value and (name, value) != ("encoder", "online"):
            parts.append(value if name in ("protocol", "split") else f"{name} {value}")
    return ", ".join(parts) or "Results"


def _cell(cell: ComparedCell, column: Column, seeds: int) -> Text:
    return Text(cell_text(cell, column, seeds), cell.best)


def _difference(difference: Difference, comparison: Comparison, titles: Sequence[str]) -> tuple[Text, ...]:
    test, value = difference.test, f"{100 * difference.value:+.2f}"
    name = p = corrected = MISSING
    if isinstance(test, McNemar):
        name = f"McNemar, {test.first} : {test.second}"
    elif isinstance(test, Bootstrap):
        name, value = "paired bootstrap", f"{value} [{100 * test.low:+.2f}, {100 * test.high:+.2f}]"
    if not isinstance(test, str) and difference.corrected is not None:
        p, corrected = probability(test.p), probability(difference.corrected)
    words = (titles[difference.column], comparison.groups[difference.line].label)
    against = comparison.groups[difference.against].label
    texts = (*words, against, difference.verdict, name, value, p, corrected)
    return tuple(Text(text) for text in texts)


def probability(p: float) -> str:
    """Return a p-value with four decimals; a smaller one is said to be so."""
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
