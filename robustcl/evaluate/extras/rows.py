"""The rows of results.json: clean accuracy and accuracy under each attack, on each split."""

from __future__ import annotations

from collections.abc import Sequence

from robustcl.evaluate.extras.kind import Entry, Extra
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject


def measure_rows(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    """Return the row of clean accuracy and those of the attacks, of the test images first."""
    rows: list[Entry] = []
    for split, images in subject.images.items():
        clean = measurement.row(subject.judge, images, subject.question.clean(split), (), subject.asked.samples)
        rows.append({**clean, **subject.about})
        for number in range(len(subject.attacks)):
            key = subject.question.attacked(split, number, subject.ball)
            members, first = subject.members(number), subject.asked.first(number)
            found = measurement.row(subject.judge, images, key, members, first, proven=split == "test")
            rows.append({**found, **subject.about, "resolved": subject.options(number)})
    return rows


ROWS = Extra("", "rows", measure_rows)
