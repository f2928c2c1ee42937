"""Micro batches: loss and gradient are those of the whole batch, whatever compares images; and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl import api, registry
from robustcl.cost import estimate
from robustcl.errors import Interrupted, UsageError
from robustcl.nn.encoder import Encoder
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl.run.execution import resume
from robustcl.train import checkpoint
from robustcl.train.encoders import Encoders
from tests.shared import short
from tests.shared.one_step import Seen, one_step

GROUPED = ("encoder.use=grouped", "encoder.projector.norm=false", "encoder.projector.last_norm=false")
IMAGES, MICRO = 8, 3


class Grouped:
    """A stranger's encoder whose norm reads one image at a time."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "Wu, He, Group Normalization, ECCV 2018"

    def __init__(self, *, width: Count = 4) -> None:
        self.width = width

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        wide = 2 * self.width
        convolve = nn.Conv2d(item[0], wide, 3, padding=1)
        return nn.Sequential(
            convolve, nn.GroupNorm(2, wide), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        ), 4 * wide


@pytest.fixture(autouse=True)
def grouped() -> Iterator[None]:
    with registry.local("encoder", "grouped", Grouped):
        yield


def gradients(seen: Seen) -> dict[str, Tensor]:
    """Return the gradient of every weight that the loss reaches, heads included."""
    named = {name: weight for name, weight in seen.run.step.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(seen.losses["total"], list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


@pytest.mark.parametrize(
    ("recipe", "stage"),
    [
        ("simclr", None),
        ("supcon", None),
        ("acl-ds", None),  # two views attacked together, by an objective that compares images
        ("ncp", "robust"),
        ("deacl", "robust"),
        ("rocl", None),  # three views in one forward
        ("pretext-ensemble", None),  # patches, taps, and a gradient of a gradient
    ],
)
def test_equals_the_whole_batch(recipe: str, stage: str | None) -> None:
    whole = one_step(recipe, stage, GROUPED, images=IMAGES)
    name = whole.run.plan.name
    parts = one_step(recipe, stage, (*GROUPED, f"stage.{name}.micro_batch={MICRO}"), images=IMAGES)
    assert whole.losses.keys() == parts.losses.keys()
    for term, loss in whole.losses.items():
        torch.testing.assert_close(parts.losses[term], loss, rtol=0, atol=1e-10)
    expected, found = gradients(whole), gradients(parts)
    assert expected.keys() == found.keys()
    assert any(bool(g.abs().max() > 1e-4) for g in expected.values())
    for weight, gradient in expected.items():
        torch.testing.assert_close(found[weight], gradient, rtol=0, atol=1e-10)


class Dropping(nn.Module):
    """Batch norm and dropout: what a second forward must neither move again nor draw anew."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.BatchNorm1d(6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.last(nn.functional.dropout(self.first(self.norm(x.flatten(1))), 0.5, self.training))
        return h


def test_the_second_forward_is_the_first_one_again() -> None:
    ours = Encoder(Dropping(), 3, item=(1, 2, 3)).double()
    naked = copy.deepcopy(ours)
    x = torch.rand(7, 1, 2, 3, dtype=torch.float64)
    named = Encoders(ours, {}, {}, micro_batch=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        h = named.embed(x, "online", "main", frozenset({"h"}), "train").h
        torch.rand(1)  # what is drawn in between must not matter
        (h @ h.T).exp().sum().backward()
        torch.manual_seed(5)
        parts = [naked.train()(part, "main", frozenset({"h"})).h for part in x.tensor_split(3)]
        (torch.cat(parts) @ torch.cat(parts).T).exp().sum().backward()
    torch.testing.assert_close(h, torch.cat(parts), rtol=0, atol=0)
    for (name, weight), other in zip(ours.named_parameters(), naked.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, rtol=1e-12, atol=1e-12, msg=name)
    assert dict(ours.named_buffers())["backbone.norm.num_batches_tracked"] == 3
    torch.testing.assert_close(dict(ours.named_buffers()), dict(naked.named_buffers()), rtol=0, atol=0)
    assert (named.passes.forward, named.passes.weights, named.passes.inputs) == (7, 7, 0)


HEAD = {"widths": [8, 4], "norm": False}


def composed(use: str = "grouped", **changes: Any) -> api.Composition:
    encoder = {"use": use, "width": 2, "projector": HEAD}
    attack = {"use": "pgd", "reads": ["w"], "steps": 2, "maximise": "pull"}
    return short.composed(short.stage(batch=300, generator={"w_adv": attack}, **changes), encoder=encoder)


def test_a_run_counts_both_forwards_as_the_estimate_has_told(tmp_path: Path) -> None:
    def told(**changes: Any) -> tuple[float, float]:
        cost = estimate(composed(epochs=1, **changes)).stages[0]
        assert cost.passes is not None
        return cost.passes, cost.memory

    (passes, memory), (whole, large) = told(micro_batch=100), told()
    # Two steps of an attack and the two views of the loss, each once forward more.
    assert passes - whole == pytest.approx(2 * 300 * (2 + 2) / 3)
    assert memory < large
    composed(micro_batch=100).train(tmp_path, device="cpu", report=False)
    kept = checkpoint.newest(tmp_path / "checkpoints" / "it")[0]
    assert kept is not None
    counted = kept["passes"]
    assert counted["inputs"] + counted["weights"] + counted["forward"] / 3 == pytest.approx(passes)


class Compares(Grouped):
    """Takes from each image the mean of all: a norm over the batch that is no batch norm of torch's."""

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        class Centred(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x - x.mean(0) if self.training else x

        net, features = super().backbone(item)
        return nn.Sequential(net, Centred()), features


class Remembers(Grouped):
    """Spectral norm moves a vector at each forward in train mode."""

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        net, features = super().backbone(item)
        return nn.Sequential(net, nn.utils.parametrizations.spectral_norm(nn.Linear(features, 4))), 4


@pytest.mark.parametrize(
    ("encoder", "changes", "said"),
    [
        ("resnet-small", {}, 'batch norm backbone.*let it with stage.it.batch_norm = "micro"'),
        ("grouped", {"batch_norm": "micro"}, "no batch norm of the encoder reads the batch; remove the line"),
        (Compares, {}, "compares the images of a batch with each other in mode train"),
        (Remembers, {}, "remembers in backbone.* what it sees in mode train"),
    ],
)
def test_what_would_not_be_exact_is_refused(
    encoder: str | type, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with registry.local("encoder", "stranger", encoder if isinstance(encoder, type) else Grouped):
        use = encoder if isinstance(encoder, str) else "stranger"
        composition = composed(use, micro_batch=100, **changes)
        for ask in (lambda: composition.train(tmp_path / "run", device="cpu"), lambda: estimate(composition)):
            with pytest.raises(UsageError, match=said):
                ask()
        assert not (tmp_path / "run").exists()


def test_a_permission_without_micro_batches_is_refused() -> None:
    with pytest.raises(UsageError, match="there are no micro batches; add micro_batch, or remove it"):
        composed(batch_norm="micro")


def test_running_statistics_alone_are_no_obstacle(tmp_path: Path) -> None:
    composed("resnet-small", micro_batch=100, mode="eval").train(tmp_path / "still", device="cpu", report=False)
    said = composed("resnet-small", micro_batch=100, batch_norm="micro")
    assert "batch statistics are those of at most 100 images" in said.explain()
    said.train(tmp_path / "micro", device="cpu", report=False)


def test_a_run_that_has_begun_goes_on_in_micro_batches_if_they_are_exact(tmp_path: Path) -> None:
    def stop(stage: str, step: int, *rest: Any) -> None:
        if step == 1:
            raise Interrupted("stopped")

    already = {"micro_batch": 150, "batch_norm": "micro"}
    for name, use, changes in (
        ("exact", "grouped", {}),
        ("other", "resnet-small", {}),
        ("inexact", "resnet-small", already),
    ):
        with pytest.raises(Interrupted):
            composed(use, **changes).train(tmp_path / name, device="cpu", watcher=stop, report=False)
    lock = (tmp_path / "other" / "recipe.lock.toml").read_bytes()
    with pytest.raises(UsageError, match="exact ones need the graph of the whole batch"):
        resume(tmp_path / "other", ["stage.it.micro_batch=100"])
    assert (tmp_path / "other" / "recipe.lock.toml").read_bytes() == lock
    with pytest.raises(UsageError, match="micro batches, so that their size decides what the run has learnt so far"):
        resume(tmp_path / "inexact", ["stage.it.micro_batch=100"])
    resume(tmp_path / "exact", ["stage.it.micro_batch=100"], report=False)
    assert "micro_batch = 100" in (tmp_path / "exact" / "recipe.lock.toml").read_text()
