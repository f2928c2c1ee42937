"""Routed norms against torch's batch norm, and one process against two."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.modes import hold_mode
from robustcl.nn.routing import RoutedNorm, Router, convert, reroute
from robustcl.rng import Rng
from tests.shared import tiny
from tests.shared.forks import Asked, fork_all

NORMS = [
    (nn.BatchNorm1d, (6, 3)),
    (nn.BatchNorm1d, (4, 3, 5)),
    (nn.BatchNorm2d, (4, 3, 2, 5)),
    (nn.BatchNorm3d, (2, 3, 2, 2, 2)),
]


def _network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    )


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return Rng(seed, "x").normal(shape) * 3 + 1


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
@pytest.mark.parametrize(("kind", "shape"), NORMS)
def test_equals_torch_bit_for_bit(
    kind: Any, shape: tuple[int, ...], tracks: bool, affine: bool, momentum: float | None
) -> None:
    torchs = kind(3, momentum=momentum, affine=affine, track_running_stats=tracks)
    if affine:
        nn.init.uniform_(torchs.weight, generator=torch.Generator().manual_seed(0))
    ours = convert(copy.deepcopy(torchs), Router(("main",)))
    assert isinstance(ours, RoutedNorm)
    for step in range(3):
        assert torch.equal(ours(_draw(*shape, seed=step)), torchs(_draw(*shape, seed=step)))
    assert ours.state_dict().keys() == torchs.state_dict().keys()
    for name, value in torchs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)
    assert torch.equal(ours.eval()(_draw(*shape)), torchs.eval()(_draw(*shape)))


def test_refuses_other_shapes_as_torch_does() -> None:
    ours = convert(nn.BatchNorm2d(3), Router(("main", "adv")))
    with pytest.raises(ValueError, match="expected 4 axes, got 2"):
        ours(_draw(4, 3))


def test_the_main_route_keeps_the_keys() -> None:
    network = _network()
    keys = list(network.state_dict())
    routed = convert(network, Router(("clean", "adv")))
    assert routed is network
    assert set(keys) <= set(routed.state_dict())
    others = set(routed.state_dict()) - set(keys)
    assert others == {f"{n}.others.adv.{k}" for n in ("1", "3.1") for k in _network()[1].state_dict()}


def test_a_route_leaves_the_others_alone() -> None:
    router = Router(("clean", "adv", "third"))
    network = convert(_network(), router).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    router.choose("adv")
    network(_draw(4, 2, 8, 8))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert changed == {f"{n}.others.adv.{s}" for n in ("1", "3.1") for s in statistics}
    router.choose("clean")
    network(_draw(4, 2, 8, 8))
    again = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert again - changed == {f"{n}.{s}" for n in ("1", "3.1") for s in statistics}


def test_gradients_stay_on_the_route() -> None:
    router = Router(("clean", "adv"))
    network = convert(_network(), router)
    router.choose("adv")
    network(_draw(4, 2, 8, 8)).square().sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    assert idle == {"1.weight", "1.bias", "3.1.weight", "3.1.bias"}


def test_a_deep_copy_has_a_router_of_its_own() -> None:
    router = Router(("clean", "adv"))
    network = convert(_network(), router)
    twin = copy.deepcopy(network)
    first, second = (m for m in twin.modules() if isinstance(m, RoutedNorm))
    assert first.router is second.router
    assert first.router is not router
    router.choose("adv")
    assert first.router.current == "clean"


def test_a_norm_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm1d(3)
    network = convert(nn.ModuleDict({"a": norm, "b": nn.Sequential(norm), "c": norm}), Router(("main", "adv")))
    assert isinstance(network.get_submodule("a"), RoutedNorm)
    assert network.get_submodule("a") is network.get_submodule("c") is network.get_submodule("b.0")


def test_frozen_parameters_and_modes_are_kept() -> None:
    norm = nn.BatchNorm1d(3).eval()
    norm.weight.requires_grad_(False)
    routed = convert(norm, Router(("main", "adv")))
    assert not any(m.training for m in routed.modules() if m is not routed.get_submodule("others"))
    assert {n for n, p in routed.named_parameters() if not p.requires_grad} == {"weight", "others.adv.weight"}


def test_reroute_starts_from_the_named_branch() -> None:
    router = Router(("clean", "adv"))
    network = convert(_network(), router).train()
    router.choose("adv")
    network(_draw(4, 2, 8, 8))
    expected = network.eval()(_draw(4, 2, 8, 8, seed=1))
    exported = reroute(copy.deepcopy(network), {"main": "adv"}, Router(("main",)))
    assert exported.state_dict().keys() == _network().state_dict().keys()
    assert torch.equal(exported(_draw(4, 2, 8, 8, seed=1)), expected)


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ((), "at least one"),
        (("a", "a"), "named once"),
        (("a.b",), "cannot be used"),
        (("train",), "cannot be used"),
    ],
)
def test_bad_routes(routes: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Router(routes)


def test_unknown_route_and_second_conversion() -> None:
    router = Router(("clean", "adversarial"))
    with pytest.raises(UsageError, match="has clean, adversarial; did you mean 'adversarial'"):
        router.choose("adverserial")
    network = convert(_network(), router)
    with pytest.raises(UsageError, match="routes already"):
        convert(network, router)


# One process against two, in float64: the halves are of different size, so that counts matter.

ROWS, FIRST = 7, 3


def _double(momentum: float | None) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = _network()
    for norm in (network[1], network[3][1]):
        norm.momentum = momentum
        nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    return convert(network.double(), Router(("clean", "adv")))


def _run(rows: slice, momentum: float | None, mode: str) -> dict[str, Tensor]:
    """Two passes on a route, the second with a loss that ties all rows together."""
    network = _double(momentum)
    next(m for m in network.modules() if isinstance(m, RoutedNorm)).router.choose("adv")
    x = Rng(0).normal((ROWS, 2, 6, 6), dtype=torch.float64)[rows].requires_grad_()
    weight = Rng(1).normal((ROWS, 4, 2, 2), dtype=torch.float64)[rows]
    with hold_mode(network, mode):
        network(x * 2 + 1)
        y = network(x)
        (y * weight).sum().backward()
    assert x.grad is not None
    found = {"y": y.detach(), "x.grad": x.grad}
    found |= {f"grad {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found | {f"state {name}": value for name, value in network.state_dict().items()}


def one_rank() -> None:
    """Be one of two processes: rank, momentum and mode are its arguments, as JSON."""
    rank, momentum, mode = map(json.loads, sys.argv[1:])
    torch.distributed.init_process_group("gloo", init_method=f"file://{Path.cwd()}/meeting", rank=rank, world_size=2)
    rows = slice(0, FIRST) if rank == 0 else slice(FIRST, ROWS)
    torch.save(_run(rows, momentum, mode), f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("momentum", "mode"), [(0.1, "train"), (None, "train"), (0.1, "batch")])
def test_two_ranks_equal_one(tmp_path: Path, momentum: float | None, mode: str) -> None:
    whole = _run(slice(None), momentum, mode)
    asked = [list(map(json.dumps, (rank, momentum, mode))) for rank in range(2)]
    ends = fork_all([Asked(each, tmp_path, tiny.environment(), "tests.nn.test_routing:one_rank") for each in asked])
    assert [ended.returncode for ended in ends] == [0, 0], [ended.stderr for ended in ends]
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in whole.items():
        if name in ("y", "x.grad"):
            found = [torch.cat([part[name] for part in parts])]
        elif name.startswith("grad"):
            found = [parts[0][name] + parts[1][name]]
        else:
            found = [part[name] for part in parts]
        for each in found:
            torch.testing.assert_close(each, value, rtol=1e-11, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
