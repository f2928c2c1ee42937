"""No random number serves twice: not in two epochs, two blocks, two restarts, two members or two classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import registry
from robustcl.data.labelled import choose_labelled
from robustcl.data.split import holdout
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.judge import Judge
from robustcl.rng import Rng
from robustcl.run.splits import open_splits
from robustcl.testing.streams import DrawRecord, record_draws
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.types import Scene
from tests.shared.short import Recorder, composed, perturbed, stage, train


@pytest.fixture(autouse=True)
def recorder() -> Iterator[None]:
    Recorder.scenes.clear()
    with registry.local("objective", "recorder", Recorder):
        yield


# --- training

PAIR = stage(
    epochs=2,
    views={"a": "weak", "b": "weak"},
    generator={"pair": {"use": "noise", "reads": ["a", "b"], "writes": ["a_adv", "b_adv"]}},
    term={"it": {"use": "recorder", "views": ["a", "b", "a_adv", "b_adv"]}},
)
"""Two epochs of five steps; 78 of 718 images fill no batch."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Scene], DrawRecord]:
    """The scenes of two epochs, and every random number that they drew."""
    Recorder.scenes.clear()
    with registry.local("objective", "recorder", Recorder), record_draws() as found:
        train(tmp_path_factory.mktemp("pair") / "run", PAIR)
    return list(Recorder.scenes), found


def test_a_run_of_two_epochs_draws_no_number_twice(seen: tuple[list[Scene], DrawRecord]) -> None:
    _, found = seen
    assert len(found.places) > 10 * 128 * 4, "views and noise of every step"
    assert found.twice <= of_no_seed().places


def test_another_seed_draws_other_numbers(tmp_path: Path, seen: tuple[list[Scene], DrawRecord]) -> None:
    with record_draws() as other:
        train(tmp_path / "run", PAIR | {"epochs": 1}, seed=1)
    assert seen[1].places & other.places <= of_no_seed().places


def test_an_image_has_another_view_and_other_noise_in_each_epoch(seen: tuple[list[Scene], DrawRecord]) -> None:
    scenes, _ = seen
    first, second = (gathered(scenes[at : at + 5]) for at in (0, 5))
    both = sorted(first.keys() & second.keys())
    assert len(both) > 400
    for number, what in enumerate(("view a", "view b", "noise on a", "noise on b")):
        same = [torch.equal(first[image][number], second[image][number]) for image in both]
        assert sum(same) <= len(both) // 10, f"{what}: few moves to choose from, and two of a hundred may agree"


def test_the_blocks_of_a_pair_have_noise_of_their_own(seen: tuple[list[Scene], DrawRecord]) -> None:
    for scene in seen[0]:
        on_a, on_b = perturbed(scene, [("a", "a_adv"), ("b", "b_adv")])
        assert not torch.equal(scene.batch.views["a"], scene.batch.views["b"])
        agree = (on_a - on_b).abs().flatten(1) < 1e-6
        touched = (on_a != 0).flatten(1) & (on_b != 0).flatten(1)
        assert float((agree & touched).sum() / touched.sum()) < 0.01
        alike = (on_a[:1] - on_a[1:]).abs().flatten(1).amax(1)
        assert float(alike.min()) > 0, "nor do two images share it"


def test_each_epoch_has_an_order_of_its_own_and_leaves_out_other_images(seen: tuple[list[Scene], DrawRecord]) -> None:
    orders = [torch.cat([scene.batch.index for scene in seen[0][at : at + 5]]) for at in (0, 5)]
    assert orders[0].tolist() != orders[1].tolist()
    left = [set(range(718)) - set(order.tolist()) for order in orders]
    assert [len(one) for one in left] == [78, 78]
    assert len(left[0] & left[1]) < 30, "by chance 78 * 78 / 718, or 8"


def test_clusters_see_other_views_at_each_refresh(tmp_path: Path) -> None:
    targets = {"use": "spherical-kmeans", "clusters": 3, "refresh": "1 epoch", "of": {"view": "weak"}}
    with record_draws() as found:
        train(tmp_path / "run", stage(epochs=2, targets=targets, generator={}, term={"ce": {
            "use": "pseudo-label", "views": {"input": "w"}}}))  # fmt: skip
    assert found.twice <= of_no_seed().places


def of_no_seed() -> DrawRecord:
    """Return what belongs to no seed: the test part of digits, and inputs on which an encoder's layout is tried."""
    with record_draws() as found:
        registry.find("dataset", "digits").cls().open("train")
        Rng(0, "encoder", "layout").uniform((2, 1))
    return found


def gathered(scenes: list[Scene]) -> dict[int, list[Tensor]]:
    """Return, by image, its views a and b and what was added to each."""
    found = {}
    for scene in scenes:
        parts = [scene.batch.views["a"], scene.batch.views["b"], *perturbed(scene, [("a", "a_adv"), ("b", "b_adv")])]
        for place, image in enumerate(scene.batch.index.tolist()):
            found[image] = [part[place].detach() for part in parts]
    return found


# --- evaluation


class Firm(nn.Module):
    """Says class 0 to everything, and has a gradient: an attack goes through all its restarts."""

    def forward(self, x: Tensor) -> Tensor:
        slope = x.flatten(1).mean(1)
        return torch.stack([10 + 0 * slope, slope, slope.square(), slope.sqrt()], 1)


ROWS = 3


@pytest.mark.parametrize(
    ("attack", "options", "starts"),
    [
        ("pgd-20", {"restarts": 3}, 3),
        ("apgd-ce", {"restarts": 3}, 3),
        ("apgd-dlr", {"restarts": 3}, 3),
        ("apgd-t", {}, 3),
        ("square", {"restarts": 3}, 3),
        ("fab-t", {"restarts": 3}, 2),
        ("mt-pgd", {"restarts": 2}, 6),
        ("autoattack", {}, 5),
    ],
)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_restarts_targets_and_members_start_where_no_other_did(
    attack: str, options: dict[str, Any], starts: int, norm: str
) -> None:
    ball, x = Ball(norm, 8 / 255), Rng(3).uniform((ROWS, 1, 6, 6), 0.2, 0.8)
    plugin = registry.find("attack", attack).cls(**{**registry.find("attack", attack).preset, **options})
    members = plugin.members(4, ball)
    for _, generator in members:
        for option, few in (("queries", 3), ("steps", 3)):
            if hasattr(generator, option):
                setattr(generator, option, few)
    judge = Judge(of_model(Firm().eval()), ball, Rng(0, "streams"), nullcontext)
    with record_draws() as found:
        judge.attack(x, torch.zeros(ROWS, dtype=torch.int64), torch.arange(ROWS), attack, members)
    assert len({key for key, _, _ in found.places}) >= starts
    assert found.twice == set()


def test_attacks_of_two_names_two_seeds_or_two_images_draw_other_numbers() -> None:
    x, label = Rng(3).uniform((1, 1, 6, 6), 0.2, 0.8).expand(2, 1, 6, 6), torch.zeros(2, dtype=torch.int64)
    pgd = registry.find("generator", "pgd").cls(steps=1, step_size=1e-6)

    def start(name: str, seed: int, images: list[int]) -> Tensor:
        judge = Judge(of_model(Firm().eval()), Ball("Linf", 8 / 255), Rng(seed, "evaluate"), nullcontext)
        return judge.attack(x, label, torch.tensor(images), name, [("pgd", pgd)])[0]

    one = start("pgd", 0, [4, 5])
    assert torch.equal(one, start("pgd", 0, [4, 5]))
    assert not torch.equal(one[0], one[1]), "the same pixels under two numbers"
    assert torch.equal(one[1], start("pgd", 0, [5, 4])[0]), "a start belongs to its image, wherever that stands"
    for other in (start("pgd again", 0, [4, 5]), start("pgd", 1, [4, 5]), start("pgd", 0, [6, 7])):
        assert not torch.equal(one, other)


# --- splits


@pytest.mark.parametrize("draw", ["held out", "keep their labels"])
def test_each_class_has_a_stream_of_its_own(draw: str) -> None:
    labels = torch.arange(5).repeat_interleave(40)
    rows = holdout(labels, 0.25, Rng(0))[1] if draw == "held out" else choose_labelled(labels, 50, Rng(0))
    places = {tuple((row % 40).item() for row in rows[labels[rows] == label]) for label in range(5)}
    assert [int((labels[rows] == label).sum()) for label in range(5)] == [10] * 5
    assert len(places) == 5, "two classes gave the images of the same places"


def test_another_seed_holds_out_and_labels_other_images() -> None:
    labels = torch.arange(5).repeat_interleave(40)
    for part in (lambda rng: holdout(labels, 0.25, rng)[1], lambda rng: choose_labelled(labels, 50, rng)):
        assert torch.equal(part(Rng(0)), part(Rng(0)))
        assert len(set(part(Rng(0)).tolist()) & set(part(Rng(1)).tolist())) < 30, "by chance 12.5 of 50"
    splits = [open_splits(composed(stage(), seed=seed), Engine("cpu", 1, "32-true").device) for seed in (0, 1)]
    assert not torch.equal(splits[0].train.labels, splits[1].train.labels)
