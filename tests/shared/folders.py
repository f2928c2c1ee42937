"""Folders of small images of noise, as people have them: a folder for each split, and in it one for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def image_folder(root: Path, classes: Sequence[str] = ("cat", "dog"), images: int = 3) -> Path:
    """Write the splits train and test with so many images (8, 8, 3) of each class; return ``root``."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for which in range(images):
                noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / split / name / f"{which}.png")
    return root
