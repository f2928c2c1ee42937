"""The commands that a page tells its reader; RUN, MODEL, DATA and FOLDER stand for the reader's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from robustcl.report.threats import below_its_run


@dataclass(frozen=True, slots=True)
class Commands:
    """How these results are measured again, and how their numbers are audited."""

    evaluate: str = "robustcl evaluate RUN"
    audit: str = "robustcl audit RUN"


RUN = Commands()
"""Those of a run itself."""


def list_commands(results: Mapping[str, Any], path: Path) -> Commands:
    """Return the commands for the results in a folder: of a run, of one under another threat, or of a model."""
    if isinstance(results.get("model"), Mapping):
        model = "--model MODEL --dataset DATA"
        return Commands(f"robustcl evaluate {model} --out FOLDER", f"robustcl audit {model}")
    threat = results.get("threat")
    if "judged" not in results or not isinstance(threat, Mapping):
        return RUN
    ball = f"--norm {quote(str(threat.get('norm')))} --eps {quote(str(threat.get('eps')))}"
    if below_its_run(results, path):
        return Commands(f"robustcl evaluate RUN {ball}", f"robustcl audit RUN {ball}")
    # The command audit looks for the numbers below RUN; an evaluation elsewhere makes its own.
    again = f"robustcl evaluate RUN {ball} --out FOLDER"
    return Commands(again, again)
