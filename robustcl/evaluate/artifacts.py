"""What the report draws of one judged route: representations, and a strip of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from robustcl.data.subset import Images
from robustcl.disk import make_folder, replacing
from robustcl.evaluate.judge import Judge, Members

_SHOWN = 8
"""Images in the report's strip."""


def keep(folder: Path, judge: Judge, route: str, images: Images, index: Tensor, attack: str, members: Members) -> None:
    """Attack images of index (n,); write ``strip.npz``, and ``representation.npz`` if the model has features.

    Of an ensemble the first member alone attacks: a picture is not worth a second evaluation.
    """
    make_folder(folder)
    if "h" not in judge.classifier.layers:
        index = index[:_SHOWN]
    members = members[:1]
    x, label = images.fetch(index), images.labels[index]
    adversarial, prediction = judge.attack(x, label, index, attack, members)
    if "h" in judge.classifier.layers:
        with replacing(folder / "representation.npz") as file:
            np.savez(
                file,
                clean=_array(judge.classifier.features(x)), adversarial=_array(judge.classifier.features(adversarial)),
                label=_array(label), route=np.array(route),
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
