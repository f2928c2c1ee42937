"""The common corruptions as a view, for images of any data set; CIFAR's own corrupted copies lie in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import annotated_types
from torch import Tensor

from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.corruptions import blur, digital, noise, weather
from robustcl_plugins.corruptions.frost import frost
from robustcl_plugins.corruptions.spatter import spatter
from robustcl_plugins.views.geometry import check_images

Name = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    "speckle_noise", "gaussian_blur", "spatter", "saturate",
]  # fmt: skip


class Corruption:
    """One common corruption of images (C, H, W) with the severities of CIFAR-10-C, stored in 8 bits as its files are.

    All nineteen. ``frost`` lays photographs of ice over the images, which this package may not hand on: it is made
    with those in a folder of yours, or not at all. The benchmark's own lie beside its code, frost1.png to frost5.jpg.
    Where this differs from the code that made the published files: the random numbers; motion takes the nearest pixels
    of an ideal line; fog is Kornia's diamond-square fractal, which mixes noise in where the original adds it; the
    elastic field is smoothed as if it were 0 outside of the image. Accuracies are comparable among models judged here;
    on the published files they may be others.

    name: the corruption, as its file is called.
    severity: 1 to 5.
    photographs: the folder of frost's photographs; for no other corruption.
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
        photographs: str | None = None,
    ) -> None:
        self.name = name
        self.severity = severity
        self.photographs = photographs

    def available(self) -> str | None:
        """Say what is missing: frost without photographs, or another corruption with some."""
        if self.name == "frost" and self.photographs is None:
            return "frost is laid over photographs, which are not part of this package: give their folder, photographs"
        if self.name != "frost" and self.photographs is not None:
            return f"{self.name} reads no photographs: leave them out"
        return None

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        """Return the corrupted images (B, C, H, W).

        Raises:
            UsageError: they have no channels for it.
            DataError: photographs that are missing, damaged or too small.
        """
        check_images("corruption", x)
        if self.photographs is not None:
            made = frost(x, self.severity, rng, Path(self.photographs).expanduser())
        else:
            made = FUNCTIONS[self.name](x, self.severity, rng)
        found = made.clamp(0, 1)
        # The files are cut to 8 bits, not rounded; the sliver keeps values that are whole already.
        return (found * 255 + 1e-3).floor() / 255


FUNCTIONS: Mapping[str, Callable[[Tensor, int, Rng], Tensor]] = {  # frost alone reads more than these
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
    "spatter": spatter,
    "saturate": digital.saturate,
}
