"""Adversarial invariant regularization, and the recipes with it, against the paper's formulas as loops over floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from robustcl import compose
from robustcl.errors import OptionError, UsageError
from robustcl.nn.routing import RoutedNorm
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.train.plan import at
from robustcl.types import Embedding, Scene
from robustcl_plugins.objectives.air import AIR
from tests.shared.one_step import Seen, one_step

Vectors = Sequence[Sequence[float]]


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def _softmax(scores: Sequence[float]) -> list[float]:
    weights = [math.exp(score) for score in scores]
    return [weight / sum(weights) for weight in weights]


def _bound(us: Vectors, vs: Vectors, temperature: float) -> list[float]:
    """How strongly each u is bound to its own v, as a softmax over the images."""
    return _softmax([_cos(u, v) / temperature for u, v in zip(us, vs, strict=True)])


def oracle(
    first: Vectors, second: Vectors, first_adv: Vectors, second_adv: Vectors, original: Vectors,
    temperature: float = 0.5, *, published: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """SIR and AIR, written out image by image."""
    p, q = _bound(first, original, temperature), _bound(second, original, temperature)
    p_pairs = zip(_bound(first_adv, original, temperature), _bound(first_adv, first, temperature), strict=True)
    q_pairs = zip(_bound(second_adv, original, temperature), _bound(second_adv, second, temperature), strict=True)
    p_adv, q_adv = [a * b for a, b in p_pairs], [a * b for a, b in q_pairs]
    if published:
        sir = sum(b * (math.log(b) - a) for a, b in zip(p, q, strict=True))
        return sir, sum(b * (math.log(b) - a) for a, b in zip(p_adv, q_adv, strict=True))
    p_adv, q_adv = [a / sum(p_adv) for a in p_adv], [b / sum(q_adv) for b in q_adv]
    sir = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return sir, sum(b * math.log(b / a) for a, b in zip(p_adv, q_adv, strict=True))


def nt_xent(first: Vectors, second: Vectors, temperature: float = 0.5) -> float:
    """SimCLR, eq. 1, averaged over the anchors of both views."""
    rows, count = [*first, *second], len(first)
    losses = []
    for i, row in enumerate(rows):
        top = math.exp(_cos(row, rows[(i + count) % len(rows)]) / temperature)
        losses.append(-math.log(top / sum(math.exp(_cos(row, o) / temperature) for k, o in enumerate(rows) if k != i)))
    return sum(losses) / len(losses)


def _scene(images: int, width: int = 6, *, seed: int = 0, alike: bool = False) -> Scene:
    drawn = {role: Rng(seed, role).normal((images, width), dtype=torch.float64) for role in AIR.views}
    if alike:
        drawn |= {"second": drawn["first"], "second-adversarial": drawn["first-adversarial"]}
    return make_scene({role: Embedding(z=value.clone().requires_grad_()) for role, value in drawn.items()})


def _vectors(scene: Scene) -> list[Vectors]:
    return [scene.views[role].z.tolist() for role in AIR.views]


@pytest.mark.golden("objective", "air")
@pytest.mark.parametrize("formula", ["corrected", "as-published"])
@pytest.mark.parametrize(("images", "temperature"), [(1, 0.5), (2, 0.1), (5, 0.5), (9, 2.0)])
def test_both_terms_are_the_papers_sums(formula: str, images: int, temperature: float) -> None:
    scene = _scene(images)
    found = AIR(temperature=temperature, formula=formula).per_sample(scene)  # type: ignore[arg-type]
    sir, air = oracle(*_vectors(scene), temperature, published=formula == "as-published")
    assert float(found["sir"].detach()) == pytest.approx(sir, rel=1e-9, abs=1e-12)
    assert float(found["air"].detach()) == pytest.approx(air, rel=1e-9, abs=1e-12)
    assert found["sir"].shape == found["air"].shape == ()


def test_the_divergences_are_torchs_kl_of_log_softmaxes() -> None:
    scene = _scene(7)
    first, second, first_adv, second_adv, original = (scene.views[role].z for role in AIR.views)
    cos = torch.nn.functional.cosine_similarity
    p, q = cos(first, original) / 0.5, cos(second, original) / 0.5
    p_adv = cos(first_adv, original) / 0.5 + cos(first_adv, first) / 0.5
    q_adv = cos(second_adv, original) / 0.5 + cos(second_adv, second) / 0.5
    found = AIR().per_sample(scene)
    for name, (a, b) in {"sir": (p, q), "air": (p_adv, q_adv)}.items():
        expected = torch.nn.functional.kl_div(a.log_softmax(0), b.log_softmax(0), log_target=True, reduction="sum")
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_corrected_terms_are_divergences(seed: int) -> None:
    apart, alike = (AIR().per_sample(_scene(16, seed=seed, alike=alike)) for alike in (False, True))
    for name in AIR.terms:
        assert float(apart[name].detach()) > 1e-3
        assert float(alike[name].detach()) == pytest.approx(0.0, abs=1e-15)


def test_the_published_terms_are_the_logarithm_of_the_batch_and_hardly_move() -> None:
    count = 512
    scene = _scene(count, 512)
    published, corrected = (AIR(formula=f).per_sample(scene) for f in ("as-published", "corrected"))  # type: ignore[arg-type]
    assert float(published["sir"].detach()) == pytest.approx(-math.log(count), rel=0.01)
    assert float(published["air"].detach()) == pytest.approx(-2 * math.log(count) / count, rel=0.05)
    leaves = [scene.views[role].z for role in AIR.views]

    def length(term: torch.Tensor) -> float:
        found = torch.autograd.grad(term, leaves, retain_graph=True, allow_unused=True)
        return math.sqrt(sum(float(gradient.square().sum()) for gradient in found if gradient is not None))

    assert length(published["air"]) < 0.05 * length(corrected["air"])


def test_the_gradient_reaches_all_five_views() -> None:
    scene = _scene(6)
    values = AIR().per_sample(scene)
    gradients = torch.autograd.grad(values["sir"] + values["air"], [scene.views[role].z for role in AIR.views])
    assert all(float(gradient.abs().max()) > 1e-6 for gradient in gradients)


def test_a_frozen_encoders_view_is_refused_in_a_sentence() -> None:
    views = _scene(4).views
    with pytest.raises(UsageError, match="air: a frozen encoder's view"):
        AIR().per_sample(make_scene(views, apart=["original"]))


def test_another_formula_is_refused() -> None:
    with pytest.raises(OptionError, match="formula"):
        compose(recipe="acl-air", overrides=["stage.pretrain.term.air.formula=kl"])


def _expected(seen: Seen, nat: float, adv: float, *, published: bool = False) -> float:
    scenes = seen.scenes
    sir, air = oracle(*_vectors(scenes["air"]), published=published)
    streams = [[view.z.tolist() for view in scenes[name].views.values()] for name in ("nat", "adv")]
    return nat * nt_xent(*streams[0]) + adv * nt_xent(*streams[1]) + 0.5 * sir + 0.5 * air


@pytest.mark.golden("recipe", "acl-air")
@pytest.mark.parametrize("formula", ["corrected", "as-published"])
def test_a_step_of_acl_air_is_the_papers_objective(formula: str) -> None:
    seen = one_step("acl-air", overrides=[f"stage.pretrain.term.air.formula={formula}"])
    expected = _expected(seen, 1.0, 1.0, published=formula == "as-published")
    assert float(seen.losses["total"].detach()) == pytest.approx(expected, rel=1e-9)


def test_views_originals_and_adversaries_pass_three_forwards_of_two_branches() -> None:
    seen = one_step("acl-air")
    norm = next(module for module in seen.run.encoders.online.modules() if isinstance(module, RoutedNorm))
    counts = {route: int(norm.branch(route).num_batches_tracked or 0) for route in ("clean", "adv")}
    assert counts == {"clean": 2, "adv": 1}
    original = seen.batch.views["o"]
    torch.testing.assert_close(original, seen.run.images.fetch(seen.batch.index).double(), rtol=0, atol=0)


def test_the_attack_maximises_the_contrastive_term_alone() -> None:
    plan = one_step("acl-air").run.plan
    (generator,) = plan.generators
    assert generator.maximise is next(term for term in plan.terms if term.name == "adv")
    other = one_step("acl-air", overrides=["stage.pretrain.term.air.temperature=0.1"])
    for name in generator.writes:
        torch.testing.assert_close(
            one_step("acl-air").batch.views[name], other.batch.views[name], rtol=0, atol=0, msg=name
        )


@pytest.mark.golden("recipe", "dynacl-air")
@pytest.mark.parametrize("done", [0.0, 0.049, 0.05, 0.5, 0.999])
def test_a_step_of_dynacl_air_has_the_weights_of_its_epoch(done: float) -> None:
    seen = one_step("dynacl-air", progress=done)
    strength = 1 - int(done * 1000 + 1e-9) // 50 * 50 / 1000
    weight = 2 / 3 * (1 - strength)
    assert float(seen.losses["total"].detach()) == pytest.approx(_expected(seen, 1 - weight, 1 + weight), rel=1e-9)
    for view in seen.run.plan.views[:2]:
        assert view.part.plugin.strength == pytest.approx(strength, abs=1e-12)


def test_dynacl_airs_schedules_at_known_epochs() -> None:
    composition = compose(recipe="dynacl-air", budget="paper")
    (plan,) = composition.stages
    weights = {term.name: term.weights["contrast"] for term in plan.terms if term.name != "air"}
    for epoch, strength in {0: 1.0, 49: 1.0, 50: 0.95, 500: 0.5, 999: 0.05}.items():
        now = Progress(epoch * 10, 10_000, float(epoch), 1000.0)
        assert at(weights["nat"], now) == pytest.approx(1 - 2 / 3 * (1 - strength))
        assert at(weights["adv"], now) == pytest.approx(1 + 2 / 3 * (1 - strength))
        assert plan.views[0].part.schedules["strength"].at(now) == pytest.approx(strength)
    assert not plan.ema, "AIR has no momentum encoder"


@pytest.mark.golden("recipe", "dynacl-air++")
def test_the_last_stage_is_trades_on_clusters() -> None:
    seen = one_step("dynacl-air++", "aft")
    clustering = seen.run.clusters.clustering
    assert clustering is not None
    assert seen.batch.label.tolist() == clustering.assignment[0][seen.batch.index].tolist()
    clean, adversarial = (seen.scenes["robust"].views[role].logits.tolist() for role in ("clean", "adversarial"))
    loss = 0.0
    for natural, perturbed, label in zip(clean, adversarial, seen.batch.label.tolist(), strict=True):
        p, q = _softmax(natural), _softmax(perturbed)
        loss += -math.log(p[label]) + 6 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(seen.losses["total"].detach()) == pytest.approx(loss / len(clean), rel=1e-9)
    assert seen.run.encoders.online.routes == ("clean",)


@pytest.mark.golden("recipe", "dynacl-air++")
def test_dynacl_air_plus_plus_clusters_probes_and_tunes_without_an_average() -> None:
    composition = compose(recipe="dynacl-air++", budget="paper")
    plans = {plan.name: plan for plan in composition.stages}
    assert list(plans) == ["pretrain", "cluster", "probe", "aft"]
    assert [composition.recipe.find(n).init for n in ("cluster", "probe")] == ["stage:pretrain", "stage:pretrain"]
    assert composition.recipe.find("probe").init_route == "adv"
    assert plans["probe"].trainable == ("classifier",)
    assert not any(plan.ema for plan in plans.values())
    assert (plans["cluster"].epochs, plans["probe"].epochs, plans["aft"].epochs) == (0, 10, 25)
    (attack,) = plans["aft"].generators
    assert (attack.part.plugin.start, attack.part.plugin.deviation, attack.part.plugin.steps) == ("gaussian", 0.001, 10)
    assert attack.maximise is plans["aft"].terms[1]
    hundred = compose(recipe="dynacl-air++", budget="paper", dataset="cifar100")
    assert {plan.targets.clusters for plan in hundred.stages if plan.targets is not None} == {(100,)}
