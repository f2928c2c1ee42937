"""AdvCL and A-InfoNCE: views, objectives and whole recipes, against the formulas as loops over plain floats."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import compose
from robustcl.errors import UsageError
from robustcl.nn.routing import RoutedNorm
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.train.plan import at
from robustcl.types import Attack, Clustering, Dims, Embedding, Pairs, Scene
from robustcl_plugins.generators.pgd import PGD
from robustcl_plugins.objectives.a_info_nce import AInfoNCE
from robustcl_plugins.objectives.pseudo_label import PseudoLabel
from robustcl_plugins.objectives.supcon import SupCon
from robustcl_plugins.selectors.all import All
from robustcl_plugins.views.high_frequency import HighFrequency
from tests.shared.one_step import Seen, one_step

Vectors = Sequence[Sequence[float]]


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def _drawn(seed: int, *shape: int) -> Tensor:
    return Rng(seed, "drawn").normal(shape, dtype=torch.float64)


# --- the high-frequency view


def _filtered(x: Sequence[Sequence[float]], radius: float) -> list[list[float]]:
    """One channel: both Fourier sums written out, frequency by frequency."""
    height, width = len(x), len(x[0])

    def turn(k: int, i: int, length: int) -> complex:
        return cmath.exp(-2j * math.pi * k * i / length)

    spectrum = {
        (u, v): sum(x[i][j] * turn(u, i, height) * turn(v, j, width) for i in range(height) for j in range(width))
        for u in range(-(height // 2), height - height // 2)
        for v in range(-(width // 2), width - width // 2)
        if math.hypot(u, v) >= radius
    }
    return [
        [
            sum(s * turn(-u, i, height) * turn(-v, j, width) for (u, v), s in spectrum.items()).real / (height * width)
            for j in range(width)
        ]
        for i in range(height)
    ]


@pytest.mark.golden("view", "high-frequency")
@pytest.mark.parametrize(("height", "width", "radius"), [(6, 6, 2.0), (8, 6, 2.5), (5, 7, 1.0), (8, 8, 4.0)])
def test_high_frequencies_are_those_of_the_written_out_sums(height: int, width: int, radius: float) -> None:
    x = Rng(0, "x").uniform((2, 2, height, width), dtype=torch.float64)
    found = HighFrequency(radius=radius).draw(x, Rng(0))
    expected = [[_filtered(channel, radius) for channel in image] for image in x.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.golden("view", "high-frequency")
def test_a_constant_image_has_none_radius_zero_keeps_all_and_both_parts_make_the_image() -> None:
    x = Rng(0, "x").uniform((3, 3, 32, 32), dtype=torch.float64)
    constant = torch.full_like(x, 0.7)
    assert float(HighFrequency().draw(constant, Rng(0)).abs().max()) < 1e-12
    torch.testing.assert_close(HighFrequency(radius=0.0).draw(x, Rng(0)), x)
    high = HighFrequency().draw(x, Rng(0))
    assert float(high.min()) < 0
    torch.testing.assert_close(HighFrequency().draw(high, Rng(0)), high)
    assert float(HighFrequency().draw(x - high, Rng(0)).abs().max()) < 1e-12


@pytest.mark.golden("view", "high-frequency")
def test_a_wave_passes_or_not_by_its_frequency() -> None:
    waves = [torch.cos(2 * math.pi * k * torch.arange(32) / 32).expand(32, 32) for k in (7, 8)]
    low, high = HighFrequency(radius=8.0).draw(torch.stack(waves)[:, None], Rng(0))
    assert float(low.abs().max()) < 1e-5
    torch.testing.assert_close(high[0], waves[1], rtol=0, atol=1e-5)


@pytest.mark.golden("view", "high-frequency")
def test_a_radius_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"radius = 8 leaves nothing of images of 8 x 8 pixels: take a smaller"):
        HighFrequency().draw(torch.rand(2, 1, 8, 8), Rng(0))


# --- pseudo labels


def cross_entropies(features: Vectors, heads: Sequence[Any], labels: Sequence[Sequence[int]]) -> list[float]:
    """Mean over clusterings of -log softmax(W f + b)[cluster], image by image."""
    losses = []
    for i, f in enumerate(features):
        total = 0.0
        for head, label in zip(heads, labels, strict=True):
            weight, bias = head.weight.double().tolist(), head.bias.double().tolist()
            logits = [sum(w * v for w, v in zip(row, f, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
            total += math.log(sum(math.exp(a) for a in logits)) - logits[label[i]]
        losses.append(total / len(heads))
    return losses


def _clusters(*sizes: int, images: int = 9) -> Clustering:
    return Clustering(
        centroids=tuple(torch.nn.functional.normalize(_drawn(k, k, 6)) for k in sizes),
        assignment=torch.stack([Rng(k, "own").integers(k, (images,)) for k in sizes]),
        confidence=torch.ones(len(sizes), images),
        inertia=(0.0,) * len(sizes),
        provenance={},
    )


def _heads(*sizes: int) -> PseudoLabel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = PseudoLabel()
        objective.build(Dims(features=6, projection=4, classes=3, clusters=sizes, item=(1, 8, 8), samples=9))
    return objective


@pytest.mark.golden("objective", "pseudo-label")
@pytest.mark.parametrize("sizes", [(3,), (2, 10, 5)])
def test_pseudo_labels_are_the_clusters_of_the_image_in_the_data_set(sizes: tuple[int, ...]) -> None:
    clusters, index, h = _clusters(*sizes), torch.tensor([7, 2, 0, 5]), _drawn(1, 4, 6)
    scene = make_scene({"input": Embedding(h=h)}, index=index, clusters=clusters)
    objective = _heads(*sizes)
    labels = [[int(clusters.assignment[k, i]) for i in index] for k in range(len(sizes))]
    found = objective.per_sample(scene)["pseudo"]
    assert found.tolist() == pytest.approx(cross_entropies(h.tolist(), list(objective.heads), labels), rel=1e-12)


@pytest.mark.golden("objective", "pseudo-label")
def test_zero_heads_give_the_mean_log_of_the_numbers_of_clusters() -> None:
    objective = _heads(2, 8)
    for parameter in objective.parameters():
        parameter.data.zero_()
    scene = make_scene({"input": Embedding(h=_drawn(1, 4, 6))}, clusters=_clusters(2, 8))
    expected = (math.log(2) + math.log(8)) / 2
    assert objective.per_sample(scene)["pseudo"].tolist() == pytest.approx([expected] * 4)


@pytest.mark.golden("objective", "pseudo-label")
def test_heads_that_do_not_fit_the_clusters_are_refused() -> None:
    scene = make_scene({"input": Embedding(h=_drawn(1, 4, 6))}, clusters=_clusters(3, 5))
    with pytest.raises(UsageError, match="are for clusterings of 3, 4 clusters, but the targets have 3, 5"):
        _heads(3, 4).per_sample(scene)
    with pytest.raises(UsageError, match=r'targets.clusters = "silhouette": pseudo-label makes a head for each'):
        compose(recipe="advcl", overrides=["stage.robust.targets.clusters=silhouette"])


# --- A-InfoNCE


def plain(rows: Vectors, image: Sequence[int], i: int, temperature: float) -> float:
    """The sum of the exponentials of anchor i with all other rows."""
    return sum(math.exp(_cos(rows[i], rows[k]) / temperature) for k in range(len(rows)) if k != i)


def hard(
    rows: Vectors, image: Sequence[int], i: int, temperature: float, beta: float, tau_plus: float, lowest: float
) -> float:
    """The mean of the positives' exponentials, and the debiased sum of the weighed negatives', with its floor."""
    exps = [math.exp(_cos(rows[i], row) / temperature) for row in rows]
    positive = [exps[k] for k in range(len(rows)) if image[k] == image[i] and k != i]
    negative = [exps[k] for k in range(len(rows)) if image[k] != image[i]]
    count, own = len(negative), sum(positive) / len(positive)
    mean = sum(e**beta for e in negative) / count if count else 1.0
    mass = sum(e**beta / mean * e for e in negative)
    return own + max((mass - tau_plus * count * own) / (1 - tau_plus), count * math.exp(lowest))


def a_info_nce(
    views: Sequence[Vectors],
    *,
    adversary: int = 0,
    temperature: float = 0.5,
    scale: float = 1.0,
    alpha: float | None = None,
    weight: float = 1.0,
    hardness: tuple[float, float, float] | None = None,
) -> list[float]:
    """Each anchor's mean over its positives; pairs of a clean and an adversarial row are shared by alpha."""
    count, rows = len(views[0]), [row for view in views for row in view]
    image, side = [k % count for k in range(len(rows))], [k // count == adversary for k in range(len(rows))]
    losses = []
    for i in range(len(rows)):
        mass = plain(rows, image, i, temperature) if hardness is None else hard(rows, image, i, temperature, *hardness)
        own = []
        for k in range(len(rows)):
            if image[k] == image[i] and k != i:
                loss = math.log(mass) - _cos(rows[i], rows[k]) / temperature
                if side[i] != side[k]:
                    share = 1.0 if alpha is None else 2 * (1 - alpha if side[i] else alpha)
                    loss *= weight * share
                own.append(loss)
        losses.append(scale * sum(own) / len(own))
    return losses


def _views(count: int, images: int, seed: int = 0) -> dict[str, Embedding]:
    return {f"v{i}": Embedding(z=_drawn(seed + i, images, 5).requires_grad_()) for i in range(count)}


def _scene(count: int = 4, images: int = 5) -> Scene:
    return make_scene(_views(count, images), selector=All())


def _rows(scene: Scene) -> list[Vectors]:
    return [view.z.tolist() for view in scene.views.values()]


@pytest.mark.golden("objective", "a-info-nce")
@pytest.mark.parametrize(("adversary", "alpha", "weight"), [(0, 0.2, 1.2), (2, 0.3, 1.5), (0, 0.0, 1.0), (1, 1.0, 0.7)])
def test_inferior_positives_share_the_pull(adversary: int, alpha: float, weight: float) -> None:
    scene = _scene()
    objective = AInfoNCE(adversary=adversary, alpha=alpha, adversarial_weight=weight, base_temperature=0.07)
    expected = a_info_nce(_rows(scene), adversary=adversary, alpha=alpha, weight=weight, scale=0.5 / 0.07)
    assert objective.per_sample(scene)["contrast"].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("objective", "a-info-nce")
@pytest.mark.parametrize(("beta", "tau_plus"), [(1.0, 0.1), (0.0, 0.0), (2.0, 0.01), (1.0, 0.6)])
@pytest.mark.parametrize("floor", ["formula", "released"])
@pytest.mark.parametrize("inferior", [True, False])
def test_hard_negatives_are_debiased_and_weighed(beta: float, tau_plus: float, floor: str, inferior: bool) -> None:
    scene = _scene()
    found = AInfoNCE(hard=True, beta=beta, tau_plus=tau_plus, floor=floor, inferior=inferior, alpha=0.2).per_sample(
        scene
    )
    expected = a_info_nce(
        _rows(scene),
        alpha=0.2 if inferior else None,
        hardness=(beta, tau_plus, -1 / 0.5 if floor == "formula" else 0.0),
    )
    assert found["contrast"].tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("objective", "a-info-nce")
def test_hard_negatives_by_hand() -> None:
    """Two images at right angles, two views each: P = e^2, M = 2, G = (2 - 0.2 e^2) / 0.9 and the floor 2 e^-2 or 2."""
    z = Embedding(z=torch.tensor([[3.0, 0.0], [0.0, 0.5]], dtype=torch.float64))
    scene = make_scene({"a": z, "b": z}, selector=All())
    options = {"hard": True, "inferior": False, "tau_plus": 0.1}
    found = AInfoNCE(**options).per_sample(scene)["contrast"]
    square = math.exp(2)
    expected = math.log((square + (2 - 0.2 * square) / 0.9) / square)
    assert found.tolist() == pytest.approx([expected] * 4, rel=1e-12)
    found = AInfoNCE(**options, floor="released").per_sample(scene)["contrast"]
    assert found.tolist() == pytest.approx([math.log(1 + 2 / square)] * 4, rel=1e-12)


@pytest.mark.golden("objective", "a-info-nce")
def test_without_asymmetry_it_is_supcon() -> None:
    scene = _scene()
    options = {"temperature": 0.3, "base_temperature": 0.07}
    expected = SupCon(**options).per_sample(scene)["contrast"]
    for objective in (AInfoNCE(**options, inferior=False), AInfoNCE(**options, alpha=0.5)):
        torch.testing.assert_close(objective.per_sample(scene)["contrast"], expected)
    two = _scene(2)
    plain_hard = AInfoNCE(hard=True, inferior=False, beta=0.0, tau_plus=0.0, temperature=0.3)
    torch.testing.assert_close(
        plain_hard.per_sample(two)["contrast"], SupCon(temperature=0.3).per_sample(two)["contrast"]
    )


@pytest.mark.golden("objective", "a-info-nce")
@pytest.mark.parametrize("hardened", [False, True])
def test_alpha_says_who_moves(hardened: bool) -> None:
    """Of two views, one adversarial, alpha = 0 moves the adversary alone, alpha = 1 the clean view alone."""
    scene = _scene(2)
    clean, adversarial = scene.views["v1"].z, scene.views["v0"].z
    lengths = {}
    for alpha in (0.0, 0.2, 1.0):
        loss = AInfoNCE(alpha=alpha, hard=hardened).per_sample(scene)["contrast"].sum()
        slopes = torch.autograd.grad(loss, (clean, adversarial))
        lengths[alpha] = tuple(float(slope.norm()) for slope in slopes)
    assert lengths[0.0][0] == 0.0 == lengths[1.0][1]
    assert lengths[0.2][0] == pytest.approx(0.2 * lengths[1.0][0])
    assert lengths[0.2][1] == pytest.approx(0.8 * lengths[0.0][1])


@pytest.mark.golden("objective", "a-info-nce")
def test_the_weights_of_hard_negatives_have_gradient() -> None:
    """The analytic gradient is that of the whole formula: with the weights held fixed, it would not be."""

    def loss(z: Tensor) -> Tensor:
        views = {"a": Embedding(z=z[:4]), "b": Embedding(z=z[4:])}
        return AInfoNCE(hard=True, inferior=False, tau_plus=0.05).per_sample(make_scene(views, selector=All()))[
            "contrast"
        ]

    assert torch.autograd.gradcheck(loss, (_drawn(0, 8, 5).requires_grad_(),))


@pytest.mark.golden("objective", "a-info-nce")
@pytest.mark.parametrize("temperature", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("floor", ["formula", "released"])
@pytest.mark.parametrize("images", [1, 4])
def test_hard_negatives_are_finite_at_the_edges(temperature: float, floor: str, images: int) -> None:
    for z in (torch.ones(images, 3), torch.zeros(images, 3), 1e3 * torch.randn(images, 3, generator=_seeded())):
        views = {name: Embedding(z=(sign * z).requires_grad_()) for name, sign in (("a", 1.0), ("b", -1.0))}
        scene = make_scene(views, selector=All())
        objective = AInfoNCE(hard=True, temperature=temperature, floor=floor)
        for pairs in (scene.pairs, Pairs(positive=scene.pairs.positive & False, negative=scene.pairs.negative)):
            loss = objective.per_sample(scene.but(pairs=pairs))["contrast"]
            assert bool(loss.isfinite().all())
            if not bool(pairs.positive.any()):
                assert loss.tolist() == [0.0] * (2 * images)
            for slope in torch.autograd.grad(loss.sum(), [view.z for view in views.values()]):
                assert bool(slope.isfinite().all())


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.golden("objective", "a-info-nce")
def test_an_adversary_that_is_no_view_is_refused() -> None:
    with pytest.raises(UsageError, match="adversary = 4, but 4 views are bound, from 0 on"):
        AInfoNCE(adversary=4).per_sample(_scene())


# --- the recipes


def _pseudo(seen: Seen) -> float:
    clusters = seen.run.clusters.clustering
    assert clusters is not None
    labels = [[int(own[i]) for i in seen.batch.index] for own in clusters.assignment]
    (term,) = [term for term in seen.run.plan.terms if term.name == "pseudo"]
    features = seen.scenes["pseudo"].views["input"].h.tolist()
    losses = cross_entropies(features, list(term.objective.plugin.heads), labels)
    return sum(losses) / len(losses)


def _contrasted(seen: Seen) -> list[Vectors]:
    views = seen.scenes["contrast"].views
    assert list(views) == ["c", "a", "b", "h"]
    return [view.z.tolist() for view in views.values()]


@pytest.mark.golden("recipe", "advcl")
def test_advcl_is_supcon_of_four_views_and_a_fifth_of_the_pseudo_labels() -> None:
    seen = one_step("advcl", "robust")
    contrast = a_info_nce(_contrasted(seen), scale=0.5 / 0.07)
    assert len(contrast) == 4 * 8
    expected = sum(contrast) / len(contrast) + 0.2 * _pseudo(seen)
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("recipe", "a-infonce")
def test_a_infonce_replaces_the_contrast_of_advcl() -> None:
    seen = one_step("a-infonce", "robust")
    contrast = a_info_nce(_contrasted(seen), alpha=0.2, weight=0.7, scale=0.5 / 0.07, hardness=(1.0, 0.1, -2.0))
    expected = sum(contrast) / len(contrast) + 0.2 * _pseudo(seen)
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)
    rates = compose(recipe="a-infonce", budget="paper").recipe.stage[1]
    assert (rates.epochs, rates.optimizer.options["lr"]["cosine"][0]) == (400, 2.0)


@pytest.mark.golden("recipe", "advcl")
@pytest.mark.golden("recipe", "a-infonce")
@pytest.mark.parametrize("recipe", ["advcl", "a-infonce"])
def test_each_adversary_maximises_its_own_plain_loss(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[tuple[float, float]] = []
    original = PGD.perturb

    def watched(plugin: Any, x: Tensor, attack: Attack) -> Tensor:
        result = original(plugin, x, attack)
        with torch.no_grad():
            before, after = (attack.objective(attack.encode(v)) for v in (x, result))
        grown.append((float(before.sum()), float(after.sum())))
        return result

    monkeypatch.setattr(PGD, "perturb", watched)
    seen = one_step(recipe, "robust")
    assert len(grown) == 2
    assert all(after > before for before, after in grown)
    assert [g.maximise and g.maximise.objective.name for g in seen.run.plan.generators] == ["supcon", "pseudo-label"]
    assert float((seen.batch.views["c"] - seen.batch.views["e"]).abs().max()) > 8 / 255


@pytest.mark.golden("recipe", "advcl")
def test_views_have_the_branches_of_the_paper_and_the_attacks_move_their_own() -> None:
    """Five attack steps and one training forward for c and for e; one forward each for a, b and h."""
    seen = one_step("advcl", "robust")
    norms = [m for m in seen.run.encoders.online.backbone.modules() if isinstance(m, RoutedNorm)]
    assert norms
    for norm in norms:
        counts = {route: int(norm.branch(route).num_batches_tracked) for route in ("clean", "pgd", "pgd_ce")}
        assert counts == {"clean": 3, "pgd": 6, "pgd_ce": 6}
    assert set(seen.run.encoders.online.routes) == {"clean", "pgd", "pgd_ce"}


@pytest.mark.golden("recipe", "advcl")
def test_h_is_the_high_frequencies_of_the_clean_weak_view() -> None:
    views = one_step("advcl", "robust").batch.views
    torch.testing.assert_close(views["h"], HighFrequency(radius=2.0).draw(views["w"], Rng(0)))
    for name in ("c", "e"):
        assert float((views[name] - views["w"]).abs().max()) <= 32 / 255 + 1e-9


@pytest.mark.golden("recipe", "advcl")
def test_clusters_are_made_once_by_the_labeler(tmp_path: Path) -> None:
    plan = compose(recipe="advcl", budget="paper", dataset="cifar10").stages[1]
    assert plan.targets is not None
    assert (plan.targets.encoder, plan.targets.every, plan.targets.clusters) == ("labeler", None, (2, 10, 50, 100, 500))
    assert plan.frozen == ("labeler",)
    recipe = compose(
        recipe="advcl", overrides=[f"stage.robust.encoders.labeler=file:{tmp_path}", "stage.pretrain.epochs=0"]
    ).recipe
    assert recipe.stage[1].encoders == {"labeler": f"file:{tmp_path}"}


@pytest.mark.golden("recipe", "advcl")
def test_the_rate_warms_up_and_falls_to_a_thousandth() -> None:
    lr = compose(recipe="advcl", budget="paper").stages[1].lr
    rates = [at(lr, Progress(round(epoch), 1000, epoch, 1000.0)) for epoch in (0.0, 10.0, 1000.0)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[2] == pytest.approx(0.0005)
    assert rates[1] == pytest.approx(0.5, rel=1e-2)
