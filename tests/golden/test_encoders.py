"""The encoders against the papers' tables: layers, parameters, sizes of maps, and a forward pass by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18, resnet50

from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl_plugins.encoders.blocks import PadShortcut
from robustcl_plugins.encoders.cnn_4 import CNN4
from robustcl_plugins.encoders.resnet_18 import ResNet18
from robustcl_plugins.encoders.resnet_20 import ResNet20
from robustcl_plugins.encoders.resnet_50 import ResNet50
from robustcl_plugins.encoders.resnet_small import ResNetSmall
from robustcl_plugins.encoders.wrn_34_10 import WideResNet


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _x(*shape: int) -> Tensor:
    return Rng(0, "x").uniform(shape)


def _map(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    maps: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: maps.append(output))
    network(x)
    handle.remove()
    return maps[0]


@pytest.mark.golden("encoder", "resnet-18")
def test_resnet_18_is_torchvisions_under_the_imagenet_stem() -> None:
    reference = resnet18(weights=None).eval()
    network, features = ResNet18(stem="imagenet").backbone((3, 224, 224))
    network.eval().load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    reference.fc = nn.Identity()
    x = _x(2, 3, 64, 64)
    assert torch.equal(network(x), reference(x))
    assert features == 512
    assert _count(network) == 11_176_512  # torchvision's 11,689,512 without the 1000 x 513 of its classifier


@pytest.mark.golden("encoder", "resnet-18")
@pytest.mark.parametrize(("padding", "side"), [(None, 32), (1, 32), (2, 34)])
def test_resnet_18_cifar_stem(padding: int | None, side: int) -> None:
    """11,173,962 parameters with ten classes; padding 2 widens the maps under the same weights."""
    network, _ = ResNet18(stem_padding=padding).backbone((3, 32, 32))
    network.eval()
    assert _count(network) + 10 * 513 == 11_173_962
    x = _x(1, 3, 32, 32)
    assert _map(network, "layer1", x).shape == (1, 64, side, side)
    assert _map(network, "layer4", x).shape == (1, 512, -(-side // 8), -(-side // 8))
    assert network.geometry["stem_padding"] == (padding or 1)


@pytest.mark.golden("encoder", "resnet-18")
def test_resnet_18_paddings_are_two_functions_of_the_same_weights() -> None:
    one, _ = ResNet18(stem_padding=1).backbone((3, 32, 32))
    two, _ = ResNet18(stem_padding=2).backbone((3, 32, 32))
    two.load_state_dict(one.state_dict())
    x = _x(1, 3, 32, 32)
    assert not torch.allclose(one.eval()(x), two.eval()(x), rtol=1e-3)


@pytest.mark.golden("encoder", "resnet-50")
def test_resnet_50_is_torchvisions_but_for_its_stem() -> None:
    """25,557,032 parameters with 1000 classes; the stem of CIFAR has 1,728 where that of ImageNet has 9,408."""
    with torch.device("meta"):
        (usual, features), (small, _) = (ResNet50(stem=stem).backbone((3, 32, 32)) for stem in _STEMS)
        reference = resnet50(weights=None)
    assert features == 2048
    assert _count(usual) + 1000 * 2049 == _count(reference) == 25_557_032
    assert _count(small) + 10 * 2049 == 23_520_842
    shapes = {name: value.shape for name, value in reference.state_dict().items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in usual.state_dict().items()} == shapes
    x = torch.empty((1, 3, 32, 32), device="meta")
    sides = [_map(small.eval(), f"layer{n}", x).shape[1:] for n in (1, 2, 3, 4)]
    assert sides == [(256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]


_STEMS: tuple[Any, Any] = ("imagenet", "cifar")


@pytest.mark.golden("encoder", "wrn-34-10")
def test_wrn_34_10_has_the_published_size() -> None:
    """46.16 million with ten classes; 36.5 million with 28 layers, as the paper says of WRN-28-10."""
    x = torch.empty((1, 3, 32, 32), device="meta")
    with torch.device("meta"):
        (network, features), (shorter, _) = (WideResNet(depth=depth).backbone((3, 32, 32)) for depth in _DEPTHS)
    assert features == 640
    assert _count(network) + 10 * 641 == 46_160_474
    assert round((_count(shorter) + 10 * 641) / 1e6, 1) == 36.5
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in network.modules()) == 31
    sides = [_map(network.eval(), f"layer{n}", x).shape[1:] for n in (1, 2, 3)]
    assert sides == [(160, 32, 32), (320, 16, 16), (640, 8, 8)]


_DEPTHS: tuple[Any, Any] = (34, 28)


@pytest.mark.golden("encoder", "wrn-34-10")
def test_a_wide_resnet_written_out() -> None:
    """One block a stage: norm and ReLU before each convolution, a 1x1 one of the same where the shape changes."""
    network, features = WideResNet(depth=10, width=2).backbone((1, 8, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = Rng(0).normal((module.num_features,)) * 0.1
            module.running_var = Rng(1).uniform((module.num_features,), 0.5, 2.0)
    state = network.eval().state_dict()

    def active(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias).relu()

    x = _x(3, 1, 8, 8)
    y = F.conv2d(x, state["conv1.weight"], padding=1)
    for layer, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        before = active(y, f"{layer}.bn1")
        inner = active(F.conv2d(before, state[f"{layer}.conv1.weight"], stride=stride, padding=1), f"{layer}.bn2")
        y = F.conv2d(inner, state[f"{layer}.conv2.weight"], padding=1)
        y = y + F.conv2d(before, state[f"{layer}.shortcut.weight"], stride=stride)
    torch.testing.assert_close(network(x), active(y, "bn1").mean((2, 3)))
    assert features == 128


@pytest.mark.golden("encoder", "resnet-20")
@pytest.mark.parametrize(("shortcut", "parameters"), [("pad", 269_722), ("projection", 272_474)])
def test_resnet_20_parameters(shortcut: Any, parameters: int) -> None:
    """Table 6 says 0.27M with ten classes: 19 convolutions, their norms, 650 in the classifier."""
    network, features = ResNet20(shortcut=shortcut).backbone((3, 32, 32))
    assert features == 64
    assert _count(network) + 650 == parameters
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 19
    sides = [_map(network.eval(), f"layer{n}", _x(1, 3, 32, 32)).shape[1:] for n in (1, 2, 3)]
    assert sides == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


@pytest.mark.golden("encoder", "resnet-20")
def test_pad_shortcut_by_hand() -> None:
    """Every second pixel of each axis; the new channels are zero, half before and half behind."""
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y = PadShortcut(1, 3, 2)(x)
    assert y.tolist() == [[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 2.0], [8.0, 10.0]], [[0.0, 0.0], [0.0, 0.0]]]]


@pytest.mark.golden("encoder", "resnet-small")
def test_resnet_small_written_out() -> None:
    """One block a stage, projection where the shape changes, in plain functions."""
    network, features = ResNetSmall(width=2).backbone((1, 8, 8))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = Rng(0).normal((module.num_features,)) * 0.1
            module.running_var = Rng(1).uniform((module.num_features,), 0.5, 2.0)
    state = network.eval().state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolution(x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    x = _x(3, 1, 8, 8)
    y = norm(convolution(x, "conv1", 1, 1), "bn1").relu()
    for layer, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
        short = y
        if stride == 2:
            short = norm(convolution(y, f"{layer}.shortcut.0", 2, 0), f"{layer}.shortcut.1")
        inner = norm(convolution(y, f"{layer}.conv1", stride, 1), f"{layer}.bn1").relu()
        y = (norm(convolution(inner, f"{layer}.conv2", 1, 1), f"{layer}.bn2") + short).relu()
    torch.testing.assert_close(network(x), y.mean((2, 3)))
    assert features == 8


@pytest.mark.golden("encoder", "resnet-small")
@pytest.mark.parametrize(
    ("item", "sides"),
    [
        ((1, 8, 8), [8, 4, 2]),
        ((1, 28, 28), [28, 14, 7]),
        ((3, 32, 32), [32, 16, 8]),
        ((3, 96, 96), [24, 12, 6]),
        ((1, 2, 2), [2, 2, 2]),
        ((1, 4, 4), [4, 2, 2]),
    ],
)
def test_resnet_small_adapts_its_strides(item: tuple[int, ...], sides: list[int]) -> None:
    network, features = ResNetSmall(width=4, blocks=2).backbone(item)
    found = [_map(network.eval(), f"layer{n}", _x(1, *item)).shape[-1] for n in (1, 2, 3)]
    assert found == sides
    assert network(_x(2, *item)).shape == (2, features) == (2, 16)
    assert len(list(network.get_submodule("layer2").children())) == 2


@pytest.mark.golden("encoder", "cnn-4")
def test_cnn_4_is_table_one() -> None:
    """CIFAR: 64, 64, pool, 128, 128, pool, 256, 256; 32 -> 30 -> 28 -> 14 -> 12 -> 10 -> 5 pixels."""
    network, features = CNN4().backbone((3, 32, 32))
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() > 1]
    assert shapes == [
        (64, 3, 3, 3),
        (64, 64, 3, 3),
        (128, 64, 3, 3),
        (128, 128, 3, 3),
        (256, 3200),
        (256, 256),
    ]
    kinds = [type(m).__name__ for m in network.children()]
    half = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    assert kinds == [*half, *half, "Flatten", "Linear", "ReLU", "Linear", "ReLU"]
    h = network(_x(2, 3, 32, 32))
    assert h.shape == (2, features) == (2, 256)
    assert bool((h >= 0).all())


@pytest.mark.golden("encoder", "cnn-4")
def test_cnn_4_on_small_images() -> None:
    with pytest.raises(UsageError, match="set its padding to 1"):
        CNN4().backbone((1, 15, 15))
    assert CNN4().backbone((1, 16, 16))[0](_x(2, 1, 16, 16)).shape == (2, 256)
    network, features = CNN4(width=8, hidden=20, padding=1).backbone((1, 8, 8))
    assert network(_x(2, 1, 8, 8)).shape == (2, features) == (2, 20)


@pytest.mark.golden("encoder", "resnet-18")
@pytest.mark.golden("encoder", "resnet-20")
@pytest.mark.golden("encoder", "resnet-small")
@pytest.mark.golden("encoder", "resnet-50")
@pytest.mark.golden("encoder", "wrn-34-10")
@pytest.mark.golden("encoder", "cnn-4")
@pytest.mark.parametrize("plugin", [ResNet18(), ResNet20(), ResNet50(), WideResNet(), ResNetSmall(), CNN4()])
def test_clips_are_refused(plugin: Any) -> None:
    with pytest.raises(UsageError, match=r"takes images \(C, H, W\)"):
        plugin.backbone((3, 4, 32, 32))


@pytest.mark.golden("encoder", "resnet-20")
@pytest.mark.golden("encoder", "resnet-small")
@pytest.mark.parametrize("plugin", [ResNet20(), ResNetSmall()])
def test_initial_weights_have_the_variance_of_he(plugin: Any) -> None:
    """Two over fan-out; the largest layer has enough numbers to tell."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, _ = plugin.backbone((3, 32, 32))
    weight = network.get_parameter("layer3.0.conv1.weight")
    assert float(weight.detach().var()) == pytest.approx(2 / (64 * 9), rel=0.05)
