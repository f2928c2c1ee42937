"""The comparison for tools: one record per method and column, as CSV or with everything else as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustcl.comparison.pairing import Difference
from robustcl.comparison.statistics import Bootstrap, McNemar
from robustcl.comparison.table import Comparison
from robustcl.report.tables import inert

SCHEMA = 1
"""The version of the JSON format."""

_QUESTION = ("protocol", "stage", "encoder", "route", "split", "metric")


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a record per method and column; numbers are shares, and ``None`` is what was not measured or tested."""
    found = []
    for line, (group, cells) in enumerate(zip(comparison.groups, comparison.cells, strict=True)):
        for place, (column, cell) in enumerate(zip(comparison.columns, cells, strict=True)):
            tested = [d for d in comparison.differences if (d.column, d.line) == (place, line)]
            found.append({
                "method": group.label,
                **{name: getattr(column, name) for name in _QUESTION},
                "settings": column.settings, "mixed": bool(column.mixed),
                "images": column.images[0] if len(column.images) == 1 else None,
                "seeds": len(cell.values), "mean": cell.mean, "std": cell.std, "low": cell.low, "high": cell.high,
                "best": cell.best, **_difference(tested[0] if tested else None, comparison),
            })  # fmt: skip
    return found


def csv(comparison: Comparison) -> str:
    """Return the records as CSV; what is missing is an empty cell, which tools read as such."""
    plain = [{key: inert(value) for key, value in record.items()} for record in records(comparison)]
    return pd.DataFrame(plain).astype({"images": "Int64"}).to_csv(index=False)


def as_json(comparison: Comparison) -> str:
    """Return groups with their runs, the records with the number of every seed, and the notes, as JSON."""
    groups = [
        {"method": group.label, "runs": [str(run.path) for run in group.runs], "seeds": list(group.seeds)}
        for group in comparison.groups
    ]
    cells = [cell for line in comparison.cells for cell in line]
    rows = [
        {**record, "by_seed": [{"seed": s, "value": v} for s, v in zip(cell.seeds, cell.values, strict=True)]}
        for record, cell in zip(records(comparison), cells, strict=True)
    ]
    made: Mapping[str, Any] = {"schema": SCHEMA, "groups": groups, "rows": rows, "notes": list(comparison.notes)}
    return json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _difference(difference: Difference | None, comparison: Comparison) -> dict[str, Any]:
    if difference is None:
        names = ("against", "difference", "difference_low", "difference_high", "test", "only_this", "only_other", "p")
        return dict.fromkeys((*names, "p_corrected", "verdict"))
    test = difference.test
    mcnemar, drawn = isinstance(test, McNemar), isinstance(test, Bootstrap)
    return {
        "against": comparison.groups[difference.against].label,
        "difference": difference.value,
        "difference_low": test.low if isinstance(test, Bootstrap) else None,
        "difference_high": test.high if isinstance(test, Bootstrap) else None,
        "test": "mcnemar" if mcnemar else "bootstrap" if drawn else None,
        "only_this": test.first if isinstance(test, McNemar) else None,
        "only_other": test.second if isinstance(test, McNemar) else None,
        "p": None if isinstance(test, str) else test.p,
        "p_corrected": difference.corrected,
        "verdict": difference.verdict,
    }
