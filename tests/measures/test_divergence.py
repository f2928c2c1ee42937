"""R-DIV, class distances and silhouettes against hand numbers, naked loops and scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import special_ortho_group
from sklearn.metrics import silhouette_samples
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import (
    Distance,
    class_distances,
    feature_divergence,
    relative_divergence,
    silhouettes,
)
from robustcl.rng import Rng

DISTANCES: tuple[Distance, ...] = ("cosine", "L1", "L2", "Linf")


def naked(u: list[float], v: list[float], distance: str) -> float:
    if distance == "cosine":
        norms = math.hypot(*u) * math.hypot(*v)
        return 1 - (sum(p * q for p, q in zip(u, v, strict=True)) / norms if norms else 0.0)
    gaps = [abs(p - q) for p, q in zip(u, v, strict=True)]
    return {"L1": sum(gaps), "L2": math.hypot(*gaps), "Linf": max(gaps)}[distance]


def sample(seed: int, n: int = 23, classes: int = 4, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    rng = Rng(seed, "measures")
    clean = rng.normal((n, width), dtype=torch.float64)
    return clean, clean + 0.5 * rng.normal((n, width), dtype=torch.float64), rng.integers(classes, (n,))


def naked_sets(clean: Tensor, attacked: Tensor, label: Tensor, distance: str) -> tuple[list[float], list[float]]:
    """Bui et al., section 2: the mean over each anchor's positive and negative set."""
    rows, moved, classes = clean.tolist(), attacked.tolist(), label.tolist()
    intra, inter = [], []
    for i, anchor in enumerate(rows):
        near, far = [], []
        for j in range(len(rows)):
            if j != i:
                both = [naked(anchor, rows[j], distance), naked(anchor, moved[j], distance)]
                (near if classes[j] == classes[i] else far).extend(both)
        intra.append(sum(near) / len(near) if near else math.nan)
        inter.append(sum(far) / len(far) if far else math.nan)
    return intra, inter


# --- R-DIV --------------------------------------------------------------------------------------------------


def test_r_div_of_four_points_by_hand() -> None:
    clean = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -1.0]])
    attacked = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    found = relative_divergence(clean, attacked, torch.tensor([7, 7, 2, 2]))
    # Anchor 0: own class holds (0, 1) at 1 and its adversary (1, 0) at 0; the own adversary is left out.
    assert found.intra_each.tolist() == pytest.approx([0.5, 1.0, 0.5, 1.0])
    assert found.inter_each.tolist() == pytest.approx([(2 + 1 + 2 + 2) / 4, (1 + 2 + 1 + 1) / 4, 1.75, 1.25])
    assert (found.intra, found.inter, found.relative) == pytest.approx((0.75, 1.5, 0.5))


@pytest.mark.parametrize("distance", DISTANCES)
def test_r_div_agrees_with_a_naked_loop(distance: Distance) -> None:
    clean, attacked, label = sample(1)
    label[0] = 9  # alone in its class: no positive set
    intra, inter = naked_sets(clean, attacked, label, distance)
    found = relative_divergence(clean, attacked, label, distance=distance, chunk=7)
    assert found.intra_each.tolist() == pytest.approx(intra, nan_ok=True, rel=1e-12)
    assert found.inter_each.tolist() == pytest.approx(inter, rel=1e-12)
    assert math.isnan(intra[0])
    known = [value for value in intra if not math.isnan(value)]
    assert found.intra == pytest.approx(sum(known) / len(known))
    assert found.relative == pytest.approx(found.intra / (sum(inter) / len(inter)))


def test_mini_batches_are_sets_of_their_own() -> None:
    clean, attacked, label = sample(2, n=24, classes=2)
    found = relative_divergence(clean, attacked, label, batch=8)
    parts = [relative_divergence(clean[i : i + 8], attacked[i : i + 8], label[i : i + 8]) for i in (0, 8, 16)]
    assert found.intra_each.tolist() == torch.cat([part.intra_each for part in parts]).tolist()
    assert found.inter == pytest.approx(sum(part.inter for part in parts) / 3)
    assert found.relative == pytest.approx(sum(p.intra for p in parts) / sum(p.inter for p in parts))
    assert found.relative != pytest.approx(relative_divergence(clean, attacked, label).relative)


@pytest.mark.parametrize("distance", DISTANCES)
def test_chunks_do_not_matter(distance: Distance) -> None:
    clean, attacked, label = sample(3)
    few = relative_divergence(clean, attacked, label, distance=distance, chunk=1)
    many = relative_divergence(clean, attacked, label, distance=distance, chunk=1000)
    assert few.relative == pytest.approx(many.relative, rel=1e-13)
    one, all_ = (class_distances(clean, label, distance=distance, chunk=chunk) for chunk in (1, 1000))
    torch.testing.assert_close(one.table, all_.table, equal_nan=True)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-4, 1e4))
def test_scale_and_rotation_leave_the_ratios_alone(seed: int, scale: float) -> None:
    clean, attacked, label = sample(seed, classes=3)
    turn = scale * torch.from_numpy(special_ortho_group.rvs(5, random_state=seed))
    for distance in ("cosine", "L2"):
        before = relative_divergence(clean, attacked, label, distance=distance)  # type: ignore[arg-type]
        after = relative_divergence(clean @ turn, attacked @ turn, label, distance=distance)  # type: ignore[arg-type]
        assert after.relative == pytest.approx(before.relative)
        assert after.intra == pytest.approx(before.intra * (scale if distance == "L2" else 1.0))


def test_float32_rows_are_summed_in_float64() -> None:
    clean, attacked, label = sample(4)
    narrow = relative_divergence(clean.float() + 1000, attacked.float() + 1000, label, distance="L2")
    wide = relative_divergence(clean + 1000, attacked + 1000, label, distance="L2")
    assert narrow.relative == pytest.approx(wide.relative, rel=1e-4)
    assert narrow.intra_each.dtype == torch.float64


def test_classes_that_are_points_and_features_that_have_collapsed() -> None:
    label = torch.tensor([0, 0, 1, 1])
    same = torch.full((4, 3), 0.1)
    apart = torch.tensor([[0.1, 0.7, 0.3]]).expand(4, 3) * torch.tensor([1.0, 2.0, -1.0, -5.0])[:, None]
    assert relative_divergence(apart, apart, label).relative == 0.0
    assert class_distances(apart, label).ratio == math.inf
    collapsed = relative_divergence(same, same, label)
    assert (collapsed.intra, collapsed.inter) == (0.0, 0.0)
    assert math.isnan(collapsed.relative)
    assert math.isnan(class_distances(same, label).ratio)
    assert relative_divergence(apart, apart, torch.tensor([0, 1, 0, 1])).relative > 1
    zeros = torch.zeros(4, 3)
    assert relative_divergence(zeros, zeros, label).relative == pytest.approx(1.0)  # no direction: 1 from everything


@pytest.mark.parametrize("label", [[3, 3, 3], [0, 1, 2]])
def test_one_class_or_one_image_each_is_refused(label: list[int]) -> None:
    clean = torch.eye(3)
    with pytest.raises(UsageError, match=r"it needs (two images of one class|images of two classes)"):
        relative_divergence(clean, clean, torch.tensor(label))
    with pytest.raises(UsageError, match="no pairs within and between classes"):
        class_distances(clean, torch.tensor(label))


def test_arguments_that_do_not_fit_are_refused() -> None:
    clean, label = torch.eye(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(UsageError, match="differ in shape"):
        relative_divergence(clean, clean[:3], label)
    with pytest.raises(UsageError, match="do not fit 4 rows"):
        relative_divergence(clean, clean, label[:3])
    with pytest.raises(UsageError, match="do not fit"):
        relative_divergence(clean, clean, label + 0.5)
    with pytest.raises(UsageError, match="2 of 4 rows have no label"):
        relative_divergence(clean, clean, label - 1)
    with pytest.raises(UsageError, match="the first is row 1"):
        relative_divergence(clean, clean.index_fill(0, torch.tensor([1]), torch.nan), label)
    with pytest.raises(UsageError, match="the distance 'cosin' is unknown, did you mean 'cosine'"):
        relative_divergence(clean, clean, label, distance="cosin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch = 0"):
        relative_divergence(clean, clean, label, batch=0)
    with pytest.raises(UsageError, match="no matrix"):
        feature_divergence(torch.zeros(3), torch.zeros(3))


def test_feature_divergence_by_hand() -> None:
    clean = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    attacked = torch.tensor([[0.0, 3.0], [-1.0, -1.0], [1.0, 0.0]])
    assert feature_divergence(clean, attacked).tolist() == pytest.approx([1.0, 2.0, 1.0])
    assert feature_divergence(clean, attacked, distance="L1").tolist() == [5.0, 4.0, 1.0]
    assert feature_divergence(clean, attacked, distance="L2").tolist() == pytest.approx([13**0.5, 8**0.5, 1.0])
    assert feature_divergence(clean, attacked, distance="Linf").tolist() == [3.0, 2.0, 1.0]


# --- class distances ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
def test_class_distances_agree_with_all_pairs(distance: Distance) -> None:
    features, _, label = sample(5, classes=3)
    label = 10 * label
    label[4] = 5  # a class of one image
    rows, own = features.tolist(), label.tolist()
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    same = [naked(rows[i], rows[j], distance) for i, j in pairs if own[i] == own[j]]
    other = [naked(rows[i], rows[j], distance) for i, j in pairs if own[i] != own[j]]
    found = class_distances(features, label, distance=distance, chunk=6)
    assert found.intra == pytest.approx(sum(same) / len(same))
    assert found.inter == pytest.approx(sum(other) / len(other))
    assert found.ratio == pytest.approx(found.inter / found.intra)
    assert found.classes.tolist() == [0, 5, 10, 20]
    assert found.table[1, 1].isnan()
    torch.testing.assert_close(found.table, found.table.T, equal_nan=True)
    between = [naked(rows[i], rows[j], distance) for i, j in pairs if {own[i], own[j]} == {0, 20}]
    assert float(found.table[0, 3]) == pytest.approx(sum(between) / len(between))


def test_the_ratio_by_hand() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    found = class_distances(features, torch.tensor([0, 0, 1]), distance="L2")
    assert found.intra == 2.0
    assert found.inter == pytest.approx((3 + 13**0.5) / 2)


def test_a_row_without_a_direction_is_no_pair_with_itself() -> None:
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    found = class_distances(features, torch.tensor([0, 0, 1]))
    assert (found.intra, found.inter) == (1.0, 1.0)
    moved = relative_divergence(features, features, torch.tensor([0, 0, 1]))
    assert moved.intra_each.tolist()[:2] == [1.0, 1.0]


# --- silhouettes --------------------------------------------------------------------------------------------


def test_silhouettes_agree_with_scikit_learn() -> None:
    clean, attacked, label = sample(6, n=40, classes=3)
    found = silhouettes(clean, attacked, 5 * label + 2, chunk=9)
    for each, features in ((found.clean_each, clean), (found.adversarial_each, attacked)):
        expected = silhouette_samples(features.numpy(), label.numpy(), metric="cosine")
        assert each.tolist() == pytest.approx(expected.tolist())
    assert found.clean == pytest.approx(float(found.clean_each.mean()))
    assert found.drop == pytest.approx(found.clean - found.adversarial)
    with pytest.raises(UsageError, match="at least two clusters"):
        silhouettes(clean, attacked, torch.zeros(40, dtype=torch.int64))
