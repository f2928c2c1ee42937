"""Heads that are made, not trained: a protocol's own classifier over the features of the labelled training images."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from robustcl import hooks
from robustcl.data.subset import Images
from robustcl.errors import NotAPlugin
from robustcl.hooks import ProtocolHooks
from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_mode
from robustcl.rng import Rng

_CHUNK = 500
"""Images that are embedded together."""


def put(
    encoder: Encoder,
    route: str,
    protocol: Any,
    images: Images,
    classes: int,
    *,
    validation: Images | None = None,
    rng: Rng | None = None,
) -> bool:
    """Put the head of a protocol that makes one (optional ``head``) in place of the encoder's classifier.

    It sees every labelled image once, as it is, in eval mode through ``route``; images without a label are left out.
    Its features are float32 then and whenever it is asked. The encoder stays where it is and is otherwise unchanged.

    Args:
        encoder: its classifier, if it has one, is replaced.
        route: the batch-norm branch of the features.
        protocol: the plugin.
        images: the train split, on the encoder's device.
        classes: L.
        validation: images whose features a head gets that has a parameter of this name.
        rng: the stream of a head that has a parameter of this name.

    Returns:
        Whether the protocol makes a head.

    Raises:
        UsageError: the plugin refuses these features.
        NotAPlugin: what it makes is no module that gives (R, L) logits.
    """
    if not hooks.has(protocol, "head"):
        return False
    make = hooks.of(protocol, ProtocolHooks).head
    features, label = embed_labelled(encoder, route, images)
    head: Any = make(features, label, classes, **_more(make, encoder, route, validation, rng))
    if isinstance(head, nn.Module):
        head.register_forward_pre_hook(_in_single_precision)
    _check(head, features[:2], classes, type(protocol).__name__)
    # The encoder asks of its classifier no more than any module offers, and the width below.
    head.out_features = classes
    encoder.classifier = cast(nn.Linear, head.to(features.device).eval())
    return True


@torch.no_grad()
def embed_labelled(encoder: Encoder, route: str, images: Images) -> tuple[Tensor, Tensor]:
    """Return features (n, F) float32 and labels (n,) of the labelled images, in their order."""
    rows = (images.labels >= 0).nonzero()[:, 0].cpu()
    found = []
    with hold_mode(encoder, "eval"):
        for _, x in images.batches(torch.split(rows, _CHUNK)):
            found.append(encoder(x, route, frozenset({"h"})).h.float())
    width = (0, encoder.features)
    features = torch.cat(found) if found else torch.empty(width, device=images.device)
    return features, images.labels[rows.to(images.labels.device)]


def _more(
    make: Callable[..., Any], encoder: Encoder, route: str, validation: Images | None, rng: Rng | None
) -> dict[str, Any]:
    """Return what ``head`` asks for beside the training images; most ask for nothing."""
    asked = inspect.signature(make).parameters
    more: dict[str, Any] = {}
    if "validation" in asked:
        more["validation"] = None if validation is None else embed_labelled(encoder, route, validation)
    if "rng" in asked:
        more["rng"] = rng or Rng(0, "head")
    return more


def _in_single_precision(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Let a head see features of the precision that it was made of, whatever the encoder runs in."""
    return tuple(h.float() for h in given)


def _check(head: object, h: Tensor, classes: int, name: str) -> None:
    if not isinstance(head, nn.Module):
        raise NotAPlugin(f"{name}.head returned a {type(head).__name__}: it must return a torch.nn.Module")
    with torch.no_grad():
        logits = head.to(h.device).eval()(h)
    if not isinstance(logits, Tensor) or logits.shape != (len(h), classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NotAPlugin(f"{name}.head gives {shape} for features {tuple(h.shape)}: logits are (R, {classes})")
