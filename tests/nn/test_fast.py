"""The frozen encoder of an attack: quicker, equal, and as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustcl import search
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.traces import Traces
from robustcl.rng import Rng
from robustcl.threat import Ball


def net() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    )
    body[0].bias.requires_grad_(False)
    return body.eval()


def test_everything_is_put_back_also_on_exceptions():
    body = net()
    flags, layouts = [p.requires_grad for p in body.parameters()], [p.stride() for p in body.parameters()]
    values, traces = [p.clone() for p in body.parameters()], Traces([body])

    def interrupted() -> None:
        with frozen_for_attack(body):
            assert not any(p.requires_grad for p in body.parameters())
            assert body[3].weight.is_contiguous(memory_format=torch.channels_last)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert [p.requires_grad for p in body.parameters()] == flags
    assert [p.stride() for p in body.parameters()] == layouts
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), values, strict=True))
    assert list(traces.found()) == []


def test_an_attack_finds_the_same():
    body, x = net().double(), torch.rand(4, 3, 8, 8, dtype=torch.float64)

    def attack() -> torch.Tensor:
        return search.ascend(x, lambda v: body(v).logsumexp(1), Ball("L2", 0.5), steps=4, step_size=0.2, rng=Rng(0))

    plain = attack()
    with frozen_for_attack(body):
        torch.testing.assert_close(attack(), plain)


def test_training_goes_on_with_the_same_parameters():
    body, x = net().train(), torch.rand(4, 3, 8, 8)
    optimizer = torch.optim.SGD(body.parameters(), lr=0.1)
    before = body[3].weight.detach().clone()
    with frozen_for_attack(body):
        body(x)
    body(x).square().sum().backward()
    optimizer.step()
    assert not torch.equal(body[3].weight, before)
