"""Anybody's model, opened with the test images of a data set: what is judged, audited and measured without a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from robustcl.composition import exchange
from robustcl.composition.data import keep_looked_through
from robustcl.composition.parts import Parts
from robustcl.data.held import open_source
from robustcl.data.promises import class_names
from robustcl.data.subset import Images
from robustcl.evaluate import soundness
from robustcl.evaluate.classifier import Classifier, of_model
from robustcl.nn import outside
from robustcl.protocols import DatasetPlugin, Source
from robustcl.recipe import Use
from robustcl.train.engine import Engine


@dataclass(frozen=True, slots=True)
class OutsideModel:
    """Anybody's model, as the command line names it, and in which ball; ``weights`` is a safetensors file."""

    model: str
    dataset: str
    weights: Path | None = None
    data_dir: str | None = None
    norm: str = "Linf"
    eps: str = "8/255"
    seed: int = 0

    def data(self) -> Use:
        """Return the data set's table; raises ``UsageError`` where its files are named twice."""
        return Use(use=self.dataset, **exchange.files(self.dataset, self.data_dir))


@dataclass(frozen=True, slots=True, eq=False)
class OutsideSubject:
    """A model as its owner built it, its classifier on the engine's device, and the images of ``source``."""

    model: nn.Module
    classifier: Classifier
    dataset: DatasetPlugin
    source: Source
    images: Images

    def outputs(self, block: int) -> int:
        """Return how many logits there are.

        Raises:
            UsageError: outputs that are no logits.
            DataError: logits that are not finite, or labels that the model has no output for.
        """
        first = torch.arange(min(self.images.samples, block), device=self.images.device)
        return soundness.check(self.classifier, self.images.fetch(first), self.images.labels)


def open_model(
    spec: str,
    weights: Path | None,
    dataset: Use,
    engine: Engine,
    parts: Parts | None = None,
    say: outside.Say = lambda sentence: None,
) -> OutsideSubject:
    """Open a model that somebody else has trained, and the test images of a data set, which come first.

    Args:
        spec: "module:function" or "torchvision:NAME". weights: a safetensors file.
        dataset: its name, with options. parts: remembers who brought it.
        engine: where it computes.
        say: hears how images go in.

    Raises:
        UsageError: a model or data set that is not there or does not fit.
        WeightsError: weights that are not safetensors, or of another model.
    """
    plugin: DatasetPlugin = (parts or Parts()).make("dataset", dataset, "--dataset").plugin
    source = open_source(plugin, "test")
    images = keep_looked_through(source, engine.device)
    model = place_model(spec, weights, len(class_names(plugin)), engine, say=say)
    return OutsideSubject(model, of_model(model), plugin, source, images)


def place_model(
    spec: str,
    weights: Path | None,
    classes: int,
    engine: Engine,
    flags: tuple[str, str] = outside.FLAGS,
    say: outside.Say = lambda sentence: None,
) -> nn.Module:
    """Return a model on the engine's device; errors as ``open_model``, naming the ``flags``."""
    model = outside.build(spec, weights, classes, flags, say)
    engine.place(model, ours=False)
    return model
