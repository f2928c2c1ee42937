"""Models whose gradients are not finite somewhere: every attack still moves, and says so once."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import gradients
from robustcl.errors import UsageError


class Root(nn.Module):
    """Square roots of pixels of which one is 0 in every image: that entry's gradient is infinite or NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1).sqrt())
        return logits


class Length(nn.Module):
    """The length of what is left of one image: at that image itself no entry has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        far = (x - 0.5).flatten(1).square().sum(1, keepdim=True).sqrt()
        return torch.cat([0.05 - far, far - 0.05], 1)


def rooted(rows: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = Root().eval()
    x = torch.rand(rows, 3, 2, 2)
    x[:, 0, 0, 0] = 0.0
    with torch.no_grad():
        return net, x, net(x).argmax(1)


ATTACKS: dict[str, Callable[..., object]] = {
    "FGSM": lambda net, norm, eps: robustcl.attacks.FGSM(net, norm=norm, eps=eps),
    "PGD": lambda net, norm, eps: robustcl.attacks.PGD(net, norm=norm, eps=eps, steps=5, start="none"),
    "APGD": lambda net, norm, eps: robustcl.attacks.APGD(net, norm=norm, eps=eps, steps=5),
    "FAB": lambda net, norm, eps: robustcl.attacks.FAB(net, norm=norm, eps=eps, steps=5),
    "FABUntargeted": lambda net, norm, eps: robustcl.attacks.make("fab-untargeted", net, norm=norm, eps=eps, steps=5),
}


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.3), ("L2", 1.0), ("L1", 3.0)])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_infinite_entry_stops_no_attack(name: str, norm: str, eps: float) -> None:
    net, x, y = rooted()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        adv = ATTACKS[name](net, norm, eps)(x, y)  # type: ignore[operator]
    assert bool(adv.isfinite().all())
    moved = (adv != x).flatten(1).any(1)
    with torch.no_grad():
        fooled = net(adv).argmax(1) != y
    assert bool((moved | fooled).all()) if "FAB" not in name else bool(fooled.any()), "it could not move"
    if name not in ("APGD",):  # which starts elsewhere
        told = [str(each.message) for each in said if "NaN or infinite entries" in str(each.message)]
        assert len(told) == 1
        assert "6 of 6 attacked samples" in told[0]


@pytest.mark.parametrize("name", ["FGSM", "PGD", "FAB"])
def test_where_no_entry_is_finite_the_attack_leaves_the_place(name: str) -> None:
    x, y = torch.full((2, 1, 3, 3), 0.5), torch.zeros(2, dtype=torch.int64)
    net = Length().eval()
    with pytest.warns(RuntimeWarning, match="2 of 2 attacked samples"):
        adv = ATTACKS[name](net, "Linf", 0.1)(x, y)  # type: ignore[operator]
    assert bool((net(adv).argmax(1) == 1).all())


def test_finite_gradients_are_left_as_they_are() -> None:
    x = torch.rand(4, 5, requires_grad=True)
    found = gradients.toward((x**2).sum(1), x)
    torch.testing.assert_close(found, 2 * x.detach(), rtol=0, atol=0)


def test_only_the_broken_entries_become_zero() -> None:
    x = torch.tensor([[0.0, 0.25], [1.0, 4.0]], requires_grad=True)
    with gradients.listen(2) as tally:
        found = gradients.toward(x.sqrt(), x)
    assert found.tolist() == [[0.0, 1.0], [0.5, 0.25]]
    assert tally.broken.tolist() == [True, False]


class Reentrant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        from torch.utils.checkpoint import checkpoint

        logits: Tensor = checkpoint(self.body, x, use_reentrant=True)
        return logits


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        self.scale = torch.ones(3, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x.detach()) * self.scale
        return logits


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("net", [Reentrant(), Detached()], ids=["reentrant", "detached"])
@pytest.mark.parametrize("name", ATTACKS)
def test_logits_that_are_cut_off_are_said_in_one_sentence(name: str, net: nn.Module) -> None:
    x = torch.rand(4, 3, 2, 2)
    with torch.no_grad():
        y = net(x).argmax(1)
    with pytest.raises(UsageError, match=r"no gradient toward its inputs.*square or rays"):
        ATTACKS[name](net.eval(), "Linf", 0.1)(x, y)  # type: ignore[operator]
