"""What the data sets that torchvision reads share: where they lie, the download, the errors.

torchvision's CIFAR files are pickles. A pickle can run code, so a stranger's file is never loaded:
torchvision opens none before the MD5 of every file of the data set has matched the published one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustcl.errors import DataError
from robustcl_plugins.datasets.arrays import by_path, expanded


def opened(
    title: str, path: str, folder: str, files: Sequence[str], *, download: bool, read: Callable[[Path], Any]
) -> Any:
    """Return ``read(root)``, torchvision's data set, or raise DataError with layout and remedy.

    ``path`` holds ``folder``, which holds ``files``.
    """
    root = expanded(path)
    missing = [name for name in files if not (root / folder / name).is_file()]
    if missing and not download:
        raise DataError(
            f"{title} is not in {root}: expected {root / folder} with {', '.join(files)}, "
            f"but {missing[0]} is missing; name the folder above it by the option path "
            f"{by_path('FOLDER')}, or have a recipe fetch it once by --set data.download=true"
        )
    try:
        with warnings.catch_warnings():
            # The official files were pickled by an old NumPy, which 2.4.0 to 2.4.4 remark on.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return read(root)
    except (RuntimeError, OSError, EOFError) as error:
        if download:
            raise DataError(
                f"{title} could not be fetched into {root} ({error}): copy its official archive there, unpacked"
            ) from error
        raise DataError(
            f"{title} in {root / folder} is damaged or not the official one, for the MD5 of a file "
            "differs: delete it and have a recipe fetch it once by --set data.download=true"
        ) from error
