"""The other threats that a run was judged under: their headlines, and where their pages are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from robustcl.errors import RobustclError
from robustcl.report.audits import Badge, badge, read_audits
from robustcl.report.composition import say
from robustcl.report.headline import Verdict, verdict
from robustcl.report.load import load_results
from robustcl.terminal import printable

PAGE = "report.html"
"""What a run's page is called, in its folder."""

_FOLDERS = "threat-*"
"""Where ``robustcl evaluate RUN --eps`` keeps its numbers, below RUN."""


@dataclass(frozen=True, slots=True)
class OtherThreat:
    """One other threat, as "L2, eps 0.5"; ``page`` is that of its own numbers, seen from the run's, if there is one."""

    name: str
    page: str | None
    verdict: Verdict
    badge: Badge | None


def read_threats(run: Path) -> tuple[list[OtherThreat], list[str]]:
    """Return the threats that a run's folder holds numbers of, by norm and size, and why others are left out."""
    found, absent = [], []
    for folder in sorted(run.glob(_FOLDERS)):
        try:
            results = load_results(folder)
        except RobustclError as error:  # damaged, or held against its journal in vain
            absent.append(printable(str(error)))
            continue
        ball = results.get("threat")
        if not below_its_run(results, folder) or not isinstance(ball, Mapping):
            continue
        page = quote(f"{folder.name}/{PAGE}") if (folder / PAGE).is_file() else None
        found.append((str(ball.get("norm")), _size(ball), _of(results, ball, page)))
    return [threat for _, _, threat in sorted(found, key=lambda each: each[:2])], absent


def below_its_run(results: Mapping[str, Any], path: Path) -> bool:
    """Say whether a folder with results lies where a run keeps its numbers under another threat."""
    beside = path.resolve()
    return "judged" in results and beside.match(_FOLDERS) and (beside.parent / "recipe.lock.toml").is_file()


def _of(results: Mapping[str, Any], ball: Mapping[str, Any], page: str | None) -> OtherThreat:
    head = verdict(results)
    found = badge(head.attacked, read_audits(results), results) if head.attacked else None
    audited = found if found is not None and found.kind != "none" else None
    return OtherThreat(f"{say(ball.get('norm'))}, eps {say(ball.get('eps'))}", page, head, audited)


def _size(ball: Mapping[str, Any]) -> float:
    size = ball.get("eps_value")
    return float(size) if isinstance(size, int | float) else 0.0
