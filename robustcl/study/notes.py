"""The notes of a study: under which circumstances its numbers came about, before what the study itself says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from robustcl.report.measured import OLDER
from robustcl.study.composed import Composed
from robustcl.study.grammar.spots import show_dataset
from robustcl.study.numbers.checks import say_lacking
from robustcl.study.runs.cards import RUNS
from robustcl.study.tables import derived, terms
from robustcl.study.tables.asked import questions
from robustcl.study.tables.ranking import Ranked


def describe_circumstances(composed: Composed, folder: Path, ranked: Ranked, failed: Mapping[str, str]) -> list[str]:
    """Say under which circumstances our numbers came about, before what the study itself says."""
    study, setting = composed.study, composed.setting
    theirs = f"the paper's: {study.setting}" if study.setting else ""
    cells = [cell for line in ranked.lines for cell in line.cells]
    spread = [
        "± is the standard deviation over seeds" if any(cell.std is not None for cell in cells) else "",
        "[ ] is the 95 % interval over images" if any(cell.low is not None for cell in cells) else "",
    ]
    given = [f"{name}: {model.spec}{f', {model.weights}' if model.weights else ''}"
             for name, model in setting.models.items()]  # fmt: skip
    lost = [f"{name} is left out: {why}" for name, why in failed.items()]
    runs = dict.fromkeys(folder / RUNS / run.folder / OLDER for run in composed.planned)
    older = [f"{file.relative_to(folder)} is of an earlier version: what stands here was measured anew"
             for file in (*runs, *sorted(folder.glob(f"models/*/{OLDER}"))) if file.is_file()]  # fmt: skip
    said = [
        _ours(composed),
        *terms.describe_equal(study, composed.planned),
        *questions(study, composed.planned, ranked.lines),
        *derived.describe_images(study, ranked.lines),
        *given,
        theirs,
        *spread,
        ranked.said,
        *study.differs,
        *composed.absent(),
        *say_lacking(composed.planned),
        *lost,
        *older,
    ]
    return [sentence for sentence in said if sentence]


def _ours(composed: Composed) -> str:
    setting = composed.setting
    seeds = "1 seed" if setting.seeds == 1 else f"{setting.seeds} seeds"
    used = show_dataset(composed.dataset)
    others = f", judged on {' and '.join(map(show_dataset, composed.study.other))}" if composed.study.other else ""
    samples = f", the first {setting.samples} test images" if setting.samples is not None else ""
    ours = f"ours: {used}{others}, budget {setting.budget}, {seeds}{samples}, threat {composed.threat}"
    return ours + (f", changed by {' '.join(setting.overrides)}" if setting.overrides else "")
