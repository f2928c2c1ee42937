"""A model and a data set small enough to survey in a check."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.rng import Rng
from robustcl.testing.builders import DIMS, TinyEncoder, make_images
from robustcl.threat import Ball
from robustcl.types import UNLABELED, Batch


class TinySurvey:
    """24 images, one in four without a label, and a ``TinyEncoder``; every view is of the same images."""

    def __init__(self, *, seed: int = 0) -> None:
        self.ball = Ball("Linf", 8 / 255)
        self.rng = Rng(seed, "survey")
        self.samples = DIMS.samples
        self.images = make_images(DIMS.samples, seed=seed)
        self.label = Rng(seed, "label").integers(DIMS.classes, (DIMS.samples,))
        self.label[::4] = UNLABELED
        self.encoder = TinyEncoder(seed=seed)

    def take(self, rows: Tensor) -> Batch:
        """Return the images of some indices as the views a and b."""
        images = self.images[rows]
        return Batch({"a": images, "b": images}, rows, self.label[rows], {}, torch.arange(len(rows)))

    def embed(self, view: str, path: str, rows: Tensor) -> Tensor:
        """Return features (S, F)."""
        with torch.no_grad():
            features: Tensor = self.encoder(self.images[rows]).h
        return features

    def gradient(self, rows: Tensor, parameters: str) -> list[Tensor]:
        """Return the gradient of a mean loss that the whole encoder takes part in, for one of its parts."""
        seen = self.encoder(self.images[rows])
        loss = F.cross_entropy(seen.logits, self.label[rows].clamp(min=0)) + seen.z.square().mean()
        part = self.encoder.get_submodule(parameters.rpartition(".")[2])
        return list(torch.autograd.grad(loss, list(part.parameters())))
