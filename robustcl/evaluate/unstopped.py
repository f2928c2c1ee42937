"""Adversaries that are shown to somebody else: nothing tells an attack that it has fooled the classifier it looks at.

An attack that stops at the first success stays near that classifier's own boundary, where features have hardly moved
and another model is hardly reached.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.judge import Judge, Members
from robustcl.rng import Rng
from robustcl.types import ABSENT, Attack, Clustering


class Clustered(Judge):
    """A judge that gives clusters to attacks that read them, where there are some."""

    clusters: Clustering = ABSENT

    def task(self, attacked: Classifier, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        """Return the attack with the clusters."""
        attack = super().task(attacked, x, label, index, rng)
        return attack if self.clusters is ABSENT else attack.but(clusters=self.clusters)


class Unstopped(Clustered):
    """A judge whose attacks are not told who is fooled."""

    def task(self, attacked: Classifier, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        """Return the attack without a verdict."""
        return without_verdict(super().task(attacked, x, label, index, rng))


def without_verdict(attack: Attack) -> Attack:
    """Return the same attack without a verdict: every row is attacked to the end."""
    return attack.but(fooled=ABSENT, breaks=ABSENT)


def adversaries(judge: Judge, x: Tensor, label: Tensor, index: Tensor, name: str, members: Members) -> Tensor:
    """Return what an attack makes of inputs x (R, *item), of label and index (R,), when nothing tells it to stop.

    Of an attack with several members, each takes what the earlier ones left standing; a row that stands after all of
    them keeps what the first one made of it.
    """
    result, standing = x.clone(), torch.arange(len(x), device=x.device)
    for number, (member, generator) in enumerate(members):
        if len(standing) == 0:
            break
        moved = judge.perturb(x[standing], label[standing], index[standing], name, member, generator)
        fooled = judge.classifier.predict(moved) != label[standing]
        taken = fooled | (number == 0)
        result[standing[taken]] = moved[taken]
        standing = standing[~fooled]
    return result
