"""Weights on disk: the round trip, and every file that is not one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from robustcl.errors import DiskError, WeightsError
from robustcl.nn import weights
from robustcl.nn.encoder import LAYERS, Encoder, build_encoder
from robustcl.nn.files import check_whole
from robustcl.nn.projector import Projector
from robustcl.protocols import EncoderPlugin
from robustcl.rng import Rng
from robustcl_plugins.encoders.resnet_18 import ResNet18
from robustcl_plugins.encoders.resnet_small import ResNetSmall

ALL = frozenset(LAYERS)


def _encoder(seed: int = 0, plugin: EncoderPlugin | None = None, **changes: Any) -> Encoder:
    given: dict[str, Any] = {
        "name": "resnet-small",
        "item": (1, 8, 8),
        "classes": 3,
        "projector": Projector(widths=(6, 5), norm=True),
        "mean": (0.3,),
        "std": (0.4,),
        "routes": ("clean", "adv"),
        "rng": Rng(seed),
    }
    return build_encoder(plugin or ResNetSmall(width=2), **{**given, **changes})


def _trained(seed: int = 0, **changes: Any) -> Encoder:
    encoder = _encoder(seed, **changes).train()
    for route in encoder.routes:
        encoder(Rng(seed, route).uniform((4, *encoder.item)), route, ALL)
    return encoder.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    weights.save(_trained(), tmp_path / "saved", about={"recipe": "ncp-deacl"})
    return tmp_path / "saved"


def _refused(path: Path, encoder: Encoder | None = None, **options: Any) -> str:
    """Load, expect a refusal of one sentence that leaves the encoder alone, and return it."""
    encoder = encoder or _encoder(1)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        weights.load(encoder, path, **options)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(folder: Path) -> None:
    saved, loaded = _trained(), _encoder(1, mean=(0.0,), std=(1.0,)).eval()
    x = Rng(9).uniform((4, 1, 8, 8))
    assert not torch.equal(loaded(x, "adv", ALL).z, saved(x, "adv", ALL).z)
    weights.load(loaded, folder)
    for route in saved.routes:
        for layer in LAYERS:
            assert torch.equal(getattr(loaded(x, route, ALL), layer), getattr(saved(x, route, ALL), layer))
    assert torch.equal(loaded.mean, saved.mean)
    weights.load(_encoder(2), folder / "model.safetensors")


def test_what_is_written(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["encoder"] == {"use": "resnet-small", "width": 2, "blocks": 1}
    assert config["geometry"]["strides"] == [1, 1, 2, 2]
    assert config["routes"] == ["clean", "adv"]
    assert config["mean"] == [0.3]
    card = (folder / "README.md").read_text()
    for words in (
        "resnet-small (width = 2, blocks = 1)",
        "clean, adv",
        config["sha256"],
        "| recipe | ncp-deacl |",
    ):
        assert words in card
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert {"mean", "std", "backbone.bn1.running_mean", "backbone.bn1.others.adv.running_mean"} <= set(tensors)


def test_saving_again_replaces(folder: Path) -> None:
    weights.save(_trained(5), folder)
    loaded = _encoder(1)
    weights.load(loaded, folder)
    assert torch.equal(
        loaded.get_parameter("backbone.conv1.weight"), _encoder(5).get_parameter("backbone.conv1.weight")
    )
    assert len(os.listdir(folder)) == 3


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def crash(*_: Any) -> None:
        raise OSError("disk full")

    before = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(os, moment, crash)
    with pytest.raises(DiskError, match="disk full"):
        weights.save(_trained(5), folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert len(os.listdir(folder)) == 3
    weights.load(_encoder(1), folder)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (b"<!DOCTYPE html><html><title>404</title></html>", "an HTML page"),
        (b"\n  <html>" + b" " * 64, "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00" + bytes(32), "gzip"),
        (b'{"format": "robustcl-encoder-1"}', "it is JSON"),
        (b"random bytes that are nothing at all", "begins like no file of weights"),
        (b"", "is empty"),
        (b"\x10", "no safetensors file"),
    ],
)
def test_other_files(folder: Path, begin: bytes, words: str) -> None:
    (folder / "model.safetensors").write_bytes(begin)
    assert words in _refused(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_unread(tmp_path: Path, zipped: bool) -> None:
    """The pickle would leave a mark if it were read."""
    mark = tmp_path / "mark"
    path = tmp_path / "model.pt"
    torch.save({"bomb": _Bomb(mark)}, path, _use_new_zipfile_serialization=zipped)
    message = _refused(path)
    assert "PyTorch pickle" in message
    assert "safetensors.torch.save_file" in message
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_truncated(folder: Path, kept: float) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "truncated" in _refused(folder)


def test_too_long(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    assert "longer than it says" in _refused(folder)


@pytest.mark.parametrize("place", [3, 9, 100, -40, -1])
def test_a_flipped_bit_anywhere(folder: Path, place: int) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    assert str(path) in _refused(folder)


def test_a_flipped_bit_in_the_numbers_is_told_by_its_digest(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256 differs" in _refused(folder)


def test_a_header_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    """A header of 0x0280 bytes puts a pickle's first two bytes at the start of the file."""
    header = b"{}".ljust(0x0280)
    data = len(header).to_bytes(8, "little") + header
    assert data.startswith(b"\x80\x02"), "as a pickle does"
    check_whole(data, tmp_path)
    assert safetensors.torch.load(data) == {}, "and the library reads it"
    with pytest.raises(WeightsError, match="pickle"):
        check_whole(data[:8] + b"(" + data[9:], tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routes": ("main",)}, "routes clean, adv instead of main"),
        ({"routes": ("adv", "clean")}, "routes clean, adv instead of adv, clean"),
        ({"projector": Projector(widths=(6, 4))}, "projection 5 instead of 4"),
        ({"classes": 4}, "classes 3 instead of 4"),
        ({"plugin": ResNetSmall(width=3)}, "width = 2"),
        ({"item": (1, 64, 64)}, "strides = 1, 1, 2, 2"),
        ({"item": (3, 8, 8)}, "of another shape"),
    ],
)
def test_another_encoder(folder: Path, changes: dict[str, Any], words: str) -> None:
    assert words in _refused(folder, _encoder(1, **changes))


def test_another_stem_padding_is_told_although_the_tensors_fit(tmp_path: Path) -> None:
    given: dict[str, Any] = {"name": "resnet-18", "item": (3, 32, 32), "projector": Projector(widths=())}
    weights.save(_encoder(0, ResNet18(stem_padding=2), **given), tmp_path)
    other = _encoder(0, ResNet18(), **given)
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    message = _refused(tmp_path, other)
    assert "stem_padding = 2" in message
    assert "stem_padding = 1" in message


def test_the_same_network_for_another_size_of_image(folder: Path) -> None:
    saved, larger = _trained(), _encoder(1, item=(1, 9, 9)).eval()
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    weights.load(larger, folder)
    assert larger.item == (1, 9, 9)
    assert before.keys() == saved.state_dict().keys()
    assert all(torch.equal(value, larger.state_dict()[name]) for name, value in saved.state_dict().items())
    assert any(not torch.equal(value, larger.state_dict()[name]) for name, value in before.items())
    x = Rng(9).uniform((4, 1, 8, 8))
    assert torch.equal(larger(x, "adv", ALL).h, saved(x, "adv", ALL).h)
    assert larger(Rng(9).uniform((4, 1, 9, 9)), "adv", ALL).h.shape == (4, saved.features)


def test_parts_may_be_skipped(folder: Path) -> None:
    encoder = _encoder(1, classes=7, projector=Projector(widths=(9,)))
    assert "classes" in _refused(folder, encoder, skip=["projector"])
    before = encoder.get_parameter("classifier.weight").clone()
    weights.load(encoder, folder, skip=["projector", "classifier"])
    assert torch.equal(encoder.get_parameter("classifier.weight"), before)
    assert torch.equal(
        encoder.get_parameter("backbone.conv1.weight"), _trained().get_parameter("backbone.conv1.weight")
    )
    assert "cannot be skipped" in _refused(folder, encoder, skip=["backbone"])


def test_other_tensors_under_a_matching_config(folder: Path) -> None:
    """A readable diff: missing, unexpected and misshapen tensors by name."""
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["backbone.bn1.weight"]
    tensors["surprise"] = torch.zeros(1)
    tensors["classifier.bias"] = torch.zeros(8)
    data = safetensors.torch.save(tensors)
    path.write_bytes(data)
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    message = _refused(folder)
    assert "1 missing: backbone.bn1.weight" in message
    assert "1 unexpected: surprise" in message
    assert "1 of another shape: classifier.bias (8,) instead of (3,)" in message


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    assert "does not exist" in _refused(tmp_path / "nowhere")
    assert "its folder holds saved" in _refused(tmp_path)
    (folder / "config.json").unlink()
    assert "config.json is missing" in _refused(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>", "damaged: Expecting value at line 1"),
        ("[]", "describes no encoder"),
        ('{"format": "other"}', "describes no encoder"),
    ],
)
def test_bad_configs(folder: Path, text: str, words: str) -> None:
    (folder / "config.json").write_text(text)
    assert words in _refused(folder)
