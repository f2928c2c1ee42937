"""A judge that watches what perturbed images do to the true class, for any attack, one that reads clusters included."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from robustcl import contrast
from robustcl.data.subset import Images
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.judge import Judge, Members
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
    """A judge that also tells the probability of the true class, and gives clusters to attacks that read them."""

    clusters: Clustering = ABSENT

    def _attack(self, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        attack = super()._attack(x, label, index, rng)
        return attack if self.clusters is ABSENT else attack.but(clusters=self.clusters)

    @torch.no_grad()
    def probability(self, x: Tensor, label: Tensor) -> Tensor:
        """Return the probability of the true class (R,)."""
        logits = self._embed(x, frozenset({"logits"})).logits.float()
        return logits.softmax(1).gather(1, label[:, None])[:, 0]


def observe(
    judge: Observer, images: Images, index: Tensor, name: str, members: Members, block: int
) -> dict[str, dict[str, Any]]:
    """Return ``accuracy``, ``fooled`` and ``drop`` over some images, each as the fields of a ``Reading``.

    fooled and drop are over the images that are classified correctly before: a share, and a mean of
    p(y | x) - p(y | x + d). Where there are none, both are left out.
    """
    right: list[Tensor] = []
    after: list[Tensor] = []
    drops: list[Tensor] = []
    for rows in torch.split(index, block):
        x, label = images.fetch(rows), images.labels[rows]
        adversarial, prediction = judge.attack(x, label, rows, name, members)
        right.append(judge.predict(x) == label)
        after.append(prediction == label)
        drops.append(judge.probability(x, label) - judge.probability(adversarial, label))
    before, kept, drop = torch.cat(right), torch.cat(after), torch.cat(drops)
    judged, fooled = int(before.sum()), int((before & ~kept).sum())
    accuracy = {"accuracy": asdict(_share(int(kept.sum()), len(kept)))}
    if judged == 0:
        return accuracy
    return accuracy | {
        "fooled": asdict(_share(fooled, judged)),
        "drop": asdict(Reading(float(drop[before].double().mean()), n=judged)),
    }


def _share(count: int, n: int) -> Reading:
    return Reading(count / n, *wilson(count, n), n)


@torch.no_grad()
def nearest(clusters: Clustering, judge: Judge, images: Images, index: Tensor, block: int) -> Clustering:
    """Return the same centroids with the test images assigned to the nearest, by the cosine."""
    features = torch.cat([judge.features(images.fetch(rows)) for rows in torch.split(index, block)])
    nearness = [contrast.cosine(features, centroids.to(features)) for centroids in clusters.centroids]
    return Clustering(
        centroids=clusters.centroids,
        assignment=torch.stack([table.argmax(1) for table in nearness]),
        confidence=torch.stack([table.amax(1) for table in nearness]),
        inertia=tuple(float((1 - table.amax(1)).sum()) for table in nearness),
        provenance={**clusters.provenance, "assigned": "test images, to the nearest centroid"},
    )
