"""The optimizers against naked loops over their update rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.rng import Rng
from robustcl_plugins.optimizers.adam import Adam, AdamW
from robustcl_plugins.optimizers.lars import LARS
from robustcl_plugins.optimizers.sgd import SGD

STEPS = 5
LRS = [0.0, 0.1, 0.3, 0.3, 0.05]
"""A warm-up and a decay: flavours that keep lr in the momentum differ from those that do not."""


def _start() -> dict[str, Tensor]:
    return {
        "matrix": Rng(0).normal((3, 2), dtype=torch.float64),
        "bias": Rng(1).normal((3,), dtype=torch.float64),
        "zero": torch.zeros(3, dtype=torch.float64),
    }


def _gradient(name: str, step: int) -> Tensor:
    return Rng(2, name, step).normal(_start()[name].shape, dtype=torch.float64)


def _ours(plugin: Any, scale: float = 1.0, lrs: list[float] = LRS) -> dict[str, Tensor]:
    parameters = {name: nn.Parameter(value) for name, value in _start().items()}
    optimizer = plugin.make(list(parameters.values()))
    for step, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        for name, parameter in parameters.items():
            parameter.grad = scale * _gradient(name, step)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in parameters.items()}


Update = Callable[[list[float], list[float], list[float], float, bool], None]


def _by_loops(update: Update) -> dict[str, Tensor]:
    """Run an update rule over flat lists: weights, gradient, momentum, lr, whether one-dimensional."""
    found = {}
    for name, start in _start().items():
        w = start.flatten().tolist()
        v = [0.0] * len(w)
        for step, lr in enumerate(LRS):
            update(w, _gradient(name, step).flatten().tolist(), v, lr, start.dim() == 1)
        found[name] = torch.tensor(w, dtype=torch.float64).reshape(start.shape)
    return found


def _norm(values: list[float]) -> float:
    return math.sqrt(sum(value * value for value in values))


def _acl(w: list[float], g: list[float], v: list[float], lr: float, flat: bool) -> None:
    """Every tensor; ratio 1 where a norm is below 1e-15; lr inside the momentum."""
    ratio = 1.0
    if _norm(w) >= 1e-15 and _norm(g) >= 1e-15:
        ratio = 0.001 * _norm(w) / (_norm(g) + 1e-6 * _norm(w))
    for i in range(len(w)):
        v[i] = 0.9 * v[i] + lr * ratio * (g[i] + 1e-6 * w[i])
        w[i] -= v[i]


def _rocl(w: list[float], g: list[float], v: list[float], lr: float, flat: bool) -> None:
    """Gradients scaled by the ratio, then SGD with lr outside the momentum."""
    ratio = 1.0
    if _norm(w) > 0 and _norm(g) > 0:
        ratio = 0.001 * _norm(w) / (_norm(g) + 1e-6 * _norm(w) + 1e-8)
    for i in range(len(w)):
        v[i] = 0.9 * v[i] + ratio * (g[i] + 1e-6 * w[i])
        w[i] -= lr * v[i]


def _solo(w: list[float], g: list[float], v: list[float], lr: float, flat: bool) -> None:
    """Clipped, one-dimensional tensors excluded."""
    d = g
    if not flat:
        ratio = 0.02 * _norm(w) / (_norm(g) + 1e-4 * _norm(w) + 1e-8)
        ratio = min(ratio / lr, 1.0) if lr > 0 else 1.0
        d = [ratio * (g[i] + 1e-4 * w[i]) for i in range(len(w))]
    for i in range(len(w)):
        v[i] = 0.9 * v[i] + d[i]
        w[i] -= lr * v[i]


_FREE = {"clip": False, "exclude_one_dimensional": False}
_ACL = {"weight_decay": 1e-6, "trust_coefficient": 0.001, "eps": 0.0, "lr_in_momentum": True, **_FREE}
_ROCL = {"weight_decay": 1e-6, "trust_coefficient": 0.001, **_FREE}


@pytest.mark.golden("optimizer", "lars")
@pytest.mark.parametrize(("options", "update"), [(_ACL, _acl), (_ROCL, _rocl), ({}, _solo)])
def test_lars_flavours_against_loops(options: dict[str, Any], update: Update) -> None:
    found, expected = _ours(LARS(**options)), _by_loops(update)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-14)


@pytest.mark.golden("optimizer", "lars")
def test_lars_flavours_are_three() -> None:
    found = [_ours(LARS(**options))["matrix"] for options in (_ACL, _ROCL, {})]
    assert not torch.allclose(found[0], found[1], rtol=1e-4)
    assert not torch.allclose(found[1], found[2], rtol=1e-4)


@pytest.mark.golden("optimizer", "lars")
def test_lars_ignores_the_scale_of_the_loss_without_decay() -> None:
    plugin = LARS(weight_decay=0.0, eps=0.0, **_FREE)
    once, tenfold = _ours(plugin), _ours(plugin, scale=10.0)
    torch.testing.assert_close(once["matrix"], tenfold["matrix"], rtol=1e-12, atol=0)
    torch.testing.assert_close(once["bias"], tenfold["bias"], rtol=1e-12, atol=0)
    assert not torch.allclose(once["zero"], tenfold["zero"]), "a zero tensor has ratio 1 and feels the scale"
    assert not torch.allclose(_ours(LARS())["bias"], _ours(LARS(), scale=10.0)["bias"])


@pytest.mark.golden("optimizer", "lars")
def test_lars_excluded_tensors_follow_plain_momentum_sgd() -> None:
    found, expected = _ours(LARS(weight_decay=0.3)), _ours(SGD(momentum=0.9, weight_decay=0.0))
    assert torch.equal(found["bias"], expected["bias"])
    assert torch.equal(found["zero"], expected["zero"])
    assert not torch.allclose(found["matrix"], expected["matrix"])


@pytest.mark.golden("optimizer", "lars")
def test_lars_by_hand() -> None:
    """w = (3, 4), g = (0, 1), lr 1: |w| = 5, |g| = 1, ratio = 0.1 * 5 / (1 + 0.2 * 5) = 0.25."""
    w = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = LARS(lr=1.0, weight_decay=0.2, trust_coefficient=0.1, eps=0.0, clip=False).make([w])
    w.grad = torch.tensor([[0.0, 1.0]])
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.tensor([[3 - 0.25 * 0.6, 4 - 0.25 * 1.8]]))
    w.grad = None
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.tensor([[3 - 0.25 * 0.6, 4 - 0.25 * 1.8]]))


@pytest.mark.golden("optimizer", "lars")
def test_lars_resumes() -> None:
    """Its state survives state_dict, which is all that a checkpoint keeps."""
    whole = _ours(LARS())
    parameters = {name: nn.Parameter(value) for name, value in _start().items()}
    optimizer = LARS().make(list(parameters.values()))
    for step, lr in enumerate(LRS):
        if step == 2:
            state = optimizer.state_dict()
            optimizer = LARS().make(list(parameters.values()))
            optimizer.load_state_dict(state)
        optimizer.param_groups[0]["lr"] = lr
        for name, parameter in parameters.items():
            parameter.grad = _gradient(name, step)
        optimizer.step()
    assert all(torch.equal(parameters[name], whole[name]) for name in whole)


@pytest.mark.golden("optimizer", "sgd")
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_against_loops(nesterov: bool) -> None:
    def update(w: list[float], g: list[float], v: list[float], lr: float, flat: bool) -> None:
        for i in range(len(w)):
            d = g[i] + 0.01 * w[i]
            v[i] = 0.8 * v[i] + d
            w[i] -= lr * (d + 0.8 * v[i] if nesterov else v[i])

    found, expected = _ours(SGD(momentum=0.8, weight_decay=0.01, nesterov=nesterov)), _by_loops(update)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-14)


def _adam(decoupled: bool) -> dict[str, Tensor]:
    found = {}
    for name, start in _start().items():
        w = start.flatten().tolist()
        m, s = [0.0] * len(w), [0.0] * len(w)
        for step, lr in enumerate(LRS):
            g = _gradient(name, step).flatten().tolist()
            for i in range(len(w)):
                d = g[i] if decoupled else g[i] + 0.1 * w[i]
                m[i] = 0.8 * m[i] + 0.2 * d
                s[i] = 0.95 * s[i] + 0.05 * d * d
                mean, square = m[i] / (1 - 0.8 ** (step + 1)), s[i] / (1 - 0.95 ** (step + 1))
                w[i] -= lr * (mean / (math.sqrt(square) + 1e-3) + (0.1 * w[i] if decoupled else 0.0))
        found[name] = torch.tensor(w, dtype=torch.float64).reshape(start.shape)
    return found


@pytest.mark.golden("optimizer", "adam")
def test_adam_against_loops() -> None:
    found, expected = _ours(Adam(beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1)), _adam(False)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-13)


@pytest.mark.golden("optimizer", "adamw")
def test_adamw_against_loops() -> None:
    found, expected = _ours(AdamW(beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1)), _adam(True)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-11, atol=1e-13)
