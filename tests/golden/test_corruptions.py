"""The common corruptions against SciPy, Pillow, colorsys and hand numbers."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from robustcl import corruption
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.testing.subject import global_rng_untouched
from robustcl_plugins.corruptions import blur, digital, weather
from robustcl_plugins.corruptions.pixels import motion
from robustcl_plugins.views.corruption import FUNCTIONS, Corruption

SEVERITIES = range(1, 6)
BIT = 1 / 255


def photographs(rows: int = 5, side: int = 32) -> Tensor:
    """Return smooth random colour images (rows, 3, side, side), whole in 8 bits."""
    coarse = Rng(0, "photographs").uniform((rows, 3, 7, 7))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return (fine * 255).round() / 255


def corrupted(x: Tensor, name: str, severity: int, rows: Tensor | None = None) -> Tensor:
    """Return the view of images under one stream a row."""
    rows = torch.arange(len(x)) if rows is None else rows
    return Corruption(name=name, severity=severity).draw(x, Rng(1, "c").for_rows(rows))  # type: ignore[arg-type]


def near(found: Tensor, expected: Tensor | np.ndarray) -> bool:
    """Say whether images are the same up to one step of 8 bits, into which they are cut."""
    expected = torch.as_tensor(expected, dtype=torch.float64).clamp(0, 1)
    return bool(((found.double() - expected).abs() <= 1.01 * BIT).all())


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_is_8_bit_random_by_row_and_leaves_no_trace(name: str) -> None:
    x = photographs()
    kept = x.clone()
    for severity in SEVERITIES:
        with global_rng_untouched():
            found = corrupted(x, name, severity)
        assert torch.equal(x, kept)
        assert found.shape == x.shape
        assert bool(((found >= 0) & (found <= 1)).all())
        assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3)
        assert torch.equal(found, corrupted(x, name, severity))
        part = torch.tensor([3, 1])
        assert torch.allclose(corrupted(x[part], name, severity, part), found[part], atol=1e-6)
        assert 0.001 < float((found - x).square().mean().sqrt()) < 0.5


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur",
                                  "defocus_blur", "zoom_blur", "snow", "fog", "brightness", "contrast"])  # fmt: skip
def test_a_higher_severity_is_further_away(name: str) -> None:
    x = photographs()
    far = [float((corrupted(x, name, severity) - x).square().mean()) for severity in SEVERITIES]
    assert far == sorted(far)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_noises_have_their_distributions(severity: int) -> None:
    half = torch.full((40, 3, 32, 32), 0.5)
    where = severity - 1
    gaussian = corrupted(half, "gaussian_noise", severity)
    assert float(gaussian.std()) == pytest.approx((0.04, 0.06, 0.08, 0.09, 0.10)[where], rel=0.02)
    speckle = corrupted(half, "speckle_noise", severity)
    assert float(speckle.std()) == pytest.approx((0.03, 0.05, 0.06, 0.08, 0.1)[where], rel=0.02)
    photons = (500, 250, 100, 75, 50)[where]
    shot = corrupted(half, "shot_noise", severity)
    assert float(shot.mean()) == pytest.approx(0.5, abs=0.003)
    assert float(shot.std()) == pytest.approx(math.sqrt(0.5 / photons), rel=0.02)
    levels = (shot * photons).unique()
    assert torch.allclose(levels, levels.round(), atol=1.1 * photons * BIT)
    impulse = corrupted(half, "impulse_noise", severity)
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[where]
    assert float((impulse == 0).float().mean()) == pytest.approx(share / 2, rel=0.1)
    assert float((impulse == 1).float().mean()) == pytest.approx(share / 2, rel=0.1)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_is_scipys(severity: int) -> None:
    x = photographs(2)
    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    expected = ndimage.gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    assert near(corrupted(x, "gaussian_blur", severity), expected)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur_is_a_smoothed_disk(severity: int) -> None:
    x = photographs(2)
    radius, sigma = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    disk = np.array([[float(i * i + j * j <= radius * radius) for j in range(-3, 4)] for i in range(-3, 4)])
    line = np.exp(-np.array([1.0, 0.0, 1.0]) / (2 * sigma**2))
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(line, line) / line.sum() ** 2, mode="constant")
    expected = ndimage.convolve(x.double().numpy(), kernel[None, None], mode="mirror")
    assert near(corrupted(x, "defocus_blur", severity), expected)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_is_the_mean_of_scipys_zooms(severity: int) -> None:
    x = photographs(1)[0].double().numpy()
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    total = x.copy()
    for factor in factors:
        side = math.ceil(32 / factor)
        low = (32 - side) // 2
        large = ndimage.zoom(x[:, low : low + side, low : low + side], (1, factor, factor), order=1)
        trim = (large.shape[1] - 32) // 2
        total += large[:, trim : trim + 32, trim : trim + 32]
    assert near(corrupted(photographs(1), "zoom_blur", severity)[0], total / (len(factors) + 1))


@pytest.mark.golden("view", "corruption")
def test_glass_blur_takes_pixels_from_above_and_left() -> None:
    x = photographs(3)
    found = corrupted(x, "glass_blur", 1)  # a Gaussian of 0.05 pixels blurs nothing
    assert torch.allclose(found[:, :, :2], x[:, :, :2], atol=BIT)
    assert torch.allclose(found[:, :, :, :2], x[:, :, :, :2], atol=BIT)
    neighbours = torch.stack([x.roll((down, right), (2, 3)) for down in (0, 1) for right in (0, 1)])
    taken = ((found - neighbours).abs() < 1.01 * BIT).all(2)[:, :, 2:, 2:]
    assert bool(taken.any(0).all())
    shares = [float(one.float().mean()) for one in taken]
    assert min(shares) > 0.2


def test_motion_is_a_one_sided_gaussian_along_the_line() -> None:
    x = photographs(2)
    weights = [math.exp(-(i**2) / (2 * 1.5**2)) for i in range(7)]
    for angle, down, right in ((0.0, 0, 1), (math.pi / 2, 1, 0), (-math.pi / 2, -1, 0)):
        expected = torch.zeros_like(x)
        for i, weight in enumerate(weights):
            for row in range(32):
                for column in range(32):
                    source = min(max(row + i * down, 0), 31), min(max(column + i * right, 0), 31)
                    expected[:, :, row, column] += weight / sum(weights) * x[:, :, source[0], source[1]]
        assert torch.allclose(motion(x, 3, 1.5, torch.full((2,), angle)), expected, atol=1e-5)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_lies_between_none_and_all_of_it(severity: int) -> None:
    gray = torch.full((4, 3, 32, 32), 0.6)
    amount = (0.2, 0.5, 0.75, 1.0, 1.5)[severity - 1]
    found = corrupted(gray, "fog", severity)
    assert torch.allclose(found.amin((1, 2, 3)), torch.tensor(0.6 * 0.6 / (0.6 + amount)), atol=BIT)
    assert torch.allclose(found.amax((1, 2, 3)), torch.tensor(0.6), atol=BIT)
    assert torch.equal(found[:, 0], found[:, 2])


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_whitens_and_lies_on_twice(severity: int) -> None:
    kept = (0.95, 0.9, 0.9, 0.85, 0.8)[severity - 1]
    black = corrupted(torch.zeros(6, 3, 32, 32), "snow", severity)
    assert torch.equal(black, black.flip((2, 3)))
    assert float(black.min()) >= (1 - kept) * 0.5 - BIT
    assert float(black.max()) > (1 - kept) * 0.5 + 2 * BIT
    assert bool((corrupted(torch.ones(2, 3, 32, 32), "snow", severity) == 1).all())
    single = corrupted(torch.zeros(6, 1, 32, 32), "snow", severity)
    assert torch.equal(single, black[:, :1])


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_colours_are_those_of_colorsys(severity: int) -> None:
    x = photographs(1, side=8)
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    factor, grain = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    bright, vivid = torch.empty_like(x, dtype=torch.float64), torch.empty_like(x, dtype=torch.float64)
    for row in range(8):
        for column in range(8):
            hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, row, column].double().tolist())
            bright[0, :, row, column] = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1.0)))
            vivid[0, :, row, column] = torch.tensor(
                colorsys.hsv_to_rgb(hue, min(saturation * factor + grain, 1.0), value)
            )
    assert near(corrupted(x, "brightness", severity), bright)
    assert near(corrupted(x, "saturate", severity), vivid)
    gray = x[:, :1]
    assert near(corrupted(gray, "brightness", severity), gray.double() + more)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_goes_to_the_mean(severity: int) -> None:
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0, 0, 0] = 0.8
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    expected = torch.tensor([[0.2 + 0.6 * kept, 0.2 - 0.2 * kept], [0.2 - 0.2 * kept] * 2])
    assert near(corrupted(x, "contrast", severity)[0, 0], expected)


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixels_and_jpeg_are_pillows(severity: int) -> None:
    x = photographs(3)
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    quality = (80, 65, 58, 50, 40)[severity - 1]
    coarse, packed = corrupted(x, "pixelate", severity), corrupted(x, "jpeg_compression", severity)
    for row, image in enumerate((x * 255).round().byte().permute(0, 2, 3, 1).numpy()):
        picture, file = Image.fromarray(image), io.BytesIO()
        small = picture.resize((int(32 * share), int(32 * share)), Image.Resampling.BOX)
        again = np.asarray(small.resize((32, 32), Image.Resampling.BOX))
        assert torch.equal((coarse[row] * 255).round().byte().permute(1, 2, 0), torch.from_numpy(again.copy()))
        picture.save(file, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(file))
        assert near(packed[row].permute(1, 2, 0), decoded / 255)


@pytest.mark.golden("view", "corruption")
def test_elastic_transform_moves_three_points_and_pushes_the_rest() -> None:
    x = photographs(50)
    assert torch.allclose(digital._affine(x, 0.0, Rng(0).for_rows(torch.arange(50))), torch.eye(2, 3), atol=1e-6)
    maps = digital._affine(x, 2.0, Rng(0).for_rows(torch.arange(50)))
    points = torch.tensor([[26.0, 26.0, 1.0], [26.0, 6.0, 1.0], [6.0, 6.0, 1.0]])
    moved = (maps[:, None] @ points[:, :, None])[..., 0] - points[:, :2]
    assert float(moved.abs().max()) <= 2.0 + 1e-4
    assert float(moved.abs().max()) > 1.8
    flat = torch.full((2, 1, 32, 32), 0.6)
    for severity in SEVERITIES:
        assert torch.allclose(corrupted(flat, "elastic_transform", severity), flat, atol=BIT)
    plain = digital.elastic_transform(x, 1, Rng(0).for_rows(torch.arange(50)))
    ramp = torch.arange(32.0).expand(50, 1, 32, 32) / 64
    warped = digital.elastic_transform(ramp, 1, Rng(0).for_rows(torch.arange(50)))
    bend = (warped[:, :, 8:24, 8:24].diff(n=2, dim=3)).abs().amax()
    assert float(bend) < 1e-4, "without a push the map is affine"
    assert plain.shape == x.shape
    pushed = digital.elastic_transform(ramp, 4, Rng(0).for_rows(torch.arange(50)))
    assert float(pushed[:, :, 8:24, 8:24].diff(n=2, dim=3).abs().amax()) > 1e-3


@pytest.mark.golden("view", "corruption")
def test_the_published_numbers_of_what_chance_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of motion blur and snow, the fractal's decay, and the elastic push, in pixels of 32."""
    seen: list[tuple[object, ...]] = []

    def watch(holder: object, name: str, told: Callable[..., tuple[object, ...]]) -> None:
        original = getattr(holder, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(told(*args, **kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(holder, name, watched)

    def line(x: Tensor, radius: int, sigma: float, angle: Tensor) -> tuple[object, ...]:
        return radius, sigma, round(math.degrees(float(angle.min())) / 10), round(math.degrees(float(angle.max())) / 10)

    watch(blur, "motion", line)
    watch(weather, "motion", line)
    watch(weather, "diamond_square", lambda *args, roughness, **kwargs: (round(roughness**-0.5, 4),))
    watch(digital, "_affine", lambda x, shift, rng: (round(shift / 32, 4),))
    watch(digital, "elastic_transform2d", lambda x, field, kernel, sigma, strength, **kwargs: (
        kernel[0], round(sigma[0] / 32, 4), round(strength[0] / 2, 4)))  # fmt: skip
    x = photographs(1).expand(200, 3, 32, 32)
    found = {}
    for name in ("motion_blur", "snow", "fog", "elastic_transform"):
        seen.clear()
        for severity in SEVERITIES:
            corrupted(x, name, severity)
        found[name] = list(seen)
    lines = [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)]
    assert found["motion_blur"] == [(*line, -4, 4) for line in lines]
    lines = [(8, 3.0), (10, 4.0), (10, 4.0), (12, 6.0), (14, 12.0)]
    assert found["snow"] == [(*line, -13, -5) for line in lines]
    assert found["fog"] == [(3.0,), (3.0,), (2.5,), (2.0,), (1.75,)]
    assert found["elastic_transform"] == [
        (0.08,), (0.07,), (39, 0.2, 0.05), (0.06,), (13, 0.06, 0.08), (0.05,), (9, 0.04, 0.1), (0.03,), (7, 0.03, 0.1),
    ]  # fmt: skip


def test_all_but_frost_are_made_of_the_images_alone() -> None:
    assert set(corruption.names(extra=True)) - set(FUNCTIONS) == {"frost"} == set(corruption.PHOTOGRAPHED)
    assert set(FUNCTIONS) < set(corruption.names(extra=True))


def test_images_without_colour_are_refused_where_it_is_needed() -> None:
    for channels, name in ((1, "saturate"), (2, "saturate"), (2, "jpeg_compression")):
        with pytest.raises(UsageError, match=f"{name} .* {channels}.*: leave it out"):
            corrupted(torch.zeros(1, channels, 8, 8), name, 1)


@pytest.mark.parametrize("side", [(8, 8), (5, 12), (40, 33)])
def test_images_of_other_sizes_are_taken(side: tuple[int, int]) -> None:
    x = Rng(0, "x").uniform((3, 1, *side))
    for name in sorted(set(FUNCTIONS) - {"saturate"}):
        for severity in (1, 5):
            assert corrupted(x, name, severity).shape == x.shape
