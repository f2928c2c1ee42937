"""Small classifiers with pinned seeds, trained here on scikit-learn's digits in seconds; weights are kept and reused.

The first 797 images train, the last 1,000 are for attacks: images (1, 8, 8) in [0, 1], ten classes. For the models of
``LARGE`` they are as large as CIFAR's, (3, 32, 32).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustcl import search
from robustcl.evaluate.journal import model_hash
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.encoders.resnet_small import ResNetSmall

FOLDER = Path(__file__).parents[1] / "runs" / "pinned"
_TRAINING = 797


def data(name: str = "") -> tuple[Tensor, Tensor]:
    """Return the 1,000 images and labels for attacks on a model."""
    x, label = _digits(name in LARGE)
    return x[_TRAINING:], label[_TRAINING:]


def model(name: str) -> tuple[nn.Module, str]:
    """Return a trained model in eval mode, and the hash of its weights."""
    build, norm, eps = MODELS[name]
    torch.manual_seed(0)
    net, path = build(), FOLDER / f"{name}.safetensors"
    if path.is_file():
        net.load_state_dict(safetensors.torch.load_file(path))
    else:
        _train(net, norm, eps, name in LARGE)
        FOLDER.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(net.state_dict(), path)
    return net.eval(), model_hash(net.state_dict())


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, label: Tensor) -> float:
    """Return the share of inputs (n, *item) that a model gets right."""
    return float((net(x).argmax(1) == label).float().mean())


def _train(net: nn.Module, norm: str, eps: float, large: bool) -> None:
    x, label = (part[:_TRAINING] for part in _digits(large))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    ball = Ball(norm, eps)
    for epoch in range(15 if large else 60):
        for number, rows in enumerate(Rng(0, "order", epoch).permutation(_TRAINING).split(100)):
            net.eval()
            adv = x[rows]
            if eps:
                adv = search.ascend(
                    adv, _loss(net, label[rows]), ball, steps=7, step_size=eps / 3, rng=Rng(0, "attack", epoch, number)
                )
            net.train()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(adv), label[rows]).backward()
            optimizer.step()


def _loss(net: nn.Module, label: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: nn.functional.cross_entropy(net(v), label, reduction="none")


def _digits(large: bool) -> tuple[Tensor, Tensor]:
    digits = load_digits()
    x, label = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    if large:
        x = nn.functional.interpolate(x, size=32, mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)
    return x.contiguous(), label


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip


def _normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), _Residual(24), _Residual(24),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(384, 10),
    )  # fmt: skip


def _small_resnet() -> nn.Module:
    backbone, features = ResNetSmall().backbone((3, 32, 32))
    return nn.Sequential(backbone, nn.Linear(features, 10))


def _smooth() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], str, float]] = {
    "cnn": (_plain, "Linf", 0.0),
    "cnn-adversarial": (_plain, "Linf", 0.15),
    "resnet-adversarial": (_normed, "Linf", 0.15),
    "mlp-adversarial": (_smooth, "Linf", 0.1),
    "cnn-l2": (_plain, "L2", 0.8),
    "resnet-32": (_small_resnet, "Linf", 0.1),
}
"""Name -> (architecture, norm and eps of its adversarial training, 0 for none)."""

LARGE = frozenset({"resnet-32"})
