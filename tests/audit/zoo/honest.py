"""Honest models: small networks whose gradients are what they seem, trained in about a second each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.audit.zoo.images import digits


@dataclass(frozen=True)
class Training:
    """A network and how it is trained: Adam on mini-batches, on adversarial images of size ``eps``, or with noise."""

    network: Callable[[], nn.Module]
    seed: int = 0
    steps: int = 150
    lr: float = 5e-3
    decay: float = 0.0
    eps: float = 0.0
    inner: int = 5
    noise: float = 0.0
    classes: int = 10


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, outputs: int = 10) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = 64
        for width in widths:
            layers += [nn.Linear(inputs, width), act()]
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))

    return build


def cnn(
    width: int = 8, act: Callable[[], nn.Module] = nn.ReLU, norm: bool = False, drop: float = 0.0
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 3, 2, 1, bias=not norm), *([nn.BatchNorm2d(width)] if norm else []), act(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), act(), nn.Flatten(), nn.Dropout(drop),
            nn.Linear(8 * width, 10),
        )  # fmt: skip

    return build


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class Normalised(nn.Module):
    """Normalisation where it belongs: inside."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(64)()

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - 0.3) / 0.35)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 48), nn.Linear(48, 10)
        self.blocks = nn.ModuleList([nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48), nn.GELU()) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class Attention(nn.Module):
    """Eight rows as tokens, one head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32) * 0.1)
        self.ask, self.key, self.value = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.last = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x[:, 0]) + self.place
        weights = (self.ask(h) @ self.key(h).transpose(1, 2) / 32**0.5).softmax(-1)
        return self.last((h + weights @ self.value(h)).mean(1))


HONEST: Mapping[str, Training] = {
    "linear": Training(mlp()),
    "linear, decayed": Training(mlp(), seed=1, decay=1e-2),
    "MLP 32": Training(mlp(32)),
    "MLP 64": Training(mlp(64)),
    "MLP 64, another seed": Training(mlp(64), seed=1),
    "MLP 64, overtrained": Training(mlp(64), steps=600, lr=1e-2),
    "MLP 128": Training(mlp(128), seed=2),
    "MLP 64-64-64": Training(mlp(64, 64, 64)),
    "MLP GELU": Training(mlp(64, act=nn.GELU)),
    "MLP SiLU 64-64": Training(mlp(64, 64, act=nn.SiLU)),
    "MLP tanh": Training(mlp(64, act=nn.Tanh)),
    "MLP tanh 64-64": Training(mlp(64, 64, act=nn.Tanh)),
    "MLP sigmoid": Training(mlp(64, act=nn.Sigmoid), lr=2e-2),
    "MLP leaky": Training(mlp(64, 32, act=nn.LeakyReLU)),
    "MLP trained with noise": Training(mlp(64), noise=0.2),
    "MLP, normalisation inside": Training(Normalised),
    "residual": Training(Residual),
    "attention": Training(Attention, steps=250),
    "CNN ReLU": Training(cnn()),
    "CNN GELU": Training(cnn(act=nn.GELU)),
    "CNN tanh": Training(cnn(act=nn.Tanh)),
    "CNN batch norm": Training(cnn(norm=True)),
    "CNN batch norm, dropout": Training(cnn(norm=True, drop=0.3), seed=1),
    "CNN max pooling": Training(pooled),
    "robust linear": Training(mlp(), eps=0.1),
    "robust MLP": Training(mlp(128), eps=0.1),
    "robust MLP, larger eps": Training(mlp(128), seed=1, eps=0.2),
    "robust MLP GELU": Training(mlp(128, act=nn.GELU), eps=0.1),
    "robust CNN": Training(cnn(), eps=0.1),
    "robust CNN batch norm": Training(cnn(norm=True), eps=0.1),
    "single-step robust MLP": Training(mlp(128), eps=0.1, inner=1),
    "odd or even": Training(mlp(64, outputs=2), classes=2),
}


@functools.cache
def trained(name: str, shift: int = 0) -> nn.Module:
    """Return an honest model in eval mode; ``shift`` takes other seeds than those that everything was tried on."""
    how, (train, _) = HONEST[name], digits()
    labels = train.labels % how.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed + 100 * shift)
        model = how.network()
        optimizer = torch.optim.Adam(model.parameters(), lr=how.lr, weight_decay=how.decay)
        for _ in range(how.steps):
            rows = torch.randint(train.samples, (128,))
            x, y = train.x[rows], labels[rows]
            x = x + how.noise * torch.randn_like(x)
            x = attacked(model, x, y, how.eps, how.inner) if how.eps else x
            loss = F.cross_entropy(model.train()(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def attacked(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """Return adversarial images by plain PGD, for adversarial training."""
    model.eval()
    adv = x
    for _ in range(steps):
        leaf = adv.detach().requires_grad_()
        (toward,) = torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)
        adv = (leaf + eps / min(steps, 3) * toward.sign()).clamp(x - eps, x + eps).clamp(0, 1).detach()
    return adv
