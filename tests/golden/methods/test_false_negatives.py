"""The selectors of false negatives and their recipes, as loops over plain floats, and masks written by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import options
from robustcl.errors import OptionError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.testing.builders import DIMS
from robustcl.types import Clustering, Embedding, Pairs, Rows, Scene
from robustcl_plugins.objectives.info_nce import InfoNCE
from robustcl_plugins.selectors.adaptive import AdaptiveFNC
from robustcl_plugins.selectors.all import All
from robustcl_plugins.selectors.fnc import FNC
from robustcl_plugins.selectors.glofnd import GloFND
from robustcl_plugins.selectors.ifnd import IFND, pseudo_labels
from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]
Matrix = list[list[float]]


def cosine(u: Vector, v: Vector) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def loss(rows: Sequence[Vector], columns: Sequence[Vector], positive: Matrix, negative: Matrix, t: float) -> float:
    """Mean over anchors of -log softmax over weighted positives and negatives, averaged over the positives."""
    losses = []
    for anchor, attracts, repels in zip(rows, positive, negative, strict=True):
        force = [math.exp(cosine(anchor, column) / t) for column in columns]
        below = sum((p + n) * f for p, n, f in zip(attracts, repels, force, strict=True))
        terms = [-p * math.log(f / below) for p, f in zip(attracts, force, strict=True) if p]
        losses.append(sum(terms) / sum(attracts))
    return sum(losses) / len(losses)


def rule(rows: int, images: int, falsely: Callable[[int, int], bool], *, attract: bool) -> tuple[Matrix, Matrix]:
    """Return positives and negatives of two stacked views, where some pairs of images are false negatives."""
    positive = [[0.0] * rows for _ in range(rows)]
    negative = [[0.0] * rows for _ in range(rows)]
    for i in range(rows):
        for k in range(rows):
            if i % images == k % images:
                positive[i][k] = float(i != k)
            elif falsely(i, k):
                positive[i][k] = float(attract)
            else:
                negative[i][k] = 1.0
    return positive, negative


def drawn(images: int, *, seed: int = 0, width: int = DIMS.projection, spread: float = 1.0) -> list[Embedding]:
    """Return two views of projections that lie about one direction: the smaller the spread, the closer."""
    centre = Rng(seed, "centre").normal((width,), dtype=torch.float64)
    return [
        Embedding(z=centre + spread * Rng(seed, "view", v).normal((images, width), dtype=torch.float64))
        for v in range(2)
    ]


def scene_of(views: Sequence[Embedding], **more: Any) -> Scene:
    return make_scene({f"v{i}": view for i, view in enumerate(views)}, **more)


def flat(*degrees: float) -> Embedding:
    """Return directions in the plane."""
    angles = [math.radians(degree) for degree in degrees]
    return Embedding(z=torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64))


def lists(pairs: Pairs) -> tuple[Matrix, Matrix]:
    return pairs.positive.double().tolist(), pairs.negative.double().tolist()


def built(plugin: Any, dims: Any = DIMS) -> Any:
    plugin.build(dims)
    return plugin


def recipe_loss(seen: Seen, positive: Matrix, negative: Matrix, temperature: float) -> float:
    scene = seen.scenes["contrast"]
    rows = torch.cat([view.z for view in scene.views.values()]).tolist()
    return loss(rows, rows, positive, negative, temperature)


def rows_of(seen: Seen) -> list[Vector]:
    z: list[Vector] = torch.cat([view.z for view in seen.scenes["contrast"].views.values()]).tolist()
    return z


# Adaptive FNC


@pytest.mark.golden("selector", "adaptive-fnc")
def test_adaptive_by_hand() -> None:
    """Three images at 0, 20 and 90 degrees, one view: at rho 0.9 (25.8 degrees) the first two are false negatives."""
    scene = scene_of([flat(0, 20, 90)])
    positive, negative = lists(AdaptiveFNC(rho=0.9).select(scene))
    assert positive == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert negative == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    positive, negative = lists(AdaptiveFNC(rho=0.9, detected="attract").select(scene))
    assert positive == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert negative == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


@pytest.mark.golden("selector", "adaptive-fnc")
@pytest.mark.parametrize("attract", [False, True])
@pytest.mark.parametrize("rho", [0.95, 0.7, 0.3])
def test_adaptive_against_loops(rho: float, attract: bool) -> None:
    scene = scene_of(drawn(5))
    z = scene.rows.z.tolist()
    expected = rule(10, 5, lambda i, k: cosine(z[i], z[k]) > rho, attract=attract)
    selector = AdaptiveFNC(rho=rho, detected="attract" if attract else "eliminate")
    assert lists(selector.select(scene)) == expected


@pytest.mark.golden("selector", "adaptive-fnc")
def test_a_falling_rho_only_takes_negatives_away_and_above_one_takes_none() -> None:
    scene = scene_of(drawn(8))
    kept = [AdaptiveFNC(rho=rho).select(scene).negative for rho in (1.01, 0.9, 0.7, 0.5, -1.0)]
    assert all(bool((fewer <= more).all()) for more, fewer in itertools.pairwise(kept))
    assert [bool(mask.any()) for mask in (kept[0], kept[-1])] == [True, False]
    every, plain = AdaptiveFNC(rho=1.01).select(scene), All().select(scene)
    assert torch.equal(every.positive, plain.positive)
    assert torch.equal(every.negative, plain.negative)


@pytest.mark.golden("selector", "adaptive-fnc")
def test_adaptive_compares_the_layer_it_is_told_to() -> None:
    z = flat(0, 90).z
    scene = scene_of([Embedding(z=z, h=torch.ones_like(z))])
    assert bool(AdaptiveFNC(layer="z").select(scene).negative.any())
    assert not bool(AdaptiveFNC(layer="h").select(scene).negative.any())
    assert AdaptiveFNC(layer="h").needs == {Need.FEATURES}


@pytest.mark.golden("recipe", "adaptive-fnc")
@pytest.mark.parametrize(("progress", "rho"), [(0.0, 0.99), (0.5, 0.845), (1.0, 0.7)])
def test_the_recipe_filters_by_a_threshold_that_falls(progress: float, rho: float) -> None:
    seen = one_step("adaptive-fnc", progress=progress)
    z, images = rows_of(seen), len(seen.batch.index)
    positive, negative = rule(2 * images, images, lambda i, k: cosine(z[i], z[k]) > rho, attract=False)
    left_out = 2 * images * (2 * images - 2) - sum(map(sum, negative))
    assert left_out > 0
    assert seen.losses["total"].item() == pytest.approx(recipe_loss(seen, positive, negative, 0.5), rel=1e-9)


# FNC


def supported(scene: Scene, support: Sequence[Embedding]) -> Scene:
    """Return the scene with support views of its images."""
    images = len(scene.batch.index)
    count = len(support)
    return scene.but(
        support=Rows(
            sample=scene.batch.position.repeat(count),
            view=torch.arange(count).repeat_interleave(images),
            label=scene.batch.label.repeat(count),
            index=scene.batch.index.repeat(count),
            z=torch.cat([view.z for view in support]),
        )
    )


def detected(views: Sequence[Sequence[Vector]], columns: Sequence[Vector], own: Callable[[int, int], bool],
             threshold: float, top: int, how: str) -> list[set[int]]:  # fmt: skip
    """Return the detected columns of each image: the score is the largest cosine over all of its views."""
    found = []
    for image in range(len(views[0])):
        score = {
            j: max(cosine(view[image], column) for view in views)
            for j, column in enumerate(columns)
            if not own(image, j)
        }
        above = {j for j, value in score.items() if value > threshold}
        best = set(sorted(score, key=lambda j: -score[j])[:top])
        found.append({"and": above & best, "or": above | best, "threshold": above, "top": best}[how])
    return found


@pytest.mark.golden("selector", "fnc")
def test_fnc_by_hand() -> None:
    """Images at 0, 50 and 100 degrees; the support view of the first, at 40, sees the second one."""
    scene = scene_of([flat(0, 50, 100)])
    alone = built(FNC(threshold=0.9, top=2))
    assert lists(alone.select(scene))[0] == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    positive, negative = lists(alone.select(supported(scene, [flat(40, 50, 100)])))
    assert positive == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert negative == [[0, 0, 1], [1, 0, 1], [1, 1, 0]]


@pytest.mark.golden("selector", "fnc")
@pytest.mark.parametrize("attract", [True, False])
@pytest.mark.parametrize("how", ["and", "or", "threshold", "top"])
@pytest.mark.parametrize("top", [1, 3, 50])
def test_fnc_against_loops(how: Any, top: int, attract: bool) -> None:
    anchors, support = drawn(6), drawn(6, seed=1)
    scene = supported(scene_of(anchors), support)
    views = [view.z.tolist() for view in (*anchors, *support)]
    columns = scene.columns.z.tolist()
    found = detected(views, columns, lambda i, j: i == j % 6, 0.7, top, how)
    expected = rule(12, 6, lambda i, k: k in found[i % 6], attract=attract)
    selector = built(FNC(threshold=0.7, top=top, rule=how, detected="attract" if attract else "eliminate"))
    assert lists(selector.select(scene)) == expected


@pytest.mark.golden("selector", "fnc")
def test_the_intersection_lies_in_each_rule_and_each_rule_in_the_union() -> None:
    scene = supported(scene_of(drawn(8)), drawn(8, seed=1))
    plain = All().select(scene).positive
    found = {r: built(FNC(rule=r, top=3)).select(scene).positive & ~plain for r in ("and", "or", "threshold", "top")}
    assert bool(found["and"].any())
    assert torch.equal(found["and"], found["threshold"] & found["top"])
    assert torch.equal(found["or"], found["threshold"] | found["top"])


@pytest.mark.golden("selector", "fnc")
def test_fnc_gives_the_released_loss_up_to_its_factor_of_two() -> None:
    """Released: per anchor view, (own views + detected) / (V - 1 + their number) under a log-sum-exp of all others."""
    scene = supported(scene_of(drawn(5)), drawn(5, seed=1))
    scene = scene.but(pairs=built(FNC(top=2)).select(scene))
    z = scene.rows.z.tolist()
    views = [z[:5], z[5:], *(part.tolist() for part in scene.support.z.chunk(2))]
    found = detected(views, z, lambda i, j: i == j % 5, 0.7, 2, "and")
    assert sum(map(len, found)) > 0
    total = 0.0
    for i in range(10):
        logits = [cosine(z[i], z[k]) / 0.1 for k in range(10)]
        summed = logits[(i + 5) % 10] + sum(logits[k] for k in found[i % 5])
        below = math.log(sum(math.exp(logits[k]) for k in range(10) if k != i))
        total += (-summed / (1 + len(found[i % 5])) + below) / 5
    mine = InfoNCE(temperature=0.1).per_sample(scene)["contrast"].mean().item()
    assert 2 * mine == pytest.approx(total, rel=1e-9)


def bank_after(selector: FNC, *scenes: Scene) -> list[list[float]]:
    for scene in scenes:
        selector.remember(scene)
    rows: list[list[float]] = selector.memory.tolist()
    return rows


@pytest.mark.golden("selector", "fnc")
def test_the_bank_holds_the_newest_support_views_and_forgets_the_oldest() -> None:
    first, second = (supported(scene_of(drawn(3, seed=s)), drawn(3, seed=10 + s)) for s in (1, 2))
    selector = built(FNC(bank=8)).double()
    assert bank_after(selector, first) == [*first.support.z.tolist(), *[[0.0] * 5] * 2]
    assert selector.memory_index.tolist() == [0, 1, 2, 0, 1, 2, -1, -1]
    assert bank_after(selector, second) == [*second.support.z.tolist(), *first.support.z[:2].tolist()]


@pytest.mark.golden("selector", "fnc")
def test_without_support_views_the_bank_holds_the_columns_in_whatever_order_ranks_bring_them() -> None:
    scene = scene_of(drawn(4))
    order = torch.tensor([0, 1, 4, 5, 2, 3, 6, 7])  # two ranks: both views of the first half, then of the second
    names = ("sample", "view", "label", "index", "z")
    apart = scene.but(columns=scene.columns.but(**{n: getattr(scene.columns, n)[order] for n in names}))
    assert bank_after(built(FNC(bank=6)), scene) == bank_after(built(FNC(bank=6)), apart)


@pytest.mark.golden("selector", "fnc")
def test_the_rows_of_the_bank_are_candidates_but_the_anchors_own_image_is_not() -> None:
    anchors = [flat(0, 90), flat(10, 100)]
    scene = scene_of(anchors, index=torch.tensor([3, 4]))
    earlier = scene_of([flat(5, 95, 180)], index=torch.tensor([3, 7, 8]))
    selector = built(FNC(threshold=0.9, bank=5), DIMS_2).double()
    selector.remember(earlier)
    pairs = selector.select(scene)
    assert pairs.columns.z.tolist()[:4] == scene.columns.z.tolist()
    positive, negative = lists(pairs)
    # Behind the four columns: image 3 at 5 degrees, 7 at 95, 8 at 180, and two free rows.
    assert [row[4:] for row in positive] == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]] * 2
    assert [row[4:] for row in negative] == [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0]] * 2
    full = scene.but(pairs=pairs)
    found = InfoNCE(temperature=0.1).per_sample(full)["contrast"].mean().item()
    rows, columns = scene.rows.z.tolist(), pairs.columns.z[:7].tolist()
    cut = [[row[:7] for row in mask] for mask in (positive, negative)]
    assert found == pytest.approx(loss(rows, columns, *cut, 0.1), rel=1e-9)


DIMS_2 = type(DIMS)(features=2, projection=2, classes=4, clusters=(3,), item=DIMS.item, samples=24)


@pytest.mark.golden("recipe", "fnc")
@pytest.mark.parametrize(("setting", "attract", "how"), [
    ("threshold=0.7", True, "and"), ("detected=eliminate", False, "and"), ("rule=or", True, "or"),
])  # fmt: skip
def test_the_recipe_attracts_what_looks_like_any_of_ten_views(setting: str, attract: bool, how: str) -> None:
    seen = one_step("fnc", overrides=[f"stage.pretrain.term.selector.{setting}", "stage.pretrain.term.selector.top=4"])
    scene, z, images = seen.scenes["contrast"], rows_of(seen), len(seen.batch.index)
    views = [z[:images], z[images:], *(part.tolist() for part in scene.support.z.chunk(8))]
    assert len(views) == 10
    found = detected(views, z, lambda i, j: i == j % images, 0.7, 4, how)
    assert sum(map(len, found)) > 0
    positive, negative = rule(2 * images, images, lambda i, k: k in found[i % images], attract=attract)
    assert seen.losses["total"].item() == pytest.approx(recipe_loss(seen, positive, negative, 0.1), rel=1e-9)


@pytest.mark.golden("recipe", "fnc")
def test_the_support_views_go_through_the_average_and_carry_no_gradient() -> None:
    seen = one_step("fnc")
    scene, encoders = seen.scenes["contrast"], seen.run.encoders
    assert scene.support.z.requires_grad is False
    assert scene.rows.z.requires_grad
    assert [ref.encoder for ref in seen.run.plan.terms[0].support] == ["ema"] * 8
    x = torch.cat([seen.batch.views[f"s{i}"] for i in range(1, 9)])
    with torch.no_grad():
        again = encoders.embed(x, "ema", "clean", frozenset({"z"}), "train").z
    torch.testing.assert_close(scene.support.z, again, rtol=1e-9, atol=1e-12)


@pytest.mark.golden("recipe", "fnc-gupta")
def test_the_recipe_cancels_above_a_threshold_and_additionally_the_top() -> None:
    seen = one_step("fnc-gupta", overrides=["stage.pretrain.term.selector.top=4"])
    z, images = rows_of(seen), len(seen.batch.index)
    found = detected([z[:images], z[images:]], z, lambda i, j: i == j % images, 0.7, 4, "or")
    assert all(len(columns) >= 4 for columns in found)
    positive, negative = rule(2 * images, images, lambda i, k: k in found[i % images], attract=False)
    assert seen.losses["total"].item() == pytest.approx(recipe_loss(seen, positive, negative, 0.5), rel=1e-9)
    selector = one_step("fnc-gupta").run.plan.terms[0].selector
    assert selector is not None
    assert (selector.plugin.top, selector.plugin.threshold, selector.plugin.bank) == (10, 0.7, 0)


# IFND


def clustered(*levels: tuple[Sequence[int], Sequence[float]]) -> Clustering:
    """Return clusterings made of assignments and confidences."""
    return Clustering(
        centroids=tuple(torch.eye(4) for _ in levels),
        assignment=torch.tensor([label for label, _ in levels]),
        confidence=torch.tensor([sure for _, sure in levels], dtype=torch.float64),
        inertia=tuple(0.0 for _ in levels),
        provenance={},
    )


COARSE = ([0, 0, 0, 1, 1, 1], [0.9, 0.2, 0.8, 0.7, 0.1, 0.6])
FINE = ([0, 1, 0, 2, 2, 3], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


def accepted(level: tuple[Sequence[int], Sequence[float]], share: float) -> list[int]:
    """Return the labels of the most confident share of the images; -1 for the others."""
    label, sure = level
    best = sorted(range(len(sure)), key=lambda i: -sure[i])[: round(share * len(sure))]
    return [label[i] if i in best else -1 for i in range(len(label))]


@pytest.mark.golden("selector", "ifnd")
@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 1.0])
def test_the_most_confident_labels_of_the_whole_data_set_are_accepted(share: float) -> None:
    expected = [accepted(COARSE, share), accepted(FINE, share)]
    assert pseudo_labels(clustered(COARSE, FINE), share).tolist() == expected


@pytest.mark.golden("selector", "ifnd")
def test_ifnd_by_hand() -> None:
    """Half accepted: images 0, 2 (label 0) and 3 (label 1); the batch holds the images 2, 4 and 0."""
    scene = scene_of([flat(0, 1, 2)], index=torch.tensor([2, 4, 0]), clusters=clustered(COARSE))
    positive, negative = lists(IFND(accept=0.5).select(scene))
    assert positive == [[0, 0, 0]] * 3
    assert negative == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert lists(IFND(accept=0.5, detected="attract").select(scene))[0] == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.golden("selector", "ifnd")
@pytest.mark.parametrize("attract", [True, False])
@pytest.mark.parametrize("levels", ["share", "any", "all"])
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_several_clusterings_against_loops(share: float, levels: Any, attract: bool) -> None:
    index = [5, 2, 0, 1]
    scene = scene_of(drawn(4), index=torch.tensor(index), clusters=clustered(COARSE, FINE))
    labels = [accepted(COARSE, share), accepted(FINE, share)]
    positive, negative = rule(8, 4, lambda i, k: False, attract=False)
    for i in range(8):
        for k in range(8):
            if i % 4 == k % 4:
                continue
            same = [label[index[i % 4]] == label[index[k % 4]] != -1 for label in labels]
            part = {"share": sum(same) / 2, "any": float(any(same)), "all": float(all(same))}[levels]
            positive[i][k], negative[i][k] = (part if attract else 0.0), 1 - part
    selector = IFND(accept=share, levels=levels, detected="attract" if attract else "eliminate")
    assert lists(selector.select(scene)) == (positive, negative)


@pytest.mark.golden("selector", "ifnd")
def test_nothing_accepted_is_instance_discrimination() -> None:
    scene = scene_of(drawn(4), clusters=clustered(COARSE, FINE))
    assert lists(IFND(accept=0.0).select(scene)) == lists(All().select(scene))


@pytest.mark.golden("recipe", "ifnd")
@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_recipe_leaves_out_pairs_by_the_share_of_clusterings(progress: float, share: float) -> None:
    seen = one_step("ifnd", progress=progress, images=12)
    clusters, index = seen.run.clusters.clustering, seen.batch.index.tolist()
    assert clusters is not None
    assert [len(centroids) for centroids in clusters.centroids] == [10, 20, 50]
    levels = list(zip(clusters.assignment.tolist(), clusters.confidence.tolist(), strict=True))
    labels = [accepted(level, share) for level in levels]
    positive, negative = rule(24, 12, lambda i, k: False, attract=False)
    for i in range(24):
        for k in range(24):
            if i % 12 != k % 12:
                same = [label[index[i % 12]] == label[index[k % 12]] != -1 for label in labels]
                negative[i][k] = 1 - sum(same) / 3
    left_out = 24 * 22 - sum(map(sum, negative))
    assert (left_out > 0) == (share > 0)
    assert seen.losses["total"].item() == pytest.approx(recipe_loss(seen, positive, negative, 0.5), rel=1e-9)


# GloFND


class Thresholds:
    """The thresholds of images as plain floats, with Adam's two moments and their corrections."""

    def __init__(self, *, alpha: float, lr: float, corrected: bool = True) -> None:
        self.alpha, self.lr, self.corrected = alpha, lr, corrected
        self.state: dict[int, tuple[float, float, float, int]] = {}

    def of(self, image: int) -> float:
        return self.state.get(image, (1.0, 0.0, 0.0, 0))[0]

    def move(self, image: int, similarities: list[float]) -> None:
        old, mean, square, times = self.state.get(image, (1.0, 0.0, 0.0, 0))
        gradient = self.alpha - sum(s > old for s in similarities) / len(similarities)
        mean, square, times = 0.9 * mean + 0.1 * gradient, 0.98 * square + 0.02 * gradient**2, times + 1
        first = mean / (1 - 0.9**times) if self.corrected else mean
        second = square / (1 - 0.98**times) if self.corrected else square
        new = old - self.lr * first / (math.sqrt(second) + 1e-8)
        self.state[image] = (min(1.0, max(-1.0, new)), mean, square, times)


def learn(thresholds: Thresholds, z: Sequence[Vector], index: Sequence[int], *, shared: bool = False) -> None:
    """Show a batch of two stacked views to the thresholds."""
    images = len(index)
    seen = {
        i: [cosine(z[r], z[k]) for r in (i, i + images) for k in range(2 * images) if k % images != i]
        for i in range(images)
    }
    if shared:
        thresholds.move(0, [s for row in seen.values() for s in row])
        return
    for i, image in enumerate(index):
        thresholds.move(image, seen[i])


def above(z: Sequence[Vector], limit: Sequence[float]) -> tuple[Matrix, Matrix]:
    """Return the pairs without those above the thresholds of the anchors' images."""
    images = len(limit)
    return rule(len(z), images, lambda i, k: cosine(z[i], z[k]) > limit[i % images], attract=False)


def batches(steps: int) -> list[Scene]:
    """Return batches of six images out of 24; some images come back."""
    index = [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 23], [5, 0, 23, 1, 4, 9]]
    return [scene_of(drawn(6, seed=s, spread=0.7), index=torch.tensor(index[s % 3])) for s in range(steps)]


@pytest.mark.golden("selector", "glofnd")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_glofnd_against_loops(shared: bool, corrected: bool, rescale: bool) -> None:
    selector = built(GloFND(alpha=0.3, lr=0.1, shared=shared, corrected=corrected, rescale=rescale)).double()
    oracle = Thresholds(alpha=0.3, lr=0.1, corrected=corrected)
    left_out = 0.0
    for scene in batches(9):
        z, index = scene.rows.z.tolist(), scene.batch.index.tolist()
        learn(oracle, z, index, shared=shared)
        positive, negative = above(z, [oracle.of(0 if shared else image) for image in index])
        left_out += 120 - sum(map(sum, negative))
        if rescale:
            negative = [[value * 10 / max(sum(row), 1) for value in row] for row in negative]
        found = selector.select(scene)
        assert found.positive.double().tolist() == positive
        torch.testing.assert_close(found.negative.double(), torch.tensor(negative, dtype=torch.float64))
        selector.remember(scene)
        for image, (value, mean, square, times) in oracle.state.items():
            assert selector.threshold[image].item() == pytest.approx(value, rel=1e-9)
            assert selector.mean[image].item() == pytest.approx(mean, rel=1e-9)
            assert selector.square[image].item() == pytest.approx(square, rel=1e-9)
            assert selector.updates[image].item() == times
    assert left_out > 0
    assert len(selector.threshold) == (1 if shared else DIMS.samples)


@pytest.mark.golden("selector", "glofnd")
def test_a_threshold_moves_as_torchs_adam_moves_a_parameter() -> None:
    selector = built(GloFND(alpha=0.2, lr=0.07, shared=True)).double()
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    adam = torch.optim.Adam([parameter], lr=0.07, betas=(0.9, 0.98), eps=1e-8)
    for scene in batches(12):
        similarity = torch.nn.functional.cosine_similarity(scene.rows.z[:, None], scene.rows.z, dim=2)
        other = scene.rows.sample[:, None] != scene.rows.sample
        parameter.grad = (0.2 - (similarity[other] > parameter).double().mean()).reshape(1)
        adam.step()
        parameter.data.clamp_(-1, 1)
        selector.remember(scene)
        torch.testing.assert_close(selector.threshold, parameter.data, rtol=1e-9, atol=0)


@pytest.mark.golden("selector", "glofnd")
def test_a_threshold_finds_the_quantile_of_what_it_sees() -> None:
    selector = built(GloFND(alpha=0.25, lr=0.02, shared=True)).double()
    scenes = [scene_of(drawn(24, seed=s)) for s in range(200)]
    for scene in scenes:
        selector.remember(scene)
    values = torch.cat([(torch.nn.functional.normalize(s.rows.z) @ torch.nn.functional.normalize(s.rows.z).T)[
        s.rows.sample[:, None] != s.rows.sample] for s in scenes[-50:]])  # fmt: skip
    assert (values > selector.threshold).double().mean().item() == pytest.approx(0.25, abs=0.1)


@pytest.mark.golden("selector", "glofnd")
def test_a_threshold_stays_a_cosine() -> None:
    scene = batches(1)[0]
    falling = built(GloFND(alpha=1.0, lr=0.9))
    for _ in range(4):
        falling.remember(scene)
    assert falling.threshold[:6].tolist() == [-1.0] * 6
    rising = built(GloFND(alpha=0.0, lr=0.9))
    rising.threshold.fill_(-0.5)
    for _ in range(4):
        rising.remember(scene)
    assert rising.threshold[:6].tolist() == [1.0] * 6


@pytest.mark.golden("selector", "glofnd")
def test_glofnd_waits_until_it_is_active_and_keeps_what_it_does_not_learn() -> None:
    scene = scene_of(drawn(6))
    idle = built(GloFND(active=0, learning=0, lr=0.9))
    assert lists(idle.select(scene)) == lists(All().select(scene))
    idle.remember(scene)
    assert idle.threshold.tolist() == [1.0] * DIMS.samples
    warming = built(GloFND(active=0, lr=0.9))
    assert lists(warming.select(scene)) == lists(All().select(scene))
    warming.remember(scene)
    assert max(warming.threshold[:6].tolist()) < 0.2
    assert warming.threshold[6:].tolist() == [1.0] * (DIMS.samples - 6)
    frozen = built(GloFND(learning=0))
    assert lists(frozen.select(scene)) == lists(All().select(scene))


@pytest.mark.golden("selector", "glofnd")
@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.7])
def test_two_ranks_learn_the_thresholds_of_one_and_filter_alike(alpha: float) -> None:
    names = ("sample", "view", "label", "index", "z")
    close, apart = drawn(3, spread=0.05), drawn(3, seed=1, spread=3.0)  # each rank alone sees another quantile
    scene = scene_of([Embedding(z=torch.cat([c.z, a.z])) for c, a in zip(close, apart, strict=True)])
    order = torch.tensor([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])
    columns = scene.columns.but(**{n: getattr(scene.columns, n)[order] for n in names})
    for shared in (False, True):
        alone, one = (built(GloFND(alpha=alpha, lr=0.3, shared=shared)).double() for _ in range(2))
        rows = columns.but(**{n: getattr(columns, n)[6:] for n in names})
        second = scene.but(rows=rows, columns=columns, own=torch.arange(6, 12))
        for _ in range(12):  # the first step has the same length whatever is seen
            whole, part = alone.select(scene).negative, one.select(second).negative
            torch.testing.assert_close(part, whole[order[6:]][:, order])
            alone.remember(scene)
            one.remember(second)
        assert torch.equal(alone.threshold, one.threshold)


@pytest.mark.golden("selector", "glofnd")
def test_state_survives_a_checkpoint() -> None:
    selector, other = built(GloFND(alpha=0.3, lr=0.1)), built(GloFND(alpha=0.3, lr=0.1))
    first, second, third = batches(3)
    selector.remember(first)
    other.load_state_dict(selector.state_dict())
    for one in (selector, other):
        one.remember(second)
    assert torch.equal(selector.select(third).negative, other.select(third).negative)
    assert {name for name, _ in selector.named_buffers()} == {"threshold", "mean", "square", "updates"}
    assert not list(selector.parameters())


@pytest.mark.golden("recipe", "glofnd")
@pytest.mark.parametrize(("progress", "active"), [(0.0, False), (0.34, False), (0.35, True), (1.0, True)])
def test_the_recipe_filters_from_epoch_seventy_of_two_hundred(progress: float, active: bool) -> None:
    # One step of 0.9 takes the thresholds from 1 to 0.1: far enough down to filter at once.
    seen = one_step("glofnd", overrides=["stage.pretrain.term.selector.lr=0.9"], progress=progress)
    z, images = rows_of(seen), len(seen.batch.index)
    oracle = Thresholds(alpha=0.01, lr=0.9)
    learn(oracle, z, range(images))
    positive, negative = above(z, [oracle.of(i) if active else 2.0 for i in range(images)])
    assert (sum(map(sum, negative)) < 2 * images * (2 * images - 2)) == active
    count = 2 * images - 2
    negative = [[value * count / max(sum(row), 1) for value in row] for row in negative]
    assert seen.losses["total"].item() == pytest.approx(recipe_loss(seen, positive, negative, 0.1), rel=1e-9)


@pytest.mark.golden("recipe", "glofnd")
def test_glofnd_serves_an_adversarial_recipe_with_thresholds_for_each_stream() -> None:
    choice = '{ use = "glofnd", alpha = 0.05, lr = 0.9 }'
    seen = one_step("acl-ds", overrides=[f"stage.pretrain.term.{name}.selector={choice}" for name in ("nat", "adv")])
    selectors = [term.selector.plugin for term, _ in seen.run.step.scenes if term.selector is not None]
    assert len({id(selector) for selector in selectors}) == 2
    for selector, (term, scene) in zip(selectors, seen.run.step.scenes, strict=True):
        assert bool((scene.pairs.negative == 0).sum(1).max() > 2), term.name
        selector.remember(scene)
        assert selector.threshold[scene.batch.index].max().item() < 0.2
        assert len(selector.threshold) == seen.run.images.samples


# What all have in common


def masked_columns_move_nothing(selector: Any, scene: Scene) -> None:
    z: Tensor = scene.rows.z.detach().clone().requires_grad_()
    rows = scene.rows.but(z=z)
    scene = scene.but(rows=rows, columns=rows)
    with torch.no_grad():
        pairs = selector.select(scene)
    InfoNCE().per_sample(scene.but(pairs=pairs))["contrast"][0].backward()
    assert z.grad is not None
    used = (pairs.positive[0] > 0) | (pairs.negative[0] > 0)
    assert bool((z.grad[1:][~used[1:]] == 0).all())
    assert bool(z.grad[used].any(1).all())
    assert not bool(used[1:].all()), "nothing was left out"


@pytest.mark.golden("selector", "adaptive-fnc")
@pytest.mark.golden("selector", "fnc")
@pytest.mark.golden("selector", "glofnd")
@pytest.mark.golden("selector", "ifnd")
@pytest.mark.parametrize("name", ["adaptive-fnc", "fnc", "glofnd", "ifnd"])
def test_what_is_eliminated_receives_no_gradient(name: str) -> None:
    selector = {
        "adaptive-fnc": AdaptiveFNC(rho=0.5),
        "fnc": built(FNC(threshold=0.5, detected="eliminate")),
        "glofnd": built(GloFND(lr=0.9)),
        "ifnd": IFND(),
    }[name]
    masked_columns_move_nothing(selector, scene_of(drawn(6, spread=2.0), clusters=clustered(COARSE)))


@pytest.mark.golden("selector", "adaptive-fnc")
@pytest.mark.golden("selector", "fnc")
@pytest.mark.golden("selector", "glofnd")
@pytest.mark.golden("selector", "ifnd")
@pytest.mark.parametrize(("cls", "given"), [
    (AdaptiveFNC, {"rho": -1.5}), (AdaptiveFNC, {"detected": "pull"}), (FNC, {"top": 0}), (FNC, {"rule": "xor"}),
    (FNC, {"bank": -1}), (IFND, {"accept": 1.2}), (IFND, {"levels": "both"}), (GloFND, {"beta_2": 1.0}),
    (GloFND, {"active": 2}), (GloFND, {"lr": 0}),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused_in_a_sentence(cls: type, given: dict[str, Any]) -> None:
    ((name, value),) = given.items()
    with pytest.raises(OptionError) as error:
        options.build(cls, given, "stage.it.term.selector")
    said = str(error.value)
    assert said.startswith(f"stage.it.term.selector.{name} = {value!r}: not accepted; give ")
    assert "\n" not in said
