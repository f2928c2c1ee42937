"""Common corruptions: their names, the files of corrupted copies of a test set, and the means over them.

Dan Hendrycks and Thomas Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations,
ICLR 2019. CIFAR-10-C and CIFAR-100-C are Zenodo records 2535967 and 3555552: a folder with ``labels.npy`` and a file a
corruption, whose images are five copies of the test set, the mildest first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustcl.errors import DataError, UsageError, near

STANDARD = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen of the benchmark, whose mean is reported."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four more, meant for choosing hyperparameters; some papers average over all nineteen."""
SEVERITIES = (1, 2, 3, 4, 5)
PHOTOGRAPHED = ("frost",)
"""Made with photographs that lie in a folder of the user's."""
_PHOTOGRAPHS = (".png", ".jpg", ".jpeg")


def names(*, extra: bool = False) -> tuple[str, ...]:
    """Return the fifteen corruptions, or all nineteen."""
    return (*STANDARD, *EXTRA) if extra else STANDARD


def load(root: Path | str, dataset: str, corruption: str, severity: int) -> tuple[Tensor, Tensor]:
    """Return the stored copies of a test set: images (n, C, H, W) uint8, labels (n,) int64.

    Args:
        root: the folder that holds ``dataset``.
        dataset: the folder of the copies, "CIFAR-10-C".
        corruption: one of ``names(extra=True)``; the file is ``<root>/<dataset>/<corruption>.npy``, uint8 of shape
            (5 n, H, W, C). Of it only the rows of the severity are read.
        severity: 1 to 5.

    Raises:
        UsageError: another corruption or severity.
        DataError: a file is missing, damaged, or of another type or shape.
    """
    check(corruption, severity)
    folder = Path(root).expanduser() / dataset
    images, labels = _arrays(folder, corruption)
    n = len(images) // len(SEVERITIES)
    rows = slice((severity - 1) * n, severity * n)
    block = torch.from_numpy(np.array(images[rows])).movedim(-1, 1).contiguous()
    return block, torch.from_numpy(np.array(labels[rows]).astype(np.int64))


def look(root: Path | str, dataset: str, corruption: str) -> tuple[tuple[int, ...], Tensor]:
    """Return what ``load`` would give, without reading an image: the shape (n, C, H, W), and all labels (5 n,) int64.

    Raises:
        UsageError: another corruption.
        DataError: a file is missing, damaged, or of another type or shape.
    """
    check(corruption, 1)
    images, labels = _arrays(Path(root).expanduser() / dataset, corruption)
    n, height, width, channels = images.shape
    return (n // len(SEVERITIES), channels, height, width), torch.from_numpy(np.array(labels).astype(np.int64))


def _arrays(folder: Path, corruption: str) -> tuple[np.ndarray[Any, np.dtype[Any]], np.ndarray[Any, np.dtype[Any]]]:
    images = _array(folder, corruption)
    where = folder / f"{corruption}.npy"
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"{where} is {images.dtype} of shape {images.shape}: it must be uint8 images (5 n, H, W, C); fetch it again"
        )
    if len(images) == 0 or len(images) % len(SEVERITIES):
        raise DataError(f"{where} holds {len(images)} images, which are not five times a test set; fetch it again")
    labels = _array(folder, "labels")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise DataError(
            f"{folder / 'labels.npy'} is {labels.dtype} of shape {labels.shape}: it must be one integer for each of "
            f"the {len(images)} images of {where.name}; fetch both again"
        )
    return images, labels


def mean_accuracy(found: Mapping[str, Sequence[float]]) -> float:
    """Return the mean over corruptions of the mean over their severities; 1 minus it is the mean corruption error.

    That error is not divided by AlexNet's, as the benchmark does on ImageNet: for CIFAR no such table is in use.

    Args:
        found: corruption -> accuracy at each of the five severities.

    Raises:
        UsageError: no corruption, or one without all severities.
    """
    for corruption, accuracies in found.items():
        if len(accuracies) != len(SEVERITIES):
            raise UsageError(f"{corruption} was judged at {len(accuracies)} severities: a mean needs all five")
    if not found:
        raise UsageError("no corruption was judged: a mean needs at least one")
    return sum(sum(accuracies) / len(accuracies) for accuracies in found.values()) / len(found)


def mean_corruption_error(found: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]]) -> float:
    """Return the mean over corruptions of a model's errors in those of a baseline, mCE: 1 for the baseline itself.

    CE = sum of the errors over the severities, divided by the same sum of the baseline; mCE is its mean.

    Source: Hendrycks and Dietterich 2019, section 4.1; the baseline there is AlexNet.

    Args:
        found, baseline: corruption -> accuracy at each severity; of the baseline there may be more corruptions.

    Raises:
        UsageError: no corruption, one that the baseline lacks or has at other severities, or at which it errs nowhere.
    """
    if not found:
        raise UsageError("no corruption was judged: a mean needs at least one")
    return sum(corruption_error(name, found[name], baseline.get(name, ())) for name in found) / len(found)


def corruption_error(name: str, accuracies: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the errors on a corruption in those of a baseline, CE. Raises UsageError as ``mean_corruption_error``."""
    if len(baseline) != len(accuracies) or not baseline:
        raise UsageError(
            f"{name} was judged at {len(accuracies)} severities, and of the baseline at {len(baseline)}: judge both "
            "alike"
        )
    theirs = sum(1 - share for share in baseline)
    if theirs <= 0:
        raise UsageError(f"the baseline errs nowhere on {name}: no error can be told in its errors")
    return sum(1 - share for share in accuracies) / theirs


def list_photographs(folder: Path) -> list[Path]:
    """Return the PNG and JPEG files of a folder by name. Raises DataError where it has none, or cannot be read."""
    try:
        found = sorted(file for file in folder.iterdir() if file.suffix.lower() in _PHOTOGRAPHS
                       and not file.name.startswith(".") and file.is_file())  # fmt: skip
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}): give the folder of frost's photographs") from None
    if not found:
        raise DataError(f"{folder} holds no .png or .jpg: put photographs of frost there, or name another folder")
    return found


def digest_photographs(folder: Path | str) -> str:
    """Return what tells a folder's photographs from others. Raises DataError as ``list_photographs``."""
    whole = hashlib.blake2b(digest_size=8)
    for file in list_photographs(Path(folder).expanduser()):
        whole.update(hashlib.blake2b(file.read_bytes()).digest())
    return whole.hexdigest()


def check(corruption: str, severity: int) -> None:
    """Raise UsageError for a corruption or a severity that the benchmark does not have."""
    known = names(extra=True)
    if corruption not in known:
        raise UsageError(
            f"there is no corruption {corruption!r}{near(corruption, known)}; there are {', '.join(known)}"
        )
    if severity not in SEVERITIES:
        raise UsageError(f"{corruption} has the severities 1 to 5, not {severity}")


def _array(folder: Path, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Map a file of the folder, without pickle."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: unpack the corrupted copies there, labels.npy and a file for each corruption"
        )
    try:
        found: np.ndarray[Any, np.dtype[Any]] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}): it is truncated or no .npy file; fetch it again") from error
    return found
