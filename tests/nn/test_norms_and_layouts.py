"""Norms, fold copies, layouts, initial weights and files of networks: what each says at its border."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import WeightsError
from robustcl.nn import weights
from robustcl.nn.encoder import build_encoder
from robustcl.nn.folding import fold
from robustcl.nn.layout import bears_channels_last
from robustcl.nn.projector import Projector
from robustcl.nn.routing import Norm, Router, convert
from robustcl.rng import Rng


def logits(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module(x)
    return found


def images(rows: int = 12) -> Tensor:
    return torch.rand(rows, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def rows(count: int) -> Tensor:
    return Rng(0, "rows").normal((count, 3, 2, 2), dtype=torch.float64) * 5 + 100


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.25, 1.0, None])
def test_statistics_over_ranks_are_kept_where_torch_keeps_them(
    training: bool, tracks: bool, affine: bool, momentum: float | None
) -> None:
    """The switch is turned off on a norm that has statistics, as a mode that writes nothing does."""
    ours = Norm(nn.BatchNorm2d(3, momentum=momentum, affine=affine, dtype=torch.float64))
    theirs = nn.BatchNorm2d(3, momentum=momentum, affine=affine, dtype=torch.float64)
    for norm in (ours, theirs):
        norm.track_running_stats = tracks
        norm.train(training)
        if affine:
            nn.init.constant_(norm.weight, 1.5)
            nn.init.constant_(norm.bias, 0.25)
    for x in (rows(6), rows(4) * 2):
        found = ours._across_ranks(x)
        if training:
            torch.testing.assert_close(found, theirs(x), rtol=1e-9, atol=1e-9)
    assert ours.running_mean is not None
    assert ours.running_var is not None
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=0)
    assert int(ours.num_batches_tracked or 0) == (2 if training and tracks else 0)


def test_norms_without_statistics_and_single_rows_are_normalised_too() -> None:
    bare = Norm(nn.BatchNorm2d(3, track_running_stats=False, dtype=torch.float64))
    torch.testing.assert_close(bare._across_ranks(rows(5)), bare(rows(5)), rtol=1e-9, atol=1e-9)
    assert bare.running_mean is None
    one = Norm(nn.BatchNorm2d(3, momentum=0.5, dtype=torch.float64))
    one._across_ranks(torch.full((1, 3, 1, 1), 4.0, dtype=torch.float64))  # of one number there is no n - 1
    assert one.running_var is not None
    assert one.running_var.tolist() == [0.5] * 3
    assert one.running_mean is not None
    assert one.running_mean.tolist() == [2.0] * 3
    half = Norm(nn.BatchNorm2d(3))
    assert half._across_ranks(rows(5).half()).dtype == torch.float16


def test_a_norm_whose_switch_was_turned_off_keeps_its_statistics_when_it_is_converted() -> None:
    norm = nn.BatchNorm2d(3, dtype=torch.float64)
    nn.init.constant_(norm.running_mean, 2.0)
    norm.track_running_stats = False
    expected = nn.Sequential(norm)
    routed = convert(nn.Sequential(norm), Router(("a", "b")))
    for training in (True, False):  # by the batch, writing nothing, and then by what was kept
        found = routed.train(training)(rows(5))
        torch.testing.assert_close(found, expected.train(training)(rows(5)), rtol=1e-12, atol=0)
    assert routed[0].running_mean.tolist() == [2.0] * 3  # type: ignore[index, union-attr, operator]
    norm.running_mean = norm.running_var = norm.num_batches_tracked = None  # and some take them away altogether
    for tracks in (False, True):
        norm.track_running_stats = tracks
        bare = convert(nn.Sequential(norm), Router(("a", "b"))).eval()
        torch.testing.assert_close(bare(rows(5)), expected.eval()(rows(5)), rtol=1e-12, atol=0)


class Named(nn.Module):
    """Two convolutions with norms; the first norm is called by its argument's name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3)
        self.first, self.second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        for norm in (self.first, self.second):
            nn.init.uniform_(norm.running_mean, 0.1, 0.9)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.two(self.first(input=self.one(x)))).flatten(1)


def test_a_norm_that_is_called_by_name_stays_and_the_others_are_folded() -> None:
    model = Named()
    quick = fold(model, logits, images())
    assert quick is not None
    assert isinstance(quick.first, nn.BatchNorm2d)
    assert isinstance(quick.second, nn.Identity)
    torch.testing.assert_close(quick(images()), model(images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lively", [0, 1, 2, 3])
def test_a_network_with_one_part_in_training_is_left_alone(lively: int) -> None:
    """A dropout that drops nothing and a norm that nobody calls would not be noticed by what they say."""
    parts = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.0), nn.Flatten()]
    model = nn.Sequential(*parts).eval()
    assert fold(model, logits, images()) is not None
    model[lively].training = True
    assert fold(model, logits, images()) is None
    assert model[lively].training


class Sided(nn.Module):
    """Says 0 and 100, or something else, where images lie channels last."""

    def __init__(self, plain: list[float], last: list[float]) -> None:
        super().__init__()
        self.plain, self.last = plain, last

    def forward(self, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return torch.tensor([self.last if last else self.plain], dtype=torch.float64).repeat(len(x), 1)


@pytest.mark.parametrize(("plain", "last", "bears"), [
    ([0.0, 100.0], [1.0, 100.0], True), ([0.0, 100.0], [1.0 + 1e-9, 100.0], False), ([0.0, 100.0], [0.0, 99.0], True),
    ([0.0, 100.0], [0.0, 98.9], False), ([5.0, 5.0], [5.0, 5.0], True), ([5.0, 5.0], [5.0, 5.0 + 1e-9], False),
    ([0.0, 0.0], [0.0, 0.0], True), ([0.0, 100.0], [0.0, 100.0, 0.0], False), ([0.0, 1.0], [0.0, float("nan")], False),
    ([float("nan"), 1.0], [0.0, 1.0], False),
])  # fmt: skip
def test_layouts_may_differ_by_a_hundredth_of_the_range_of_what_is_said(
    plain: list[float], last: list[float], bears: bool
) -> None:
    assert bears_channels_last(lambda module, x: module(x), Sided(plain, last), torch.rand(4, 3, 4, 4)) == bears


class Plugin:
    def __init__(self, *, width: int = 5) -> None:
        self.width = width

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Flatten(), nn.Linear(8, self.width)), self.width


def built(rng: Rng, classes: int = 3) -> Any:
    return build_encoder(
        Plugin(), name="flat", item=(2, 2, 2), classes=classes, projector=Projector(widths=(4, 2)), mean=(0.5,),
        std=(0.25,), routes=("main",), rng=rng,
    )  # fmt: skip


def test_initial_weights_are_of_the_stream_and_the_classifiers_of_one_below_it() -> None:
    """What was trained before hangs on these very numbers."""
    state = torch.random.get_rng_state()
    encoder = built(Rng(3, "encoder"))
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Rng(3, "encoder").seed())
        first = nn.Linear(8, 5)
        torch.manual_seed(Rng(3, "encoder").child("classifier").seed())
        classifier = nn.Linear(5, 3)
    assert torch.equal(encoder.backbone[1].weight, first.weight)
    assert torch.equal(encoder.classifier.weight, classifier.weight)
    assert torch.equal(encoder.classifier.bias, classifier.bias)
    assert built(Rng(3, "encoder"), classes=0).classifier is None
    assert encoder.config["encoder"] == {"use": "flat", "width": 5}
    assert (encoder.features, encoder.projection, encoder.classes) == (5, 2, 3)


@pytest.mark.parametrize(("files", "said"), [
    (0, "its folder is empty or missing"), (2, "its folder holds a, b;"),
    (8, "its folder holds a, b, c, d, e, f, g, h;"), (9, "its folder holds a, b, c, d, e, f, g, h;"),
])  # fmt: skip
def test_what_lies_beside_missing_weights_is_named_up_to_eight_files(tmp_path: Path, files: int, said: str) -> None:
    for name in "ihgfedcba"[9 - files :]:
        (tmp_path / name).write_text("x")
    with pytest.raises(WeightsError, match="does not exist") as caught:
        weights.read(tmp_path / "model.safetensors")
    assert said in str(caught.value)
    with pytest.raises(WeightsError, match="its folder is empty or missing"):
        weights.read(tmp_path / "nowhere" / "model.safetensors")
