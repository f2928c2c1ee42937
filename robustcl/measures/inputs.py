"""The loss around inputs, along the gradient's sign and a random direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import search
from robustcl.clustering.rows import wide
from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.rng import Rng

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits (R, L) and labels (R,) to one loss for each row, (R,)."""


@dataclass(frozen=True, slots=True, eq=False)
class InputLandscape:
    """Losses on a grid around each input.

    axis: (P,) float64, the steps along both directions, from -radius to radius.
    loss: (R, P, P) float64; [r, i, j] is the loss at x_r + axis[i] * sign(gradient) + axis[j] * random signs.
    """

    axis: Tensor
    loss: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean over the inputs, (P, P)."""
        return self.loss.mean(dim=0)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of each row, (R,)."""
    return F.cross_entropy(logits, label, reduction="none")


def input_landscape(
    classify: Callable[[Tensor], Tensor],
    x: Tensor,
    label: Tensor,
    rng: Rng,
    *,
    radius: float = 8 / 255,
    points: int = 21,
    range: tuple[float, float] | None = None,
    loss: Loss = cross_entropy,
    block: int = 256,
) -> InputLandscape:
    """Return the loss over the plane through x of its loss gradient's sign and a Rademacher direction.

    Source: Engstrom, Ilyas and Athalye, Evaluating and understanding the robustness of adversarial logit pairing,
    2018; drawn for contrastive methods by Li et al., Adversarial supervised contrastive learning, 2022,
    figure 4. A rough surface, or one that falls away from x along the gradient, says that gradient attacks are misled.

    Args:
        classify: x -> logits (R, L); rows must not depend on each other (a model in eval mode).
        x: (R, *item) floats.
        label: (R,) whole numbers >= 0.
        rng: draws the random signs; rows that it is bound to name the images, otherwise their positions do.
        radius: the grid reaches from -radius to radius along each direction, in units of x.
        points: P, the grid's points along each; an odd number has x itself in the middle.
        range: valid values that every point is clamped to; None leaves the plane flat, as the source does.
        loss: (logits, label) -> (R,), the cross-entropy where not given; the gradient is this loss's.
        block: images classified at once; P * P forward passes and one backward for each block.

    Raises:
        UsageError: shapes that do not fit, missing labels, or an option out of its range.
    """
    radius = checked.positive(radius, "radius")
    x = checked.images(x)
    own = checked.labels(label, x)
    stream = checked.bound(rng, x)
    drawn = stream.uniform(x.shape, device=x.device, dtype=torch.float32)
    signs = torch.where(drawn < 0.5, -1.0, 1.0).to(x.dtype)
    width = checked.at_least_one(block, "block")
    axis = torch.linspace(-radius, radius, checked.at_least_one(points, "points"), dtype=torch.float64)
    blocks = zip(torch.split(x, width), torch.split(own, width), torch.split(signs, width), strict=True)
    grids = [_grid(classify, part, mine, sign, axis, range, loss) for part, mine, sign in blocks]
    return InputLandscape(axis.to(grids[0].device), torch.cat(grids))


def _grid(
    classify: Callable[[Tensor], Tensor],
    x: Tensor,
    label: Tensor,
    random: Tensor,
    axis: Tensor,
    range: tuple[float, float] | None,
    loss: Loss,
) -> Tensor:
    def at(point: Tensor) -> Tensor:
        value = loss(classify(point), label)
        if value.shape != label.shape:
            raise UsageError(f"the loss gave {tuple(value.shape)} for {len(label)} images: give one for each, (R,)")
        return value

    steepest = search.gradient(at, x).sign()
    steps = axis.tolist()
    with torch.no_grad():
        moved = (x + along * steepest + across * random for along in steps for across in steps)
        losses = [at(point if range is None else point.clamp(*range)) for point in moved]
    return torch.stack(losses, dim=1).to(wide(x.device)).reshape(len(x), len(steps), len(steps))
