"""The section on the representation: what ``robustcl measure`` found, its figures, and whether it still holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robustcl.data.artifacts import read_arrays
from robustcl.disk import read_json
from robustcl.errors import DataError
from robustcl.evaluate import aim
from robustcl.measures.catalogue import NUMBERS, VALUES, Number
from robustcl.report import measured_arrays, measured_figures
from robustcl.report.canvas import Drawing
from robustcl.report.entries import is_number, of
from robustcl.report.entries import place as where
from robustcl.report.load import Arrays, FinishedRun
from robustcl.report.measured_images import Inverted, read_inverted

FILE, SCHEMA = "representation.json", 1
OLDER = "measures.json"
"""Where studies of earlier versions kept what they had measured, by a stream of random numbers of their own."""
AGAIN = "robustcl measure RUN"
_EARLIER = "These measures were taken by an earlier version of robustcl"


@dataclass(frozen=True, slots=True)
class MeasuredLine:
    """One line of the table. ``joint``: ``attacked`` is one number of clean and attacked images together."""

    label: str
    meaning: str
    bounds: str
    source: str
    clean: float | None
    attacked: float | None
    joint: bool


@dataclass(frozen=True, slots=True)
class MeasuredSample:
    """One sample that was measured; ``figures`` are drawings that belong beside each other.

    ``absent`` says why a part is not shown, ``stale`` why nothing may hold now.
    """

    title: str
    about: str
    stale: str | None
    rows: tuple[MeasuredLine, ...]
    figures: tuple[tuple[Drawing, ...], ...]
    heats: tuple[Markup, ...]
    inverted: Inverted | None
    absent: tuple[str, ...]


def read_measured(run: FinishedRun, classes: Sequence[str]) -> list[MeasuredSample] | str | None:
    """Return what was measured of a run's representation, a sentence where it cannot be read, ``None`` for nothing."""
    file, older = run.path / FILE, _older(run.path / OLDER)
    if not file.is_file():
        return older or None
    try:
        found = read_json(file, undefined=lambda _: None)
    except DataError:
        return f"{FILE} is damaged; {AGAIN} writes it anew"
    if not isinstance(found, Mapping) or found.get("schema") != SCHEMA:
        return f"{FILE} is of another version of robustcl; {AGAIN} writes it anew"
    entries = [entry for entry in of(found, "entries") if isinstance(entry.get("question"), Mapping)]
    told = {_classifier(entry): entry for entry in entries}  # the last of each says what none of them has
    asked = {key: set().union(*(_measured(one) for one in entries if _classifier(one) == key)) for key in told}
    missing = [NUMBERS.keys() - asked[_classifier(entry)] if told[_classifier(entry)] is entry else set()
               for entry in entries]  # fmt: skip
    rows = zip(entries, missing, strict=True)
    return [_entry(run, entry, place, classes, lacks) for place, (entry, lacks) in enumerate(rows)] + older or None


def _measured(entry: Mapping[str, Any]) -> set[str]:
    return {name for key in ("values", "refused") for name in _table(entry.get(key))}


def _classifier(entry: Mapping[str, Any]) -> str:
    return str([entry["question"].get(key) for key in ("protocol", "route", "split")])


def _older(file: Path) -> list[MeasuredSample]:
    """Return what a study of an earlier version has measured of a run, marked as such."""
    try:
        found = read_json(file) if file.is_file() else {}
    except DataError:
        return []
    samples = []
    for entry in map(_table, found.values() if isinstance(found, Mapping) else ()):
        question = _table(entry.get("question"))
        cells = {value: _table(entry.get(value)).get("value") for value in VALUES if value in entry}
        if cells:
            attack, times = aim.of_table(_table(question.get("attack"))), question.get("times")
            samples.append(MeasuredSample(
                _title(question), f"Test images under {attack}, {times} times the threat's radius.",
                f"{_EARLIER}, for a study and by a stream of random numbers of its own: {OLDER} is not read for tables "
                "any more. The study measures anew what it asks.",
                tuple(_line(VALUES[value][1], cell) for value, cell in cells.items()), (), (), None, (),
            ))  # fmt: skip
    return samples


def _title(question: Mapping[str, Any]) -> str:
    attack = aim.of_table(_table(question.get("attack")))
    return ", ".join(word for word in (where(question), str(question.get("split") or ""), attack) if word)


def _entry(
    run: FinishedRun, entry: Mapping[str, Any], place: int, classes: Sequence[str], missing: Set[str]
) -> MeasuredSample:
    question = entry["question"]
    values, settings, refused = (_table(entry.get(key)) for key in ("values", "settings", "refused"))
    arrays = _arrays(run.path, entry.get("arrays"))
    shown = arrays if isinstance(arrays, Mapping) else {}
    groups, damaged = measured_arrays.group_arrays(shown, values)
    figures, heats = measured_figures.draw_measured(groups, settings, classes, f"measured-{place}")
    images = read_inverted(groups["inversion"], classes) if "inversion" in groups else None
    absent = [f"{name}: {reason}" for name, reason in refused.items()]
    absent += [arrays] if isinstance(arrays, str) else [f"{name}: {reason}" for name, reason in damaged.items()]
    absent += [images] if isinstance(images, str) else []
    if missing:
        named = "".join(f" --what {name}" for name in NUMBERS if name in missing)
        absent.append(f"Not measured: {AGAIN}{named}")
    return MeasuredSample(
        title=_title(question),
        about=_about(question),
        stale=_stale(run, question),
        rows=tuple(_rows(values)),
        figures=tuple(figures),
        heats=tuple(heats),
        inverted=None if isinstance(images, str) else images,
        absent=tuple(absent),
    )


def _about(question: Mapping[str, Any]) -> str:
    attack = aim.of_table(_table(question.get("attack")))
    eps = question.get("eps")
    size = f", eps {eps:.4g}" if is_number(eps) else ""
    source = _table(question.get("source"))
    against = f", made against {source.get('protocol')} on route {source.get('route')} of another run" if source else ""
    first, drawn = (str(question.get("sample", "drawn")).startswith(word) for word in ("first", "drawn"))
    which = ", drawn by the run's seed" if drawn else ", the first ones" if first else ""
    return (
        f"{question.get('samples')} {question.get('split')} images{which}, as they are and under "
        f"{attack} ({question.get('norm')}{size}){against}, seen by {question.get('protocol')} on route "
        f"{question.get('route')}. Each image is attacked to the end, whether it was right before or wrong; for the "
        "accuracy on the sample it is left alone once it is wrong."
    )


def _stale(run: FinishedRun, question: Mapping[str, Any]) -> str | None:
    """Return what says that the measures are of an earlier version, or of other weights than the run's."""
    if "sample" not in question:
        return f"{_EARLIER}, on a sample of its own. Do not set them beside newer ones; take them anew with {AGAIN}."
    judged = {
        row["model"]
        for row in run.results["rows"]
        if row.get("model") and all(row.get(key) == question.get(key) for key in ("protocol", "route"))
    }
    advice = f"Do not quote them; measure anew with {AGAIN}."
    if judged and question.get("model") not in judged:
        return (
            f"These measures are of other weights (model {question.get('model')}) than the results of this page "
            f"(model {', '.join(sorted(map(str, judged)))}). {advice}"
        )
    told = _table(question.get("weights"))
    if not (run.path / "stages").is_dir() or not told.get("folder"):
        return None  # a page without its weights beside it
    if _sha256(run.path / str(told["folder"])) == told.get("sha256"):
        return None
    return f"The weights in {told['folder']} have changed since these measures were taken. {advice}"


def _sha256(folder: Path) -> object:
    try:
        return _table(read_json(folder / "config.json")).get("sha256")
    except DataError:
        return None


def _rows(values: Mapping[str, Any]) -> list[MeasuredLine]:
    rows = []
    for measure, numbers in NUMBERS.items():
        for number in numbers:
            value = _table(values.get(measure)).get(number.key, ...)
            if value is ...:
                continue
            rows.append(_line(number, value))
    return rows


def _line(number: Number, value: object) -> MeasuredLine:
    clean, attacked = (value.get("clean"), value.get("attacked")) if isinstance(value, Mapping) else (None, value)
    told = number.label, number.meaning, number.bounds, number.source
    return MeasuredLine(*told, _number(clean), _number(attacked), not isinstance(value, Mapping))


def _arrays(folder: Path, name: object) -> Arrays | str:
    if name is None:
        return {}
    try:
        return read_arrays(folder / str(name))
    except DataError:
        return f"The figures are left out: {name} is missing or damaged; {AGAIN} writes it anew"


def _number(value: object) -> float | None:
    return float(value) if is_number(value) and isinstance(value, int | float) else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
