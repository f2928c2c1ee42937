"""Micro batches: a large batch's embeddings and their exact gradient, with the graph of a few images at a time.

Gradient caching (Gao, Zhang, Han, Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
RepL4NLP 2021): every micro batch is embedded without keeping what a backward needs, the loss of all embeddings is
differentiated toward these, and each micro batch is then embedded once more, to carry its share on to the weights. The
second forward is asked for by the backward itself, micro batch by micro batch, so that whoever reads embeddings (terms,
selectors, attacks, a gradient of a gradient) sees one batch, and those that compare images are exact as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_statistics
from robustcl.train.passes import Passes, kind_of
from robustcl.types import Embedding


def cut(x: Tensor, blocks: int, most: int | None) -> list[Tensor]:
    """Cut x, ``blocks`` views (B, ...) of the same images one after the other, into pieces of at most ``most`` images.

    A piece holds all views of its images, and as many images as the others, or one less: none has a last image for
    itself, of which a batch norm could take no statistics. ``None`` leaves x whole.
    """
    images = len(x) // blocks
    if most is None or images <= most:
        return [x]
    pieces = math.ceil(images / most)
    return [torch.cat(views) for views in zip(*(view.tensor_split(pieces) for view in x.chunk(blocks)), strict=True)]


def join(pieces: list[Embedding], blocks: int) -> Embedding:
    """Return the embedding of what was cut, its rows in their own order."""
    if blocks == 1:
        return Embedding.cat(pieces)
    each = [len(piece.tensors()[0]) // blocks if piece.tensors() else 0 for piece in pieces]
    return Embedding.cat(
        [
            piece.take(slice(block * images, (block + 1) * images))
            for block in range(blocks)
            for piece, images in zip(pieces, each, strict=True)
        ]
    )


def embed(forward: Callable[[Tensor], Embedding], x: Tensor, encoder: Encoder, passes: Passes) -> Embedding:
    """Embed a micro batch; what its backward needs is computed anew when that comes, of the same random draws."""
    if not torch.is_grad_enabled():
        embedding = forward(x)
        passes.count(x, embedding.tensors(), encoder)
        return embedding
    encoder.channels_last  # noqa: B018 - found out by a forward of its own, which would not be there the second time
    again = _Again(encoder, passes, len(x))

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), again

    with set_checkpoint_early_stop(False):  # it would end the second forward by an exception, in a stranger's module
        found: Embedding = checkpoint(forward, x, use_reentrant=False, context_fn=contexts)
    if outputs := found.tensors():
        again.kind = kind_of(x, outputs, encoder)
        passes.add("forward", len(x))
    return found


class _Again(AbstractContextManager[None]):
    """Around each second forward, of which a graph that is differentiated twice has two: counts, and moves nothing."""

    def __init__(self, encoder: Encoder, passes: Passes, images: int) -> None:
        self.encoder, self.passes, self.images = encoder, passes, images
        self.kind = "forward"
        self._held = ExitStack()

    def __enter__(self) -> None:
        self.passes.add(self.kind, self.images)
        self._held.enter_context(hold_statistics(self.encoder))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
