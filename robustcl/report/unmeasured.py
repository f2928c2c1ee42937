"""What a run did not measure, and the command that would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcl.report.commands import RUN, Commands
from robustcl.report.headline import is_partial
from robustcl.report.load import FinishedRun


def list_missing(
    run: FinishedRun, rows: Sequence[Mapping[str, Any]], commands: Commands = RUN
) -> list[tuple[str, str]]:
    """Return what is missing as (what, command); of another threat than a run's own, what depends on it alone."""
    results, again = run.results, commands.evaluate
    itself = not isinstance(results.get("model"), Mapping) and "judged" not in results
    attacked = [row for row in rows if row.get("attack") is not None]
    found = []
    if not results.get("audit"):
        found.append(("Whether the attacks may have failed for a wrong reason", commands.audit))
    if not any(row.get("members") for row in attacked):
        found.append(("An ensemble of attacks", f"{again} --attack autoattack"))
    if any(is_partial(row) for row in rows):
        found.append(("The rest of a measurement that was cut off", f"{again}, without --budget"))
    if itself and not results.get("corruptions"):
        found.append(("Accuracy on corrupted images", f"{again} --corruptions made"))
    if itself and not (run.path / "representation.json").is_file():
        found.append(("What the representation is like, clean and attacked", "robustcl measure RUN"))
    if not (run.path / "journal.jsonl").is_file():
        found.append(("Which image falls to which attack", again))
    return found
