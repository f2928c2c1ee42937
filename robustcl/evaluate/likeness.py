"""Which model was judged, and on which images: a digest of each, so that a journal never answers for another."""

from __future__ import annotations

import hashlib
import inspect

import torch
from torch import Tensor, nn

from robustcl.data.subset import Images
from robustcl.evaluate.journal import fingerprint, model_hash

_LIBRARIES = frozenset({"torch", "torchvision", "robustcl", "robustcl_plugins"})
"""Whose classes are known by their names."""

_LOOKED_AT = 250
"""Images whose pixels are looked at: reading a large data set whole would take longer than many an attack."""


def digest_model(model: nn.Module) -> str:
    """Return a short digest that another model does not share, also one of the same weights.

    It covers weights and buffers, the printed architecture, and the source of every class that no library brings, so
    that a mended ``forward`` is another model. What such a class calls elsewhere is not seen.
    """
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    kinds = {type(part) for part in model.modules()}
    names = sorted(f"{kind.__module__}.{kind.__qualname__}: {_source(kind)}" for kind in kinds)
    text = "\n".join([model_hash(state), repr(model), *names])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def digest_images(images: Images) -> str:
    """Return a short digest of a split: the labels of all images, and the pixels of the first ones."""
    first = images.fetch(torch.arange(min(images.samples, _LOOKED_AT), device=images.device))
    text = " ".join([str(images.labels.tolist()), *fingerprint(first)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _source(kind: type) -> str:
    if kind.__module__.partition(".")[0] in _LIBRARIES:
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""  # made in an interactive session or compiled: its name must do
