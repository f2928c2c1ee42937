"""Folding, layouts, modes, routes and files of networks at their boundaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError, WeightsError
from robustcl.nn import folding
from robustcl.nn.card import render_card
from robustcl.nn.encoder import Encoder
from robustcl.nn.files import check_whole
from robustcl.nn.folding import fold
from robustcl.nn.layout import bears_channels_last, channels_last
from robustcl.nn.logits import Logits
from robustcl.nn.modes import hold_mode
from robustcl.nn.projector import Projector
from robustcl.nn.routing import Norm, Router, convert
from robustcl.nn.strict import fill
from robustcl.rng import Rng


def logits(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module(x)
    return found


def images(rows: int = 12) -> Tensor:
    return torch.rand(rows, 1, 4, 4, generator=torch.Generator().manual_seed(1))


class Tuned(nn.Module):
    """A convolution and its norm, with an error that shows only in a folded copy."""

    def __init__(self, error: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.error = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), error
        self.eval().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        found = self.norm(self.conv(x.to(self.conv.weight.dtype))).mean((2, 3))
        if isinstance(self.norm, nn.Identity):
            found = found + self.error * torch.tensor([1.0, 0.0])
        return found


@pytest.mark.parametrize(("share", "kept"), [(0.5e-4, True), (2e-4, False)])
def test_a_copy_may_differ_by_a_ten_thousandth_of_the_range(share: float, kept: bool) -> None:
    x = images()
    wanted = Tuned(0.0)(x[:8]).detach()
    spread = float(wanted.max() - wanted.min())
    assert (fold(Tuned(share * spread), logits, x) is not None) == kept


@pytest.mark.parametrize(("share", "kept"), [(1e-3, True), (0.01, True), (0.04, False)])
def test_a_copy_of_half_precision_is_single_and_held_less_tightly(share: float, kept: bool) -> None:
    x = images()
    wanted = Tuned(0.0)(x[:8]).detach()
    spread = float(wanted.max() - wanted.min())
    quick = fold(Tuned(share * spread, torch.float16), lambda module, x: module(x).float(), x)
    assert (quick is not None) == kept
    if quick is not None:
        assert {parameter.dtype for parameter in quick.parameters()} == {torch.float32}
        assert not any(parameter.requires_grad for parameter in quick.parameters())


def test_only_the_first_rows_are_looked_at_and_without_a_graph() -> None:
    seen: list[tuple[int, bool]] = []

    def forward(module: nn.Module, x: Tensor) -> Tensor:
        seen.append((len(x), torch.is_grad_enabled()))
        return logits(module, x)

    assert fold(Tuned(0.0), forward, images(20)) is not None
    assert set(seen) == {(8, False)}


def test_nothing_to_fold_is_nothing_gained() -> None:
    assert fold(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval(), logits, images()) is None
    norm_first = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.Flatten()).eval()
    assert fold(norm_first, logits, images()) is None


def test_a_convolution_that_is_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1), nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.conv(self.one(self.conv(x)))).flatten(1)

    assert fold(Twice().eval(), logits, images()) is None


def test_weights_are_cast_once_under_autocast_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval()
    plain = fold(model, logits, images())
    with torch.autocast("cpu", torch.bfloat16):
        cast = fold(model, logits, images())
        assert cast is not None
        assert cast(images()).dtype == torch.bfloat16
    assert not any(isinstance(part, folding._CastOnce) for part in (plain or model).modules())
    (once,) = [part for part in cast.modules() if isinstance(part, folding._CastOnce)]
    assert once.cast.weight.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert once.layer.weight.dtype == torch.float32  # type: ignore[union-attr]


class Sided(nn.Module):
    """Answers otherwise where images lie channels last, by a share of its range of 1."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        return torch.tensor([[0.0, 1.0]]).repeat(len(x), 1) + self.share * float(last)


@pytest.mark.parametrize(("share", "bears"), [(0.005, True), (0.015, False)])
def test_both_layouts_must_say_the_same(share: float, bears: bool) -> None:
    x = torch.rand(4, 3, 4, 4)
    assert bears_channels_last(lambda module, x: module(x), Sided(share), x) == bears


def test_only_images_have_a_layout() -> None:
    assert channels_last(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    clip = torch.zeros(2, 3, 2, 4, 4)
    assert channels_last(clip) is clip


@pytest.mark.parametrize("mode", ["eval", "batch", "train"])
def test_a_mode_holds_for_the_block_and_each_module_gets_its_own_back(mode: str) -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.BatchNorm1d(3, track_running_stats=False))
    net.train()
    net[1].eval()
    flags = [part.training for part in net.modules()]
    tracks = [getattr(part, "track_running_stats", None) for part in net.modules()]
    with hold_mode(net, mode):
        inside = [part.training for part in net]
        assert inside == {"eval": [False] * 3, "batch": [True, False, True], "train": [True] * 3}[mode]
        assert net[0].track_running_stats == (mode != "batch")
    assert [part.training for part in net.modules()] == flags
    assert [getattr(part, "track_running_stats", None) for part in net.modules()] == tracks
    still = nn.Sequential(nn.Dropout(0.5)).eval()
    with hold_mode(still, "eval"):
        still[0].train()
    assert not still[0].training


@pytest.mark.parametrize("routes", [(), ("a", "a"), ("1a",), ("a.b",), ("keys",), ("",)])
def test_names_that_are_no_routes(routes: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="route"):
        Router(routes)


def test_a_converted_norm_is_torchs_with_its_own_numbers() -> None:
    norm = nn.BatchNorm2d(3, eps=0.01, momentum=0.3)
    norm.weight.requires_grad_(False)
    nn.init.uniform_(norm.running_mean)
    routed = convert(nn.Sequential(norm), Router(("a", "b")))[0]  # type: ignore[index]
    for branch in (routed, routed.others["b"]):
        assert (branch.eps, branch.momentum, branch.weight.requires_grad, branch.bias.requires_grad) == (
            0.01,
            0.3,
            False,
            True,
        )
        assert torch.equal(branch.running_mean, norm.running_mean)
        assert branch.running_mean is not norm.running_mean
    with pytest.raises(ValueError, match="expected 4 axes, got 2"):
        Norm(norm)._check_input_dim(torch.zeros(2, 3))


@pytest.mark.parametrize("momentum", [0.25, None])
def test_statistics_over_ranks_are_torchs(momentum: float | None) -> None:
    """The rule for several processes, in one of them: it must be what torch does with the same rows."""
    x = Rng(0, "rows").normal((6, 3, 2, 2), dtype=torch.float64) * 5 + 100
    ours, theirs = (Norm(nn.BatchNorm2d(3, momentum=momentum, dtype=torch.float64)) for _ in range(2))
    for norm in (ours, theirs):
        nn.init.constant_(norm.weight, 1.5)
        nn.init.constant_(norm.bias, 0.25)
    for rows in (x, x[:4] * 2):
        torch.testing.assert_close(ours._across_ranks(rows), theirs(rows), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=1e-12, atol=0)
    assert int(ours.num_batches_tracked or 0) == 2
    ours.eval()
    ours._across_ranks(x)
    assert int(ours.num_batches_tracked or 0) == 2


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def encoder(**more: Any) -> Encoder:
    return Encoder(Flat(), 8, item=(2, 2, 2), **more)


def test_inputs_are_normalised_by_channel() -> None:
    x = torch.full((1, 2, 2, 2), 0.75)
    found = encoder(mean=(0.5, 0.25), std=(0.5, 0.125))(x, "main", frozenset({"h"})).h
    assert found.tolist() == [[0.5] * 4 + [4.0] * 4]
    assert encoder(mean=(0.5,), std=(0.25,))(x, "main", frozenset({"h"})).h.tolist() == [[1.0] * 8]
    for more, words in (
        ({"mean": (0.1, 0.2, 0.3)}, "mean .* must have 1 or 2 numbers"),
        ({"std": (0.0,)}, "must be positive"), ({"std": (0.1, -0.1)}, "must be positive"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            encoder(**more)


def test_a_fresh_classifier_is_zero_or_torchs_own_and_by_its_stream() -> None:
    model = encoder().double()
    model.reset_classifier(3, init="zero", rng=Rng(0))
    assert model.classifier is not None
    assert not bool(model.classifier.weight.any() or model.classifier.bias.any())
    assert model.classifier.weight.dtype == torch.float64
    assert model.classes == 3
    drawn = []
    for seed in (0, 1, 0):
        model.reset_classifier(300, init="default", rng=Rng(seed))
        drawn.append(model.classifier.weight.clone())
        assert model.classifier.weight.abs().max().item() == pytest.approx(8**-0.5, rel=0.01)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    model.eval()
    model.reset_classifier(3, rng=Rng(0))
    assert not model.classifier.training


def test_z_goes_through_the_projector_and_h_does_not() -> None:
    head, width = Projector(widths=(4, 3), norm=True, last_norm=False).make(8)
    assert width == 3
    kinds = [type(part).__name__ for part in head]  # type: ignore[union-attr]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert (head[0].bias is None, head[3].bias is None) == (True, False)  # type: ignore[index]
    model = encoder(projector=head, projection=3, classes=2).eval()
    x = torch.rand(5, 2, 2, 2)
    found = model(x, "main", frozenset({"h", "z", "logits"}))
    assert (found.h.shape, found.z.shape, found.logits.shape) == ((5, 8), (5, 3), (5, 2))
    torch.testing.assert_close(found.z, model.projector(found.h))
    torch.testing.assert_close(found.logits, model.classifier(found.h))  # type: ignore[misc]
    only = model(x, "main", frozenset({"z"}))
    assert (only.has("h"), only.has("z"), only.has("logits")) == (False, True, False)


def test_an_encoder_as_a_classifier_has_one_route_or_a_choice() -> None:
    model = encoder(classes=2, routes=("clean", "adv")).eval()
    x = torch.rand(2, 2, 2, 2)
    assert not Logits(model, "adv").training
    torch.testing.assert_close(Logits(model, "adv")(x), model(x, "adv", frozenset({"logits"})).logits)
    assert Logits(encoder(classes=2)).route == "main"
    for made, route, words in (
        (model, None, "has the batch-norm routes clean, adv: choose one"),
        (model, "avd", "has no route 'avd'.*did you mean 'adv'"),
        (encoder(), None, "has no classifier"),
    ):
        with pytest.raises(UsageError, match=words):
            Logits(made, route)


def header(table: object, numbers: int) -> bytes:
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + bytes(numbers)


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(("table", "numbers", "words"), [
    ({"a": tensor(0, 8, [2]), "b": tensor(8, 12, [1])}, 12, None),
    ({"__metadata__": {"x": "y"}, "b": tensor(4, 12, [2]), "a": tensor(0, 4, [2], "F16")}, 12, None),
    ({"a": tensor(0, 0, [0, 7])}, 0, None),
    ({"a": tensor(0, 8, [2])}, 7, "is truncated"),
    ({"a": tensor(0, 8, [2])}, 9, "longer than it says"),
    ({"a": tensor(0, 8, [3])}, 8, "'a' claims 12 bytes in 8"),
    ({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, 12, "'b' lies over another tensor"),
    ({"a": tensor(0, 8, [2]), "b": tensor(9, 13, [1])}, 13, "'b' follows a hole"),
    ({"a": tensor(4, 8, [1])}, 8, "'a' follows a hole"),
    ({"a": tensor(0, 8, [-1, -2])}, 8, "'a' claims 8 bytes in 8"),
    ({"a": tensor(0, 8, [2], "F31")}, 8, "header is unreadable"),
    ([], 0, "header is unreadable"),
])  # fmt: skip
def test_headers(table: object, numbers: int, words: str | None) -> None:
    data = header(table, numbers)
    if words is None:
        check_whole(data, Path("it"))
        return
    with pytest.raises(WeightsError, match=words if table != [] else "no safetensors file"):
        check_whole(data, Path("it"))


def test_a_header_that_names_a_tensor_twice_is_refused() -> None:
    text = b'{"a": %s, "a": %s}' % ((json.dumps(tensor(0, 8, [2])).encode(),) * 2)
    with pytest.raises(WeightsError, match="the safetensors header of it is damaged: a key stands in it twice"):
        check_whole(len(text).to_bytes(8, "little") + text + bytes(8), Path("it"))


def test_tensors_must_be_those_of_the_module() -> None:
    net = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 1)})
    other = {name: torch.ones_like(value) for name, value in net.state_dict().items()}
    kept = net["b"].weight.clone()
    fill(net, other, Path("it"), "model", skip=["b"])
    assert bool((net["a"].weight == 1).all())
    assert torch.equal(net["b"].weight, kept)
    for changed, words in (
        ({**other, "c": torch.ones(1)}, "1 unexpected: c$"),
        ({name: value for name, value in other.items() if name != "a.bias"}, "1 missing: a.bias$"),
        ({**other, "a.bias": torch.ones(3)}, r"1 of another shape: a.bias \(3,\) instead of \(2,\)$"),
        ({str(number): torch.ones(1) for number in range(6)}, "4 missing: .*; 6 unexpected: 0, 1, 2, 3 and 2 more$"),
    ):
        with pytest.raises(WeightsError, match=words):
            fill(net, changed, Path("it"), "model")


def test_a_card_says_what_the_encoder_is() -> None:
    text = render_card(
        {"encoder": {"use": "it", "width": 2, "stem": None}, "item": [1, 2, 2], "mean": [0.5], "std": [0.25],
         "features": 8, "projection": 4, "classes": 0, "routes": ["clean", "adv"], "sha256": "ab"},
        {"recipe": "a|b"},
    )  # fmt: skip
    for line in (
        "| encoder | it (width = 2) |", "| projector | none |", "| input | 1 x 2 x 2, values in [0, 1] |",
        "| batch-norm routes | clean, adv (clean holds the plain keys) |", "| recipe | a&#124;b |",
        "# it, trained with",
    ):  # fmt: skip
        assert line in text
