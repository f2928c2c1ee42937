"""DeACL, NCP-ACL and its ablations, as whole recipes, against their papers' formulas as loops over plain floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from robustcl import compose
from robustcl.types import Attack
from robustcl_plugins.generators.deacl import DeACL
from robustcl_plugins.generators.ncp import NCP
from tests.shared.one_step import Seen, one_step

Vectors = Sequence[Sequence[float]]
SMALL = "stage.robust.targets.clusters=6"


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def _features(seen: Seen, term: str, *roles: str) -> list[Vectors]:
    return [seen.scenes[term].views[role].h.tolist() for role in roles]


def two_stage_loss(clean: Vectors, adversarial: Vectors, teacher: Vectors, factor: float) -> float:
    """Mean over images of -cos(f(x), t(x)) - factor cos(f(x + d), f(x))."""
    images = range(len(clean))
    return sum(-_cos(clean[i], teacher[i]) - factor * _cos(adversarial[i], clean[i]) for i in images) / len(clean)


def nt_xent(rows: Vectors, temperature: float) -> float:
    """SimCLR, eq. 1; the partner of row i is half the rows further."""
    count, losses = len(rows), []
    for i in range(count):
        exps = [math.exp(_cos(rows[i], rows[k]) / temperature) if k != i else 0.0 for k in range(count)]
        losses.append(-math.log(exps[(i + count // 2) % count] / sum(exps)))
    return sum(losses) / count


Objective = Callable[[Tensor, Attack], Tensor]
EPS, STEP, STEPS = 32 / 255, 8 / 255, 2
START = ("stage.robust.generator.start=none", f"stage.robust.generator.steps={STEPS}")
"""The ball and the step of digits, and attacks that start at the image."""


class Watch:
    """What a generator made of its images, and what signed gradient steps on the paper's objective make of them.

    Both while the attack runs: the training forward moves the statistics with which it embeds.
    """

    def __init__(self, patch: pytest.MonkeyPatch, cls: type[Any], objective: Objective) -> None:
        original = cls.perturb

        def perturb(plugin: Any, x: Tensor, attack: Attack) -> Tensor:
            self.result: Tensor = original(plugin, x, attack)
            self.expected = walked(x, attack, objective)
            with torch.no_grad():
                self.before, self.after = (float(objective(attack.encode(v).h, attack).sum()) for v in (x, self.result))
            return self.result

        patch.setattr(cls, "perturb", perturb)

    def check(self) -> None:
        torch.testing.assert_close(self.result, self.expected, rtol=0, atol=1e-12)
        assert self.after > self.before


def walked(x: Tensor, attack: Attack, objective: Objective) -> Tensor:
    """Signed gradient steps from the clean images, clamped to the ball and to [0, 1]."""
    adv = x
    for _ in range(STEPS):
        leaf = adv.clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective(attack.encode(leaf).h, attack).sum(), leaf)
        adv = (adv + STEP * slope.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    return adv


@pytest.mark.golden("recipe", "deacl")
def test_deacl_pulls_to_the_teacher_and_twice_as_hard_to_itself() -> None:
    seen = one_step("deacl", "robust")
    clean, adversarial, teacher = _features(seen, "deacl", "clean", "adversarial", "teacher")
    assert clean != teacher != adversarial
    assert seen.losses["total"].item() == pytest.approx(two_stage_loss(clean, adversarial, teacher, 2.0), rel=1e-9)


@pytest.mark.golden("recipe", "deacl")
def test_deacl_has_one_set_of_statistics_and_one_forward() -> None:
    seen = one_step("deacl", "robust")
    assert seen.run.encoders.online.routes == ("clean",)
    both = torch.cat([seen.batch.views["w"], seen.batch.views["w_adv"]])
    seen.run.encoders.online.train()
    h = seen.run.encoders.embed(both, "online", "clean", frozenset({"h"}), "batch").h
    torch.testing.assert_close(h[:8], seen.scenes["deacl"].views["clean"].h)
    torch.testing.assert_close(h[8:], seen.scenes["deacl"].views["adversarial"].h)


@pytest.mark.golden("recipe", "deacl")
def test_deacl_attacks_what_the_teacher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, DeACL, lambda h, attack: -cosine_similarity(h, attack.teacher.h))
    one_step("deacl", "robust", START)
    watch.check()


@pytest.mark.golden("recipe", "ncp")
@pytest.mark.golden("recipe", "deacl")
@pytest.mark.parametrize("recipe", ["ncp", "deacl"])
def test_the_first_stage_is_simclr(recipe: str) -> None:
    seen = one_step(recipe, "pretrain")
    assert seen.losses["total"].item() == pytest.approx(nt_xent(seen.scenes["contrast"].rows.z.tolist(), 0.5), rel=1e-9)


@pytest.mark.golden("recipe", "ncp")
@pytest.mark.golden("recipe", "ncp-away")
@pytest.mark.golden("recipe", "ncp-toward")
@pytest.mark.parametrize("recipe", ["ncp", "ncp-away", "ncp-toward"])
def test_ncp_is_equation_3_with_six(recipe: str) -> None:
    seen = one_step(recipe, "robust", [SMALL])
    clean, adversarial, teacher = _features(seen, "deacl", "clean", "adversarial", "teacher")
    assert seen.losses["total"].item() == pytest.approx(two_stage_loss(clean, adversarial, teacher, 6.0), rel=1e-9)
    assert seen.run.plan.routes == {"w": "clean", "w_adv": "adv"}


def neighbours(attack: Attack, n: int) -> tuple[list[int], list[int]]:
    """Each image's own cluster, and the (n - 1)-th of the others in the order of nearness to its clean features."""
    centroids, own, other = attack.clusters.centroids[0].tolist(), [], []
    for index, features in zip(attack.index.tolist(), attack.clean().h.tolist(), strict=True):
        own.append(int(attack.clusters.assignment[0, index]))
        order = sorted(range(len(centroids)), key=lambda k: -_cos(features, centroids[k]))
        other.append([k for k in order if k != own[-1]][n - 2])
    return own, other


@pytest.mark.golden("recipe", "ncp")
@pytest.mark.golden("recipe", "ncp-away")
@pytest.mark.golden("recipe", "ncp-toward")
@pytest.mark.parametrize(
    ("recipe", "away", "toward", "n"),
    [("ncp", 1, 1, 2), ("ncp", 1, 1, 3), ("ncp", 1, 1, 5), ("ncp-away", 1, 0, 2), ("ncp-toward", 0, 1, 2)],
)
def test_ncp_attacks_by_equation_4(
    recipe: str, away: int, toward: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def objective(h: Tensor, attack: Attack) -> Tensor:
        own, other = neighbours(attack, n)
        centroids = attack.clusters.centroids[0]
        return toward * cosine_similarity(h, centroids[other]) - away * cosine_similarity(h, centroids[own])

    watch = Watch(monkeypatch, NCP, objective)
    one_step(recipe, "robust", [SMALL, *START, f"stage.robust.generator.neighbour={n}"])
    watch.check()


@pytest.mark.golden("recipe", "ncp-away")
@pytest.mark.golden("recipe", "ncp-toward")
def test_the_ablations_differ_from_ncp_in_the_strategy_alone() -> None:
    whole = compose(recipe="ncp", budget="paper").recipe
    for strategy in ("away", "toward"):
        other = compose(recipe=f"ncp-{strategy}", budget="paper").recipe
        assert other.stage[1].generator["w_adv"].options["strategy"] == strategy
        same = compose(recipe=f"ncp-{strategy}", budget="paper", overrides=["stage.robust.generator.strategy=both"])
        assert same.recipe.stage == whole.stage
        assert other.evaluate == whole.evaluate


@pytest.mark.golden("recipe", "ncp")
def test_clusters_are_of_the_online_encoders_clean_branch_and_refreshed_each_epoch() -> None:
    targets = compose(recipe="ncp", budget="paper").stages[1].targets
    assert targets is not None
    assert (targets.encoder, targets.route, targets.layer, targets.clusters, targets.every) == (
        "online", "clean", "h", None, 1.0,
    )  # fmt: skip


@pytest.mark.golden("recipe", "ncp")
def test_gradient_reaches_both_sides_but_not_the_teacher() -> None:
    seen = one_step("ncp", "robust", [SMALL])
    views = seen.scenes["deacl"].views
    robust = seen.losses["deacl/robust"]
    for role in ("clean", "adversarial"):
        (slope,) = torch.autograd.grad(robust, views[role].h, retain_graph=True)
        assert bool(slope.any())
    assert not views["teacher"].h.requires_grad
