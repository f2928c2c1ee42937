"""The per-sample journal of a run, read without touching it: which image was right under which question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustcl.evaluate.extras.evidence import Evidence


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """The final outcomes of one row of results.json, in ascending order of the images.

    index, label (n,) int64; right (n,) bool; clean: the hash of each unperturbed image, ``None`` where it is not known.
    """

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    right: NDArray[np.bool_]
    clean: tuple[str, ...] | None


class Outcomes:
    """What a run's journal knows of the rows of its results.json; empty where there is none.

    Raises:
        DataError: the journal cannot be read, or a line of it is damaged; a half-written last line is passed over.
    """

    def __init__(self, folder: Path, evidence: Evidence | None = None) -> None:
        self._evidence = evidence or Evidence(folder)
        self._clean: dict[str, dict[int, str]] = {}

    def of(self, row: Mapping[str, Any]) -> Verdicts | str:
        """Return the outcomes behind a row of results.json, or why there are none.

        Raises:
            Contradiction: they do not give the number that the row states.
        """
        found = self._evidence.of(row)
        if isinstance(found, str):
            return found
        index, split = sorted(found), str(row.get("split"))
        if split not in self._clean:
            self._clean[split] = self._evidence.clean(split)
        hashes, last = self._clean[split], [found[i][-1] for i in index]
        return Verdicts(
            np.array(index, dtype=np.int64),
            np.array([outcome.label for outcome in last], dtype=np.int64),
            np.array([outcome.correct for outcome in last], dtype=np.bool_),
            tuple(hashes[i] for i in index) if all(i in hashes for i in index) else None,
        )
