"""The k-nearest-neighbour protocol against naked loops and scikit-learn, and its head inside an encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from robustcl.data.arrays import ArraySource
from robustcl.data.held import Held
from robustcl.errors import NotAPlugin, UsageError
from robustcl.evaluate import head as heads
from robustcl.evaluate.classifier import of_encoder
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.protocols.knn import NearestNeighbours

CLASSES = 4


def cloud(n: int, seed: int = 0, width: int = 6) -> tuple[Tensor, Tensor]:
    """Return features (n, width) around one direction per class, and labels."""
    rng = Rng(seed, "cloud")
    label = rng.integers(CLASSES, (n,))
    centres = Rng(0, "centres").normal((CLASSES, width))
    return centres[label] + 0.7 * rng.normal((n, width)), label


def naive(h: Tensor, features: Tensor, label: Tensor, k: int, temperature: float) -> list[list[float]]:
    """Return the log of the votes for every row and class, by loops; without a vote, of the nearest image's weight."""
    rows = []
    for one in h.double().tolist():
        pairs = zip(features.double().tolist(), label.tolist(), strict=True)
        near = sorted(((cosine(one, other), y) for other, y in pairs), reverse=True)
        votes = [0.0] * CLASSES
        for similarity, y in near[:k]:
            votes[y] += math.exp(similarity / temperature)
        for similarity, y in near[k:]:
            votes[y] = votes[y] or math.exp(similarity / temperature)
        rows.append([math.log(vote) for vote in votes])
    return rows


def cosine(a: list[float], b: list[float]) -> float:
    """Return the cosine of two vectors."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.golden("protocol", "knn")
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (7, 0.07), (40, 0.07), (40, 0.5)])
def test_the_votes_are_section_3_4(k: int, temperature: float) -> None:
    features, label = cloud(40)
    h, _ = cloud(9, seed=1)
    logits = NearestNeighbours(k=k, temperature=temperature).head(features, label, CLASSES)(h)
    assert torch.allclose(logits, torch.tensor(naive(h, features, label, k, temperature)), atol=1e-4)


@pytest.mark.golden("protocol", "knn")
def test_it_predicts_as_scikit_learn_with_these_weights() -> None:
    features, label = cloud(300)
    h, _ = cloud(200, seed=2)
    peer = KNeighborsClassifier(15, weights=lambda d: np.exp((1 - d) / 0.07), metric="cosine", algorithm="brute")
    expected = peer.fit(features.numpy(), label.numpy()).predict(h.numpy())
    found = NearestNeighbours(k=15).head(features, label, CLASSES)(h).argmax(1)
    assert found.tolist() == expected.tolist()


def test_the_published_numbers_are_the_defaults() -> None:
    protocol = NearestNeighbours()
    assert (protocol.k, protocol.temperature) == (200, 0.07)
    assert list(protocol.stages("clean")) == []


def test_the_gradient_is_that_of_the_formula() -> None:
    features, label = cloud(30)
    h = cloud(5, seed=3)[0].requires_grad_()
    logits = NearestNeighbours(k=12).head(features, label, CLASSES)(h)
    (found,) = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.arange(5) % CLASSES), h)
    twin = h.detach().double().requires_grad_()
    bank = nn.functional.normalize(features.double(), dim=1)
    near = nn.functional.normalize(twin, dim=1) @ bank.T
    similarity, nearest = near.topk(12, dim=1)
    votes = (similarity / 0.07).exp()[:, :, None].mul(nn.functional.one_hot(label[nearest], CLASSES)).sum(1)
    alone = torch.stack([(near[:, label == c].amax(1) / 0.07).exp() for c in range(CLASSES)], dim=1)
    plain = torch.where(votes > 0, votes, alone).log()
    (expected,) = torch.autograd.grad(nn.functional.cross_entropy(plain, torch.arange(5) % CLASSES), twin)
    assert torch.allclose(found.double(), expected, atol=1e-4)
    assert float(found.abs().sum()) > 0


@settings(max_examples=15)
@given(temperature=st.sampled_from([1e-3, 0.01, 0.07, 1.0, 50.0]), seed=st.integers(0, 50), k=st.integers(1, 20))
def test_logits_are_finite_and_a_class_without_votes_is_never_ahead(temperature: float, seed: int, k: int) -> None:
    features, label = cloud(20, seed)
    h, _ = cloud(6, seed + 100)
    logits = NearestNeighbours(k=k, temperature=temperature).head(features, label, CLASSES)(h)
    assert bool(logits.isfinite().all())
    near = nn.functional.normalize(h, dim=1) @ nn.functional.normalize(features, dim=1).T
    for row, nearest in zip(logits, near.topk(k, dim=1).indices, strict=True):
        voted = set(label[nearest].tolist())
        others = [c for c in range(CLASSES) if c not in voted]
        assert all(float(row[c]) < min(float(row[v]) for v in voted) for c in others)


def test_a_class_without_an_image_is_opposite() -> None:
    features, label = cloud(20)
    logits = NearestNeighbours(k=5).head(features, label, CLASSES + 1)(features)
    assert logits[:, -1].tolist() == pytest.approx([-1 / 0.07] * 20)


def test_where_all_neighbours_agree_an_attack_still_has_a_direction() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]])
    logits = NearestNeighbours(k=2).head(features, torch.tensor([0, 0, 1]), 2)
    h = torch.tensor([[1.0, 0.2]], requires_grad=True)
    (gradient,) = torch.autograd.grad(logits(h)[0, 1], h)
    assert gradient[0, 1] > 0 > gradient[0, 0]


def test_more_neighbours_than_images_are_refused() -> None:
    features, label = cloud(20)
    with pytest.raises(UsageError, match=r"evaluate\.knn\.k = 21: there are only 20 labelled .* set k to 20 or less"):
        NearestNeighbours(k=21).head(features, label, CLASSES)


# --- in an encoder


class Corner(nn.Module):
    """Four pixels of the image as features, scaled by a norm that has branches."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)[:, 0, :2, :2].flatten(1)


def judged() -> tuple[Encoder, Held]:
    """Return an encoder with two branches that look at four pixels, and images of which some have no label."""
    encoder = Encoder(Corner(), 4, item=(1, 3, 3), classes=CLASSES, routes=("clean", "adv")).eval()
    with torch.no_grad():
        encoder.backbone.norm.branch("adv").bias.fill_(5.0)
    rng = Rng(3, "images")
    label = rng.integers(CLASSES, (700,))
    images = 0.2 * rng.uniform((700, 1, 3, 3))
    images[torch.arange(700), 0, label // 2, label % 2] += 0.7
    label[::10] = -1
    return encoder, Held(ArraySource(images, label))


def test_the_head_takes_the_classifiers_place_and_sees_what_the_route_makes_of_labelled_images() -> None:
    encoder, images = judged()
    assert heads.put(encoder, "adv", NearestNeighbours(k=5), images, CLASSES)
    rows = (images.labels >= 0).nonzero()[:, 0]
    h = encoder(images.images[rows], "adv", frozenset({"h"})).h
    assert torch.allclose(encoder.classifier.bank, nn.functional.normalize(h, dim=1))  # type: ignore[union-attr]
    assert torch.equal(encoder.classifier.label, images.labels[rows])  # type: ignore[union-attr]
    assert encoder.classes == CLASSES
    logits = encoder(images.images[rows], "adv", frozenset({"logits"})).logits
    assert float((logits.argmax(1) == images.labels[rows]).float().mean()) > 0.99


def test_an_attack_goes_through_the_head() -> None:
    encoder, images = judged()
    heads.put(encoder, "clean", NearestNeighbours(k=5), images, CLASSES)
    x, label = images.images[1:10], images.labels[1:10]
    classifier = of_encoder(encoder, "clean")
    assert torch.equal(classifier.predict(x), label)
    candidate = x.clone().requires_grad_()
    ball = Ball("Linf", 0.4)
    logits = classifier.embed(candidate, frozenset({"logits"})).logits
    loss = nn.functional.cross_entropy(logits, label, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, candidate)
    moved = ball.project(ball.ascend(x, gradient, 0.4), x)
    assert float((classifier.predict(moved) == label).float().mean()) < 0.5


def test_a_protocol_without_a_head_changes_nothing() -> None:
    encoder, images = judged()
    before = encoder.classifier
    assert not heads.put(encoder, "clean", object(), images, CLASSES)
    assert encoder.classifier is before


class Absent:
    def head(self, features: Tensor, label: Tensor, classes: int) -> object:
        return None


class Narrow:
    def head(self, features: Tensor, label: Tensor, classes: int) -> nn.Module:
        return nn.Linear(features.shape[1], 1)


def test_a_head_of_another_kind_or_shape_is_the_plugins_fault() -> None:
    encoder, images = judged()
    with pytest.raises(NotAPlugin, match=r"Absent\.head returned a NoneType"):
        heads.put(encoder, "clean", Absent(), images, CLASSES)
    with pytest.raises(NotAPlugin, match=r"Narrow\.head gives \(2, 1\) for features \(2, 4\)"):
        heads.put(encoder, "clean", Narrow(), images, CLASSES)
