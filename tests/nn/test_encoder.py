"""The encoder: what it computes, what it leaves alone, and that it can be copied and built again."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import LAYERS, Encoder, build_encoder
from robustcl.nn.projector import Projector
from robustcl.protocols import Need
from robustcl.rng import Rng

ALL = frozenset(LAYERS)
H = frozenset({"h"})


class Tiny:
    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "a test's"

    def __init__(self, *, width: int = 4) -> None:
        self.width = width

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        convolution: Any = {3: nn.Conv2d, 4: nn.Conv3d}[len(item)]
        norm: Any = {3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[len(item)]
        pool: Any = {3: nn.AdaptiveAvgPool2d, 4: nn.AdaptiveAvgPool3d}[len(item)]
        layers = [convolution(item[0], self.width, 3), norm(self.width), nn.ReLU(), pool(1), nn.Flatten()]
        return nn.Sequential(*layers), self.width


def _encoder(**changes: Any) -> Encoder:
    given: dict[str, Any] = {
        "name": "tiny",
        "item": (2, 6, 6),
        "classes": 3,
        "projector": Projector(widths=(5, 7)),
        "mean": (0.5, 0.25),
        "std": (0.2, 0.4),
        "routes": ("clean", "adv"),
        "rng": Rng(0, "weights"),
    }
    return build_encoder(Tiny(), **{**given, **changes})


def _x(rows: int = 4, *item: int) -> Tensor:
    return Rng(0, "x").uniform((rows, *(item or (2, 6, 6))))


def test_shapes_and_values() -> None:
    encoder = _encoder().eval()
    found = encoder(_x(), "clean", ALL)
    normalised = (_x() - torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)) / torch.tensor([0.2, 0.4]).view(1, 2, 1, 1)
    h = encoder.backbone(normalised.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found.h, h)
    assert torch.equal(found.z, encoder.projector(h))
    assert encoder.classifier is not None
    assert torch.equal(found.logits, encoder.classifier(h))
    assert (found.h.shape, found.z.shape, found.logits.shape) == ((4, 4), (4, 7), (4, 3))
    assert (encoder.features, encoder.projection, encoder.classes) == (4, 7, 3)


def test_only_what_is_asked() -> None:
    encoder = _encoder()
    encoder(_x(), "adv", H)  # the first forward tries layouts
    calls = []
    for part in ("backbone", "projector", "classifier"):
        encoder.get_submodule(part).register_forward_hook(lambda *_, part=part: calls.append(part))
    found = encoder(_x(), "adv", H)
    assert calls == ["backbone"]
    assert found.has("h")
    assert not found.has("z")
    assert not found.has("logits")
    assert not found.has("maps")
    calls.clear()
    assert not encoder(_x(), "adv", frozenset({"logits"})).has("h")
    assert calls == ["backbone", "classifier"]


def test_routes_differ_and_do_not_touch_each_other() -> None:
    encoder = _encoder().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(_x(), "adv", ALL)
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(".others.adv." in name for name in changed)
    encoder.eval()
    assert not torch.equal(encoder(_x(), "adv", H).h, encoder(_x(), "clean", H).h)
    with pytest.raises(UsageError, match="has clean, adv"):
        encoder(_x(), "dirty", H)


def test_taps_return_maps_and_leave_no_hooks() -> None:
    encoder = _encoder().eval()
    found = encoder(_x(), "clean", H, frozenset({"0", "2"}))
    assert found.maps["0"].shape == found.maps["2"].shape == (4, 4, 4, 4)
    assert torch.equal(found.maps["2"].mean((2, 3)), found.h)
    assert not any(m._forward_hooks for m in encoder.modules())
    only = encoder(_x(), "clean", frozenset(), frozenset({"0"}))
    assert only.has("maps")
    assert not only.has("h")
    with pytest.raises(UsageError, match="no submodule 'layer3'"):
        encoder(_x(), "clean", H, frozenset({"layer3"}))
    with pytest.raises(UsageError, match=r"fails on 4 inputs of shape \(2, 1, 1\), RuntimeError: .*mend its backbone"):
        encoder(_x(4, 2, 1, 1), "clean", H, frozenset({"0"}))
    assert not any(m._forward_hooks for m in encoder.modules())


def test_clips() -> None:
    encoder = _encoder(item=(2, 4, 6, 6), mean=(0.5,), std=(0.1,))
    assert encoder.mean.shape == (1, 2, 1, 1, 1)
    assert encoder(_x(3, 2, 4, 6, 6), "adv", ALL).z.shape == (3, 7)


def test_bad_inputs_are_named() -> None:
    with pytest.raises(UsageError, match=r"takes inputs \(R, 2, 6, 6\), not \(4, 3, 6, 6\)"):
        _encoder()(_x(4, 3, 6, 6), "clean", H)
    with pytest.raises(UsageError, match="layer 'q' is unknown"):
        _encoder()(_x(), "clean", frozenset({"q"}))
    with pytest.raises(UsageError, match="without a classifier"):
        _encoder(classes=0)(_x(), "clean", frozenset({"logits"}))
    with pytest.raises(UsageError, match="must have 1 or 2 numbers"):
        _encoder(mean=(0.1, 0.2, 0.3))
    with pytest.raises(UsageError, match="must be positive"):
        _encoder(std=(0.1, 0.0))


def test_construction_is_seeded_and_leaves_the_global_generator() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = _encoder()
    first.reset_classifier(9, init="default", rng=Rng(5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    second = _encoder()
    second.reset_classifier(9, init="default", rng=Rng(5))
    other = _encoder(rng=Rng(1, "weights"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.get_parameter("backbone.0.weight"), other.get_parameter("backbone.0.weight"))


def test_reset_classifier() -> None:
    encoder = _encoder(classes=0).double().eval()
    assert encoder.classes == 0
    encoder.reset_classifier(5, init="zero", rng=Rng(0))
    assert encoder.classes == 5
    assert torch.equal(encoder(_x().double(), "clean", ALL).logits, torch.zeros(4, 5, dtype=torch.float64))
    encoder.reset_classifier(6, init="default", rng=Rng(0))
    assert encoder.classifier is not None
    assert encoder.classifier.weight.abs().max() <= 1 / encoder.features**0.5
    assert encoder.classifier.weight.abs().min() > 0
    assert not encoder.classifier.training


def test_a_deep_copy_is_independent() -> None:
    encoder = _encoder().train()
    twin = copy.deepcopy(encoder)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    assert torch.equal(twin.eval()(_x(), "adv", ALL).z, encoder.eval()(_x(), "adv", ALL).z)
    encoder.train()(_x(), "adv", ALL).z.sum().backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    encoder.router.choose("clean")
    assert twin.router.current == "adv"
    assert all(torch.equal(value, before[name]) for name, value in twin.state_dict().items())
    assert all(parameter.grad is None for parameter in twin.parameters())


def test_rerouted() -> None:
    encoder = _encoder().train()
    encoder(_x(), "adv", ALL)
    encoder.eval()
    single = encoder.rerouted({"main": "adv"})
    assert single.routes == ("main",)
    assert single.config["routes"] == ["main"]
    assert torch.equal(single(_x(), "main", ALL).z, encoder(_x(), "adv", ALL).z)
    double = single.rerouted({"clean": "main", "adv": "main"}).train()
    double(_x(), "clean", ALL)
    double.eval()
    assert torch.equal(double(_x(), "adv", ALL).z, single(_x(), "main", ALL).z)
    assert not torch.equal(double(_x(), "clean", ALL).z, single(_x(), "main", ALL).z)
    assert encoder.routes == ("clean", "adv")
    with pytest.raises(UsageError, match="'ema' is unknown"):
        encoder.rerouted({"main": "ema"})


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"widths": (2048, 256), "norm": False}, ["Linear+", "ReLU", "Linear+"]),
        (
            {"widths": (512, 512, 512), "norm": True, "last_norm": True},
            ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"],
        ),
        ({"widths": (512, 128), "norm": True}, ["Linear", "BatchNorm1d", "ReLU", "Linear+"]),
        ({"widths": ()}, []),
    ],
)
def test_projectors_of_the_papers(options: dict[str, Any], layers: list[str]) -> None:
    """A plus marks a bias."""
    head, width = Projector(**options).make(512)
    assert [
        type(m).__name__ + "+" * (getattr(m, "bias", None) is not None and isinstance(m, nn.Linear))
        for m in head.children()
    ] == layers
    assert width == (options["widths"] or (512,))[-1]
    assert head(torch.rand(3, 512)).shape == (3, width)


def test_without_a_projector_z_is_h() -> None:
    encoder = _encoder(projector=Projector(widths=()))
    found = encoder(_x(), "clean", ALL)
    assert torch.equal(found.z, found.h)
    assert encoder.projection == encoder.features
