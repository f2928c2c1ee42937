"""Each perturbation generator against its paper's equations, recomputed with naked loops on a linear encoder."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import promises
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Clustering, Embedding, Oracle
from robustcl_plugins.generators.deacl import DeACL
from robustcl_plugins.generators.fgsm import FGSM
from robustcl_plugins.generators.ncp import NCP
from robustcl_plugins.generators.noise import UniformNoise
from robustcl_plugins.generators.none import NoPerturbation
from robustcl_plugins.generators.pgd import PGD

ROWS, WIDTH, FEATURES = 4, 5, 3
EPS, STEP = 0.1, 0.03


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHT = drawn(1, FEATURES, WIDTH)
SLOPE = drawn(2, ROWS, WIDTH)
X = torch.sigmoid(drawn(3, ROWS, WIDTH))
TEACHER = drawn(4, ROWS, FEATURES)
CENTROIDS = torch.nn.functional.normalize(drawn(5, 6, FEATURES), dim=1)
# Image 7 belongs to cluster 5, and so on; the second clustering assigns otherwise.
ASSIGNMENT = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 5], [5, 4, 3, 2, 1, 0, 1, 2]])
INDEX = torch.tensor([7, 2, 0, 4])


def attack(ball: Ball | None = None, **changes: Any) -> Attack:
    rows = torch.arange(ROWS)
    given: dict[str, Any] = {
        "oracle": Oracle(
            encode=lambda v, places: Embedding(h=v @ WEIGHT.T, logits=v * SLOPE[places]),
            objective=lambda embedding, places: embedding.logits.sum(1),
            clean=lambda places: Embedding(h=X[places] @ WEIGHT.T),
        ),
        "ball": ball or Ball("Linf", EPS),
        "rng": Rng(0, "test").for_rows(INDEX),
        "label": rows,
        "index": INDEX,
        "places": rows,
    }
    return Attack(**given).but(**changes)


def perturb(generator: Any, given: Attack) -> Tensor:
    return promises.perturb(generator, "it", X, given, modules=[])


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine_slope(x: list[float], target: list[float]) -> list[float]:
    """d cos(W x, target) / d x = W^T (target / (|f| |target|) - cos f / |f|^2), with f = W x."""
    weight = WEIGHT.tolist()
    f = [dot(row, x) for row in weight]
    lengths, value = math.sqrt(dot(f, f) * dot(target, target)), cosine(f, target)
    inner = [t / lengths - value * part / dot(f, f) for t, part in zip(target, f, strict=True)]
    return [sum(weight[i][j] * inner[i] for i in range(FEATURES)) for j in range(WIDTH)]


def walked(start: Tensor, pulls: list[list[tuple[float, list[float]]]], steps: int) -> Tensor:
    """Sign steps by loops; row i maximises the sum of weight * cos(f, target) over its pulls."""
    out = []
    for row, clean, terms in zip(start.tolist(), X.tolist(), pulls, strict=True):
        for _ in range(steps):
            slope = [0.0] * WIDTH
            for weight, target in terms:
                slope = [s + weight * part for s, part in zip(slope, cosine_slope(row, target), strict=True)]
            row = [value + STEP * math.copysign(1.0, s) for value, s in zip(row, slope, strict=True)]
            row = [min(max(v, c - EPS, 0.0), c + EPS, 1.0) for v, c in zip(row, clean, strict=True)]
        out.append(row)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.golden("generator", "none")
def test_none_is_the_identity():
    assert torch.equal(perturb(NoPerturbation(), attack()), X)


@pytest.mark.golden("generator", "noise")
def test_noise_fills_the_ball():
    many = torch.full((3000, 4), 0.5)
    given = attack(Ball("Linf", EPS), rng=Rng(0).for_rows(torch.arange(3000)))
    delta = UniformNoise().perturb(many, given) - 0.5
    assert delta.abs().max() <= EPS + 1e-7
    assert delta.std() == pytest.approx(EPS / math.sqrt(3), rel=0.03)
    edge = UniformNoise().perturb(torch.zeros(3000, 4), given)
    assert (edge == 0).float().mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.golden("generator", "fgsm")
@pytest.mark.parametrize("eps", [EPS, torch.tensor([0.0, 0.05, 0.1, 0.2], dtype=torch.float64)])
def test_fgsm_is_one_signed_step(eps):
    radius = [eps] * ROWS if isinstance(eps, float) else eps.tolist()
    expected = [
        [min(max(v + e * math.copysign(1.0, s), 0.0), 1.0) for v, s in zip(row, slope, strict=True)]
        for row, slope, e in zip(X.tolist(), SLOPE.tolist(), radius, strict=True)
    ]
    found = perturb(FGSM(), attack(Ball("Linf", eps)))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.golden("generator", "pgd")
@pytest.mark.parametrize(("norm", "eps", "dual"), [("Linf", 0.05, 1.0), ("L2", 0.1, 2.0), ("L1", 0.1, math.inf)])
def test_pgd_reaches_the_optimum_of_a_linear_loss(norm, eps, dual):
    given = attack(Ball(norm, eps, None))
    adv = perturb(PGD(steps=60, step_size=0.05), given)
    best = (X * SLOPE).sum(1) + eps * torch.linalg.vector_norm(SLOPE, ord=dual, dim=1)
    torch.testing.assert_close((adv * SLOPE).sum(1), best, rtol=0, atol=1e-6)


@pytest.mark.golden("generator", "pgd")
def test_pgd_steps_as_written_and_asks_for_the_given_loss():
    """Two steps toward a target by loops: the loss is the attack's, whatever it is."""

    def loss(embedding: Embedding, places: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(embedding.h, TEACHER[places])

    found = perturb(PGD(steps=2, step_size=STEP, start="none"), attack(objective=loss))
    expected = walked(X, [[(1.0, target)] for target in TEACHER.tolist()], 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.golden("generator", "pgd")
def test_pgd_restarts_follow_the_loss():
    def bumpy(embedding: Embedding, places: Tensor) -> Tensor:
        return torch.sin(30 * embedding.h).sum(1)

    def value(adv: Tensor) -> Tensor:
        return torch.sin(30 * adv @ WEIGHT.T).sum(1)

    def found(restarts: int, separable: bool) -> Tensor:
        generator = PGD(steps=2, step_size=0.01, restarts=restarts)
        return value(perturb(generator, attack(objective=bumpy, separable=separable)))

    assert (found(6, True) >= found(1, True)).all()
    assert found(6, False).sum() >= found(1, False).sum()
    assert found(6, True).sum() > found(6, False).sum()


@pytest.mark.golden("generator", "deacl")
def test_deacl_walks_away_from_the_teacher():
    given = attack(teacher=Embedding(h=TEACHER))
    start = given.ball.sample(X, Rng(0, "test").for_rows(INDEX))
    expected = walked(start, [[(-1.0, target)] for target in TEACHER.tolist()], 4)
    found = perturb(DeACL(steps=4, step_size=STEP), given)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, start)


def targets(clustering: int, neighbour: int) -> list[tuple[list[float], list[float]]]:
    """Each row's own centroid and its n-th, by sorting all others by cosine to the clean features."""
    out = []
    for row, index in zip((X @ WEIGHT.T).tolist(), INDEX.tolist(), strict=True):
        own = int(ASSIGNMENT[clustering, index])
        centroids = CENTROIDS.tolist()
        others = sorted((k for k in range(6) if k != own), key=lambda k: -cosine(row, centroids[k]))
        out.append((centroids[own], centroids[others[neighbour - 2]]))
    return out


def clustered() -> Attack:
    clusters = Clustering(
        centroids=(CENTROIDS, CENTROIDS),
        assignment=ASSIGNMENT,
        confidence=torch.ones(2, 8),
        inertia=(0.0, 0.0),
        provenance={},
    )
    return attack(clusters=clusters)


@pytest.mark.golden("generator", "ncp")
@pytest.mark.parametrize("clustering", [0, 1])
@pytest.mark.parametrize("neighbour", [2, 3, 4, 5])
@pytest.mark.parametrize(("strategy", "away", "toward"), [("away", -1, 0), ("toward", 0, 1), ("both", -1, 1)])
def test_ncp_follows_equation_4(strategy, away, toward, neighbour, clustering):
    pulls = [[(away, own), (toward, other)] for own, other in targets(clustering, neighbour)]
    start = Ball("Linf", EPS).sample(X, Rng(0, "test").for_rows(INDEX))
    generator = NCP(strategy=strategy, neighbour=neighbour, clustering=clustering, steps=3, step_size=STEP)
    torch.testing.assert_close(perturb(generator, clustered()), walked(start, pulls, 3))


@pytest.mark.golden("generator", "ncp")
def test_ncp_on_orthogonal_centroids_by_hand():
    """The feature is its own image; it lies nearest to cluster 2, belongs to 0, and so turns from 0 to 2."""
    eye = torch.eye(3, dtype=torch.float64)
    clusters = Clustering((eye,), torch.tensor([[0]]), torch.ones(1, 1), (0.0,), {})
    x = torch.tensor([[0.5, 0.3, 0.4]], dtype=torch.float64)
    first = torch.tensor([0])
    given = attack(
        encode=lambda v, places: Embedding(h=v),
        clean=lambda places: Embedding(h=x),
        clusters=clusters,
        index=first,
        label=first,
        places=first,
        rng=Rng(0).for_rows(first),
    )
    found = NCP(steps=1, step_size=0.02, start="none").perturb(x, given)
    assert found[0, 0] == pytest.approx(0.48)
    assert found[0, 2] == pytest.approx(0.42)
    third = NCP(steps=1, step_size=0.02, start="none", strategy="toward", neighbour=3).perturb(x, given)
    assert third[0].tolist() == pytest.approx([0.48, 0.32, 0.38])


@pytest.mark.golden("generator", "ncp")
def test_ncp_says_what_is_missing():
    with pytest.raises(UsageError, match="neighbour = 7 needs as many clusters, but there are 6"):
        NCP(neighbour=7).perturb(X, clustered())
    with pytest.raises(UsageError, match="clustering = 2, but there are 2"):
        NCP(clustering=2).perturb(X, clustered())


@pytest.mark.golden("generator", "ncp")
def test_rows_do_not_depend_on_each_other():
    rows = torch.tensor([3, 1])
    for generator in (NCP(steps=3), DeACL(steps=3), PGD(steps=3), FGSM(), UniformNoise()):
        given = clustered().but(teacher=Embedding(h=TEACHER))
        part = given.take(rows)
        together = generator.perturb(X, given)
        torch.testing.assert_close(generator.perturb(X[rows], part), together[rows])
