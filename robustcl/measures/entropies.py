"""Entropy of a prediction, and of the labels around a point."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.measures.distances import scale_of


@torch.no_grad()
def prediction_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of softmax(logits) of each row in nats, (n,) float64 in [0, log L]; low is confident.

    Source: Bui et al., 2021, appendix 7 and figure 6: the entropy that stands above their t-SNE maps is the
    prediction's.

    Args:
        logits: (n, L).

    Raises:
        UsageError: not a filled matrix, or values that are not finite.
    """
    entropy: Tensor = torch.special.entr(checked.matrix(logits, "logits").softmax(dim=1)).sum(dim=1)
    return entropy


@torch.no_grad()
def neighbour_entropy(points: Tensor, label: Tensor, *, neighbours: int = 10, chunk: int = 512) -> Tensor:
    """Return the entropy of the labels among each point's nearest others in nats, (n,) float64 in [0, log L].

    0 inside a class, high at a boundary; at most log(neighbours) too. No paper defines it: it says with labels what
    the entropy above a t-SNE map says with predictions (Bui et al., 2021, figure 6), for features as for a map.
    Neighbours are the nearest in L2, the point itself left out; of equals the earlier row is the nearer. It is exact
    and holds ``chunk`` x n distances.

    Args:
        points: (n, F), features or the coordinates of a map.
        label: (n,) whole numbers >= 0.
        neighbours: how many, fewer than n.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, missing labels, or too few points.
    """
    rows = checked.matrix(points, "points", least=2)
    own, classes = checked.number_labels(label, rows)
    neighbours, chunk = checked.at_least_one(neighbours, "neighbours"), checked.at_least_one(chunk, "chunk")
    if neighbours >= len(rows):
        raise UsageError(f"{neighbours} neighbours cannot be found among {len(rows)} points: ask for 1 to n - 1")
    start, found = 0, []
    rows = rows / scale_of(rows)
    for part in torch.split(rows, chunk):
        distance = torch.cdist(part, rows, compute_mode="donot_use_mm_for_euclid_dist")
        here = torch.arange(len(part), device=rows.device)
        distance[here, here + start] = torch.inf
        nearest = own[distance.argsort(dim=1, stable=True)[:, :neighbours]]
        share = torch.nn.functional.one_hot(nearest, len(classes)).sum(dim=1).to(rows.dtype) / neighbours
        found.append(torch.special.entr(share).sum(dim=1))
        start += len(part)
    return torch.cat(found)
