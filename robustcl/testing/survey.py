"""A model and a data set small enough to survey in a check."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from robustcl.rng import Rng
from robustcl.testing.builders import DIMS, TinyEncoder, make_images
from robustcl.threat import Ball
from robustcl.types import UNLABELED, Batch

SAMPLES = 640
"""Enough images for the batches of a sampler that composes them."""
BATCH = 32
"""Images a training step."""


class TinySurvey:
    """640 images, one in four without a label, and a ``TinyEncoder``; every view is of the same images."""

    def __init__(self, *, seed: int = 0) -> None:
        self.ball = Ball("Linf", 8 / 255)
        self.rng = Rng(seed, "survey")
        self.lasting = Rng(seed, "lasting")
        self.samples = SAMPLES
        self.batch = BATCH
        self.images = make_images(SAMPLES, seed=seed)
        self.labels = Rng(seed, "label").integers(DIMS.classes, (SAMPLES,))
        self.labels[::4] = UNLABELED
        self.encoder = TinyEncoder(seed=seed)

    def take(self, rows: Tensor) -> Batch:
        """Return the images of some indices as the views a and b."""
        images = self.images[rows]
        return Batch({"a": images, "b": images}, rows, self.labels[rows], {}, torch.arange(len(rows)))

    def originals(self, rows: Tensor) -> Tensor:
        """Return the images of some indices."""
        return self.images[rows]

    def embed(self, view: str, path: str, rows: Tensor) -> Tensor:
        """Return features (S, F)."""
        with torch.no_grad():
            features: Tensor = self.encoder(self.images[rows]).h
        return features

    def parameters(self, part: str) -> dict[str, Tensor]:
        """Return copies of one part's parameters as leaves."""
        named = self.encoder.get_submodule(part).named_parameters()
        return {f"{part}.{name}": value.detach().clone().requires_grad_() for name, value in named}

    def encode(self, x: Tensor, path: str, layer: str, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return one layer of inputs; there is a single encoder of a single route."""
        value: Tensor = getattr(functional_call(self.encoder, dict(parameters or {}), (x,)), layer)
        return value

    def gradient(self, rows: Tensor, parameters: str, mode: str = "batch") -> list[Tensor]:
        """Return the gradient of a mean loss that the whole encoder takes part in, for one of its parts."""
        seen = self.encoder(self.images[rows])
        loss = F.cross_entropy(seen.logits, self.labels[rows].clamp(min=0)) + seen.z.square().mean()
        part = self.encoder.get_submodule(parameters.rpartition(".")[2])
        return list(torch.autograd.grad(loss, list(part.parameters())))
