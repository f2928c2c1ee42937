"""ASCL of Li et al.: three adversaries and three losses in one stage, against the paper as loops over floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from robustcl import compose
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.train.plan import at
from robustcl.types import Embedding
from robustcl_plugins.selectors.by_label import Global
from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]
IMAGES = 16
RECIPES = {
    "ascl-li": {"at": "w_at", "cl": "pair", "scl": "o_scl"},
    "ascl-li-at": {"at": "w_at"},
    "ascl-li-cl": {"at": "w_at", "cl": "pair"},
    "ascl-li-scl": {"at": "w_at", "scl": "o_scl"},
}
"""Recipe -> term -> the generator that maximises it."""


def cos(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True)) / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def contrast(rows: Sequence[Vector], positives: Callable[[int, int], bool], t: float) -> float:
    """Eq. 7 as a mean over the anchors; eq. 4 where an anchor has one positive."""
    losses = []
    for i in range(len(rows)):
        others = [a for a in range(len(rows)) if a != i]
        bottom = sum(math.exp(cos(rows[i], rows[a]) / t) for a in others)
        chosen = [p for p in others if positives(i, p)]
        losses.append(-sum(math.log(math.exp(cos(rows[i], rows[p]) / t) / bottom) for p in chosen) / len(chosen))
    return sum(losses) / len(losses)


def cross_entropy(logits: Sequence[Vector], labels: Sequence[int]) -> float:
    """Eq. 3 without its maximum."""
    return sum(math.log(sum(map(math.exp, row))) - row[y] for row, y in zip(logits, labels, strict=True)) / len(labels)


def expected(seen: Seen, *, literal: bool = False) -> dict[str, float]:
    """Eq. 10 of the step's embeddings, weighted."""
    labels = seen.batch.label.tolist()

    def mates(i: int, j: int) -> bool:
        across = not literal or (i < IMAGES) != (j < IMAGES)
        return across and labels[i % IMAGES] == labels[j % IMAGES]

    weighted = {"at/ce": cross_entropy(seen.scenes["at"].views["input"].logits.tolist(), labels)}
    if "cl" in seen.scenes:
        rows = [*seen.scenes["cl"].views["a_cl"].z.tolist(), *seen.scenes["cl"].views["b_cl"].z.tolist()]
        weighted["cl/contrast"] = 0.5 * contrast(rows, lambda i, j: i % IMAGES == j % IMAGES, 0.5)
    if "scl" in seen.scenes:
        rows = [*seen.scenes["scl"].views["a"].z.tolist(), *seen.scenes["scl"].views["o_scl"].z.tolist()]
        weighted["scl/contrast"] = 0.2 * contrast(rows, mates, 0.5)
    return weighted


def assert_losses(seen: Seen, weighted: dict[str, float]) -> None:
    found = {name: float(value.detach()) for name, value in seen.losses.items()}
    assert found == pytest.approx({**weighted, "total": sum(weighted.values())}, rel=1e-9)


@pytest.mark.golden("recipe", "ascl-li")
@pytest.mark.golden("recipe", "ascl-li-at")
@pytest.mark.golden("recipe", "ascl-li-cl")
@pytest.mark.golden("recipe", "ascl-li-scl")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_is_equation_10(recipe: str) -> None:
    seen = one_step(recipe, images=IMAGES)
    assert set(seen.scenes) == set(RECIPES[recipe])
    assert_losses(seen, expected(seen))


@pytest.mark.golden("recipe", "ascl-li")
@pytest.mark.golden("selector", "global")
def test_a_step_is_equation_9_to_the_letter() -> None:
    selector = 'stage.pretrain.term.scl.selector={ use = "global", positives = "other-views" }'
    seen = one_step("ascl-li", overrides=[selector], images=IMAGES)
    assert_losses(seen, expected(seen, literal=True))


@pytest.mark.golden("selector", "global")
def test_positives_of_other_views_by_hand() -> None:
    """Three images of the classes 0, 0, 1 in two views; columns 0 to 2 and 3 to 5."""
    views = {str(i): Embedding(z=Rng(i).normal((3, 2))) for i in range(2)}
    pairs = Global(positives="other-views").select(make_scene(views, label=torch.tensor([0, 0, 1])))
    assert pairs.positive.int().tolist() == [
        [0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1],
        [1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0],
    ]  # fmt: skip
    own = torch.eye(6, dtype=torch.bool)
    assert torch.equal(pairs.negative, ~pairs.positive & ~own)


@pytest.mark.golden("recipe", "ascl-li")
@pytest.mark.golden("recipe", "ascl-li-at")
@pytest.mark.golden("recipe", "ascl-li-cl")
@pytest.mark.golden("recipe", "ascl-li-scl")
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_loss_has_its_own_adversary(recipe: str) -> None:
    (plan,) = compose(recipe=recipe, budget="paper").stages
    assert {g.maximise.name: g.name for g in plan.generators if g.maximise is not None} == RECIPES[recipe]
    reads = {g.name: (g.reads, g.writes) for g in plan.generators}
    every = {
        "w_at": (("w",), ("w_at",)),
        "pair": (("a", "b"), ("a_cl", "b_cl")),
        "o_scl": (("o",), ("o_scl",)),
    }
    assert {name: (tuple(r), tuple(w)) for name, (r, w) in reads.items()} == {name: every[name] for name in reads}


@pytest.mark.golden("recipe", "ascl-li")
def test_the_adversaries_climb_their_losses() -> None:
    """In the attack's mode each adversary raises its own loss, by far more than noise of its size changes it."""
    steps = [f"stage.pretrain.generator.{name}.step_size=16/255" for name in ("w_at", "pair", "o_scl")]
    seen = one_step("ascl-li", overrides=["threat.eps=64/255", *steps], images=IMAGES)
    encoder, views, labels = seen.run.encoders.online.eval(), seen.batch.views, seen.batch.label.tolist()
    for name, buffer in encoder.named_buffers():  # the step's forwards came after the attacks
        if name.endswith(("running_mean", "running_var")):
            buffer.fill_(float(name.endswith("running_var")))

    def embed(x: Tensor, route: str = "adv") -> Embedding:
        with torch.no_grad():
            found: Embedding = encoder(x, route, frozenset({"z", "logits"}))
        return found

    def mates(i: int, j: int) -> bool:
        return labels[i % IMAGES] == labels[j % IMAGES]

    anchors = embed(views["a"], "clean").z.tolist()
    losses: dict[str, Callable[..., float]] = {
        "at": lambda w: cross_entropy(embed(w).logits.tolist(), labels),
        "cl": lambda a, b: contrast(embed(torch.cat([a, b])).z.tolist(), lambda i, j: i % IMAGES == j % IMAGES, 0.5),
        "scl": lambda o: contrast([*anchors, *embed(o).z.tolist()], mates, 0.5),
    }
    moved = {"at": {"w": "w_at"}, "cl": {"a": "a_cl", "b": "b_cl"}, "scl": {"o": "o_scl"}}
    for name, loss in losses.items():
        clean = [views[view] for view in moved[name]]
        adversarial = [views[view] for view in moved[name].values()]
        noisy = [(x + 64 / 255 * Rng(3).normal(x.shape, dtype=x.dtype).sign()).clamp(0, 1) for x in clean]
        gain, chance = loss(*adversarial) - loss(*clean), loss(*noisy) - loss(*clean)
        assert gain > 2 * abs(chance) > 0, (name, gain, chance)
        for x, y in zip(clean, adversarial, strict=True):
            assert 0 < float((y - x).abs().max()) <= 64 / 255 + 1e-9


@pytest.mark.golden("recipe", "ascl-li")
def test_the_raw_image_is_attacked_and_the_anchor_is_a_clean_view() -> None:
    seen = one_step("ascl-li", images=IMAGES)
    raw = seen.run.images.fetch(torch.arange(100, 100 + IMAGES))
    assert torch.equal(seen.batch.views["o"], raw.to(seen.batch.views["o"].dtype))
    assert dict(seen.run.plan.routes) == {
        **dict.fromkeys(("w_at", "a_cl", "b_cl", "o_scl"), "adv"),
        "a": "clean",
    }
    rows = seen.scenes["scl"].rows.z
    (gradient,) = torch.autograd.grad(seen.losses["scl/contrast"], rows, retain_graph=True)
    assert bool((gradient.abs().sum(1) > 0).all())


@pytest.mark.golden("recipe", "ascl-li")
def test_clean_views_and_adversaries_have_their_own_statistics() -> None:
    apart = one_step("ascl-li", images=IMAGES)
    routes = apart.run.encoders.online.routes
    assert routes == ("clean", "adv")
    one = one_step("ascl-li", overrides=["stage.pretrain.routes={}", 'evaluate.alf.route=["clean"]',
                                         'evaluate.slf.route=["clean"]'], images=IMAGES)  # fmt: skip
    assert one.run.encoders.online.routes == ("clean",)
    assert_losses(one, expected(one))


@pytest.mark.golden("recipe", "ascl-li")
def test_trades_in_the_place_of_adversarial_training() -> None:
    seen = one_step(
        "ascl-li",
        overrides=[
            'stage.pretrain.term.robust={ use = "kl", views = { clean = "w", adversarial = "w_at" }, weight = 6.0 }',
            'stage.pretrain.term.at.views=["w"]',
            "stage.pretrain.generator.w_at.maximise=robust",
            'stage.pretrain.forward="by-view"',
        ],
        images=IMAGES,
    )
    views = seen.scenes["robust"].views
    p, q = (views[side].logits.log_softmax(1) for side in ("clean", "adversarial"))
    weighted = expected(seen) | {"robust/kl": 6 * float((p.exp() * (p - q)).sum(1).mean().detach())}
    assert_losses(seen, weighted)
    assert seen.run.plan.generators[0].maximise is not None
    assert seen.run.plan.generators[0].maximise.name == "robust"


@pytest.mark.golden("recipe", "ascl-li")
def test_images_without_labels_stay_out_of_the_cross_entropy() -> None:
    whole = one_step("ascl-li", images=IMAGES)
    scene = whole.scenes["at"]
    label = scene.batch.label.clone()
    label[::2] = -1
    term = next(term for term in whole.run.plan.terms if term.name == "at")
    batch = type(scene.batch)(
        views=scene.batch.views, index=scene.batch.index, label=label, target={}, position=scene.batch.position
    )
    values = term.objective.plugin.per_sample(scene.but(batch=batch))["ce"]
    logits = scene.views["input"].logits[1::2].tolist()
    assert float(values.mean().detach()) == pytest.approx(cross_entropy(logits, label[1::2].tolist()), rel=1e-9)


@pytest.mark.golden("recipe", "ascl-li")
@pytest.mark.golden("recipe", "ascl-li-at")
@pytest.mark.golden("recipe", "ascl-li-cl")
@pytest.mark.golden("recipe", "ascl-li-scl")
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_setting_is_section_4_1(recipe: str) -> None:
    composition = compose(recipe=recipe, dataset="cifar10", budget="paper")
    (plan,) = composition.stages
    rates = [at(plan.lr, Progress(0, 1, share * plan.epochs, plan.epochs)) for share in (0, 0.59, 0.6, 0.79, 0.8, 0.99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    sgd = plan.optimizer.plugin
    assert (plan.batch, sgd.momentum, sgd.weight_decay) == (512, 0.9, pytest.approx(2e-4))
    assert composition.encoder.name == "resnet-18"
    for generator in plan.generators:
        assert generator.ball.eps == pytest.approx(8 / 255)
        assert generator.part.plugin.step_size == pytest.approx(2 / 255)
    for evaluation in composition.evaluations:
        for stages in evaluation.stages.values():
            ((table, linear),) = stages
            assert (table.classifier, table.trainable) == ("zero", ["classifier"])
            assert (linear.epochs, at(linear.lr, Progress(99, 100, 9.9, 10.0))) == (10, 0.1)
