"""The outcomes of single samples behind the rows of a run, read from its journal without touching it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.evaluate.extras.evidence import Evidence
from robustcl.evaluate.lines import Outcome
from robustcl.evaluate.points import Outcomes

__all__ = ["Outcome", "Outcomes", "outcomes"]


def outcomes(file: Path, rows: Sequence[Mapping[str, Any]], evidence: Evidence | None = None) -> list[Outcomes]:
    """Return the outcomes behind each row, none where the journal does not know of its very question.

    ``evidence`` is the journal, where it was read already.

    Raises:
        DataError: a damaged line.
        Contradiction: the outcomes do not give a row's number.
    """
    evidence = evidence or Evidence(file.parent)
    return [{} if isinstance(found := evidence.of(row), str) else found for row in rows]
