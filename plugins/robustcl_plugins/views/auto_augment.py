"""AutoAugment: operations on colours and geometry that were learnt for a data set."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torchvision.transforms import AutoAugment as Policy
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode

from robustcl.errors import UsageError
from robustcl.options import Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.views.geometry import check_images


class AutoAugment:
    """One of 25 learnt pairs of operations for every image, each operation with its own probability and strength.

    The pair, whether each of its operations happens, and its sign are drawn for each image alone; torchvision holds the
    policies and carries the operations out, on whole grey levels and one image at a time, which is slow. Crop and flip
    are not part of it: derive a ``weak`` view from this one.

    policy: the data set for which the operations were learnt.
    fill: the grey of what comes in from outside the image.
    interpolation: of rotations, shears and shifts.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Cubuk, Zoph, Mane, Vasudevan and Le, AutoAugment: Learning Augmentation Strategies from Data, CVPR 2019, "
        "tables 7 to 9 of its appendix, in torchvision's form"
    )

    def __init__(
        self,
        *,
        policy: Literal["cifar10", "imagenet", "svhn"] = "cifar10",
        fill: Fraction = 128 / 255,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
    ) -> None:
        self.policy = policy
        self.fill = fill
        self.interpolation = interpolation

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the view (B, C, H, W) of images x in [0, 1], C = 1 or 3. Raises UsageError for other shapes."""
        check_images("auto-augment", x)
        if x.shape[1] not in (1, 3):
            raise UsageError(
                f"the view 'auto-augment' takes images of 1 or 3 channels, not {x.shape[1]}: choose another view"
            )
        fill = [round(255 * self.fill)] * x.shape[1]
        augment = Policy(AutoAugmentPolicy(self.policy), InterpolationMode(self.interpolation), fill)
        which = rng.integers(len(augment.policies), (len(x),)).tolist()
        happens, signs = rng.uniform((len(x), 2)).cpu(), rng.integers(2, (len(x), 2)).cpu()
        grey = (255 * x).round().to(torch.uint8).cpu()
        drawn = []
        for image, *draw in zip(grey, which, happens, signs, strict=True):
            # The draws are handed in: torchvision's own come from the global generator.
            augment.get_params = lambda policies, draw=draw: draw
            drawn.append(augment(image))
        return torch.stack(drawn).to(x) / 255 if drawn else x
