"""Features in two dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import checked


@torch.no_grad()
def t_sne(features: Tensor, *, perplexity: float = 30.0, iterations: int = 1000) -> Tensor:
    """Return a map of the features, (n, 2) float64 on their device; the same features give the same map.

    Source: van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 9, 2008; computed by scikit-learn. Bui et
    al., 2021, figure 6 raise each point by its ``prediction_entropy``. It starts from the two principal components,
    scaled to a deviation of 1e-4, so that nothing is drawn at random. Distances between groups and their sizes mean
    little in it; neighbours do.

    Args:
        features: (n, F), n >= 4. To compare clean and adversarial ones, map them together.
        perplexity: about how many neighbours count, at most (n - 1) / 3 and cut to that.
        iterations: 250 or more.

    Raises:
        UsageError: fewer than four rows, values that are not finite, features that are all the same point, or an
            option out of its range.
    """
    rows = checked.matrix(features, least=4)
    perplexity = checked.positive(perplexity, "perplexity")
    iterations = checked.at_least_one(iterations, "iterations")
    if iterations < 250:
        raise UsageError(f"iterations = {iterations}: t-SNE exaggerates for the first 250, write no fewer")
    points = rows - rows.mean(dim=0)
    scale = float(points.abs().max())
    if scale <= 1e-12 * float(rows.abs().max()):
        raise UsageError(f"all {len(rows)} feature rows are the same point: there is nothing to map")
    from sklearn.manifold import TSNE  # slow to import

    # Neighbourhoods do not depend on the scale, but scikit-learn computes in the squares of what it is given.
    points = points / scale
    start = _principal(points)
    start = 1e-4 * start / start[:, 0].std(correction=0)
    found = TSNE(
        n_components=2,
        init=start.cpu().numpy(),
        perplexity=min(perplexity, (len(rows) - 1) / 3),
        max_iter=iterations,
        random_state=0,
    ).fit_transform(points.cpu().numpy())
    return torch.as_tensor(found, device=rows.device).to(rows.dtype)


def _principal(points: Tensor) -> Tensor:
    """Return the first two principal components of centred points, (n, 2), the largest entry of each positive."""
    left, size, _ = torch.linalg.svd(points, full_matrices=False)
    flat = left[:, :2] * size[:2]
    largest = flat.gather(0, flat.abs().argmax(dim=0, keepdim=True))
    return torch.nn.functional.pad(flat * torch.where(largest < 0, -1.0, 1.0), (0, 2 - flat.shape[1]))
