"""The order of an epoch: one permutation for all ranks, cut into batches; each rank takes its slice."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng


def epoch_batches(
    images: int | Tensor,
    batch: int,
    rng: Rng | None,
    *,
    rank: int = 0,
    world: int = 1,
    drop_last: bool = True,
) -> list[Tensor]:
    """Return this rank's batches of one epoch, int64 indices on the CPU.

    ``images`` is n, for 0 .. n-1, or the indices to go through. ``rng`` is the epoch's stream, or None to
    keep the order. ``batch`` counts the images of all ranks; laid side by side, the slices of the ranks are
    the batch of a single process. ``drop_last`` leaves out the images that do not fill a batch.

    Raises UsageError if the ranks cannot share a batch equally, or if no batch is full.
    """
    index = torch.arange(images) if isinstance(images, int) else images.cpu()
    n = len(index)
    if n == 0:
        raise UsageError("there are no images to train on: check the data set and the validation part")
    if batch % world:
        raise UsageError(
            f"a batch of {batch} cannot be shared equally by {world} processes: choose a multiple of {world}"
        )
    if drop_last and batch > n:
        raise UsageError(f"a batch of {batch} is larger than the {n} images: set data.batch to {n} or less")
    left = n % batch
    if not drop_last and left % world:
        raise UsageError(
            f"the last batch of the epoch has {left} images, which {world} processes cannot share equally: "
            f"drop it, or choose another batch size than {batch}"
        )
    if rng is not None:
        index = index[rng.permutation(n)]
    full = index[: n - left] if drop_last else index
    starts = range(0, len(full), batch)
    return [full[start : start + batch].chunk(world)[rank] for start in starts]
