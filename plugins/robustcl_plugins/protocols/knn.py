"""Weighted k-nearest-neighbour evaluation of a frozen encoder: nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.options import Count, Positive
from robustcl.protocols import Need


class NearestNeighbours:
    """Let the k training images with the most similar features vote, each with weight exp(cos / temperature).

    The votes are differentiable, so attacks go through them to the input; which images are neighbours is not, and a
    step sees those of the point where it stands.

    k: neighbours that vote.
    temperature: the smaller, the more the nearest ones count.
    """

    version: ClassVar[str] = "knn-v1"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.FEATURES})
    citation: ClassVar[str] = (
        "Wu, Xiong, Yu and Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, "
        "section 3.4 (k = 200, temperature 0.07)"
    )

    def __init__(self, *, k: Count = 200, temperature: Positive = 0.07) -> None:
        self.k = k
        self.temperature = temperature

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return no stage: the head is made of features as they are."""
        return ()

    def head(self, features: Tensor, label: Tensor, classes: int) -> nn.Module:
        """Return h (R, F) -> logits (R, L), voting among features (n, F) with label (n,).

        Raises:
            UsageError: there are fewer than k of them.
        """
        if self.k > len(features):
            raise UsageError(
                f"evaluate.knn.k = {self.k}: there are only {len(features)} labelled training images to choose "
                f"neighbours from; set k to {len(features)} or less"
            )
        return Votes(features, label, classes, k=self.k, temperature=self.temperature)


class Votes(nn.Module):
    """Features h (R, F) -> logits (R, L): the log of the sum of exp(cos(h, i) / t) over the neighbours i of a class.

    A class without a vote gets the log of what its nearest image would weigh, which is less than any vote: no
    prediction depends on it, but without it an attack that only one class answers would find no direction. A class
    without an image at all has -1 / t.
    """

    bank: Tensor
    label: Tensor

    def __init__(self, features: Tensor, label: Tensor, classes: int, *, k: int, temperature: float) -> None:
        super().__init__()
        self.register_buffer("bank", nn.functional.normalize(features.detach().float(), dim=1))
        self.register_buffer("label", label.detach().to(features.device))
        self.classes = classes
        self.k = k
        self.temperature = temperature

    def forward(self, h: Tensor) -> Tensor:
        # Cosines in bf16 tell near neighbours no longer apart.
        with torch.autocast(h.device.type, enabled=False):
            cosine = nn.functional.normalize(h.float(), dim=1) @ self.bank.T
            lowest = cosine.new_full((len(h), self.classes), -1.0)
            best = lowest.scatter_reduce(1, self.label.expand_as(cosine), cosine, "amax")
            vote, nearest = cosine.topk(self.k, dim=1)
            voter = self.label[nearest]
            # Each class is scaled by its largest vote: exp(1 / 0.01) is no float32.
            scale = best.detach()
            scaled = ((vote - scale.gather(1, voter)) / self.temperature).exp()
            votes = torch.zeros_like(scale).scatter_add(1, voter, scaled)
            voted = votes > 0
            return torch.where(voted, scale + self.temperature * votes.where(voted, 1.0).log(), best) / self.temperature
