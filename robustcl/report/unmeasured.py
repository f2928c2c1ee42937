"""What a run did not measure, and the command that would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcl.report.headline import is_partial
from robustcl.report.load import FinishedRun


def unmeasured(run: FinishedRun, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return what is missing as (what, command); RUN, MODEL, DATA and FOLDER stand for the reader's own."""
    results, again, audit = run.results, "robustcl evaluate RUN", "robustcl audit RUN"
    outside = isinstance(results.get("model"), Mapping)
    if outside:
        again = "robustcl evaluate --model MODEL --dataset DATA --out FOLDER"
        audit = "robustcl audit --model MODEL --dataset DATA"
    attacked = [row for row in rows if row.get("attack") is not None]
    found = []
    if not results.get("audit"):
        found.append(("Whether the attacks may have failed for a wrong reason", audit))
    if not any(row.get("members") for row in attacked):
        found.append(("An ensemble of attacks", f"{again} --attack autoattack"))
    if any(is_partial(row) for row in rows):
        found.append(("The rest of a measurement that was cut off", f"{again}, without --budget"))
    if not results.get("corruptions") and not outside:
        found.append(("Accuracy on corrupted images", f"{again} --corruptions made"))
    if not (run.path / "journal.jsonl").is_file():
        found.append(("Which image falls to which attack", again))
    return found
