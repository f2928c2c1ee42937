"""The linear protocol against scikit-learn, and what it does with features that have no ordinary optimum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from robustcl.api import from_tables
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl_plugins.protocols.linear import Linear
from tests.shared import tiny


def cloud(n: int, width: int, classes: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features (n, width) around one direction per class, each class equally often, and labels."""
    rng = Rng(seed, "cloud")
    label = torch.arange(n) % classes
    centres = Rng(0, "centres").normal((classes, width))
    return 3.0 + centres[label] + noise * rng.normal((n, width)), label


def peer(features: Tensor, label: Tensor, raw_decay: float) -> tuple[float, float]:
    """Return scikit-learn's mean cross-entropy and objective."""
    x = features.double().numpy()
    model = LogisticRegression(C=1 / (len(x) * raw_decay), max_iter=50_000, tol=1e-9).fit(x, label.numpy())
    logs = torch.from_numpy(model.predict_log_proba(x))
    loss = float(nn.functional.nll_loss(logs, label))
    return loss, loss + raw_decay / 2 * float((model.coef_**2).sum())


@pytest.mark.golden("protocol", "linear")
@pytest.mark.parametrize(
    ("n", "width", "classes", "noise"),
    [(300, 6, 4, 1.0), (300, 6, 4, 0.05), (200, 5, 2, 1.0), (200, 5, 2, 0.05), (40, 90, 3, 0.5), (500, 3, 10, 2.0)],
)
@pytest.mark.parametrize("decay", [1e-6, 1e-3, 1.0, 1e4])
def test_the_optimum_is_that_of_scikit_learn(n: int, width: int, classes: int, noise: float, decay: float) -> None:
    features, label = cloud(n, width, classes, noise)
    head = Linear(weight_decay=(decay,)).head(features, label, classes)
    found = head.outcome
    loss, objective = peer(features, label, found["raw_weight_decay"])  # type: ignore[index]
    assert found["converged"]  # type: ignore[index]
    assert found["objective"] == pytest.approx(objective, abs=1e-5)  # type: ignore[index]
    assert found["loss"] == pytest.approx(loss, abs=1e-4)  # type: ignore[index]
    assert float(nn.functional.cross_entropy(head(features), label)) == pytest.approx(loss, abs=1e-4)


def test_the_scale_of_the_features_changes_nothing() -> None:
    features, label = cloud(200, 6, 4, 1.0)
    h, _ = cloud(50, 6, 4, 1.0, seed=1)
    plain = Linear().head(features, label, 4, rng=Rng(0))
    small = Linear().head(features * 2**-10, label, 4, rng=Rng(0))
    assert torch.allclose(plain(h), small(h * 2**-10), atol=1e-3)


def test_the_decay_is_the_best_of_the_grid_on_validation() -> None:
    features, label = cloud(60, 40, 3, 2.0)
    held, truth = cloud(300, 40, 3, 2.0, seed=1)
    found = Linear(weight_decay=(1e-6, 1e-1, 1e6)).head(features, label, 3, validation=(held, truth)).outcome
    tried = {entry["weight_decay"]: (entry["accuracy"], -entry["loss"]) for entry in found["grid"]}  # type: ignore[index, union-attr]
    assert len(set(tried.values())) == 3
    assert found["weight_decay"] == max(tried, key=lambda decay: tried[decay])  # type: ignore[index]
    assert found["chosen_by"] == "validation"  # type: ignore[index]
    assert found["samples"] == 60  # type: ignore[index]


@pytest.mark.parametrize("by", ["validation", "held-out training images"])
def test_the_classifier_is_the_one_of_the_decay_that_was_chosen(by: str) -> None:
    """The chosen decay stands in the middle of the grid: the head of any other entry is another one."""
    features, label = cloud(60, 40, 3, 2.0)
    validation = cloud(300, 40, 3, 2.0, seed=1) if by == "validation" else None
    head = Linear(weight_decay=(1e-6, 1e-1, 1e6)).head(features, label, 3, validation=validation, rng=Rng(1))
    found = head.outcome
    assert (found["weight_decay"], found["chosen_by"]) == (1e-1, by)  # type: ignore[index]
    alone = Linear(weight_decay=(1e-1,)).head(features, label, 3)
    assert torch.allclose(head.weight, alone.weight, atol=1e-3)  # type: ignore[arg-type]
    loss, _ = peer(features, label, found["raw_weight_decay"])  # type: ignore[index]
    assert float(nn.functional.cross_entropy(head(features), label)) == pytest.approx(loss, abs=1e-4)


def test_without_validation_a_part_is_held_out_and_then_fitted_too() -> None:
    features, label = cloud(100, 6, 4, 1.5)
    head = Linear().head(features, label, 4, rng=Rng(3))
    found = head.outcome
    assert found["chosen_by"] == "held-out training images"  # type: ignore[index]
    loss, _ = peer(features, label, found["raw_weight_decay"])  # type: ignore[index]
    assert found["loss"] == pytest.approx(loss, abs=1e-4)  # type: ignore[index]
    again = Linear().head(features, label, 4, rng=Rng(3))
    assert torch.equal(again.weight, head.weight)  # type: ignore[arg-type]


def test_a_class_without_images_is_never_predicted() -> None:
    features, label = cloud(90, 6, 3, 0.5)
    head = Linear(weight_decay=(1e-4,)).head(features, 2 * label, 6)
    logits = head(features)
    assert logits.shape == (90, 6)
    assert torch.equal(logits.argmax(1), 2 * label)
    # Far below all others, so that no perturbed image is called so either.
    assert float(logits[:, [1, 3, 5]].max()) <= float(logits[:, [0, 2, 4]].min()) - 9_999
    far = head(features + 100.0 * Rng(0, "far").normal(tuple(features.shape)))
    assert set(far.argmax(1).tolist()) <= {0, 2, 4}


def test_collapsed_features_give_the_classes_shares() -> None:
    label = torch.tensor([0] * 30 + [1] * 10 + [2] * 10)
    head = Linear(weight_decay=(1e-4,)).head(torch.full((50, 4), 2.5), label, 3)
    assert head(torch.full((1, 4), 2.5)).softmax(1)[0].tolist() == pytest.approx([0.6, 0.2, 0.2], abs=1e-3)


def test_what_has_no_optimum_is_one_sentence() -> None:
    features, label = cloud(40, 6, 4, 1.0)
    with pytest.raises(UsageError, match=r"features of 1 of 40 training images are not finite"):
        Linear().head(features.index_fill(0, torch.tensor([3]), torch.nan), label, 4)
    with pytest.raises(UsageError, match=r"of class 2 alone; it takes two classes"):
        Linear().head(features, torch.full((40,), 2), 4)
    with pytest.raises(UsageError, match=r"one of each class leave none .* weight_decay = \[1e-4\]"):
        Linear().head(features[:4], label[:4], 4)
    with pytest.raises(UsageError, match=r"weight_decay = \[\]"):
        Linear(weight_decay=()).head(features, label, 4)


def test_a_fit_that_is_cut_off_and_a_grid_that_is_too_narrow_say_so() -> None:
    features, label = cloud(100, 6, 4, 1.0)
    head = Linear(weight_decay=(1e-6,), passes=3).head(features, label, 4)
    assert not head.outcome["converged"]  # type: ignore[index]
    assert any("raise evaluate.linear.passes" in remark for remark in head.remarks)  # type: ignore[union-attr]
    held = cloud(100, 6, 4, 1.0, seed=1)
    narrow = Linear(weight_decay=(1e3, 1e4)).head(features, label, 4, validation=held)
    assert any("is the smallest of" in remark for remark in narrow.remarks)  # type: ignore[union-attr]


def test_a_run_is_judged_by_it_and_keeps_how_the_fit_went(tmp_path: Path) -> None:
    tables = tiny.tables(
        evaluate=[{"use": "linear", "route": ["clean"], "attacks": ["fgsm"], "samples": 16, "audit": 0}]
    )
    said: list[str] = []
    run = from_tables(tables, "tiny").train(tmp_path / "run", device="cpu", report=False, say=said.append)
    rows = json.loads((run.path / "results.json").read_text())["rows"]
    assert {row["protocol_version"] for row in rows} == {"linear-v1"}
    assert all(row["fit"]["converged"] for row in rows)
    assert {row["fit"]["weight_decay"] for row in rows} == {rows[0]["fit"]["weight_decay"]}
    assert any(line.startswith("linear clean: weight decay ") for line in said)
