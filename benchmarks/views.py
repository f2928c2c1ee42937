"""Two strong views of 512 CIFAR-sized images: our batched view beside torchvision's, image by image.

Run as ``python benchmarks/views.py``. The peer draws the same distribution with torchvision's v2
transforms, on uint8 tensors and on Pillow images; the faster of the two is the one we are held against.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from _bar import compare, report, version
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from robustcl.rng import Rng
from robustcl_plugins.views.strong import Strong

IMAGES = 512
BAR = 4.0


def main() -> int:
    """Measure, report, and return the exit code."""
    pixels = smooth_images()
    index = torch.arange(IMAGES)
    view = Strong()

    def ours() -> list[Tensor]:
        images = pixels.float() / 255
        return [view.draw(images, Rng(0, name).for_rows(index)).clamp(0, 1) for name in ("a", "b")]

    tensors = list(pixels)
    pictures = [functional.to_pil_image(image) for image in pixels]
    sides: dict[str, tuple[list[Any], Callable[[Any], Tensor]]] = {
        "uint8 tensors": (tensors, v2.Compose([*peer(), v2.ToDtype(torch.float32, scale=True)])),
        "Pillow": (pictures, v2.Compose([*peer(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])),
    }
    ratios, seconds = {}, {}
    for name, (images, transform) in sides.items():
        mine, theirs = compare(ours, lambda i=images, t=transform: two_views(i, t))
        ratios[name] = theirs / mine
        seconds[f"robustcl seconds, beside {name}"] = mine
        seconds[f"torchvision seconds, {name}"] = theirs
    fastest = min(ratios, key=lambda name: ratios[name])
    details = {
        "workload": f"two strong views of {IMAGES} images (3, 32, 32), from uint8 to float32 in [0, 1]",
        "peer": f"torchvision {version('torchvision')} transforms.v2, image by image, the faster form",
        "faster peer": fastest,
        **seconds,
    }
    return report("views", [("torchvision_over_robustcl", ratios[fastest], BAR)], details)


def smooth_images() -> Tensor:
    """Return seeded random images (IMAGES, 3, 32, 32) uint8, as smooth as photographs."""
    coarse = Rng(0, "images").uniform((IMAGES, 3, 6, 6))
    fine = nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).round().to(torch.uint8)


def peer() -> list[nn.Module]:
    """Return the same augmentation in torchvision's words."""
    return [
        v2.RandomResizedCrop(32, scale=(0.1, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(0.5),
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]


def two_views(images: list[Any], transform: Callable[[Any], Tensor]) -> list[Tensor]:
    """Draw two views image by image, as a loader does."""
    return [torch.stack([transform(image) for image in images]) for _ in range(2)]


if __name__ == "__main__":
    sys.exit(main())
