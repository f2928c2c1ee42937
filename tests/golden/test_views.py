"""The views against torchvision's and Pillow's operations, and their draws against the stated ranges."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional

from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl_plugins.views import colour
from robustcl_plugins.views.geometry import resized_crop
from robustcl_plugins.views.none import Unchanged
from robustcl_plugins.views.strong import Strong
from robustcl_plugins.views.weak import Weak

MANY = 20_000
ADJUST = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def images(n: int = 12, item: tuple[int, ...] = (3, 32, 32)) -> Tensor:
    return Rng(7, "images").uniform((n, *item))


def rows(n: int, seed: int = 0) -> Rng:
    return Rng(seed, "view").for_rows(torch.arange(n))


def blank(item: tuple[int, ...] = (3, 32, 32)) -> Tensor:
    return torch.zeros(1).expand(MANY, *item)


def near(value: Tensor, expected: float, deviation: float = 0.5) -> bool:
    """Say whether the mean of MANY draws is within five standard errors."""
    return abs(float(value.double().mean()) - expected) < 5 * deviation / math.sqrt(MANY)


@pytest.mark.golden("view", "none")
def test_none_is_the_image() -> None:
    x = images()
    assert torch.equal(Unchanged().draw(x, rows(12)), x)


@pytest.mark.golden("view", "weak")
@pytest.mark.parametrize("item", [(3, 32, 32), (1, 8, 8), (2, 5, 9)])
def test_weak_moves_pixels_as_a_padded_crop(item: tuple[int, ...]) -> None:
    x, view = images(40, item), Weak(padding=3)
    out = view.draw(x, rows(40))
    chosen_rows, chosen_columns = view.shift(x, rows(40))
    mirrored = 0
    for i in range(40):
        columns = chosen_columns[i].tolist()
        flipped = columns[0] > columns[-1]
        mirrored += flipped
        top, left = int(chosen_rows[i, 0]) - 3, min(columns) - 3
        expected = functional.crop(x[i], top, left, item[1], item[2])  # zeros outside
        assert torch.equal(out[i], functional.horizontal_flip(expected) if flipped else expected)
    assert 5 < mirrored < 35


@pytest.mark.golden("view", "weak")
def test_weak_draws_every_shift_equally_often() -> None:
    top, columns = Weak(padding=2).shift(blank(), rows(MANY))
    left = columns.amin(1)
    counts = torch.bincount(top[:, 0] * 5 + left, minlength=25)
    assert len(counts) == 25
    assert (counts - MANY / 25).abs().max() < 5 * math.sqrt(MANY / 25)
    assert near((columns[:, 0] > columns[:, -1]).float(), 0.5)


def test_weak_without_padding_and_flip_is_the_image() -> None:
    x = images()
    assert torch.equal(Weak(padding=0, flip=0.0).draw(x, rows(12)), x)
    assert torch.equal(Weak(padding=0, flip=1.0).draw(x, rows(12)), x.flip(-1))


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("item", [(3, 32, 32), (1, 8, 8), (3, 20, 33)])
def test_crop_equals_torchvision(interpolation: str, item: tuple[int, ...]) -> None:
    x, view = images(64, item), Strong(scale=0.08, interpolation=interpolation)  # type: ignore[arg-type]
    boxes, mirrored = view.crops(x, rows(64))
    out = resized_crop(x, boxes, mirrored, interpolation)  # type: ignore[arg-type]
    mode = InterpolationMode(interpolation)
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        expected = functional.resized_crop(
            x[i], top, left, height, width, list(item[1:]), interpolation=mode, antialias=True
        )
        expected = functional.horizontal_flip(expected) if mirrored[i] else expected
        torch.testing.assert_close(out[i], expected, atol=2e-5, rtol=0)


@pytest.mark.golden("view", "strong")
def test_bicubic_crop_equals_pillow_to_a_grey_level() -> None:
    pixels = (images(16) * 127 + 64).round()  # Pillow also clips between the axes: stay clear of the ends
    pixels = pixels.to(torch.uint8)
    boxes, _ = Strong().crops(pixels, rows(16))
    out = resized_crop(pixels / 255, boxes, torch.zeros(16, dtype=torch.bool), "bicubic").clamp(0, 1) * 255
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        picture = Image.fromarray(pixels[i].permute(1, 2, 0).numpy())
        cut = picture.crop((left, top, left + width, top + height)).resize((32, 32), Image.Resampling.BICUBIC)
        difference = out[i].permute(1, 2, 0).numpy() - np.asarray(cut, dtype=np.float32)
        assert np.abs(difference).max() <= 1.51  # Pillow rounds after each axis


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_crops_are_drawn_from_the_stated_distribution(strength: float) -> None:
    view = Strong(strength=strength)
    boxes, mirrored = view.crops(blank(), rows(MANY))
    top, left, height, width = boxes.double().unbind(1)
    smallest = 1 - 0.9 * strength
    assert (height * width / 1024 > smallest - 0.1).all()
    assert (height >= 1).all()
    assert (width >= 1).all()
    # Half a pixel of rounding on either side.
    assert ((width + 0.5) / (height - 0.5) >= 3 / 4).all()
    assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
    assert (top + height <= 32).all()
    assert (left + width <= 32).all()
    assert near(mirrored.float(), 0.5)  # the flip does not fade with the strength
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params = [
            RandomResizedCrop.get_params(torch.empty(3, 32, 32), [smallest, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)
        ]
    theirs = torch.tensor(params, dtype=torch.float64)
    ours = boxes.double()
    error = theirs.std(0) * math.sqrt(1 / 4000 + 1 / MANY)
    assert ((theirs.mean(0) - ours.mean(0)).abs() < 5 * error + 1e-9).all()
    assert ((theirs.std(0) / ours.std(0)).nan_to_num(1) - 1).abs().max() < 0.1


def test_a_crop_that_never_fits_is_the_largest_centred_one() -> None:
    boxes, _ = Strong(scale=1.0).crops(torch.zeros(1).expand(5, 1, 8, 32), rows(5))
    expected = RandomResizedCrop.get_params(torch.empty(1, 8, 32), [1.0, 1.0], [3 / 4, 4 / 3])
    assert boxes.tolist() == [list(expected)] * 5


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_colours_are_drawn_from_the_stated_distribution(strength: float) -> None:
    view = Strong(strength=strength, brightness=1.5, contrast=0.4, saturation=0.2, hue=0.1, blur=0.5)
    drawn = view.colours(blank(), rows(MANY))
    ranges = [
        (max(0.0, 1 - 1.5 * strength), 1 + 1.5 * strength),
        (1 - 0.4 * strength, 1 + 0.4 * strength),
        (1 - 0.2 * strength, 1 + 0.2 * strength),
        (-0.1 * strength, 0.1 * strength),
    ]
    for values, (low, high) in zip(drawn.amount.unbind(1), ranges, strict=True):
        span = high - low
        assert low <= float(values.min()) < low + 0.01 * span
        assert high - 0.01 * span < float(values.max()) <= high
        assert near(values, (low + high) / 2, span / math.sqrt(12))
        assert float(values.std()) == pytest.approx(span / math.sqrt(12), rel=0.03)
    assert near(drawn.jittered.float(), 0.8 * strength)
    assert near(drawn.greyed.float(), 0.2 * strength)
    assert near(drawn.blurred.float(), 0.5 * strength)
    assert 0.1 <= float(drawn.sigma.min()) < 0.11
    assert 1.99 < float(drawn.sigma.max()) <= 2.0
    counts = Counter(map(tuple, drawn.order.tolist()))
    assert len(counts) == 24
    assert max(abs(count - MANY / 24) for count in counts.values()) < 5 * math.sqrt(MANY / 24)


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("item", [(3, 16, 16), (1, 8, 8)])
def test_jitter_equals_torchvision_image_by_image(item: tuple[int, ...]) -> None:
    x = images(96, item)
    x[0] = 0.25  # grey: no hue
    x[1] = 0.0
    drawn = Strong(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5).colours(x, rows(96))
    out = colour.jitter(x, drawn.amount, drawn.order, drawn.jittered)
    for i in range(96):
        expected = x[i]
        for number in drawn.order[i].tolist() if drawn.jittered[i] else []:
            if item[0] == 3 or number in (colour.BRIGHTNESS, colour.CONTRAST):
                expected = ADJUST[number](expected, float(drawn.amount[i, number]))
        torch.testing.assert_close(out[i], expected, atol=2e-5, rtol=0)
    assert not torch.equal(out, x)


def test_five_channels_have_no_saturation() -> None:
    x = images(4, (5, 6, 6))
    amount, order = (
        torch.tensor([[1.0, 1.0, 0.3, 0.4]]).expand(4, 4),
        torch.tensor([[2, 0, 3, 1]]).expand(4, 4),
    )
    assert torch.equal(colour.jitter(x, amount, order, torch.ones(4, dtype=torch.bool)), x)


def test_hue_of_pure_colours_by_hand() -> None:
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    turned = [colour.hue(red, torch.tensor([t])).flatten().tolist() for t in (1 / 3, -1 / 3, 0.5, 1 / 6)]
    assert turned[0] == pytest.approx([0, 1, 0], abs=1e-6)
    assert turned[1] == pytest.approx([0, 0, 1], abs=1e-6)
    assert turned[2] == pytest.approx([0, 1, 1], abs=1e-6)
    assert turned[3] == pytest.approx([1, 1, 0], abs=1e-6)


def test_grey_is_torchvisions_and_leaves_other_channels() -> None:
    x, chosen = images(4), torch.tensor([True, False, True, False])
    out = colour.greyed(x, chosen)
    for i in range(4):
        expected = functional.rgb_to_grayscale(x[i], num_output_channels=3) if chosen[i] else x[i]
        torch.testing.assert_close(out[i], expected, atol=1e-6, rtol=0)
    one = images(4, (1, 8, 8))
    assert torch.equal(colour.greyed(one, chosen), one)


@pytest.mark.golden("view", "strong")
def test_blur_equals_torchvision_where_it_is_drawn() -> None:
    x, view = images(24), Strong(strength=1.0, scale=1.0, ratio=1.0, flip=0.0, jitter=0.0, grey=0.0, blur=0.5)
    drawn = view.colours(x, rows(24).child("colour"))
    out = view.draw(x, rows(24))
    for i in range(24):
        expected = functional.gaussian_blur(x[i], [3, 3], [float(drawn.sigma[i])]) if drawn.blurred[i] else x[i]
        torch.testing.assert_close(out[i], expected, atol=1e-5, rtol=0)
    assert 4 < int(drawn.blurred.sum()) < 20


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("order", ["crop-first", "colour-first"])
def test_draw_is_its_parts_in_order(order: str) -> None:
    x, view = images(), Strong(order=order, interpolation="bilinear")  # type: ignore[arg-type]
    boxes, mirrored = view.crops(x, rows(12).child("crop"))
    drawn = view.colours(x, rows(12).child("colour"))

    def crop(y: Tensor) -> Tensor:
        return resized_crop(y, boxes, mirrored, "bilinear")

    def coloured(y: Tensor) -> Tensor:
        return colour.greyed(colour.jitter(y, drawn.amount, drawn.order, drawn.jittered), drawn.greyed)

    expected = coloured(crop(x)) if order == "crop-first" else crop(coloured(x))
    torch.testing.assert_close(view.draw(x, rows(12)), expected)


@pytest.mark.golden("view", "strong")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_strength_zero_leaves_only_the_flip(interpolation: str) -> None:
    x = images(40)
    still = Strong(strength=0.0, flip=0.0, blur=1.0, interpolation=interpolation)  # type: ignore[arg-type]
    assert torch.equal(still.draw(x, rows(40)), x)
    flipping = Strong(strength=0.0, interpolation=interpolation)  # type: ignore[arg-type]
    out = flipping.draw(x, rows(40))
    flipped = [torch.equal(out[i], x[i].flip(-1)) for i in range(40)]
    assert all(torch.equal(out[i], x[i]) for i in range(40) if not flipped[i])
    assert 8 < sum(flipped) < 32
    flipping.strength = 1.0  # as a schedule does
    assert not torch.equal(flipping.draw(x, rows(40)), out)


@pytest.mark.parametrize("view", [Strong(blur=0.5), Weak(padding=1)], ids=["strong", "weak"])
@pytest.mark.parametrize("item", [(3, 32, 32), (1, 8, 8), (5, 12, 20)])
def test_a_row_does_not_depend_on_its_neighbours(view: Strong | Weak, item: tuple[int, ...]) -> None:
    x, index = images(10, item), torch.arange(100, 110)
    state = torch.get_rng_state()
    whole = view.draw(x, Rng(3).for_rows(index))
    assert whole.shape == x.shape
    assert whole.isfinite().all()
    for part in (torch.tensor([4]), torch.tensor([9, 0, 5]), torch.arange(5, 10)):
        alone = view.draw(x[part], Rng(3).for_rows(index[part]))
        # The same draws; a matrix product of another batch size may round differently.
        torch.testing.assert_close(alone, whole[part], atol=1e-6, rtol=0)
    assert not torch.equal(view.draw(x, Rng(4).for_rows(index)), whole)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("view", [Strong(), Weak()])
def test_clips_are_refused_in_a_sentence(view: Strong | Weak) -> None:
    with pytest.raises(UsageError, match=r"takes images \(C, H, W\), not \(3, 4, 8, 8\)"):
        view.draw(torch.zeros(2, 3, 4, 8, 8), rows(2))


def test_gradient_flows_through_the_strong_view() -> None:
    x = images(6).requires_grad_()
    (gradient,) = torch.autograd.grad(Strong(blur=0.5).draw(x, rows(6)).sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
