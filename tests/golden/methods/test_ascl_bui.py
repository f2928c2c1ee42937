"""ASCL of Bui et al.: its selections, its similarities and its recipes, against the paper as loops over floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from robustcl import compose
from robustcl.api import Composition
from robustcl.composition.lock import lock
from robustcl.errors import OptionError
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.search import step_length
from robustcl.study.api import compose as compose_study
from robustcl.study.plan.setting import Setting
from robustcl.testing import make_scene
from robustcl.train.plan import at
from robustcl.types import Embedding, Pairs, Scene
from robustcl_plugins.objectives.adr import ADR
from robustcl_plugins.objectives.supcon import SupCon
from robustcl_plugins.selectors.by_label import Global
from robustcl_plugins.selectors.local import HardLS, LeakedLS, SoftLS
from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]
Rule = Callable[["Copy", "Copy"], tuple[bool, bool]]


class Copy:
    """The clean or the adversarial copy of an image: what eq. 1 and Table 1 know of it."""

    def __init__(self, image: int, adversarial: bool, label: int, predicted: int, z: Vector = ()) -> None:
        self.image, self.adversarial, self.label, self.predicted, self.z = image, adversarial, label, predicted, z


TABLE_1: dict[str, Rule] = {
    "global": lambda i, j: (j.label == i.label, j.label != i.label),
    "hard-ls": lambda i, j: (j.label == i.label, j.label != i.label and j.predicted == i.label),
    "soft-ls": lambda i, j: (j.label == i.label, j.label != i.label and j.predicted == i.predicted),
    "leaked-ls": lambda i, j: (
        j.label == i.label and j.predicted == i.predicted,
        j.label != i.label and j.predicted == i.predicted,
    ),
}
"""Whether copy j of another image is in the positive, and in the negative set of anchor i."""

SELECTORS = {"global": Global(), "hard-ls": HardLS(), "soft-ls": SoftLS(), "leaked-ls": LeakedLS()}


def cosine(u: Vector, v: Vector) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True)) / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def minus_norm(p: float) -> Callable[[Vector, Vector], float]:
    if p == math.inf:
        return lambda u, v: -max(abs(a - b) for a, b in zip(u, v, strict=True))
    return lambda u, v: -(sum(abs(a - b) ** p for a, b in zip(u, v, strict=True)) ** (1 / p))


def on_the_sphere(similarity: Callable[[Vector, Vector], float]) -> Callable[[Vector, Vector], float]:
    def unit(u: Vector) -> list[float]:
        return [a / math.sqrt(sum(b * b for b in u)) for a in u]

    return lambda u, v: similarity(unit(u), unit(v))


def anchor_loss(
    i: Copy, everyone: Sequence[Copy], rule: Rule, t: float = 0.07, sim: Callable[[Vector, Vector], float] = cosine
) -> float:
    """Eq. 1 (and eq. 2 with the adversarial anchor in the place of the clean one)."""
    others = [j for j in everyone if j.image != i.image]
    counterpart = [j for j in everyone if j.image == i.image and j is not i]
    positive = [j for j in others if rule(i, j)[0]] + counterpart
    negative = [j for j in others if rule(i, j)[1]]
    bottom = sum(math.exp(sim(k.z, i.z) / t) for k in positive + negative)
    return -sum(math.log(math.exp(sim(j.z, i.z) / t) / bottom) for j in positive) / len(positive)


def copies(scene: Scene) -> list[Copy]:
    """Return the rows of a scene of the views clean and adversarial."""
    rows = scene.rows
    predicted = [max(range(len(row)), key=row.__getitem__) for row in rows.logits.tolist()]
    labels, samples, views = rows.label.tolist(), rows.sample.tolist(), rows.view.tolist()
    z = rows.h.tolist() if rows.has("h") else [()] * len(labels)
    return [Copy(s, v == 1, y, p, f) for s, v, y, p, f in zip(samples, views, labels, predicted, z, strict=True)]


def scene_of(labels: Sequence[int], clean: Sequence[int], adversarial: Sequence[int]) -> Scene:
    """Return a scene whose classifier predicts what is given."""
    views = {}
    for seed, (role, predicted) in enumerate((("clean", clean), ("adversarial", adversarial))):
        logits = torch.full((len(labels), 4), -1.0, dtype=torch.float64)
        logits[torch.arange(len(labels)), torch.tensor(predicted)] = 1.0
        views[role] = Embedding(logits=logits, h=Rng(seed).normal((len(labels), 5), dtype=torch.float64))
    return make_scene(views, label=torch.tensor(labels))


def drawn(seed: int, images: int = 7) -> Scene:
    draw = [Rng(seed, what).integers(3, (images,)).tolist() for what in ("label", "clean", "adversarial")]
    return scene_of(*draw)


def sets(pairs: Pairs, row: int) -> tuple[set[int], set[int]]:
    return {*pairs.positive[row].nonzero()[:, 0].tolist()}, {*pairs.negative[row].nonzero()[:, 0].tolist()}


# --- Table 1


@pytest.mark.golden("selector", "global")
@pytest.mark.golden("selector", "hard-ls")
@pytest.mark.golden("selector", "soft-ls")
@pytest.mark.golden("selector", "leaked-ls")
@pytest.mark.parametrize("name", TABLE_1)
@pytest.mark.parametrize("seed", range(4))
def test_selections_are_table_1(name: str, seed: int) -> None:
    scene = drawn(seed)
    pairs, everyone = SELECTORS[name].select(scene), copies(scene)
    for row, i in enumerate(everyone):
        for column, j in enumerate(everyone):
            own = i.image == j.image
            positive, negative = (row != column, False) if own else TABLE_1[name](i, j)
            assert bool(pairs.positive[row, column]) == positive, (row, column)
            assert bool(pairs.negative[row, column]) == negative, (row, column)


def four() -> Scene:
    """Images 0 .. 3 of the classes 0, 0, 1, 1; columns 0 .. 3 are clean, 4 .. 7 adversarial."""
    return scene_of([0, 0, 1, 1], clean=[0, 1, 1, 0], adversarial=[1, 1, 0, 0])


@pytest.mark.golden("selector", "hard-ls")
def test_hard_selection_by_hand() -> None:
    """Anchor 0 is of class 0: of class 1, what is taken for a 0 are column 3 (clean) and 6, 7 (adversarial)."""
    pairs = HardLS().select(four())
    assert sets(pairs, 0) == ({1, 4, 5}, {3, 6, 7})
    assert sets(pairs, 4) == ({0, 1, 5}, {3, 6, 7})
    assert sets(pairs, 2) == ({3, 6, 7}, {1, 4, 5})


@pytest.mark.golden("selector", "soft-ls")
def test_soft_selection_by_hand() -> None:
    """Anchor 4, the adversary of image 0, is taken for a 1: of class 1 only the clean copy of image 2 is."""
    pairs = SoftLS().select(four())
    assert sets(pairs, 0) == ({1, 4, 5}, {3, 6, 7})
    assert sets(pairs, 4) == ({0, 1, 5}, {2})
    assert sets(SoftLS(prediction="clean").select(four()), 4) == ({0, 1, 5}, {3, 6, 7})


@pytest.mark.golden("selector", "leaked-ls")
def test_leaked_selection_by_hand() -> None:
    """Anchor 0 is taken for a 0: of its class nobody else is, so only its own adversary attracts."""
    pairs = LeakedLS().select(four())
    assert sets(pairs, 0) == ({4}, {3, 6, 7})
    assert sets(pairs, 4) == ({0, 1, 5}, {2})
    clean = LeakedLS(prediction="clean").select(four())
    assert sets(clean, 4) == ({0}, {3, 6, 7})


@pytest.mark.golden("selector", "leaked-ls")
def test_the_own_adversary_leaks_out_as_in_the_released_code() -> None:
    scene = four()
    pairs = LeakedLS(own="if-selected").select(scene)
    assert sets(pairs, 0) == (set(), {3, 6, 7})
    assert sets(pairs, 4) == ({1, 5}, {2})
    assert sets(pairs, 1) == ({4, 5}, {2})
    everyone = copies(scene)
    for row, i in enumerate(everyone):
        expected = {c for c, j in enumerate(everyone) if c != row and j.label == i.label and j.predicted == i.predicted}
        assert sets(pairs, row)[0] == expected


@pytest.mark.golden("selector", "soft-ls")
@pytest.mark.golden("selector", "leaked-ls")
@pytest.mark.parametrize("selector", [SoftLS(prediction="clean"), LeakedLS(prediction="clean")])
def test_anchors_of_another_rank_find_their_clean_copy(selector: SoftLS | LeakedLS) -> None:
    scene = drawn(3, images=6)
    here = torch.tensor([2, 3, 8, 9])
    names = ("sample", "view", "label", "index", "h", "logits")
    part = scene.but(rows=scene.rows.but(**{n: getattr(scene.rows, n)[here] for n in names}), own=here)
    whole, cut = selector.select(scene), selector.select(part)
    assert torch.equal(whole.positive[here], cut.positive)
    assert torch.equal(whole.negative[here], cut.negative)


@pytest.mark.golden("selector", "hard-ls")
@pytest.mark.golden("selector", "soft-ls")
@pytest.mark.golden("selector", "leaked-ls")
@pytest.mark.parametrize("selector", [HardLS(), SoftLS(), LeakedLS(), LeakedLS(own="if-selected")])
def test_local_selections_choose_among_the_global_pairs(selector: HardLS | SoftLS | LeakedLS) -> None:
    scene = drawn(1, images=12)
    wide, narrow = Global().select(scene), selector.select(scene)
    assert not bool((narrow.positive & ~wide.positive).any())
    assert not bool((narrow.negative & ~wide.negative).any())
    assert int(narrow.negative.sum()) < int(wide.negative.sum())


@pytest.mark.golden("selector", "hard-ls")
@pytest.mark.golden("selector", "soft-ls")
@pytest.mark.golden("selector", "leaked-ls")
def test_images_without_labels_attract_their_own_copies_alone() -> None:
    scene = scene_of([-1, -1, 0], clean=[0, 0, 0], adversarial=[0, 0, 0])
    for selector in (HardLS(), SoftLS(), LeakedLS()):
        assert sets(selector.select(scene), 0)[0] == {3}
    assert sets(HardLS().select(scene), 0)[1] == set()
    assert sets(SoftLS().select(scene), 0)[1] == {1, 2, 4, 5}
    assert sets(HardLS().select(scene), 2)[1] == {0, 1, 3, 4}


@pytest.mark.golden("selector", "leaked-ls")
def test_a_batch_in_which_nobody_has_a_positive_costs_nothing() -> None:
    """Every prediction differs from every other of its class: with own = if-selected no anchor is left."""
    scene = scene_of([0, 0, 1, 1], clean=[0, 1, 0, 1], adversarial=[2, 3, 2, 3])
    features = scene.rows.h.clone().requires_grad_()
    pairs = LeakedLS(own="if-selected").select(scene)
    assert not bool(pairs.positive.any())
    rows = scene.rows.but(h=features)
    for similarity in ("cosine", "Linf", "L2", "L1"):
        objective = SupCon(layer="h", temperature=0.07, similarity=similarity)
        loss = objective.per_sample(scene.but(rows=rows, columns=rows, pairs=pairs))["contrast"]
        assert loss.tolist() == [0.0] * 8
        (gradient,) = torch.autograd.grad(loss.sum(), features, allow_unused=True, materialize_grads=True)
        assert bool((gradient == 0).all())
    assert bool(LeakedLS().select(scene).positive.sum(dim=1).eq(1).all())


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ('{ use = "leaked-ls", own = "never" }', "own"),
        ('{ use = "soft-ls", prediction = "both" }', "prediction"),
        ('{ use = "hard-ls", own = "always" }', "own"),
    ],
)
def test_options_that_a_selection_does_not_have_are_refused(selector: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        compose(recipe="ascl", overrides=[f"stage.train.term.scl.selector={selector}"])
    assert "stage.train.term.scl.selector" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- similarities of eq. 1

SIMILARITIES = {
    ("cosine", False): cosine,
    ("cosine", True): cosine,
    ("Linf", False): minus_norm(math.inf),
    ("L2", False): minus_norm(2),
    ("L1", False): minus_norm(1),
    ("Linf", True): on_the_sphere(minus_norm(math.inf)),
    ("L2", True): on_the_sphere(minus_norm(2)),
    ("L1", True): on_the_sphere(minus_norm(1)),
}


@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize(("kind", "unit_length"), SIMILARITIES)
@pytest.mark.parametrize("selection", ["global", "leaked-ls"])
def test_supcon_with_any_similarity_is_equation_1(kind: str, unit_length: bool, selection: str) -> None:
    scene = drawn(5)
    scene = scene.but(pairs=SELECTORS[selection].select(scene))
    found = SupCon(temperature=0.2, layer="h", similarity=kind, unit_length=unit_length).per_sample(scene)["contrast"]
    everyone = copies(scene)
    expected = [anchor_loss(i, everyone, TABLE_1[selection], 0.2, SIMILARITIES[kind, unit_length]) for i in everyone]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.golden("objective", "supcon")
def test_distances_by_hand() -> None:
    """Rows (0, 0), (3, 4), (3, 0) of the classes 0, 0, 1, at temperature 2: what attracts is 4, 5 or 7 away."""
    h = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]], dtype=torch.float64)
    scene = make_scene({"a": Embedding(h=h)}, label=torch.tensor([0, 0, 1]), selector=Global())
    for kind, near in (("Linf", 4.0), ("L2", 5.0), ("L1", 7.0)):
        loss = SupCon(temperature=2.0, layer="h", similarity=kind).per_sample(scene)["contrast"]
        assert loss[0].item() == pytest.approx(math.log(1 + math.exp(-1.5 + near / 2)), rel=1e-12)
        assert loss[2].item() == 0.0


@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize(("kind", "unit_length"), SIMILARITIES)
def test_gradients_of_similarities_are_those_of_finite_differences(kind: str, unit_length: bool) -> None:
    plugin = SupCon(temperature=0.5, layer="h", similarity=kind, unit_length=unit_length)

    def loss(*views: Tensor) -> Tensor:
        scene = make_scene({str(i): Embedding(h=h) for i, h in enumerate(views)}, label=torch.tensor([0, 1, 0]))
        return plugin.per_sample(scene.but(pairs=Global().select(scene)))["contrast"]

    views = [Rng(9, i).normal((3, 4), dtype=torch.float64).requires_grad_() for i in range(2)]
    assert torch.autograd.gradcheck(loss, views)


@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize("kind", ["Linf", "L2", "L1"])
def test_equal_rows_have_a_finite_gradient_and_close_ones_keep_their_digits(kind: str) -> None:
    """A root has no slope at 0, and |a|^2 - 2ab + |b|^2 has no digits left for rows this close."""
    base = Rng(1).normal((1, 64), dtype=torch.float64)
    near = torch.cat([base.expand(30, -1), base + 1e-5]).float().requires_grad_()
    plugin = SupCon(temperature=1e-4, layer="h", similarity=kind)
    label = torch.zeros(31).long()
    scene = make_scene({"a": Embedding(h=near)}, label=label, selector=Global())
    exact = make_scene({"a": Embedding(h=near.detach().double())}, label=label, selector=Global())
    loss = plugin.per_sample(scene)["contrast"]
    torch.testing.assert_close(loss.double(), plugin.per_sample(exact)["contrast"], rtol=1e-3, atol=1e-5)
    (gradient,) = torch.autograd.grad(loss.sum(), near)
    assert bool(gradient.isfinite().all())


# --- the recipes

RECIPES = {
    "ascl": "global",
    "hard-ascl": "hard-ls",
    "soft-ascl": "soft-ls",
    "leaked-ascl": "leaked-ls",
    "trades-ascl": "global",
    "trades-leaked-ascl": "leaked-ls",
}
BASELINES = ("bui-adv", "bui-trades", "bui-adv-adr", "bui-trades-adr")
IMAGES = 24


def cross_entropy(logits: Sequence[Vector], labels: Sequence[int]) -> float:
    """The mean over the images of -log softmax."""
    return sum(math.log(sum(math.exp(b) for b in row)) - row[y] for row, y in zip(logits, labels, strict=True)) / len(
        labels
    )


def divergence(p_logits: Sequence[Vector], q_logits: Sequence[Vector]) -> float:
    """Eq. 5: the mean over the images of D_KL(p || q)."""
    total = 0.0
    for left, right in zip(p_logits, q_logits, strict=True):
        p = [math.exp(a) / sum(math.exp(b) for b in left) for a in left]
        q = [math.exp(a) / sum(math.exp(b) for b in right) for a in right]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(p_logits)


def step(recipe: str, *overrides: str) -> Seen:
    """Take a step with a classifier that tells images apart, so that predictions select."""
    return one_step(recipe, overrides=["stage.train.generator.step_size=0.1", *overrides], images=IMAGES)


def expected(seen: Seen, recipe: str) -> dict[str, float]:
    """Eq. 3 to 6 of the step's embeddings, weighted."""
    scene = seen.scenes["scl"]
    everyone, labels = copies(scene), seen.batch.label.tolist()
    logits = scene.rows.logits.tolist()
    clean, adversarial = logits[:IMAGES], logits[IMAGES:]
    rule = TABLE_1[RECIPES[recipe]]
    weighted = {
        "ce/ce": cross_entropy(clean, labels),
        "at/ce": cross_entropy(adversarial, labels),
        "scl/contrast": sum(anchor_loss(i, everyone, rule) for i in everyone) / IMAGES,
        "vat/kl": 2 * divergence(clean, adversarial),
    }
    if recipe.startswith("trades"):
        del weighted["at/ce"]
        weighted["robust/kl"] = 6 * divergence(clean, adversarial)
    return weighted


@pytest.mark.golden("recipe", "ascl")
@pytest.mark.golden("recipe", "hard-ascl")
@pytest.mark.golden("recipe", "soft-ascl")
@pytest.mark.golden("recipe", "leaked-ascl")
@pytest.mark.golden("recipe", "trades-ascl")
@pytest.mark.golden("recipe", "trades-leaked-ascl")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_is_equation_6(recipe: str) -> None:
    seen = step(recipe)
    everyone = copies(seen.scenes["scl"])
    assert len({i.predicted for i in everyone}) > 1, "predictions that all agree select nothing"
    assert any(i.predicted != j.predicted for i in everyone for j in everyone if i.image == j.image)
    weighted = expected(seen, recipe)
    assert {name: float(value.detach()) for name, value in seen.losses.items() if name != "total"} == pytest.approx(
        weighted, rel=1e-9
    )
    assert float(seen.losses["total"].detach()) == pytest.approx(sum(weighted.values()), rel=1e-9)


@pytest.mark.golden("recipe", "leaked-ascl")
def test_the_released_form_of_the_terms() -> None:
    """The code's means: over 2N anchors, over images and classes; nothing on clean images; own pairs may leak out."""
    seen = step(
        "leaked-ascl",
        "stage.train.term.scl.weight=1.0",
        "stage.train.term.vat.weight=0.2",
        "stage.train.term.ce.weight=0.0",
        "stage.train.term.scl.temperature=0.2",
        "stage.train.term.scl.similarity=Linf",
        "stage.train.term.scl.unit_length=true",
        'stage.train.term.scl.selector={ use = "leaked-ls", own = "if-selected" }',
    )
    scene = seen.scenes["scl"]
    everyone, losses = copies(scene), []
    sim = on_the_sphere(minus_norm(math.inf))
    for i in everyone:
        alike = [j for j in everyone if j is not i and j.predicted == i.predicted]
        bottom = sum(math.exp(sim(i.z, j.z) / 0.2) for j in alike)
        own = [j for j in alike if j.label == i.label]
        logs = [math.log(math.exp(sim(i.z, j.z) / 0.2) / bottom) for j in own]
        losses.append(-sum(logs) / max(1, len(own)))
    logits = scene.rows.logits.tolist()
    whole = (
        cross_entropy(logits[IMAGES:], seen.batch.label.tolist())
        + sum(losses) / len(losses)
        + 2 * divergence(logits[:IMAGES], logits[IMAGES:]) / 10
    )
    assert 0.0 in losses
    assert float(seen.losses["total"].detach()) == pytest.approx(whole, rel=1e-9)


@pytest.mark.golden("recipe", "bui-adv")
@pytest.mark.golden("recipe", "bui-trades")
@pytest.mark.golden("recipe", "bui-adv-adr")
@pytest.mark.golden("recipe", "bui-trades-adr")
@pytest.mark.parametrize("recipe", BASELINES)
def test_a_step_of_a_baseline_is_what_ascl_adds_to(recipe: str) -> None:
    """Eq. 4, or TRADES in the place of its second half; ADR's five terms on top, as the recipe adr adds them to AT."""
    seen = one_step(recipe, overrides=["stage.train.generator.step_size=0.1"], images=IMAGES)
    labels, (still,) = seen.batch.label.tolist(), seen.scenes["ce"].views.values()
    clean, adversarial = still.logits.tolist(), _moved(seen).logits.tolist()
    weighted = {"ce/ce": cross_entropy(clean, labels)}
    if "trades" in recipe:
        weighted["robust/kl"] = 6 * divergence(clean, adversarial)
    else:
        weighted["at/ce"] = cross_entropy(adversarial, labels)
    found = {name: float(value.detach()) for name, value in seen.losses.items() if name != "total"}
    theirs = {name: found.pop(name) for name in list(found) if name.startswith("adr/")}
    assert found == pytest.approx(weighted, rel=1e-9)
    assert float(seen.losses["total"].detach()) == pytest.approx(sum([*found.values(), *theirs.values()]), rel=1e-9)
    assert bool(theirs) == recipe.endswith("adr")
    if theirs:
        parts = ADR().per_sample(seen.scenes["adr"])
        weights = {"lc": 1.0, "ls": 1.0, "gc": 1.0, "gs": 0.0, "conf": 1.0}
        assert theirs == pytest.approx(
            {f"adr/{key}": of * float(parts[key].detach().mean()) for key, of in weights.items()}
        )


def _moved(seen: Seen) -> Embedding:
    """The embedding of the adversaries."""
    term = "robust" if "robust" in seen.scenes else "at"
    return list(seen.scenes[term].views.values())[-1]


@pytest.mark.golden("recipe", "bui-adv")
@pytest.mark.parametrize(("more", "less"), [("ascl", "bui-adv"), ("trades-ascl", "bui-trades")])
def test_ascl_is_a_baseline_and_two_terms(more: str, less: str) -> None:
    """Nothing else differs between them, so that what they are compared by is what the two terms do."""
    one, other = (lock(compose(recipe=recipe, dataset="cifar100", budget="paper")) for recipe in (more, less))
    assert {key: one[key] for key in ("data", "threat", "encoder", "evaluate")} == {
        key: other[key] for key in ("data", "threat", "encoder", "evaluate")
    }
    terms = [stage["stage"][0].pop("term") for stage in (one, other)]
    assert one["stage"] == other["stage"]
    assert {name: term for name, term in terms[0].items() if name not in ("scl", "vat")} == terms[1]


@pytest.mark.golden("recipe", "ascl")
@pytest.mark.golden("recipe", "trades-ascl")
@pytest.mark.parametrize(("recipe", "term"), [("ascl", "at"), ("trades-ascl", "robust")])
def test_the_adversary_climbs_its_own_loss(recipe: str, term: str) -> None:
    seen = step(recipe)
    (generator,) = seen.run.plan.generators
    assert generator.maximise is not None
    assert generator.maximise.name == term
    encoder, batch = seen.run.encoders.online.eval(), seen.batch

    def value(x: Tensor) -> float:
        with torch.no_grad():
            clean, moved = (encoder(v, "clean", frozenset({"logits"})).logits.tolist() for v in (batch.views["w"], x))
        return cross_entropy(moved, batch.label.tolist()) if term == "at" else divergence(clean, moved)

    x, moved = batch.views["w"], batch.views["w_adv"]
    assert float((moved - x).abs().max()) <= float(generator.ball.eps) + 1e-9
    random = (x + generator.ball.eps * Rng(4).normal(x.shape, dtype=x.dtype).sign()).clamp(0, 1)
    assert value(moved) - value(x) > 1.5 * abs(value(random) - value(x)) > 0


@pytest.mark.golden("recipe", "ascl")
def test_the_gradient_of_the_smoothness_reaches_both_sides() -> None:
    seen = step("ascl")
    views = seen.scenes["vat"].views
    for side in ("clean", "adversarial"):
        (gradient,) = torch.autograd.grad(seen.losses["vat/kl"], views[side].logits, retain_graph=True)
        assert float(gradient.abs().max()) > 0
    rows = seen.scenes["scl"].rows.h
    (gradient,) = torch.autograd.grad(seen.losses["scl/contrast"], rows, retain_graph=True)
    assert bool((gradient[:IMAGES].abs().sum(1) > 0).all())
    assert bool((gradient[IMAGES:].abs().sum(1) > 0).all())


@pytest.mark.golden("recipe", "ascl")
@pytest.mark.parametrize(("widths", "layers"), [("[128]", 1), ("[200, 128]", 2)])
def test_the_heads_of_table_6(widths: str, layers: int) -> None:
    seen = step("ascl", f"encoder.projector.widths={widths}", "stage.train.term.scl.layer=z")
    head = seen.run.encoders.online.projector
    assert [type(layer).__name__ for layer in head] == ["Linear", "ReLU", "Linear"][: 2 * layers - 1]
    scene = seen.scenes["scl"]
    assert scene.rows.z.shape == (2 * IMAGES, 128)
    everyone = copies(scene)
    for copy, z in zip(everyone, scene.rows.z.tolist(), strict=True):
        copy.z = z
    weighted = sum(anchor_loss(i, everyone, TABLE_1["global"]) for i in everyone) / IMAGES
    assert float(seen.losses["scl/contrast"].detach()) == pytest.approx(weighted, rel=1e-9)


@pytest.mark.golden("recipe", "ascl")
@pytest.mark.golden("recipe", "hard-ascl")
@pytest.mark.golden("recipe", "soft-ascl")
@pytest.mark.golden("recipe", "leaked-ascl")
@pytest.mark.golden("recipe", "trades-ascl")
@pytest.mark.golden("recipe", "trades-leaked-ascl")
@pytest.mark.parametrize("recipe", [*RECIPES, *BASELINES])
def test_the_setting_is_section_6_and_4_1(recipe: str) -> None:
    composition: Composition = compose(recipe=recipe, dataset="cifar10", budget="paper")
    (plan,) = composition.stages
    rates = [at(plan.lr, Progress(0, 1, epoch, 200.0)) for epoch in (0, 79.99, 80, 119, 120, 159, 160, 199)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6])
    assert (plan.epochs, plan.batch, plan.optimizer.name, plan.forward) == (200, 128, "adam", "by-view")
    assert composition.recipe.encoder is not None
    assert composition.recipe.encoder.use == "resnet-20"
    (generator,) = plan.generators
    pgd = generator.part.plugin
    start = "gaussian" if "trades" in recipe else "uniform"
    assert (pgd.steps, pgd.step_size, pgd.start, pgd.restarts) == (10, pytest.approx(2 / 255), start, 1)
    assert generator.ball.eps == pytest.approx(8 / 255)
    assert not plan.routes
    view = plan.views[0].part.plugin
    assert (view.padding, view.flip) == (3, 0.5)
    assert composition.evaluations[0].protocol.name == "own"


@pytest.mark.golden("recipe", "ascl")
def test_cifar_100_has_numbers_of_its_own() -> None:
    composition = compose(recipe="ascl", dataset="cifar100", budget="paper")
    (generator,) = composition.stages[0].generators
    assert (generator.ball.eps, generator.part.plugin.step_size) == (pytest.approx(0.01), pytest.approx(0.001))


@pytest.mark.golden("recipe", "ascl")
@pytest.mark.parametrize(("data", "eps", "step"), [("cifar10", 8 / 255, 2 / 255), ("cifar100", 0.01, 0.001)])
@pytest.mark.parametrize("table", [2, 3, 4, 5, 6, 7])
def test_the_tables_attack_as_section_4_1_says(table: int, data: str, eps: float, step: float) -> None:
    """PGD and multi-targeted PGD with 250 steps on all images, AutoAttack on 1000 of them."""
    made = compose_study(f"ascl-bui-table-{table}", Setting(budget="paper", dataset=data))
    assert len(made.planned) > 3
    for run in made.planned:
        (judged,) = run.composition.evaluations
        assert float(run.composition.ball.eps) == pytest.approx(eps)
        images = {attack.name: judged.table.first(number) for number, attack in enumerate(judged.attacks)}
        assert images == {"pgd": None, "multi-targeted-pgd": None, "autoattack": 1000}
        for attack in judged.attacks[:2]:
            ((_, generator),) = attack.plugin.members(10, run.composition.ball)
            length = step_length(generator.step_size, run.composition.ball)
            assert (generator.steps, float(length)) == (250, pytest.approx(step))
        assert judged.attacks[2].plugin.version == "standard"
