"""Models that run in plain torch are judged as they run there, whatever their layout, type and output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl.errors import UsageError


class LeNet(nn.Module):
    """Views what a convolution returns, and hands it out as ``change`` says."""

    def __init__(self, change: Any = None) -> None:
        super().__init__()
        self.body, self.head, self.change = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 3), change

    def forward(self, x: Tensor) -> Any:
        z = self.head(self.body(x).relu().view(-1, 4 * 36))
        return z if self.change is None else self.change(z)


def made(net: nn.Module) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = net.eval()
    x = torch.rand(6, 3, 8, 8)
    return net, x, torch.randint(3, (6,))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_view_after_a_convolution_is_attacked_as_in_plain_torch(kind: torch.dtype) -> None:
    net, x, _ = made(LeNet().to(kind))
    with torch.no_grad():
        y = net(x.to(kind)).argmax(1)
    leaf = x.clone().requires_grad_()
    nn.functional.cross_entropy(net(leaf.to(kind)).float(), y, reduction="sum").backward()
    assert leaf.grad is not None
    expected = (x + 0.1 * leaf.grad.sign()).clamp(0, 1)
    found = robustcl.attacks.FGSM(net, eps=0.1)(x, y)
    assert float((found != expected).float().mean()) < (0.2 if kind.itemsize == 2 else 0.01)


def test_the_whole_ensemble_judges_it() -> None:
    net, x, y = made(LeNet())
    attack = robustcl.AutoAttack(net, eps=0.05, attacks_to_run=["apgd-ce", "fab-t"])
    kept = attack.run_standard_evaluation(x, y)
    assert kept.shape == x.shape


def test_an_output_with_logits_is_unwrapped() -> None:
    plain, x, y = made(LeNet())
    wrapped = LeNet(lambda z: SimpleNamespace(logits=z)).eval()
    wrapped.load_state_dict(plain.state_dict())
    assert torch.equal(robustcl.attacks.FGSM(plain, eps=0.1)(x, y), robustcl.attacks.FGSM(wrapped, eps=0.1)(x, y))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: (z, 1), r"returned tuple.*returns out\[0\]"),
        (lambda z: {"out": z}, r"returned dict.*returns out\['out'\]"),
        (lambda z: z[:, 0], r"two columns"),
        (lambda z: z[:, :1], r"two columns"),
        (lambda z: z[:, :, None, None], r"flatten\(1\)"),
    ],
)
def test_what_is_no_logits_is_refused_with_the_remedy(change: Any, said: str) -> None:
    net, x, y = made(LeNet(change))
    with pytest.raises(UsageError, match=said):
        robustcl.attacks.FGSM(net, eps=0.1)(x, y)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.2), ("L2", 1.0), ("L1", 4.0)])
def test_square_paints_signals_as_images_of_height_one(norm: str, eps: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3)).eval()
    x = torch.rand(4, 2, 12)
    with torch.no_grad():
        y = net(x).argmax(1)
    adv = robustcl.attacks.make("square", net, norm=norm, eps=eps, queries=20)(x, y)
    assert bool((adv != x).flatten(1).any(1).all())
