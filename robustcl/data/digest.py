"""What tells one split from another: a digest of every image, and one of the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from robustcl.data.arrays import ArraySource
from robustcl.data.held import Held
from robustcl.data.promises import blame
from robustcl.data.rows import Array
from robustcl.data.streamed import Streamed, fetch
from robustcl.data.subset import Images
from robustcl.protocols import Source

WIDTH = 16
_CHUNK = 256
_SAMPLE = 64
"""Images that are decoded where decoding all of them would take as long as an epoch."""


def image_digests(images: Images) -> Array | None:
    """Return a digest of each image (n,), bytes; ``None`` where the images would have to be decoded for it.

    It is of the pixels as 8-bit integers or floats of 32 bits, whichever they are: the same on every device, and
    whether a split is held or read from its file.
    """
    if isinstance(images, Streamed) and not _is_quick(images.source):
        return None
    found = [of_row(row) for block in _blocks(images) for row in block]
    return np.array(found, dtype=f"V{WIDTH}")


def canonical(images: Tensor) -> Array:
    """Return raw images (B, ...) as they are digested: uint8, or floats of 32 bits, which a device may have made."""
    kept = images if images.dtype == torch.uint8 else images.to(torch.float32)
    return kept.contiguous().cpu().numpy()


def _is_quick(source: Source) -> bool:
    """Say whether a source that is streamed lies there as pixels, in memory or on disk."""
    return isinstance(source, ArraySource) or bool(getattr(source, "on_disk", False))


def of_row(row: Array) -> bytes:
    """Return the digest of one image."""
    return hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=WIDTH).digest()


def of_split(images: Images, digests: Array | None) -> str:
    """Return a digest of all labels and images; of files that are decoded on the way, of their sizes and a sample."""
    whole = hashlib.blake2b(images.labels.cpu().numpy().tobytes(), digest_size=WIDTH)
    if digests is not None:
        whole.update(digests.tobytes())
        return whole.hexdigest()
    identity = getattr(getattr(images, "source", None), "identity", None)
    with blame("a data source fails to say what tells its images from others (identity)"):
        whole.update(identity().encode("utf-8", "surrogateescape") if identity is not None else b"")
    index = torch.arange(min(images.samples, _SAMPLE)) * images.samples // max(min(images.samples, _SAMPLE), 1)
    whole.update(images.fetch(index).cpu().numpy().tobytes())
    return whole.hexdigest()


def _blocks(images: Images) -> Iterator[Array]:
    for index in torch.split(torch.arange(images.samples), _CHUNK):
        yield canonical(_raw(images, index))


def _raw(images: Images, index: Tensor) -> Tensor:
    if isinstance(images, Held):
        return images.images[index.to(images.device)]
    return fetch(images.source, index) if isinstance(images, Streamed) else images.fetch(index)
