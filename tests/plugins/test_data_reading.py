"""Folders, pictures and sources as they are read, divergences by hand, and what a coreset is chosen by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustcl.data.streamed import as_pixels, read_ahead, read_all
from robustcl.errors import DataError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.datasets.folders import list_images
from robustcl_plugins.datasets.imagefolder import FileSource, ImageFolder
from robustcl_plugins.datasets.pictures import decode
from robustcl_plugins.samplers.divergence import DISTANCES
from robustcl_plugins.samplers.rcs import RCS


def a_folder(root: Path) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (root / split / name / "deep").mkdir(parents=True)
            for place in (root / split / name / "2.png", root / split / name / "deep" / "1.png"):
                Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(place)
    return root


def test_folders_are_listed_class_by_class_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    train = a_folder(tmp_path) / "train"
    os.symlink(train / "cat", train / "cat" / "deep" / "round")
    (train / "cat" / "notes.txt").write_text("x")
    (train / "README").write_text("x")
    (train / "dog" / ".hidden").mkdir()
    listing = list_images(train)
    assert [file.relative_to(train).as_posix() for file in listing.files] == [
        "cat/2.png", "cat/deep/1.png", "dog/2.png", "dog/deep/1.png",
    ]  # fmt: skip
    assert (listing.classes, listing.labels) == (("cat", "dog"), [0, 0, 1, 1])
    source = FileSource(listing, 4)
    assert source.left_out == listing.left_out.facts()
    counts = {why: entry["count"] for why, entry in source.left_out.items()}
    assert counts == {
        "links back to a folder above": 1, ".txt": 1, "files beside the folders of the classes": 1, "hidden folders": 1,
    }  # fmt: skip
    assert source.fetch(torch.tensor([3, 0]))[:, 0, 0, 0].tolist() == [40, 0]
    assert source.fetch(torch.zeros(0, dtype=torch.int64)).shape == (0, 3, 4, 4)
    assert source.name(1).endswith("cat/deep/1.png")
    size = (train / "cat" / "2.png").stat().st_size
    assert source.identity().splitlines()[0] == f"cat/2.png {size}"
    mean, _ = ImageFolder(path=str(tmp_path), size=4).statistics()
    assert mean == pytest.approx((20 / 255, 0.0, 0.0))
    (train / "bird").mkdir()
    with pytest.raises(DataError, match="the folder bird has no image"):
        list_images(train)


def test_what_shows_through_is_white_and_what_is_whole_stays(tmp_path: Path) -> None:
    whole = np.full((8, 8, 4), 200, np.uint8)
    whole[..., 3] = 255
    Image.fromarray(whole).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 8).unique().tolist() == [200]
    whole[0, 0, 3] = 254
    Image.fromarray(whole).save(tmp_path / "b.png")
    assert decode(tmp_path / "b.png", 8).unique().tolist() == [200]
    whole[:4, :, :] = (0, 0, 0, 0)
    Image.fromarray(whole).save(tmp_path / "c.png")
    assert decode(tmp_path / "c.png", 8).unique().tolist() == [200, 255]


@pytest.mark.parametrize(
    ("low", "high", "refused"), [(0, 300, True), (100, 100, False), (0, 65_535, False), (0, 140, False)]
)
def test_grey_values_that_would_vanish_are_refused(tmp_path: Path, low: int, high: int, refused: bool) -> None:
    """Half a grey level of 8 bits are 128.5 of 16: 0 to 100 would be black, and 0 to 140 is 0 and 1."""
    values = np.full((8, 8), low, np.uint16)
    values[0, 0] = high if not refused else 100
    Image.fromarray(values).save(tmp_path / "a.png")
    if refused:
        with pytest.raises(DataError, match="would be one plain colour"):
            decode(tmp_path / "a.png", 8)
    else:
        assert decode(tmp_path / "a.png", 8)[0, 0, 0] == round(high / 257)


class Raw:
    item = (1, 1, 1)
    labels = torch.arange(6)

    def __init__(self, broken: frozenset[int] = frozenset()) -> None:
        self.broken = broken

    def fetch(self, index: Tensor) -> Tensor:
        if self.broken & set(index.tolist()):
            raise DataError("a broken file")
        return (index * 51).to(torch.uint8)[:, None, None, None]


def test_what_is_read_ahead_is_in_order_and_single_losses_are_told() -> None:
    order = [torch.tensor([3, 1]), torch.tensor([0])]
    assert [(i.tolist(), x.flatten().tolist()) for i, x in read_ahead(Raw(), order, 0)] == [
        ([3, 1], [153, 51]),
        ([0], [0]),
    ]
    found = [(i.tolist(), x.flatten().tolist(), lost) for i, x, lost in read_all(Raw(frozenset({1, 0})), order)]
    assert [(index, pixels) for index, pixels, _ in found] == [([3], [153]), ([], [])]
    assert [sorted(lost) for _, _, lost in found] == [[1], [0]]
    assert "a broken file" in found[0][2][1]
    assert as_pixels(torch.tensor([51], dtype=torch.uint8)).tolist() == pytest.approx([0.2])
    assert as_pixels(torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float32


def test_divergences_by_hand() -> None:
    q, p = torch.tensor([[0.0, 2.0, 1.0]], dtype=torch.float64), torch.tensor([[4.0, 0.0, 2.0]], dtype=torch.float64)
    soft_q, soft_p = q.softmax(1), p.softmax(1)
    assert float(DISTANCES["softmax-kl"](q, p)) == pytest.approx(float((soft_q * (soft_q / soft_p).log()).mean()))
    middle = (soft_q + soft_p) / 2
    js = ((soft_q * (soft_q / middle).log()).mean() + (soft_p * (soft_p / middle).log()).mean()) / 2
    assert float(DISTANCES["js"](q, p)) == pytest.approx(float(js))
    a, b = torch.tensor([0.0, 1.0, 0.5]) + 1e-8, torch.tensor([1.0, 0.0, 0.5]) + 1e-8
    assert float(DISTANCES["kl"](q, p)) == pytest.approx(float((a.double() * (a / b).double().log()).mean()), rel=1e-6)
    two = torch.cat([q, p])
    assert DISTANCES["kl"](two, two).tolist() == [0.0, 0.0]


class LineSurvey:
    """Projections are the head's weight times the pixel: gradients and choices by hand."""

    samples, batch = 5, 2
    ball = Ball("Linf", 0.1)

    def __init__(self) -> None:
        self.rng, self.lasting = Rng(0, "now"), Rng(0, "lasting")
        self.heads: list[list[float]] = []

    def parameters(self, part: str) -> dict[str, Tensor]:
        return {"w": torch.tensor([1.0, 2.0], requires_grad=True)}

    def originals(self, rows: Tensor) -> Tensor:
        return 0.5 + rows.float()[:, None] / 100

    def encode(self, x: Tensor, path: str, layer: str, parameters: Any) -> Tensor:
        if path.endswith(":clean"):
            self.heads.append(parameters["w"].tolist())
        return x * parameters["w"] * torch.tensor([1.0, 1.0 + float(path.endswith(":adv"))])

    def gradient(self, rows: Tensor, parameters: str, mode: str) -> list[Tensor]:
        assert (parameters, mode) == ("projector", "eval")
        return [torch.tensor([1.0, 0.5])]


def test_each_chosen_batch_moves_the_head_before_the_next_is_chosen() -> None:
    survey: Any = LineSurvey()
    taken = RCS(fraction=1.0, warmup=0, held_out=0.2, lr=0.25, steps=1).select(survey, 0)
    assert len(taken) == 4
    assert len(set(taken.tolist())) == 4
    heads = [list(map(float, each)) for each in dict.fromkeys(tuple(head) for head in survey.heads)]
    assert heads == [[1.0, 2.0], [0.75, 1.875]]


def test_a_palette_shows_through_and_a_large_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustcl_plugins.datasets import pictures

    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 90, 90, 90])
    palette.paste(0, (0, 0, 8, 4))
    palette.save(tmp_path / "a.png", transparency=0)
    assert decode(tmp_path / "a.png", 8)[0].unique().tolist() == [90, 255]
    for most, fits in ((64, True), (63, False)):
        monkeypatch.setattr(pictures, "LARGEST", most)
        if fits:
            pictures.read_header(tmp_path / "a.png")
        else:
            with pytest.raises(DataError, match="has 8 x 8 pixels, more than 63: save it smaller, or remove it"):
                pictures.read_header(tmp_path / "a.png")


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_the_divergence_is_a_mean_over_what_is_held_out(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl_plugins.samplers import rcs

    monkeypatch.setattr(rcs, "_CHUNK", chunk)
    survey: Any = LineSurvey()
    survey.ball = Ball("Linf", 0.0)  # nothing moves
    head = survey.parameters("projector")
    sampler = RCS(distance="softmax-kl", steps=1)
    held = torch.tensor([0, 4])
    (found,) = sampler.divergence_gradient(survey, held, head, 0)
    x, w = survey.originals(held), head["w"]
    loss = DISTANCES["softmax-kl"](x * w * torch.tensor([1.0, 2.0]), x * w).mean()
    torch.testing.assert_close(found, torch.autograd.grad(loss, w)[0])
