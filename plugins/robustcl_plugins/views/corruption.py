"""The common corruptions as a view, for images of any data set; CIFAR's own corrupted copies lie in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

import annotated_types
from torch import Tensor

from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.corruptions import blur, digital, noise, weather
from robustcl_plugins.views.geometry import check_images

Name = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "saturate",
]  # fmt: skip


class Corruption:
    """One common corruption of images (C, H, W) with the severities of CIFAR-10-C, stored in 8 bits as its files are.

    Seventeen of the nineteen. ``frost`` needs photographs of ice, and ``spatter`` the edge and distance filters of
    OpenCV: they come from the published files alone. Where this differs from the code that made those files: the
    random numbers; motion takes the nearest pixels of an ideal line; fog is Kornia's diamond-square fractal, which
    mixes noise in where the original adds it; the elastic field is smoothed as if it were 0 outside of the image.
    Accuracies are comparable among models judged here; on the published files they may be others.

    name: the corruption, as its file is called.
    severity: 1 to 5.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = (
        "Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, "
        "ICLR 2019, section 3 and appendix B; the severities of the CIFAR version of its code"
    )
    preset: ClassVar[str] = "name"

    def __init__(
        self,
        *,
        name: Name = "gaussian_noise",
        severity: Annotated[int, annotated_types.Ge(1), annotated_types.Le(5)] = 3,
    ) -> None:
        self.name = name
        self.severity = severity

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the corrupted images (B, C, H, W). Raises UsageError where they have no channels for it."""
        check_images("corruption", x)
        found = FUNCTIONS[self.name](x, self.severity, rng).clamp(0, 1)
        # The files are cut to 8 bits, not rounded; the sliver keeps values that are whole already.
        return (found * 255 + 1e-3).floor() / 255


FUNCTIONS: Mapping[str, Callable[[Tensor, int, Rng], Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "saturate": digital.saturate,
}
