"""What the report draws of one judged route: representations, and a strip of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from robustcl.disk import make_folder, replacing
from robustcl.evaluate.extras.kind import Entry, Extra
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.subject import Subject

_SHOWN = 8
"""Images in the report's strip."""


def keep_representation(subject: Subject, measurement: Measurement) -> Sequence[Entry]:
    """Attack some images; write ``strip.npz``, and ``representation.npz`` if the model has features.

    Of an ensemble the first member alone attacks: a picture is not worth a second evaluation. One share of several
    keeps nothing.
    """
    if measurement.folder is None or not subject.attacks:
        return []
    index = measurement.drawn(subject.test, subject.asked.first(0))
    if len(index):
        draw(measurement.folder / "artifacts", subject, index)
    return []


def draw(folder: Path, subject: Subject, index: Tensor) -> None:
    """Write what the report draws of the test images of index (n,)."""
    judge, images, members = subject.judge, subject.test, subject.members(0)[:1]
    make_folder(folder)
    if "h" not in judge.classifier.layers:
        index = index[:_SHOWN]
    x, label = images.fetch(index), images.labels[index]
    adversarial, prediction = judge.attack(x, label, index, subject.attacks[0].name, members)
    if "h" in judge.classifier.layers:
        with replacing(folder / "representation.npz") as file:
            np.savez(
                file,
                clean=_array(judge.classifier.features(x)), adversarial=_array(judge.classifier.features(adversarial)),
                label=_array(label), route=np.array(subject.route),
            )  # fmt: skip
    with replacing(folder / "strip.npz") as file:
        np.savez(
            file,
            clean=_array(x[:_SHOWN]), adversarial=_array(adversarial[:_SHOWN]), label=_array(label[:_SHOWN]),
            clean_prediction=_array(judge.classifier.predict(x[:_SHOWN])),
            adversarial_prediction=_array(prediction[:_SHOWN]), index=_array(index[:_SHOWN]),
        )  # fmt: skip


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = value.detach().cpu().numpy()
    return array


REPRESENTATION = Extra("", "", keep_representation)
