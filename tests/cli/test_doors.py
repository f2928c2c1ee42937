"""The commands take a model that views its convolution's output, and numbers of narrow or squashed outputs are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import robustcl as library
from robustcl.cli.main import robustcl

MODEL = """
import torch
from torch import nn

class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 3)

    def forward(self, x):
        return self.fc(self.conv(x.view(-1, 3, 8, 8)).relu().view(-1, 256))

def build():
    return LeNet().eval()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lenet.py").write_text(MODEL, encoding="utf-8")
    draw = np.random.default_rng(0)
    images = {f"x_{split}": draw.random((24, 8, 8, 3), dtype=np.float32) for split in ("train", "test")}
    labels = {f"y_{split}": np.arange(24) % 3 for split in ("train", "test")}
    np.savez(tmp_path / "images.npz", **images, **labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command", [("evaluate", "--attack", "fgsm", "--no-audit", "--out", "judged"), ("audit", "--samples", "4")]
)
def test_a_command_takes_a_model_that_views_its_convolution(command: tuple[str, ...], here: Path) -> None:
    words = [*command, "--model", "lenet:build", "--dataset", "npz:images.npz", "--device", "cpu"]
    done = CliRunner().invoke(robustcl, words, standalone_mode=False)
    assert done.exception is None, done.exception


def test_flat_inputs_that_a_model_shapes_itself() -> None:
    scope: dict[str, object] = {}
    exec(MODEL, scope)
    net = scope["build"]()  # type: ignore[operator]
    x = torch.rand(4, 192)
    assert library.attacks.FGSM(net, eps=0.1)(x, net(x).argmax(1)).shape == x.shape


def test_outputs_of_a_sigmoid_are_told() -> None:
    net = nn.Sequential(nn.Linear(6, 3), nn.Sigmoid()).eval()
    with torch.no_grad():
        net[0].weight.mul_(100)
    x = torch.rand(64, 6)
    with pytest.warns(RuntimeWarning, match=r"as a sigmoid's do: return what goes into it"):
        library.attacks.FGSM(net, eps=0.01)(x, net(x).argmax(1))


@pytest.mark.filterwarnings("ignore:.*had no gradient but 0")
@pytest.mark.parametrize("attack", ["FGSM", "PGD", "APGD"])
def test_half_precision_makes_no_model_robust(attack: str) -> None:
    """Gradients of confident rows vanish in float16, and rows that nothing moves would count as robust."""
    torch.manual_seed(0)
    wide = nn.Linear(20, 3).eval()
    with torch.no_grad():
        wide.weight.mul_(120)
    x = torch.rand(200, 20)
    y = wide(x).argmax(1)

    def right(net: nn.Module, inputs: Tensor) -> float:
        moved = getattr(library.attacks, attack)(net, eps=0.05)(inputs, y)
        with torch.no_grad():
            return float((net(moved).argmax(1) == y).float().mean())

    expected = right(wide, x)
    narrow = nn.Linear(20, 3).eval()
    narrow.load_state_dict(wide.state_dict())
    assert right(narrow.half(), x.half()) <= expected + 0.06  # its inputs and steps are of half precision all the same


def test_a_method_that_is_not_there_is_none_to_who_asks() -> None:
    attack = library.attacks.FGSM(nn.Linear(2, 2).eval(), eps=0.1)
    assert not hasattr(attack, "generate")
    assert getattr(attack, "set_mode_default", None) is None
