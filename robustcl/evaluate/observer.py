"""A judge that watches what perturbed images do to the true class, for any attack, one that reads clusters included."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from robustcl import contrast
from robustcl.data.subset import Images
from robustcl.evaluate.classifier import FEATURES, LOGITS, Classifier
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.unstopped import adversaries, without_verdict
from robustcl.measures import relative_drop
from robustcl.rng import Rng
from robustcl.types import ABSENT, Attack, Clustering


@dataclass(frozen=True, slots=True)
class Reading:
    """A number, with its 95 % interval and the number of images where it is a share of them."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Observer(Judge):
    """A judge that also tells the probability of the true class, and gives clusters to attacks that read them.

    onward: as in training, every image is attacked, those that are classified wrongly as they are included, and the
    attack has no verdict: it goes on where it has fooled already.
    """

    clusters: Clustering = ABSENT
    onward: bool = True

    def task(self, attacked: Classifier, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        """Return the attack, with clusters where there are some."""
        attack = super().task(attacked, x, label, index, rng)
        if self.onward:
            attack = without_verdict(attack)
        return attack if self.clusters is ABSENT else attack.but(clusters=self.clusters)

    def attack(
        self, x: Tensor, label: Tensor, index: Tensor, name: str, members: Members, target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the adversarial inputs and the predictions (R,) on them; members meet what earlier ones left."""
        if not self.onward:
            return super().attack(x, label, index, name, members, target)
        adversarial = adversaries(self, x, label, index, name, members)
        return adversarial, self.classifier.predict(adversarial)

    @torch.no_grad()
    def probability(self, x: Tensor, label: Tensor) -> Tensor:
        """Return the probability of the true class (R,)."""
        logits = self.classifier.embed(x, LOGITS).logits.float()
        return logits.softmax(1).gather(1, label[:, None])[:, 0]


class Observations:
    """What the classifier saw of images before and after, block by block.

    clean, moved: (n, F) features h of both. logits: (n, L) on the moved ones. label: (n,).
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self, judge: Judge, x: Tensor, moved: Tensor, label: Tensor) -> None:
        """Look at images x (R, *item) and at what became of them."""
        after = judge.classifier.embed(moved, FEATURES | LOGITS)
        self._parts.append((judge.classifier.features(x), after.h.float(), after.logits.float(), label))

    @property
    def clean(self) -> Tensor:
        return self._joined(0)

    @property
    def moved(self) -> Tensor:
        return self._joined(1)

    @property
    def logits(self) -> Tensor:
        return self._joined(2)

    @property
    def label(self) -> Tensor:
        return self._joined(3)

    def _joined(self, place: int) -> Tensor:
        return torch.cat([part[place] for part in self._parts])


def observe(
    judge: Observer,
    images: Images,
    index: Tensor,
    name: str,
    members: Members,
    block: int,
    seen: Observations | None = None,
) -> dict[str, dict[str, Any]]:
    """Return ``accuracy``, ``relative-drop``, ``fooled`` and ``drop`` of some images, as the fields of a ``Reading``.

    relative-drop is the share of the clean accuracy that is lost. fooled and drop are over the images that are
    classified correctly before: a share, and a mean of p(y | x) - p(y | x + d). Where there are none, all three are
    left out. ``seen`` is shown every block.
    """
    right: list[Tensor] = []
    after: list[Tensor] = []
    drops: list[Tensor] = []
    for rows in torch.split(index, block):
        x, label = images.fetch(rows), images.labels[rows]
        adversarial, prediction = judge.attack(x, label, rows, name, members)
        right.append(judge.classifier.predict(x) == label)
        after.append(prediction == label)
        drops.append(judge.probability(x, label) - judge.probability(adversarial, label))
        if seen is not None:
            seen.add(judge, x, adversarial, label)
    before, kept, drop = torch.cat(right), torch.cat(after), torch.cat(drops)
    judged, fooled = int(before.sum()), int((before & ~kept).sum())
    accuracy = {"accuracy": asdict(share(int(kept.sum()), len(kept)))}
    if judged == 0:
        return accuracy
    return accuracy | {
        "relative-drop": asdict(Reading(relative_drop(judged, int(kept.sum())), n=len(kept))),
        "fooled": asdict(share(fooled, judged)),
        "drop": asdict(Reading(float(drop[before].double().mean()), n=judged)),
    }


def share(count: int, n: int) -> Reading:
    """Return a share of n images with its interval."""
    return Reading(count / n, *wilson(count, n), n)


@torch.no_grad()
def nearest(clusters: Clustering, judge: Judge, images: Images, index: Tensor, block: int) -> Clustering:
    """Return the same centroids with the test images assigned to the nearest, by the cosine."""
    features = torch.cat([judge.classifier.features(images.fetch(rows)) for rows in torch.split(index, block)])
    nearness = [contrast.cosine(features, centroids.to(features)) for centroids in clusters.centroids]
    return Clustering(
        centroids=clusters.centroids,
        assignment=torch.stack([table.argmax(1) for table in nearness]),
        confidence=torch.stack([table.amax(1) for table in nearness]),
        inertia=tuple(float((1 - table.amax(1)).sum()) for table in nearness),
        provenance={**clusters.provenance, "assigned": "test images, to the nearest centroid"},
    )
