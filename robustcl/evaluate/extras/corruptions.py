"""Accuracy on corrupted test images, stored or made: one number for each corruption and severity, and their mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from robustcl import corruption, hooks
from robustcl.data.corrupted import Generated, Stored, maker
from robustcl.data.held import keep
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate.extras.kind import AskedEvaluation, Entry, Extra
from robustcl.evaluate.measure import Measurement, accuracy
from robustcl.evaluate.points import Point, nth, pairs
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.work import tell_nobody
from robustcl.hooks import DatasetHooks
from robustcl.protocols import DatasetPlugin
from robustcl.recipe import Corruptions
from robustcl.rng import Rng


def check_corruptions(asked: AskedEvaluation) -> None:
    """Refuse unknown corruptions, ones that cannot be made here, and copies of a data set that has none."""
    table, where = asked.table.corruptions, f"{asked.where}.corruptions"
    assert table is not None
    try:
        for name in choose_corruptions(table):
            corruption.check(name, 1)
            if table.path is None:
                maker(name, 1, photographs=table.photographs)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if table.photographs is not None and (table.path is not None or not photographed(table)):
        raise UsageError(f"{where}.photographs: only frost that is made here reads them, and none is; leave them out")
    if table.path is not None and not hooks.has(asked.dataset, "corrupted"):
        raise UsageError(f"{where}.path: there are no published copies of this data set; leave path out to make them")


def choose_corruptions(table: Corruptions) -> tuple[str, ...]:
    """Return those named, else the fifteen, less the ones that cannot be made where they must be."""
    if table.names:
        return tuple(table.names)
    if table.path is not None:
        return corruption.names()
    return tuple(name for name in corruption.names() if _is_made(name, table.photographs))


def photographed(table: Corruptions) -> bool:
    """Say whether a corruption is made here with photographs."""
    return table.path is None and any(name in corruption.PHOTOGRAPHED for name in choose_corruptions(table))


def measure_corruptions(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    """Return accuracies by corruption, in the order of ``severities``.

    ``mean`` is over corruptions and severities; ``complete`` says whether these are the benchmark's fifteen and five,
    on all images asked for. Where the time was up early, a corruption that was not judged at each severity is left
    out, and said; there is no answer where that leaves none.

    Raises:
        DataError: copies that are missing, damaged, or of other images.
    """
    table, samples, test, question = subject.asked.corruptions, subject.asked.samples, subject.test, subject.question
    assert table is not None
    found: dict[str, list[float]] = {}
    asked: dict[str, list[str]] = {}
    quiet = replace(measurement, work=replace(measurement.work, told=tell_nobody))
    names, wanted, partial = choose_corruptions(table), len(measurement.index(test, samples)), False
    for number, name in enumerate(names, 1):
        sets = []
        for severity in table.severities:
            images = _images(table, name, severity, test, subject.dataset)
            asked_for = {"name": name, "severity": severity, "stored": table.path is not None, **_identify(table, name)}
            key = question.corrupted("test", asked_for)
            sets.append(quiet.outcomes(subject.judge, images, key, (), samples))
            asked.setdefault(name, []).append(key.digest)
        partial = partial or any(len(outcomes) < wanted for outcomes in sets)
        if all(sets):
            found[name] = [accuracy(outcomes) for outcomes in sets]
        measurement.work.told(f"corruptions {subject.route}", number, len(names))
    who = f"{subject.name} corruptions"
    if late := [name for name in names if name not in found]:
        measurement.say(f"{who}: the time was up before {', '.join(late)}")
    if not found:
        return []
    shares = [share for accuracies in found.values() for share in accuracies]
    mean = sum(shares) / len(shares)
    measurement.say(f"{who}: {mean:.2%} over {len(shares)} sets")
    standard = tuple(found) == corruption.STANDARD and tuple(table.severities) == corruption.SEVERITIES
    return [{
        **question.place, "samples": wanted, "severities": list(table.severities),
        "accuracy": found, "questions": {name: asked[name] for name in found}, "mean": mean,
        "source": "stored copies" if table.path is not None else "made here",
        "complete": standard and not partial,
    }]  # fmt: skip


def _images(table: Corruptions, name: str, severity: int, test: Images, dataset: DatasetPlugin) -> Images:
    if table.path is None:
        made = maker(name, severity, photographs=table.photographs)
        return Generated(test, made, Rng(0, "corruption", name, severity))
    folder = hooks.of(dataset, DatasetHooks).corrupted
    images, labels = corruption.load(table.path, folder, name, severity)
    where = f"{Path(table.path) / folder / name}.npy"
    return keep(Stored(images, labels, test, where), test.device)


def _identify(table: Corruptions, name: str) -> dict[str, str]:
    """Return what a question tells of the photographs, which are no part of the images."""
    if table.path is not None or name not in corruption.PHOTOGRAPHED or table.photographs is None:
        return {}
    return {"photographs": corruption.digest_photographs(table.photographs)}


def _is_made(name: str, photographs: str | None) -> bool:
    try:
        maker(name, 1, photographs=photographs)
    except UsageError:
        return False
    return True


def _points(entry: Entry) -> Iterator[Point]:
    accuracy, asks = entry.get("accuracy"), entry.get("questions")
    for name, values in accuracy.items() if isinstance(accuracy, Mapping) else ():
        digests = asks.get(name) if isinstance(asks, Mapping) else None
        for number, (level, value) in enumerate(pairs(entry.get("severities"), values)):
            asked = {"corruption": {"name": name, "severity": level}}
            yield Point("corruptions", entry, None, asked, value, nth(digests, number))


CORRUPTIONS = Extra(
    "corruptions", "corruptions", measure_corruptions, check_corruptions, _points, ("severities", "source")
)
