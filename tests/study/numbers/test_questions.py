"""Numbers that columns measure of moved test images and of their features, by hand on given ones."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import registry
from robustcl.analysis.measure import sample
from robustcl.analysis.measure.clusters import nearest
from robustcl.analysis.measure.run import MEASURES, take
from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.errors import NeedNotMet
from robustcl.evaluate import scaled
from robustcl.measures.catalogue import OF_FEATURES, OF_PREDICTIONS, VALUES
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.study import api
from robustcl.study.grammar.columns import COLUMN, Perturbed, Representation
from robustcl.study.numbers import questions
from robustcl.study.numbers.reading import Reading, is_answered, read_value, share
from robustcl.threat import Ball
from robustcl.types import Attack, Clustering, Embedding
from tests.shared import pixels
from tests.shared.tiny_study import compose_smoke, study

given = pixels.given


@pytest.mark.parametrize("block", [1, 3, 250])
def test_fooled_and_drop_by_hand(block: int, given: list[tuple[int, bool]], tmp_path: Path) -> None:
    # Right before: images 0 and 1 (class 0) and 3 (class 1). Moved by 0.35: 0.45, 0.55, 0.65, 1.25.
    # After: image 0 stays right, image 1 is fooled, image 2 was wrong before, image 3 stays right.
    # The true class's probability falls by 0.35, 0.35 and -0.1 on the three, as it is 1 at most: 0.2 on average.
    entry = take(tmp_path, {}, ["fooled"], pixels.sample(block=block))
    assert read_value(entry, "fooled") == share(1, 3)
    assert read_value(entry, "drop") == Reading(pytest.approx(0.2, abs=1e-5), n=3)


def test_a_classifier_that_is_always_wrong_has_nobody_to_fool(given: list[tuple[int, bool]], tmp_path: Path) -> None:
    class Wrong(pixels.Pixels):
        def predict(self, x: Tensor) -> Tensor:
            return torch.full((len(x),), 7)

        def embed(self, x: Tensor, layers: frozenset[str]) -> Embedding:
            return Embedding(logits=torch.tensor([[0.0, 0.0, 1.0]]).expand(len(x), 3), h=x)

    entry = take(tmp_path, {}, ["fooled", "relative-drop"], pixels.sample(Wrong()))
    assert read_value(entry, "accuracy") == share(0, 4)
    for value in ("relative-drop", "fooled", "drop"):
        assert is_answered(entry, value)
        assert read_value(entry, value) is None, "an empty cell, and no division by zero"


def test_a_test_image_belongs_to_the_nearest_centroid() -> None:
    centroids = (torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
    train = Clustering(centroids, torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, 9), (0.0, 0.0), {})
    found = nearest(train, pixels.Pixels(), pixels.Four(), torch.arange(4), 3)  # type: ignore[arg-type]
    assert found.assignment.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    # (0.9, 0.1) has length sqrt(0.82): its cosine to (1, 0) is 0.9 / sqrt(0.82).
    assert float(found.confidence[0, 3]) == pytest.approx(0.9 / 0.82**0.5)


def test_an_attack_sees_the_clusters_of_the_judged_encoder(tmp_path: Path) -> None:
    """The own cluster of each test image is the one nearest to its clean features, whatever block it comes in."""
    seen: list[Tensor] = []

    class Watching:
        needs = frozenset({Need.FEATURES, Need.CLUSTERS, Need.INDEX})
        citation = "no source: it looks"

        def perturb(self, x: Tensor, attack: Attack) -> Tensor:
            clean = torch.nn.functional.normalize(attack.clean().h.double(), dim=1)
            best = (clean @ attack.clusters.centroids[0].double().T).argmax(1)
            assert torch.equal(attack.clusters.assignment[0][attack.index], best)
            seen.append(attack.index)
            assert float(attack.ball.eps) == pytest.approx(0.5 * 16 / 255)
            return x.detach()

    column = {"name": "x", "use": "perturbed", "value": "fooled", "attack": "watching", "times": 0.5}
    with registry.local("generator", "watching", Watching):
        with pytest.raises(NeedNotMet, match=r"column 'x': watching reads .*; add targets"):
            compose_smoke(tmp_path, column=[column])
        targets = {"use": "spherical-kmeans", "clusters": "silhouette", "grid": [3, 6]}
        rows = [{"name": "a", "recipe": "tiny.toml", "set": {"evaluate.slf.block": 5, "evaluate.slf.samples": 100}}]
        made = compose_smoke(tmp_path, row=rows, column=[column | {"targets": targets}])
        api.run(made, tmp_path / "out", device="cpu")
    assert len(seen) > 1


def test_steps_grow_with_the_ball() -> None:
    column = study(
        column=[{"name": "x", "use": "perturbed", "value": "accuracy", "attack": {"use": "pgd", "step_size": 0.01}}]
    )
    part = attack_of(column.column[0].attack, Parts(), "x")  # type: ignore[union-attr]
    ((_, moved),) = scaled.members(part.plugin, 10, Ball.checked("Linf", "16/255"), 2.0)
    assert moved.step_size == 0.02  # type: ignore[attr-defined]
    assert part.plugin.generator.step_size == 0.01


given = pixels.given


class Seen:
    """A sample whose features and logits are given; the training images have the same clean features."""

    block, index, subject, draws = 9, torch.arange(4), SimpleNamespace(model="m"), Rng(0, "measure", "linear", "clean")

    def __init__(self, clean: Tensor, moved: Tensor, logits: Tensor, label: Tensor) -> None:
        self.features, self.logits, self.label = (clean, moved), (logits, logits), label
        self.train, self.labels = self, label

    def batches(self, blocks: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(rows, self.features[0][rows]) for rows in blocks]

    def embed(self, x: Tensor, layer: str) -> Tensor:
        return x

    def told(self, *progress: object) -> None:
        pass


def taken(folder: Path, of: Any, *values: str) -> dict[str, Reading | None]:
    """Return values as a study reads them of what the engine keeps."""
    entry = take(folder, {}, list(dict.fromkeys(VALUES[value][0] for value in values)), of)
    assert all(is_answered(entry, value) for value in values)
    return {value: read_value(entry, value) for value in values}


def test_every_value_is_a_number_of_a_measure() -> None:
    for kind, values in ((Perturbed, OF_PREDICTIONS), (Representation, OF_FEATURES)):
        assert typing.get_args(kind.model_fields["value"].annotation) == values
    assert {name for name, _ in VALUES.values()} <= set(MEASURES)


def test_the_values_by_hand(tmp_path: Path) -> None:
    """Two classes on the axes; the attack turns the first image to the diagonal and leaves the others alone."""
    clean = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    moved = clean.clone()
    moved[0] = torch.tensor([1.0, 1.0])
    label = torch.tensor([0, 0, 1, 1])
    of_pixels = ("input-landscape", "weight-landscape", "components")
    asked = [value for value in OF_FEATURES if VALUES[value][0] not in of_pixels]
    told = taken(tmp_path, Seen(clean, moved, torch.zeros(4, 2), label), *asked)
    found = {value: reading.value for value, reading in told.items() if reading is not None}
    assert set(found) == set(asked)
    d = 1 - 0.5**0.5
    # Anchor 0 against clean 1 and moved 1: 0, 0. Anchor 1 against clean 0 and moved 0: 0, d. Class 1: all 0.
    assert found["intra-divergence"] == pytest.approx(d / 2 / 4)
    # Class 0 against class 1: all at 1. Anchors 2 and 3 against clean 0, clean 1, moved 0 (at d), moved 1.
    assert found["inter-divergence"] == pytest.approx((1 + 1 + 2 * (3 + d) / 4) / 4)
    assert found["relative-divergence"] == pytest.approx(found["intra-divergence"] / found["inter-divergence"])
    assert found["feature-divergence"] == pytest.approx(d / 4)
    assert found["alignment"] == pytest.approx((2 - 2 * 0.5**0.5) / 4), "the mean squared distance of unit rows"
    # Of the moved ones: pairs within are at d and 0, pairs between at d, d, 1, 1.
    assert found["class-ratio"] == pytest.approx(((2 * d + 2) / 4) / (d / 2))
    distances = [2 * d, 2 * d, 2 * d, 2.0, 2.0, 0.0]
    potentials = torch.tensor([-2 * x for x in distances], dtype=torch.float64).exp()
    assert found["uniformity"] == pytest.approx(float(potentials.mean().log()))
    # Silhouettes before: 1 for all. After: image 0 (d - d) / d = 0, image 1 (1 - d) / 1, the others (b - 0) / b = 1.
    assert found["silhouette"] == pytest.approx((0 + (1 - d) + 1 + 1) / 4)
    assert found["silhouette-drop"] == pytest.approx(1 - found["silhouette"])
    assert found["entropy"] == pytest.approx(torch.tensor(2.0).log().item())
    size = torch.linalg.svdvals(moved.double())
    share = size / size.sum()
    assert found["effective-rank"] == pytest.approx(float((-(share * share.log()).sum()).exp()))
    assert found["linear-separability"] in (0.75, 1.0), "fitted to clean features, judged on moved ones"


def test_divergences_of_mini_batches_by_loops(tmp_path: Path) -> None:
    """Anchor, positives and negatives are of one block of 128 images drawn together; the mean is over all anchors."""
    draw = torch.Generator().manual_seed(0)
    clean, moved = (torch.randn(150, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    label = torch.arange(150) % 4
    values = [f"{part}-divergence{end}" for part in ("intra", "inter", "relative") for end in ("", "-128")]
    told = taken(tmp_path, Seen(clean, moved, torch.zeros(150, 4), label), *values)
    dealt = Seen.draws.child("r-div-128").permutation(150).tolist()
    block_of = {image: place // 128 for place, image in enumerate(dealt)}
    means: dict[bool, list[float]] = {True: [], False: []}
    for anchor in range(150):
        block = [other for other in range(150) if block_of[other] == block_of[anchor] and other != anchor]
        for same, found in means.items():
            others = [other for other in block if bool(label[other] == label[anchor]) is same]
            distances = [1 - F.cosine_similarity(clean[anchor], view[other], dim=0) for other in others
                         for view in (clean, moved)]  # fmt: skip
            found.append(float(sum(distances)) / len(distances))
    intra, inter = (sum(means[same]) / 150 for same in (True, False))
    for value, by_hand in (("intra", intra), ("inter", inter), ("relative", intra / inter)):
        reading = told[f"{value}-divergence-128"]
        assert reading is not None
        assert reading.value == pytest.approx(by_hand, abs=1e-9)
        whole = told[f"{value}-divergence"]
        assert whole is not None
        assert abs(whole.value - by_hand) > 1e-6, "the sets of all images are others"


def test_mini_batches_of_images_sorted_by_class(tmp_path: Path) -> None:
    """In their own order these are four batches of one class each, without a single negative image."""
    draw, label = torch.Generator().manual_seed(1), torch.arange(512) // 128
    clean = torch.eye(4, dtype=torch.float64)[label] + 0.5 * torch.randn(512, 4, generator=draw, dtype=torch.float64)
    of, values = Seen(clean, clean, torch.zeros(512, 4), label), ("intra-divergence", "inter-divergence")
    told = taken(tmp_path, of, *values, *(f"{value}-128" for value in values))
    for value in values:
        whole, batches = told[value], told[f"{value}-128"]
        assert whole is not None
        assert batches is not None
        assert batches.value == pytest.approx(whole.value, rel=0.05)
        assert batches != whole


@pytest.mark.parametrize("kind", ["values", "refused"])
def test_mini_batches_in_the_images_own_order_answer_nothing(kind: str) -> None:
    stored: dict[str, Any] = {"values": {}, "refused": {}, kind: {"r-div-batches": {"relative": 1.0}}}
    assert not is_answered(stored, "relative-divergence-128")


def test_features_that_say_nothing_leave_an_empty_cell(tmp_path: Path) -> None:
    of = Seen(torch.ones(4, 2), torch.ones(4, 2), torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
    found = taken(tmp_path, of, "relative-divergence", "linear-separability", "uniformity")
    assert found["relative-divergence"] is None, "0 / 0"
    assert found["linear-separability"] is None, "collapsed"
    assert found["uniformity"] == Reading(0.0)


@pytest.mark.parametrize("block", [1, 3, 9])
def test_accuracy_and_relative_drop_by_hand(block: int, given: list[tuple[int, bool]], tmp_path: Path) -> None:
    # Right before: 0, 1, 3. After: 0.45 stays right, 0.55 is fooled, 1.25 stays right.
    found = taken(tmp_path, pixels.sample(block=block), "accuracy", "relative-drop")
    assert found["relative-drop"] == Reading(1 / 3, n=4)
    assert found["accuracy"] == share(2, 4)
    assert given == [(0, False), (1, False), (3, False)], "as in evaluation: what is wrong as it is, is not attacked"


def test_representations_attack_every_image_to_the_end(given: list[tuple[int, bool]]) -> None:
    of = pixels.sample(block=3)
    clean, after = of.features
    assert given == [(0, True), (1, True), (2, True), (3, True)]
    assert after[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65, 1.25])
    assert clean[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.9])
    assert of.moved[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65, 1.25])
    assert len(given) == 4, "once for all measures"


def test_few_attacked_images_are_kept(given: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SHOWN", 3)
    of = pixels.sample(block=2)
    assert of.moved[:, 0].tolist() == pytest.approx([0.45, 0.55, 0.65])
    assert len(of.features[1]) == 4


def test_one_question_for_all_values_of_the_same_images() -> None:
    def alike(**changes: Any) -> bool:
        one, other = ({"name": "x", "use": "perturbed", "value": "accuracy", "attack": {"use": "pgd"}} | change
                      for change in ({}, changes))  # fmt: skip
        return questions._alike(COLUMN.validate_python(one), COLUMN.validate_python(other))  # type: ignore[arg-type]

    assert alike(value="fooled")
    assert alike(name="y", use="representation", value="alignment")
    assert not alike(times=2)
    assert not alike(threat={"norm": "L2", "eps": 0.1})
    assert not alike(route="adv")
    assert not alike(attack={"use": "pgd", "steps": 7})
