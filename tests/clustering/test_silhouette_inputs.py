"""The silhouette of what people hand over: as scikit-learn gives, or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_samples

from robustcl.clustering import silhouette
from robustcl.errors import UsageError
from robustcl_plugins.optimizers.lars import LARS

FEATURES = torch.randn(60, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
OWN = torch.arange(60) % 3


def _sklearn(features, own):
    return torch.from_numpy(silhouette_samples(np.asarray(features), np.asarray(own), metric="cosine"))


@pytest.mark.parametrize(
    "own",
    [OWN.float(), OWN.double() + 0.5, OWN * 1_000_000_000, OWN.to(torch.uint8), OWN.numpy(), OWN.tolist()],
    ids=["float", "half", "2e9", "uint8", "numpy", "list"],
)
def test_labels_of_any_kind(own):
    torch.testing.assert_close(silhouette(FEATURES, own), _sklearn(FEATURES, own))


def test_features_of_any_kind():
    plain = silhouette(FEATURES, OWN)
    assert torch.equal(silhouette(FEATURES.numpy(), OWN), plain)
    for scale in (1e200, 1e-200, 1e307):
        torch.testing.assert_close(silhouette(FEATURES * scale, OWN), plain, rtol=0, atol=1e-12)
    assert torch.equal(silhouette(FEATURES, OWN, clusters=3.0), plain)
    found = silhouette(FEATURES, OWN, clusters=np.int64(3), chunk=np.int64(7))
    assert torch.equal(found, silhouette(FEATURES, OWN, chunk=7))


@pytest.mark.parametrize("width", [1e-5, 1e-7, 1e-9])
def test_directions_that_almost_agree(width):
    """Beside a naked loop over differences, which lose no digits; a third cluster lies far away."""
    place = torch.tensor([[1.0, 0, 0], [1.0, 4 * width, 0], [-1.0, 0, 1.0]], dtype=torch.float64)[OWN]
    rows = place + torch.nn.functional.pad(FEATURES[:, :2] * width * 0.3, (1, 0))
    unit = rows / rows.norm(dim=1, keepdim=True)
    apart = (unit[:, None] - unit).square().sum(2) / 2
    expected = []
    for i in range(60):
        mean = [apart[i, k::3].sum() / (20 - (k == i % 3)) for k in range(3)]
        inner, outer = mean[OWN[i]], min(m for k, m in enumerate(mean) if k != OWN[i])
        expected.append((outer - inner) / max(inner, outer))
    atol = 1e-4 if width < 1e-8 else 1e-6
    torch.testing.assert_close(silhouette(rows, OWN), torch.stack(expected), rtol=0, atol=atol)


def test_rows_that_are_the_same_have_no_silhouette():
    rows = torch.ones(6, 4, dtype=torch.float64) * torch.tensor([1, 3, 7, 0.1, 1e-3, 11.0])[:, None].double()
    assert silhouette(rows, OWN[:6]).abs().max() == 0


@pytest.mark.parametrize(
    ("features", "own", "options", "words"),
    [
        (FEATURES, OWN, {"chunk": 0}, "chunk = 0"),
        (FEATURES, OWN, {"clusters": 3.5}, "clusters = 3.5"),
        (FEATURES.to(torch.complex128), OWN, {}, "complex"),
        (FEATURES, OWN.double() / 0, {}, "NaN or infinity"),
        (["a", "b"], OWN, {}, "no array of numbers"),
        (FEATURES, OWN - 1, {}, "count from 0"),
        (FEATURES, OWN, {"clusters": 2}, "there are 2"),
    ],
)
def test_what_has_no_silhouette_is_a_sentence(features, own, options, words):
    with pytest.raises(UsageError, match=words):
        silhouette(features, own, **options)


def test_lars_leaves_alone_what_has_no_gradient():
    weight = torch.nn.Parameter(torch.ones(3, 3))
    optimizer = LARS(weight_decay=0.1).make([weight])
    for _ in range(20):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert torch.equal(weight, torch.ones(3, 3))


@pytest.mark.parametrize("kind", ["uint16", "uint32", "uint64"])
def test_labels_without_a_sign(kind):
    x, own = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), np.arange(12) % 3
    assert torch.equal(silhouette(x, own.astype(kind)), silhouette(x, own))
