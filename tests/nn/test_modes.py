"""Mode locks: what is read, what is written, and what is restored."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.modes import hold_mode
from robustcl.nn.routing import Router, convert
from robustcl.rng import Rng


def _network(routed: bool) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    return convert(network, Router(("clean", "adv"))) if routed else network


def _x() -> Tensor:
    return Rng(0, "x").normal((5, 2, 6, 6))


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("routed", [True, False])
@pytest.mark.parametrize("mode", ["eval", "batch", "train"])
def test_every_flag_is_restored(mode: str, routed: bool) -> None:
    """Also after an exception; here a frozen norm stands inside a training network."""
    network = _network(routed).train()
    network.get_submodule("1").eval()
    before = [(m.training, getattr(m, "track_running_stats", None)) for m in network.modules()]
    with hold_mode(network, mode):
        pass
    assert [(m.training, getattr(m, "track_running_stats", None)) for m in network.modules()] == before
    with pytest.raises(KeyError), hold_mode(network, mode):
        raise KeyError
    assert [(m.training, getattr(m, "track_running_stats", None)) for m in network.modules()] == before


@pytest.mark.parametrize("routed", [True, False])
def test_batch_reads_the_batch_and_writes_nothing(routed: bool) -> None:
    network = _network(routed).eval()
    expected = copy.deepcopy(network).train()(_x())
    before = _state(network)
    with hold_mode(network, "batch"):
        found = network(_x())
    assert torch.equal(found, expected)
    assert _same(_state(network), before)
    assert not torch.allclose(found, network(_x()), atol=1e-3)


@pytest.mark.parametrize("routed", [True, False])
def test_eval_writes_nothing_and_train_writes(routed: bool) -> None:
    network = _network(routed).train()
    before = _state(network)
    with hold_mode(network, "eval"):
        expected = network(_x())
    assert _same(_state(network), before)
    assert torch.equal(expected, copy.deepcopy(network).eval()(_x()))
    network.eval()
    with hold_mode(network, "train"):
        network(_x())
    assert not _same(_state(network), before)


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_no_dropout_and_no_global_randomness(mode: str) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    x = Rng(0).normal((3, 4))
    before = torch.get_rng_state()
    with hold_mode(network, mode):
        assert torch.equal(network(x), network.get_submodule("0")(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_instance_norms_have_no_batch_and_stay_in_eval() -> None:
    network = nn.InstanceNorm2d(2, track_running_stats=True)
    before = _state(network)
    with hold_mode(network, "batch"):
        found = network(_x())
    assert torch.equal(found, network.eval()(_x()))
    assert _same(_state(network), before)


def test_locks_nest() -> None:
    network = _network(True).train()
    with hold_mode(network, "eval"):
        with hold_mode(network, "batch"):
            assert network.get_submodule("1").training
        assert not any(m.training for m in network.modules())
    assert all(m.training for m in network.modules())


def test_batch_mode_passes_gradients_to_the_input_through_the_statistics() -> None:
    network = _network(True).eval()
    x = _x().requires_grad_()
    with hold_mode(network, "batch"):
        (found,) = torch.autograd.grad(network(x).square().sum() + network(x)[:, 0].sum() ** 2, x)
    twin = copy.deepcopy(network).train()
    (expected,) = torch.autograd.grad(twin(x).square().sum() + twin(x)[:, 0].sum() ** 2, x)
    assert torch.allclose(found, expected, atol=1e-6)


def test_unknown_mode() -> None:
    with pytest.raises(UsageError, match="'frozen' is unknown"), hold_mode(nn.Linear(1, 1), "frozen"):
        pass
