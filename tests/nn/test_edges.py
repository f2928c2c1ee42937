"""Networks at the places where a number, a type or a name decides: backbones, heads, layouts, models from outside."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.evaluate.probe import Caller
from robustcl.nn import outside
from robustcl.nn.backbone import features_of, require_trainable
from robustcl.nn.encoder import Encoder
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.files import check_whole
from robustcl.nn.layout import bears_channels_last, lay_out_channels_last, lay_out_contiguous
from robustcl.nn.modes import has_one_mode, hold_mode, is_training
from robustcl.nn.normalised import Normalised
from robustcl.nn.projector import Projector
from robustcl.nn.routing import Norm
from robustcl_plugins.encoders.blocks import PadShortcut, SmallResNet, identity_or
from robustcl_plugins.encoders.cnn_4 import CNN4
from robustcl_plugins.encoders.resnet_small import ResNetSmall, _strides


class Told(nn.Module):
    """Calls a function, and remembers how many rows it was given, and whether for a gradient."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.calls = function, list[tuple[int, bool]]()

    def forward(self, x: Tensor) -> Any:
        self.calls.append((len(x), torch.is_grad_enabled()))
        return self.function(x)


def pairs_alone(x: Tensor, moved: float = 0.0) -> Tensor:
    """Refuse a single row, and move the first one by a share of what its neighbour brings."""
    if len(x) == 1:
        raise RuntimeError("needs two rows")
    found = x.flatten(1).clone()
    found[0] = found[0] + moved * (found[1] - found[0])
    return found


def test_one_row_is_let_through_in_eval_mode_alone() -> None:
    x = torch.rand(1, 2, 2)
    backbone = Told(pairs_alone).eval()
    assert torch.equal(features_of(backbone, x, 4, "it"), x.flatten(1))
    assert [rows for rows, _ in backbone.calls] == [1, 2, 2]
    with pytest.raises(UsageError, match=r"the encoder .it. fails on 1 inputs of shape \(2, 2\), RuntimeError: needs"):
        features_of(backbone.train(), x, 4, "it")
    leaf = x.clone().requires_grad_()
    features_of(backbone.eval(), leaf, 4, "it").sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(x))  # type: ignore[arg-type]


@pytest.mark.parametrize(("moved", "kept"), [(0.5e-3, True), (0.9e-3, True), (4.5e-3, False), (-4.5e-3, False)])
def test_a_neighbour_may_move_a_row_by_a_thousandth(moved: float, kept: bool) -> None:
    """Beside a dimmed copy the row moves by half of the share: of entries of 1, 0.225 % at most pass 0.1 + 0.1 %."""
    backbone = Told(lambda x: pairs_alone(x, moved)).eval()
    x = torch.ones(1, 4)
    if kept:
        assert torch.equal(features_of(backbone, x, 4, "it"), x)
    else:
        with pytest.raises(
            UsageError, match="fails on a batch of 1, RuntimeError: needs two rows: one input may be left"
        ):
            features_of(backbone, x, 4, "it")


@pytest.mark.parametrize(("made", "said"), [
    (lambda x: [x], "returns a list"), (lambda x: x.flatten(1)[:, :3], r"returns torch.float32 \(2, 3\)"),
    (lambda x: x.flatten(1).long(), r"returns torch.int64 \(2, 4\)"),
    (lambda x: x.flatten(1)[:1], r"returns torch.float32 \(1, 4\)"),
    (lambda x: x.flatten(), r"returns torch.float32 \(8,\)"),
])  # fmt: skip
def test_features_of_another_shape(made: Any, said: str) -> None:
    with pytest.raises(UsageError, match=rf"'it' must return features \(2, 4\), but its backbone {said}"):
        features_of(Told(made).eval(), torch.rand(2, 2, 2), 4, "it")


def test_a_backbone_that_squeezes_one_row_is_understood() -> None:
    squeezing = Told(lambda x: x.flatten(1).squeeze(0)).eval()
    assert features_of(squeezing, torch.rand(1, 2, 2), 4, "it").shape == (1, 4)
    with pytest.raises(UsageError, match=r"returns torch.float32 \(4,\)"):
        features_of(squeezing.train(), torch.rand(1, 2, 2), 4, "it")


def test_what_no_training_changes_is_named_by_its_place() -> None:
    with torch.inference_mode():
        inert = nn.Sequential(nn.Linear(2, 2))
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    for backbone, words in (
        (inert, "its 0.weight was made under torch.inference_mode"), (lazy, "its 1.weight is lazy"),
        (nn.Sequential(nn.Linear(2, 2, device="meta")), "its 0.weight is on the meta device"),
        (nn.Sequential(nn.BatchNorm1d(2, affine=False, device="meta")), "its 0.running_mean is on the meta device"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            require_trainable(backbone, "it")
    require_trainable(nn.Sequential(nn.BatchNorm1d(2)), "it")
    with torch.device("meta"):
        require_trainable(nn.Sequential(nn.Linear(2, 2)), "it")


def test_a_norm_stays_on_its_device_and_in_its_type() -> None:
    for like in (nn.BatchNorm2d(3, device="meta"), nn.BatchNorm2d(3, affine=False, device="meta")):
        assert Norm(like).running_mean.is_meta  # type: ignore[union-attr]
    assert Norm(nn.BatchNorm2d(3, dtype=torch.float64)).weight.dtype == torch.float64
    bare = Norm(nn.BatchNorm2d(3, affine=False, track_running_stats=False))
    assert (bare.weight, bare.running_mean) == (None, None)
    assert Norm(nn.BatchNorm2d(3).eval()).training is False


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_one_number_normalises_every_channel_and_is_loaded_into_each() -> None:
    model = Encoder(Flat(), 8, item=(2, 2, 2), mean=(0.5,), std=(0.25,))
    state = {**model.state_dict(), "mean": torch.tensor([0.1, 0.2]).view(1, 2, 1, 1)}
    model.load_state_dict(state)
    assert model.mean.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert model.mean.shape == (1, 2, 1, 1)


def test_a_backbone_that_draws_is_found_out_before_it_was_ever_called() -> None:
    class Drawing(Flat):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(1)

    Encoder(Flat(), 8, item=(2, 2, 2)).require_steady()
    with pytest.raises(UsageError, match="the encoder 'Drawing' does not hold still in eval mode"):
        Encoder(Drawing(), 8, item=(2, 2, 2)).require_steady()


def test_a_deep_head_has_norms_and_biases_where_they_are_said() -> None:
    for norm, last in ((True, True), (True, False), (False, True), (False, False)):
        head, width = Projector(widths=(5, 4, 3), norm=norm, last_norm=last).make(6)
        kinds = [type(part).__name__ for part in head]  # type: ignore[union-attr]
        middle = ["Linear", *(["BatchNorm1d"] if norm else []), "ReLU"]
        assert kinds == [*middle, *middle, "Linear", *(["BatchNorm1d"] if last else [])]
        layers = [part for part in head if isinstance(part, nn.Linear)]  # type: ignore[union-attr]
        assert [layer.bias is not None for layer in layers] == [not norm, not norm, not last]
        assert [(layer.in_features, layer.out_features) for layer in layers] == [(6, 5), (5, 4), (4, 3)]
        assert width == 3


def test_layouts_are_tried_on_a_few_rows_and_forward_and_backward() -> None:
    convolution = nn.Conv2d(3, 2, 1)
    model = Told(lambda x: convolution(x).mean((2, 3)))
    assert bears_channels_last(lambda module, x: module(x), model, torch.rand(20, 3, 4, 4))
    assert model.calls == [(8, True), (8, True)]

    def views(x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            raise RuntimeError("view size is not compatible")
        return x.flatten(1)

    assert not bears_channels_last(lambda module, x: module(x), Told(views), torch.rand(2, 3, 4, 4))
    neither = Told(lambda x: x.no_such_method())
    assert not bears_channels_last(lambda module, x: module(x), neither, torch.rand(2, 3, 4, 4))
    assert bears_channels_last(lambda module, x: module(x), Told(lambda x: "words"), torch.rand(2, 3, 4, 4))


def test_weights_of_convolutions_alone_are_laid_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv1d(3, 4, 3), nn.Linear(3, 2))
    before = [parameter.clone() for parameter in net.parameters()]
    lay_out_channels_last(net)
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not net[0].weight.is_contiguous()
    lay_out_contiguous(net)
    assert net[0].weight.is_contiguous()
    assert all(torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


def test_parameters_are_frozen_for_an_attack_and_given_back() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(3, 2))
    net[1].bias.requires_grad_(False)
    flags, data = [p.requires_grad for p in net.parameters()], net[0].weight.data_ptr()
    for last in (True, False):
        with frozen_for_attack(net, last):
            assert not any(p.requires_grad for p in net.parameters())
            assert net[0].weight.is_contiguous(memory_format=torch.channels_last) == last
        assert [p.requires_grad for p in net.parameters()] == flags
        with pytest.raises(ZeroDivisionError), frozen_for_attack(net, last):
            raise ZeroDivisionError
        assert [p.requires_grad for p in net.parameters()] == flags
        assert net[0].weight.data_ptr() == data


def test_an_unknown_mode_is_refused_and_flags_are_read() -> None:
    with pytest.raises(UsageError, match="the batch-norm mode 'test' is unknown: write one of eval, batch, train"):
        hold_mode(nn.Identity(), "test").__enter__()
    assert not is_training(object())  # type: ignore[arg-type]
    assert is_training(nn.Identity())
    exported = nn.Identity()
    assert not has_one_mode(exported)
    exported.__dict__["train"] = None
    assert has_one_mode(exported)


def test_normalised_images_by_hand() -> None:
    model = Normalised(nn.Identity(), [0.5, 0.25], [0.5, 0.125])
    for shape in ((2, 2, 3, 3), (2, 2, 4), (2, 2)):
        found = model(torch.full(shape, 0.75))
        assert found[:, 0].unique().tolist() == [0.5]
        assert found[:, 1].unique().tolist() == [4.0]


@pytest.mark.parametrize(("side", "strides"), [
    (1, (1, 1, 1, 1)), (2, (1, 1, 1, 1)), (3, (1, 1, 2, 1)), (4, (1, 1, 2, 1)), (5, (1, 1, 2, 2)), (32, (1, 1, 2, 2)),
    (33, (2, 1, 2, 2)), (64, (2, 1, 2, 2)), (65, (4, 1, 2, 2)),
])  # fmt: skip
def test_strides_of_small_images(side: int, strides: tuple[int, ...]) -> None:
    assert _strides(side) == strides


def test_small_networks_by_their_shapes() -> None:
    net = SmallResNet(2, (3, 4), 2, (2, 1, 2), "projection")
    assert net.geometry == {"stem_kernel": 3, "stem_padding": 1, "strides": [2, 1, 2]}
    assert (net.conv1.in_channels, net.conv1.out_channels, net.conv1.stride) == (2, 3, (2, 2))
    blocks = [block for stage in (net.layer1, net.layer2) for block in stage]  # type: ignore[union-attr]
    assert [(b.conv1.in_channels, b.conv1.out_channels, b.conv1.stride[0]) for b in blocks] == [
        (3, 3, 1), (3, 3, 1), (3, 4, 2), (4, 4, 1),
    ]  # fmt: skip
    assert [type(b.shortcut).__name__ for b in blocks] == ["Identity", "Identity", "Sequential", "Identity"]
    assert type(identity_or("pad", 3, 3, 2)).__name__ == "PadShortcut"
    assert type(identity_or("pad", 3, 4, 1)).__name__ == "PadShortcut"
    assert all(part.bias is None for part in net.modules() if isinstance(part, nn.Conv2d))
    image = torch.rand(2, 2, 8, 8)
    y = net.eval().layer2(net.layer1(net.relu(net.bn1(net.conv1(image)))))  # type: ignore[operator]
    torch.testing.assert_close(net(image), y.mean((2, 3)))
    backbone, features = ResNetSmall(width=3).backbone((1, 8, 6))
    assert (features, backbone(torch.rand(2, 1, 8, 6)).shape) == (12, (2, 12))
    assert [backbone.get_submodule(f"layer{i}")[0].conv1.out_channels for i in (1, 2, 3)] == [3, 6, 12]  # type: ignore[index]
    x = torch.rand(2, 3, 4, 4)
    padded = PadShortcut(3, 6, 2)(x)
    assert torch.equal(padded[:, 1:4], x[:, :, ::2, ::2])
    assert not padded[:, [0, 4, 5]].any()


@pytest.mark.parametrize(("sides", "padding", "last"), [((16, 20), 0, 4 * 1 * 2), ((7, 4), 1, 4 * 1 * 1)])
def test_cnn_4_keeps_what_its_poolings_leave(sides: tuple[int, int], padding: Any, last: int) -> None:
    net, features = CNN4(width=2, hidden=3, padding=padding).backbone((1, *sides))
    assert features == 3
    widths = [part.out_channels for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert widths == [2, 2, 4, 4]
    assert net(torch.rand(2, 1, *sides)).shape == (2, 3)
    (first, _) = [part for part in net.modules() if isinstance(part, nn.Linear)]
    assert first.in_features == last
    with pytest.raises(UsageError, match=r"cnn-4 leaves nothing of images \(15, 16\): set its padding to 1"):
        CNN4().backbone((1, 15, 16))
    with pytest.raises(UsageError, match=r"leaves nothing of images \(3, 4\)"):
        CNN4(padding=1).backbone((1, 3, 4))


def test_the_working_folder_is_searched_last_and_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_model_of_here.py").write_text(
        "import torch\nimport beside\nbuild = lambda: torch.nn.Linear(1, beside.WIDTH)\nnumber = 3\n"
        "class Inner:\n    build = staticmethod(build)\n"
    )
    (tmp_path / "beside.py").write_text("WIDTH = 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    finders = list(sys.meta_path)
    for name in ("a_model_of_here", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        for spec in ("a_model_of_here:build", "a_model_of_here:Inner.build"):
            model = outside.build(spec, None, 10)
            assert (model.out_features, model.training) == (2, False)
        assert sys.path.count(str(tmp_path)) == 1
        assert sys.path[-1] == str(tmp_path)
        assert sys.meta_path == finders
        for spec, words in (
            ("a_model_of_here:number", "is a int: name a function"), ("a_model_of_here:bild", "did you mean 'build'"),
            ("a_model_of_here", "write module:function"), (":build", "write module:function"), ("a:", "write module:f"),
            ("a-b:c", "write module:function"), ("a..b:c", "write module:function"),
            ("no_such_module_here:build", "there is no module 'no_such_module_here' here or installed"),
        ):  # fmt: skip
            with pytest.raises(UsageError, match=words):
                outside.build(spec, None, 10)
    finally:
        for name in ("a_model_of_here", "beside"):
            sys.modules.pop(name, None)


def test_who_interrupts_is_a_person_or_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(KeyboardInterrupt):
        pass

    handlers = {"now": signal.default_int_handler}
    monkeypatch.setattr(signal, "getsignal", lambda number: handlers["now"])
    for handler, error, ours in (
        (signal.default_int_handler, KeyboardInterrupt(), True), (signal.SIG_IGN, KeyboardInterrupt(), False),
        (signal.default_int_handler, Own(), False), (signal.default_int_handler, SystemExit(0), False),
    ):  # fmt: skip
        handlers["now"] = handler  # type: ignore[assignment]
        assert outside._is_ours(error) == ours


def test_a_published_normalisation_is_asked_about_where_the_weights_are_others() -> None:
    said: list[str] = []
    own = nn.Identity()
    found = outside._normalised(own, "resnet18", "own", 10, "--model", said.append)
    assert isinstance(found, Normalised)
    assert not hasattr(own, "transform_input")
    assert found.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert found.std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert isinstance(outside._normalised(own, "resnet18", "", 1000, "--model", said.append), Normalised)
    assert outside._normalised(own, "resnet18", "plain", 10, "--model", said.append) is own
    assert [line.startswith("torchvision:resnet18: images are normalised by") for line in said] == [True, True, False]
    with pytest.raises(UsageError, match="these weights tell 10 classes apart and the published ones 1000"):
        outside._normalised(own, "resnet18", "", 10, "--model", said.append)
    for flag in (False, True):
        inner = nn.Identity()
        inner.transform_input = flag
        outside._normalised(inner, "googlenet", "own", 10, "--model", said.append)
        assert inner.transform_input is True


@pytest.mark.parametrize(("data", "words"), [
    (b"", "is empty"), (b"\x02\0\0\0\0\0\0\0{", "is truncated within its header"), (b"PK\x03\x04" + bytes(9), "pickle"),
    ((100_000_001).to_bytes(8, "little") + b"{", "no safetensors file"), (b" <html>" + bytes(9), "an HTML page"),
    ((100_000_000).to_bytes(8, "little") + b"{", "truncated within its header"),
    (b"\x1f\x8b" + bytes(9), "a gzip archive"),
    (bytes([2, 0, 0, 0, 0, 0, 0, 1]) + b"{}", "no safetensors file"), (b"{}", "it is JSON"),
    (b"\x80\x02" + bytes(9), "pickle"),
    (b"\x80\x06" + bytes(9), "begins like no file of weights"),
    (b"version https://git-lfs", "Git LFS pointer"), (b"\x02\0\0\0\0\0\0\0[]", "begins like no file of weights"),
])  # fmt: skip
def test_files_that_are_no_weights(data: bytes, words: str) -> None:
    from robustcl.errors import WeightsError

    with pytest.raises(WeightsError, match=words):
        check_whole(data, Path("it"))


def fixed(size: int, function: Any = lambda x: x.flatten(1)) -> Told:
    def call(x: Tensor) -> Tensor:
        if len(x) != size:
            raise RuntimeError(f"takes {size}")
        found: Tensor = function(x)
        return found

    return Told(call)


def test_batches_of_a_fixed_size_are_filled_and_cut() -> None:
    caller, model, x = Caller(), fixed(4), torch.rand(10, 3)
    assert torch.equal(caller(model, x).logits, x)
    assert torch.equal(caller(model, x[:4]).logits, x[:4])
    assert torch.equal(caller(model, x[:3]).logits, x[:3])
    model.calls.clear()
    assert torch.equal(caller(model, x[:3]).logits, x[:3])
    assert [rows for rows, _ in model.calls] == [4], "known from the time before: one call"
    leaf = x[:3].clone().requires_grad_()
    caller(model, leaf).logits.sum().backward()
    assert torch.equal(leaf.grad, torch.ones(3, 3))  # type: ignore[arg-type]


def test_a_size_that_nobody_takes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="takes 77"):
        Caller()(fixed(77), torch.rand(3, 2))


@pytest.mark.parametrize(("share", "kept"), [(0.9e-3, True), (1.2e-3, False)])
def test_rows_of_a_filled_batch_must_be_their_own(share: float, kept: bool) -> None:
    """The first logit of a row moves by a share of the spread of 1 with what stands behind it."""

    def mingled(x: Tensor) -> Tensor:
        other = (x[-1] != x[0]).any().float()
        return torch.stack([torch.zeros(len(x)), torch.ones(len(x))], 1) + share * other * torch.tensor([1.0, 0.0])

    caller, model = Caller(), fixed(2, mingled)
    x = torch.rand(2, 3)
    caller(model, torch.stack([x[0], x[0]]))
    if kept:
        caller(model, x[:1])
    else:
        with pytest.raises(UsageError, match="rows of a batch change each other's logits"):
            caller(model, x[:1])


def test_inputs_take_the_weights_type_only_where_they_must() -> None:
    half = nn.Linear(3, 2).half()
    caller, x = Caller(), torch.rand(2, 3)
    assert caller(half, x).logits.shape == (2, 2)
    assert caller(half, x).logits.dtype == torch.float16

    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.seen = nn.Linear(3, 2).double(), set[torch.dtype]()

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add(x.dtype)
            return self.linear(x.double())

    own = Casting()
    Caller()(own, x)
    assert own.seen == {torch.float32}, "it casts by itself"


def test_a_batch_norm_in_torchscript_takes_no_branches() -> None:
    class Scripted(torch.jit.ScriptModule):
        """What torch.jit.script makes of a norm, as far as anybody can see: its buffers and its flag."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(2))
            self.register_buffer("running_var", torch.ones(2))

    with pytest.raises(UsageError, match="its backbone is a batch norm in TorchScript"):
        require_trainable(Scripted(), "it")


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    from robustcl.errors import WeightsError

    with pytest.raises(WeightsError, match=r"--weights .*none\.safetensors does not exist"):
        outside._tensors(tmp_path / "none.safetensors", "--weights")
