"""Images of a split as one classifier sees them, clean and attacked: what every measure reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from robustcl.data.subset import Images
from robustcl.evaluate.classifier import FEATURES, LOGITS, Classifier
from robustcl.evaluate.judge import Members
from robustcl.evaluate.subject import Subject
from robustcl.evaluate.unstopped import Clustered, Unstopped, adversaries
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import ABSENT, Clustering

SHOWN = 200
"""Attacked images that are kept as images, at most."""

Told = Callable[[str, int, int], None]
"""Hears of progress: what, done, total."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """n images of a split, and an attack on them that is made when a measure first reads what became of them.

    index: (n,) which images. ball: in which they are moved, by the evaluation's own stream. clusters: for attacks that
    read them. train: images to fit a classifier of features to, where there are some. source: who is attacked in the
    subject's place, by that one's stream; the subject then sees what was made against another.
    """

    subject: Subject
    images: Images
    index: Tensor
    ball: Ball
    attack: str
    members: Members
    clusters: Clustering = ABSENT
    train: Images | None = None
    source: Subject | None = None
    told: Told = lambda what, done, total: None

    @property
    def classifier(self) -> Classifier:
        """The classifier."""
        return self.subject.classifier

    @property
    def block(self) -> int:
        """How many images are seen together."""
        return self.subject.asked.block

    @cached_property
    def label(self) -> Tensor:
        """Labels (n,)."""
        return self.images.labels[self.index]

    @property
    def features(self) -> tuple[Tensor, Tensor]:
        """Features h (n, F), before and after the whole attack."""
        return self._whole["h"]

    @property
    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits (n, L), before and after the whole attack."""
        return self._whole["logits"]

    @property
    def moved(self) -> Tensor:
        """The first images (at most 200, *item) after the whole attack."""
        return self._whole["moved"][1]

    @cached_property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Who is right before, and who still is under the attack as evaluation makes it, (n,) bool each.

        An image is left alone once it is wrong.
        """
        assert self.source is None, "an image is left alone once the attacked classifier is wrong, and not another"
        judge, parts = self._judge(Clustered), []
        for rows, x, label in self._blocks():
            _, prediction = judge.attack(x, label, rows, self.attack, self.members)
            parts.append((self.classifier.predict(x) == label, prediction == label))
        right, kept = (torch.cat(column) for column in zip(*parts, strict=True))
        return right, kept

    @property
    def draws(self) -> Rng:
        """The stream of what measures draw themselves."""
        return draws_of(self.subject)

    def embed(self, x: Tensor, layer: str) -> Tensor:
        """Return a layer, "h" or "logits", of images x (R, *item), in eval mode; gradients reach x."""
        found: Tensor = getattr(self.classifier.embed(x, frozenset({layer})), layer)
        return found.float()

    @cached_property
    def _whole(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What is seen of each image before and after it is attacked to the end, also where it was wrong before."""
        judge, layers = self._judge(Unstopped), self.classifier.layers & (FEATURES | LOGITS)
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in ("moved", *sorted(layers))}
        for rows, x, label in self._blocks():
            moved = adversaries(judge, x, label, rows, self.attack, self.members)
            held = sum(len(part) for _, part in parts["moved"])
            parts["moved"].append((x[: SHOWN - held], moved[: SHOWN - held]))
            with torch.no_grad():
                before, after = (self.classifier.embed(view, layers) for view in (x, moved))
            for layer in layers:
                parts[layer].append((getattr(before, layer).float(), getattr(after, layer).float()))
        return {
            name: (torch.cat([x for x, _ in part]), torch.cat([x for _, x in part])) for name, part in parts.items()
        }

    def _judge(self, kind: type[Clustered]) -> Clustered:
        attacked = self.source or self.subject
        judge = kind(attacked.classifier, self.ball, attacked.rng, attacked.judge.autocast)
        judge.clusters = self.clusters
        return judge

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, images and labels, block by block."""
        done = 0
        for rows in torch.split(self.index, self.block):
            yield rows, self.images.fetch(rows), self.images.labels[rows]
            done += len(rows)
            self.told("attack", done, len(self.index))


def draws_of(subject: Subject) -> Rng:
    """Return the stream of what measures of a subject draw themselves, clusters included."""
    return Rng(subject.seed, "measure", subject.protocol, subject.route)
