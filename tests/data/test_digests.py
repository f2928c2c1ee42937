"""A split has one digest, on whichever device it is held and in whichever way it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robustcl.data import digest
from robustcl.data.arrays import ArraySource
from robustcl.data.held import Held, keep
from robustcl.data.streamed import Streamed
from robustcl_plugins.datasets.npz import Npz

LABELS = torch.arange(30) % 3


class Copied:
    """A source as a device sees it: its images are copied there, and not the tensor of the source itself."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.labels, self.item = images, LABELS, tuple(images.shape[1:])

    def fetch(self, index: Tensor) -> Tensor:
        return self.images[index]


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32"])
def test_held_copied_and_streamed_images_have_one_digest(kind: str) -> None:
    raw = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 4, 4), dtype=np.uint8))
    images = raw if kind == "uint8" else (raw / 255).to(getattr(torch, kind))
    found = []
    for split in (
        Held(ArraySource(images, LABELS)),
        Held(Copied(images)),
        Streamed(ArraySource(images, LABELS), workers=0),
        Held(ArraySource(images.movedim(1, -1).contiguous().movedim(-1, 1), LABELS)),
    ):
        digests = digest.image_digests(split)
        assert digests is not None
        assert len(np.unique(digests)) == 30
        found.append(digest.of_split(split, digests))
    assert len(set(found)) == 1


@pytest.mark.parametrize("kind", ["uint8", "float16", "float64"])
def test_packed_and_plain_archives_have_one_digest_in_memory_and_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 9), dtype=np.uint8)
    x = raw if kind == "uint8" else (raw / 255).astype(kind)
    found = set()
    for write in (np.savez, np.savez_compressed):
        for on_disk in (False, True):
            monkeypatch.setattr("robustcl_plugins.datasets.npz._IN_MEMORY", 0 if on_disk else 1 << 30)
            write(tmp_path / "a.npz", x_train=x, y_train=LABELS.numpy(), x_test=x, y_test=LABELS.numpy())
            split = keep(Npz(path=str(tmp_path / "a.npz")).open("train"))
            found.add(digest.of_split(split, digest.image_digests(split)))
    assert len(found) == 1


def test_files_that_are_decoded_on_the_way_are_not_all_decoded_for_it() -> None:
    class Decoded(Copied):
        decodes = True

    images = torch.zeros(30, 3, 4, 4, dtype=torch.uint8)
    assert digest.image_digests(Streamed(Decoded(images), workers=0)) is None
