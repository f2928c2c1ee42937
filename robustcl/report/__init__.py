"""Reports of finished runs: one self-contained page, data frames, and tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from robustcl.errors import RobustclError
from robustcl.evaluate.interval import wilson
from robustcl.report import page, tables, threats
from robustcl.report.heat import matrix
from robustcl.report.load import FinishedRun, load, load_results
from robustcl.report.representation import Projection
from robustcl.report.tables import frame

__all__ = ["FinishedRun", "frame", "load", "matrix", "table", "wilson", "write"]


def write(run: Path, *, out: Path | None = None, projection: Projection = "t-sne") -> Path:
    """Write the page of a finished run to ``RUN/report.html``, or to ``out``, and return its path.

    The page of a run's numbers under another threat stands below it; the run's own, which shows their headline, is then
    written too.

    Raises ``DataError`` where the run is missing or damaged, ``UsageError`` where the page cannot be written.
    """
    found = load(Path(run))
    written = page.store(page.render(found, projection), Path(out) if out else found.path / threats.PAGE)
    if out is None and threats.below_its_run(found.results, found.path):
        above = found.path.resolve().parent
        with suppress(RobustclError):  # a run that was never evaluated, or is damaged, has no page
            page.store(page.render(load(above), projection), above / threats.PAGE)
    return written


def table(runs: Sequence[Path] | Mapping[str, pd.DataFrame | Mapping[str, Any]]) -> str:
    """Return a Markdown table of runs, or of frames or results by label; it is aligned, for a terminal."""
    if isinstance(runs, Mapping):
        named = {
            label: {"rows": tables.records(data)} if isinstance(data, pd.DataFrame) else data
            for label, data in runs.items()
        }
        return tables.markdown(named)
    return tables.markdown(_read(runs))


def _read(runs: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """Read several runs, label -> results; the label is the name, with seed or path if names repeat."""
    read = [(Path(run), load_results(Path(run))) for run in runs]
    names = [str(results.get("name") or path.resolve().name) for path, results in read]
    seeded = [f"{name} (seed {results.get('seed')})" for name, (_, results) in zip(names, read, strict=True)]
    placed = [f"{name} ({path})" for name, (path, _) in zip(names, read, strict=True)]
    labels = next((some for some in (names, seeded) if len(set(some)) == len(some)), placed)
    return {label: results for label, (_, results) in zip(labels, read, strict=True)}
