"""What is kept is what was judged: the attacked input's hash, the fooling restart, starts and probes as published."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import search
from robustcl.clustering.seeding import afk_mc2
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import CLEAN, Journal, Key, fingerprint
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.work import Work
from robustcl.rng import Rng
from robustcl.testing import make_attack, make_images
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.apgd import APGD
from robustcl_plugins.generators.multi_targeted_pgd import MultiTargetedPGD
from robustcl_plugins.generators.pgd import PGD
from robustcl_plugins.generators.standing import Found, pursue
from robustcl_plugins.generators.vat import VAT
from tests.shared.one_step import one_step

BALL = Ball("Linf", 0.1)


class Held:
    """Images in memory, as the judge reads them."""

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x, self.labels, self.device, self.item, self.samples = x, labels, x.device, tuple(x.shape[1:]), len(x)

    def fetch(self, index: Tensor) -> Tensor:
        return self.x[index]


# --- the journal


def test_the_journal_hashes_the_input_that_was_judged(tmp_path: Path) -> None:
    x = Rng(0).uniform((12, 6), 0.2, 0.8)
    judge = Judge(of_model(linear(6)), BALL, Rng(1), nullcontext)
    images = Held(x, judge.classifier.predict(x))
    images.labels[0] = (images.labels[0] + 1) % 3  # wrong before any attack
    members, index = [("pgd", PGD(steps=3))], torch.arange(12)
    key = Key("as-is", "", "test", "pgd", "{}")
    outcomes = judge.judge(images, index, key, members, Journal(tmp_path / "j"), 0, Work(block=5))  # type: ignore[arg-type]
    adversarial, prediction = judge.attack(x, images.labels, index, "pgd", members)
    assert (adversarial != x).flatten(1).any(1).tolist() == [False, *[True] * 11]
    assert [outcome.hash for outcome in outcomes] == fingerprint(adversarial)
    assert [outcome.prediction for outcome in outcomes] == prediction.tolist()
    assert {outcome.member for outcome in outcomes} == {CLEAN, "pgd"}
    assert [a != b for a, b in zip(fingerprint(adversarial), fingerprint(x), strict=True)] == [False, *[True] * 11]


def linear(pixels: int) -> nn.Module:
    """Return a linear model of three classes; torch's own start would draw from the global generator."""
    net = nn.Linear(pixels, 3)
    with torch.no_grad():
        net.weight.copy_(Rng(2).normal((3, pixels)))
        net.bias.zero_()
    return net.eval()


# --- restarts


class Trench(nn.Module):
    """A row falls where its first pixel is above a half, and there the loss is small; elsewhere it is large."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0]
        fooled = first > 0.5
        margin = torch.where(fooled, -0.01, 0.01 + 0.0 * first)
        return torch.stack([margin, torch.zeros_like(margin)], 1)


def attack_on(model: nn.Module, x: Tensor, loss: Any, ball: Ball = BALL) -> Attack:
    """Return an attack whose loss is told apart from its verdict."""
    rows, label = torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64)
    return Attack(
        oracle=Oracle(
            encode=lambda inputs, places: Embedding(logits=model(inputs)),
            objective=loss,
            clean=lambda places: Embedding(logits=model(x[places])),
            fooled=lambda embedding, places: embedding.logits.argmax(1) != 0,
        ),
        ball=ball,
        rng=Rng(0, "trench").for_rows(rows),
        label=label,
        index=rows,
        places=rows,
    )


def test_a_restart_that_fools_is_kept_though_its_loss_is_lower() -> None:
    x = torch.full((24, 1, 2, 2), 0.5)
    attack = attack_on(Trench(), x, lambda e, places: e.logits[:, 0])  # large where it stands
    fell = Trench()(search.pursue(x, attack, steps=1, step_size=1e-9, restarts=4)).argmax(1) == 1
    first = Trench()(search.pursue(x, attack, steps=1, step_size=1e-9, restarts=1)).argmax(1) == 1
    assert 6 < int(first.sum()) < 18, "a start is above a half or not"
    assert bool((fell | ~first).all())
    assert int(fell.sum()) > int(first.sum()) + 4, "one in sixteen stands after four starts"


def test_of_climbs_the_fooling_one_is_kept_though_its_loss_is_lower() -> None:
    x = torch.zeros(3, 1)
    fooled = torch.tensor([False, True, False])

    def high(rows: Tensor, some: Attack) -> Found:
        return Found(x[rows] + 1, torch.full((len(rows),), 5.0).double(), torch.zeros(len(rows), dtype=torch.bool))

    def low(rows: Tensor, some: Attack) -> Found:
        return Found(x[rows] + 2, torch.full((len(rows),), 1.0).double(), fooled[rows])

    attack = attack_on(Trench(), x, lambda e, places: e.logits[:, 0])
    assert pursue(x, attack, [high, low])[:, 0].tolist() == [1.0, 2.0, 1.0]
    assert pursue(x, attack, [low, high])[:, 0].tolist() == [1.0, 2.0, 1.0], "and once fooled it is left alone"


@pytest.mark.parametrize("generator", [PGD(steps=2, restarts=6), MultiTargetedPGD(steps=2, restarts=6, targets=1)])
def test_more_restarts_of_a_generator_break_more_of_a_trench(generator: Any) -> None:
    x = torch.full((24, 1, 2, 2), 0.5)
    attack = attack_on(Trench(), x, lambda e, places: e.logits[:, 0])
    assert int((Trench()(generator.perturb(x, attack)).argmax(1) == 1).sum()) > 20


# --- starts


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize("fooled", [False, True])
def test_a_gaussian_start_lies_in_the_ball_also_where_it_fools_at_once(norm: str, fooled: bool) -> None:
    x, ball = Rng(0).uniform((16, 1, 3, 3)), Ball(norm, 0.2)
    attack = make_attack(x, ball=ball).but(fooled=lambda e, places: torch.full((len(places),), fooled))
    evaluated = PGD(steps=1, step_size=1e-9, start="gaussian", deviation=0.5).perturb(x, attack)
    trained = search.ascend(x, lambda v: v.flatten(1).sum(1), ball, steps=1, step_size=1e-9, rng=Rng(1),
                            start="gaussian", deviation=0.5)  # fmt: skip
    for adv in (evaluated, trained):
        assert bool(ball.contains(adv, x).all())
        assert float(ball.distance(adv, x).min()) > 0.1, "far outside before it was projected"


@pytest.mark.parametrize(("deviation", "recipe"), [(0.001, "trades"), (0.004, "trades"), (0.02, "mart")])
def test_the_deviation_of_the_start_is_the_recipe_s_in_training(deviation: float, recipe: str) -> None:
    short = ["generator.w_adv.steps=1", "generator.w_adv.step_size=1e-9", f"generator.w_adv.deviation={deviation}"]
    batch = one_step(recipe, overrides=[f"stage.train.{option}" for option in short], images=24).batch
    inside = (batch.views["w"] > 0.2) & (batch.views["w"] < 0.8)
    noise = (batch.views["w_adv"] - batch.views["w"])[inside]
    assert len(noise) > 200
    assert float(noise.std()) == pytest.approx(deviation, rel=0.15)
    assert abs(float(noise.mean())) < 0.2 * deviation


# --- probes


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize("xi", [1e-3, 0.05])
def test_vat_looks_along_a_vector_of_length_xi_in_l2_whatever_the_ball_is(norm: str, xi: float) -> None:
    x, seen = make_images(5), []
    attack = make_attack(x, VAT.needs, ball=Ball(norm, 0.3))
    encoder = attack.oracle.encode

    def watched(inputs: Tensor, places: Tensor) -> Embedding:
        seen.append((inputs.detach() - x).flatten(1).norm(dim=1))
        return encoder(inputs, places)

    VAT(xi=xi, iterations=2).perturb(x, attack.but(encode=watched))
    assert len(seen) == 2
    assert all(torch.allclose(length, torch.full((5,), xi), rtol=1e-3) for length in seen)


# --- votes


class Wavering:
    """Encodes so that each row is fooled in so many of each ``of`` passes."""

    def __init__(self, fooled: int, of: int) -> None:
        self.fooled, self.of, self.passes = fooled, of, 0

    def __call__(self, inputs: Tensor, places: Tensor) -> Embedding:
        wrong = self.passes % self.of < self.fooled
        self.passes += 1
        slope = inputs.flatten(1).sum(1) * 1e-3
        return Embedding(logits=torch.stack([slope - 2.0 * wrong, -slope], 1))


@pytest.mark.parametrize(
    ("votes", "of", "falls"), [(1, 2, False), (2, 4, False), (2, 3, True), (1, 3, False), (3, 4, True)]
)
def test_a_tie_of_votes_is_no_majority(votes: int, of: int, falls: bool) -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    encoder = Wavering(votes, of)
    attack = attack_on(Trench(), x, None).but(encode=encoder)
    APGD(steps=3, eot=of).perturb(x, attack)
    assert encoder.passes == (of if falls else 4 * of), "who is fooled leaves after the first look"


# --- seeding


def test_afk_mc2_proposes_half_by_distance_and_half_uniformly() -> None:
    """Bachem et al. 2016, algorithm 1: q(x) = d(x, c1)^2 / (2 sum d^2) + 1 / (2 n); a chain of one is its proposal."""
    angles = torch.tensor([0.0, 0.1, 3.0])
    unit, rows, drawn = torch.stack([angles.cos(), angles.sin()], 1), torch.arange(3), 1200
    counts = torch.zeros(3, 3)
    for number in range(drawn):
        first, second = afk_mc2(unit, 2, Rng(number), chain=1).tolist()
        counts[first, second] += 1
    starts = counts.sum(1)
    assert float(starts.min()) > drawn / 3 - 4.5 * math.sqrt(drawn * 2 / 9), "the first row is uniform"
    for first in range(3):
        distance = 1 - unit @ unit[first]
        far = distance / distance.sum()
        proposal = far / 2 + 1 / 6
        # A proposal of the first row itself ends nowhere, and the row comes from the exact distribution.
        wanted = torch.where(rows == first, 0.0, proposal) + proposal[first] * far
        error = 4.5 * (wanted * (1 - wanted) / starts[first]).sqrt() + 1e-9
        assert bool(((counts[first] / starts[first] - wanted).abs() <= error).all())
    assert float(counts[0, 1] / starts[0]) > 0.08, "one in 400 without the uniform half"
