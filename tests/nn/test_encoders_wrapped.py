"""Encoder plugins whose backbone somebody has scripted, traced, frozen, compiled or wrapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcl import api, registry
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.nn.projector import Projector
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.train import stage_files
from tests.cli.test_strangers import recipe, rows
from tests.shared import strangers

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of its own compilers


def groups() -> nn.Module:
    return strangers.Net(lambda channels: nn.GroupNorm(2, channels))


def traced(net: nn.Module) -> nn.Module:
    found: nn.Module = torch.jit.trace(net, torch.rand(2, *strangers.IMAGE))  # type: ignore[no-untyped-call]
    return found


def scripted(net: nn.Module) -> nn.Module:
    found: nn.Module = torch.jit.script(net)
    return found


def plugin(build: Callable[[], nn.Module]) -> type:
    class Stranger:
        needs: ClassVar[frozenset[Need]] = frozenset()
        citation: ClassVar[str] = "A stranger, a network of the zoo, 2026"

        def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
            return build(), strangers.CLASSES

    return Stranger


def encoder(build: Callable[[], nn.Module]) -> Encoder:
    return build_encoder(
        plugin(build)(),
        name="stranger",
        item=strangers.IMAGE,
        classes=0,
        projector=Projector(),
        mean=(0.0,),
        std=(1.0,),
        routes=("clean", "adv"),
        rng=Rng(0, "wrapped"),
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw = np.random.default_rng(0)
    images: dict[str, Any] = {f"x_{split}": draw.random((24, 8, 8, 3), np.float32) for split in ("train", "test")}
    np.savez(tmp_path / "images.npz", **images, **{f"y_{split}": np.arange(24) % 3 for split in ("train", "test")})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: scripted(strangers.Net()), "its norm is a batch norm in TorchScript"),
        (lambda: nn.Sequential(scripted(strangers.Net())), r"its 0\.norm is a batch norm in TorchScript"),
        (lambda: torch.jit.freeze(scripted(strangers.Net().eval())), "its backbone is frozen TorchScript"),
        (lambda: torch.jit.freeze(traced(groups().eval())), "its backbone is frozen TorchScript"),
        (lambda: traced(groups()), "its backbone is traced"),
        (lambda: nn.Sequential(nn.Identity(), traced(strangers.Net())), "its 1 is traced"),
    ],
)
def test_what_no_training_reaches_is_refused_before_there_is_a_run(
    build: Callable[[], nn.Module], said: str, here: Path
) -> None:
    with (
        registry.local("encoder", "stranger", plugin(build)),
        pytest.raises(UsageError, match=rf"the encoder 'stranger': (?:{said}).*: give the module itself"),
    ):
        api.from_tables(recipe(), "the test").train(here / "run", device="cpu", report=False)
    assert not (here / "run").exists()


WRAPS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], nn.Module]]] = {
    "scripted": (groups, scripted),
    "data-parallel": (strangers.Net, nn.DataParallel),
    "compiled": (strangers.Net, lambda net: torch.compile(net, backend="eager")),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("kind", WRAPS)
def test_a_wrapped_one_trains_is_stored_and_judged_as_the_bare_one(kind: str, here: Path) -> None:
    bare, wrap = WRAPS[kind]

    def built(change: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            torch.manual_seed(0)
            return change(bare())

        return build

    torch._dynamo.reset()
    x, found = Rng(0, "x").uniform((4, *strangers.IMAGE)), {}
    for name, change in ((kind, wrap), ("bare", lambda net: net)):
        with registry.local("encoder", "stranger", plugin(built(change))):
            run = api.from_tables(recipe(), "the test").train(here / name, device="cpu", report=False)
            loaded = stage_files.load(stage_files.newest(run.path)).eval()
        found[name] = rows(run), [value.detach() for value in loaded.state_dict().values()], features(loaded, x)
    assert found[kind][0] == found["bare"][0]
    for one, other in zip(found[kind][1], found["bare"][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found[kind][2], found["bare"][2], rtol=1e-4, atol=1e-6)


def features(net: Encoder, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x, net.routes[0], frozenset({"h"})).h


def test_a_wrapped_one_has_branches_of_its_own() -> None:
    for wrap in (nn.DataParallel, lambda net: torch.compile(net, backend="eager")):
        torch._dynamo.reset()
        net = encoder(lambda: wrap(strangers.Net())).train()  # noqa: B023 - called at once
        x = Rng(0, "x").uniform((4, *strangers.IMAGE))
        net(x, "adv", frozenset({"h"}))
        assert not torch.equal(features(net.eval(), x), net(x, "adv", frozenset({"h"})).h)


def test_data_parallel_leaves_the_devices_to_the_ranks() -> None:
    wrapped = nn.DataParallel(strangers.Net())
    wrapped.device_ids = [0, 1]  # as it would be where torch sees two
    net = encoder(lambda: nn.Sequential(wrapped)).eval()
    assert features(net, Rng(0, "x").uniform((2, *strangers.IMAGE))).shape == (2, strangers.CLASSES)
