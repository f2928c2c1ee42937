"""Passes that are told before a stage starts are those that it counts, for parts of strangers too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl import api, registry
from robustcl.cost import estimate, passes
from robustcl.protocols import Need
from robustcl.train import checkpoint
from robustcl.types import Attack, Scene
from tests.shared import tiny

IMAGES = 1437 - math.ceil(0.1 * 1437)
"""Digits that train, without the validation part."""


def composed(**changes: Any) -> api.Composition:
    return api.from_tables(tiny.tables(evaluate=[], **changes), "the test")


def stage(**changes: Any) -> dict[str, Any]:
    """Return a stage of one view and its copy."""
    table: dict[str, Any] = {"name": "it", "epochs": 4, "batch": 100, "views": {"a": "weak", "b": "weak"}}
    table |= {"objective": {"use": "info-nce", "temperature": 0.5}, "optimizer": {"use": "sgd", "lr": 0.1}}
    return table | changes


def test_a_run_counts_what_was_told_before_it(whole_run: Path) -> None:
    told = passes(composed())
    for name, epochs in (("pretrain", 1), ("robust", 2)):
        kept = checkpoint.newest(whole_run / "checkpoints" / name)[0]
        assert kept is not None
        counted = kept["passes"]["inputs"] + kept["passes"]["weights"] + kept["passes"]["forward"] / 3
        assert told[name] * epochs * IMAGES == pytest.approx(counted, rel=1e-12)


class Feeler:
    """Looks once without a graph and twice with one, and remembers how often it was called."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = "no source: a stranger's"
    calls = 0

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        self.calls += 1
        with torch.no_grad():
            attack.encode(x)
        for _ in range(2):
            leaf = x.clone().requires_grad_()
            torch.autograd.grad(attack.encode(leaf).h.sum(), leaf)
        return attack.ball.project(x, x)


def test_a_strangers_generator_is_counted_on_a_copy() -> None:
    """One forward alone and two with gradients in the attack, one forward of both views with the weights'."""
    with registry.local("generator", "feeler", Feeler):
        pair = {"use": "info-nce", "temperature": 0.5, "views": ["a", "a_adv"]}
        attack = {"a_adv": {"use": "feeler", "reads": ["a"]}}
        table = stage(views={"a": "weak"}, generator=attack, objective=pair)
        made = composed(stage=[table])
        each = 1 / 3 + 2 + 2
        assert passes(made) == {"it": pytest.approx(each * (IMAGES // 100 * 100) / IMAGES)}
        assert made.stages[0].generators[0].part.plugin.calls == 0


class Half:
    """Takes every second image; from the third epoch on it embeds all of them first."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: a stranger's"

    def select(self, survey: Any, epoch: int) -> Tensor:
        rows = torch.arange(survey.samples)
        if epoch >= 2:
            for part in torch.split(rows, survey.batch):
                survey.embed("a", "online", part)
        return rows[::2]


class Whole:
    """Puts all images into batches of seven."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: a stranger's"

    def select(self, survey: Any, epoch: int) -> Tensor:
        return torch.arange(survey.samples // 7 * 7).reshape(-1, 7)


@pytest.mark.parametrize(("cls", "steps", "surveyed"), [
    (Half, 4 * (-(-IMAGES // 2) // 100), 2),  # two of four epochs embed everything
    (Whole, 4 * round(IMAGES // 7 * 7 / 100), 0),
])  # fmt: skip
def test_a_sampler_is_asked_what_it_looks_at_and_takes(cls: type, steps: int, surveyed: int) -> None:
    with registry.local("sampler", "theirs", cls):
        (cost,) = estimate(composed(stage=[stage(sampler={"use": "theirs"})])).stages
    assert cost.steps == steps
    assert cost.passes == pytest.approx(steps * 100 * 2 + surveyed * IMAGES / 3, rel=0.01)


class Inner:
    """Reads the map of a layer that the recipe's encoder has."""

    views: ClassVar[tuple[str, ...]] = ("view",)
    terms: ClassVar[tuple[str, ...]] = ("loss",)
    needs: ClassVar[frozenset[Need]] = frozenset()
    taps: ClassVar[tuple[str, ...]] = ("layer2",)
    citation: ClassVar[str] = "no source: a stranger's"

    def per_sample(self, scene: Scene) -> dict[str, Tensor]:
        return {"loss": scene.views["view"].maps["layer2"].square().mean((1, 2, 3))}


def test_a_part_that_looks_into_the_network_is_counted_on_the_network() -> None:
    with registry.local("objective", "inner", Inner):
        table = stage(objective={"use": "inner", "views": {"view": "a"}}, views={"a": "weak"})
        assert passes(composed(stage=[table])) == {"it": pytest.approx(1300 // 100 * 100 / IMAGES, rel=0.1)}


class Wide:
    """One 3x3 convolution of four maps, and their means."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: a stranger's"

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        return nn.Sequential(nn.Conv2d(item[0], 4, 3, padding=1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4


def test_operations_and_memory_by_hand() -> None:
    """A convolution of 8 x 8 pixels: 2 x 9 x 4 operations each; as many again for the gradient of its weights."""
    with registry.local("encoder", "wide", Wide):
        made = composed(encoder={"use": "wide", "projector": {"widths": []}}, stage=[stage(epochs=1)])
        found = estimate(made)
    (cost,) = found.stages
    images = IMAGES // 100 * 100
    assert cost.operations == pytest.approx(2 * images * 2 * (2 * 9 * 4 * 64))
    kept = 64 + 4 * 64  # the image, for the weights; the maps, whose size the mean's backward asks for
    held = 4 * 36 * 4 + IMAGES * 64
    assert held + 4 * 64 * 2 * 100 <= cost.memory <= held + 4 * kept * 2 * 100
    assert found.parameters == 36


def test_of_data_that_are_not_there_the_passes_of_an_epoch_are_known() -> None:
    made = composed(data={"use": "npz:nowhere.npz", "batch": 100}, stage=[stage()])
    (cost,) = estimate(made).stages
    assert (cost.steps, cost.passes, cost.operations) == (None, None, None)
    assert cost.per_epoch == 2.0
