"""What is asked of a stranger's model and where a descent ends, exactly at the border."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.evaluate.probe import Caller
from robustcl.evaluate.soundness import probabilities
from robustcl_plugins.protocols.regression import _descend, regressions


@pytest.mark.parametrize(("rows", "are"), [
    ([[0.25, 0.75], [1.0, 0.0]], True), ([[0.25, 0.75 + 0.9e-4]], True), ([[0.25, 0.75 - 0.9e-4]], True),
    ([[0.25, 0.75 + 1.1e-4]], False), ([[0.25, 0.75 - 1.1e-4]], False), ([[1.5, -0.5]], False),
    ([[0.5, 0.5], [0.5, 0.6]], False), ([[0.5, 0.5], [1.0 + 1e-6, -1e-6]], False), ([[math.nan, 1.0]], False),
])  # fmt: skip
def test_rows_of_probabilities(rows: list[list[float]], are: bool) -> None:
    assert probabilities(torch.tensor(rows, dtype=torch.float64)) == are


class Fixed(nn.Module):
    """Takes batches of one size; ``of`` maps a batch to logits."""

    def __init__(self, size: int, of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.size, self.of, self.batches = size, of, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        if len(x) != self.size:
            raise RuntimeError(f"takes {self.size}")
        self.batches.append(x.detach().clone())
        return self.of(x)


def last_moves_first(x: Tensor) -> Tensor:
    """The first logit of each row is that of the row which stands third."""
    return torch.stack([x[2:3, 0].expand(len(x)), torch.ones(len(x))], 1)


def test_the_first_inputs_are_looked_at_among_other_neighbours_too() -> None:
    """Filled with themselves and with themselves turned round: the third row of four is another one."""
    x = torch.tensor([[0.25], [0.75]])
    with pytest.raises(UsageError, match=r"it cannot be filled up, because rows of a batch change each other's logits"):
        Caller()(Fixed(4, last_moves_first), x)
    model = Fixed(4, lambda batch: torch.cat([batch, -batch], 1))
    assert torch.equal(Caller()(model, x).logits, torch.cat([x, -x], 1))
    seen = [batch[:, 0].tolist() for batch in model.batches]
    assert [0.25, 0.75, 0.25, 0.75] in seen
    assert [0.25, 0.75, 0.75, 0.25] in seen


def test_one_row_is_filled_with_itself_dimmed() -> None:
    model = Fixed(3, lambda batch: torch.cat([batch, -batch], 1))
    x = torch.tensor([[0.5]])
    assert Caller()(model, x).logits.tolist() == [[0.5, -0.5]]
    assert [0.5, 0.25, 0.25] in [batch[:, 0].tolist() for batch in model.batches]


class Slope:
    """A task whose gradients are told one after the other."""

    def __init__(self, *lengths: float) -> None:
        self.lengths, self.asked = list(lengths), 0

    def evaluate(self, vector: np.ndarray, decay: float) -> tuple[float, float, np.ndarray]:
        length = self.lengths[min(self.asked, len(self.lengths) - 1)]
        self.asked += 1
        return float(self.asked), 10.0 / self.asked, np.array([length, 0.0])

    def matrix(self, vector: np.ndarray) -> Tensor:
        return torch.from_numpy(vector).view(2, 1)

    def full(self, matrix: Tensor) -> Tensor:
        return matrix


@pytest.mark.parametrize(("length", "at_once"), [(0.0, True), (0.999, True), (1.0, True), (1.001, False)])
def test_a_descent_ends_where_its_gradient_meets_the_bound(length: float, at_once: bool) -> None:
    """The bound is (2 * 0.5 * 1)^0.5 = 1."""
    task: Any = Slope(length, 0.5)
    fit, _ = _descend(task, np.zeros(2), 0.5, 1.0, 50)
    assert fit.tolerance == 1.0
    assert fit.passes == (1 if at_once else 2)
    assert fit.gradient == (length if at_once else 0.5)
    assert fit.loss == fit.passes
    assert fit.converged


def test_the_flattest_point_is_kept_the_later_of_equals() -> None:
    for lengths, loss in (((3.0, 2.0, 4.0), 2.0), ((3.0, 3.0, 4.0), 2.0), ((2.0, 3.0, 4.0), 1.0)):
        task: Any = Slope(*lengths)
        fit, _ = _descend(task, np.zeros(2), 0.5, 1.0, 3)
        assert (fit.loss, fit.gradient) == (loss, min(lengths))
        assert not fit.converged


@pytest.mark.parametrize("classes", [2, 3])
def test_an_optimum_has_no_slope_and_few_passes_are_said_not_to_have_met_it(classes: int) -> None:
    features = torch.rand(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.arange(30) % classes
    decays = [1.0, 1e-2]
    fits = regressions(features, label, decays, gap=1e-10, most=500)
    for decay, fit in zip(decays, fits, strict=True):
        assert fit.converged
        assert fit.gradient <= fit.tolerance == math.sqrt(2 * decay * 1e-10)
        assert fit.weight.shape == (classes, 4)
        if classes == 2:
            assert not bool(fit.weight[0].any() or fit.bias[0])
        weight, bias = (value.clone().requires_grad_() for value in (fit.weight, fit.bias))
        loss = nn.functional.cross_entropy(features @ weight.T + bias, label)
        objective = loss + decay / 2 * weight.square().sum()
        assert fit.loss == pytest.approx(loss.item(), rel=1e-12)
        assert fit.objective == pytest.approx(objective.item(), rel=1e-12)
        slopes = torch.autograd.grad(objective, (weight, bias))
        own = [slope[classes == 2 :] for slope in slopes]
        assert math.hypot(*(float(each.norm()) for each in own)) == pytest.approx(fit.gradient, rel=1e-6)
    (hasty,) = regressions(features, label, [1e-4], gap=1e-12, most=2)
    assert not hasty.converged
    assert hasty.gradient > hasty.tolerance
