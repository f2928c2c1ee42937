"""Witnesses: rounded to the image's own grid where that still fools, within the ball, and the same wherever read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.witness import GRIDS, SURE, Move, confirm, find_moves, restore
from robustcl.threat import Ball

ITEM = (3, 4, 4)
SIZE = 48


class Linear(nn.Module):
    """Logits (s, 0) where s is the mean of the inputs minus a threshold."""

    def __init__(self, threshold: float, mingle: float = 0.0) -> None:
        super().__init__()
        self.threshold, self.mingle = threshold, mingle

    def forward(self, x: Tensor) -> Tensor:
        s = x.flatten(1).double().mean(1) - self.threshold + self.mingle * (len(x) - 1)
        return torch.stack([s, torch.zeros_like(s), torch.full_like(s, -1.0)], 1).float()


def images(n: int = 6, eight_bit: bool = True) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    if eight_bit:
        return torch.randint(60, 200, (n, *ITEM), generator=draw).to(torch.uint8).float() / 255
    return torch.rand((n, *ITEM), generator=draw) * 0.5 + 0.25


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 8 / 255), ("Linf", 0.03), ("L2", 0.5), ("L1", 6.0)])
@pytest.mark.parametrize("eight_bit", [True, False])
def test_what_is_kept_lies_in_the_ball_and_fools_and_is_read_back_to_the_bit(
    norm: str, eps: float, eight_bit: bool
) -> None:
    x, ball = images(eight_bit=eight_bit), Ball(norm, eps)
    label = torch.ones(len(x), dtype=torch.int64)
    classifier = of_model(Linear(0.0))  # every input has s > 0 and is called 0
    draw = torch.Generator().manual_seed(7)
    adversarial = ball.project(x + torch.randn(x.shape, generator=draw), x)
    for row, move in enumerate(find_moves(classifier, ball, x, label, adversarial)):
        assert move is not None
        assert move.grid == 255  # nothing is close here
        width, packed = move.pack()
        again = Move.unpack(move.grid, width, packed, SIZE)
        assert again.steps.tolist() == move.steps.tolist()
        one = x[row : row + 1]
        witness = restore(again, one, ball)
        # By hand: the distance in float64, against the bound and what rounding to float32 can add.
        moved = witness.double().numpy() - one.double().numpy()
        length = {"Linf": np.abs(moved).max(), "L2": np.sqrt((moved**2).sum()), "L1": np.abs(moved).sum()}[norm]
        assert length <= eps + 1e-5
        assert length >= 0.8 * eps  # and not merely the image
        assert float(witness.min()) >= 0.0
        assert float(witness.max()) <= 1.0
        if eight_bit:  # the witness is an 8-bit image itself, to the bit
            grey = (witness * 255).round().to(torch.uint8)
            assert torch.equal(grey.float() / 255, witness)


def test_linf_steps_are_those_of_the_adversary_where_it_lies_on_the_grid() -> None:
    x, ball = images(2), Ball("Linf", 8 / 255)
    steps = torch.randint(-8, 9, x.shape, generator=torch.Generator().manual_seed(1))
    adversarial = ((x * 255).round() + steps) / 255
    (first, second) = find_moves(of_model(Linear(0.0)), ball, x, torch.ones(2, dtype=torch.int64), adversarial)
    assert first is not None
    assert second is not None
    assert first.steps.tolist() == steps[0].flatten().tolist()
    assert second.pack()[0] == 1


def test_a_finer_grid_is_taken_where_the_image_s_own_would_not_fool() -> None:
    """The border lies within half a grey level, so that rounding to whole ones falls back over it."""
    x = torch.full((1, *ITEM), 100 / 255)
    ball = Ball("Linf", 0.4 / 255)  # no whole grey level fits in
    label = torch.zeros(1, dtype=torch.int64)
    classifier = of_model(Linear(float(x.double().mean()) - 0.2 / 255))  # s > 0 at x: class 0
    adversarial = x - 0.4 / 255
    assert int(classifier.predict(x)) == 0
    assert int(classifier.predict(adversarial)) == 1
    (move,) = find_moves(classifier, ball, x, label, adversarial)
    assert move is not None
    assert move.grid > 255
    assert set(move.steps.tolist()) == {-int(0.4 * move.grid / 255)}


def test_what_fools_no_more_on_any_grid_is_not_kept() -> None:
    x = torch.full((1, *ITEM), 100 / 255)
    step = 0.3 / (255 << 8)  # less than half a step of the finest grid
    classifier = of_model(Linear(float(x.double().mean()) - step / 2))
    adversarial = (x.double() - step).float()
    label = torch.zeros(1, dtype=torch.int64)
    assert int(classifier.predict(adversarial)) == 1
    assert find_moves(classifier, Ball("Linf", 1 / 255), x, label, adversarial) == [None]


def test_what_is_wrong_only_beside_others_is_neither_kept_nor_confirmed() -> None:
    x = images(4)
    label = torch.zeros(4, dtype=torch.int64)
    # In a batch of four s falls by 0.6 below 0; alone it does not.
    model = of_model(Linear(0.0, mingle=-0.3))
    assert model.predict(x).tolist() == [1, 1, 1, 1]
    assert find_moves(model, Ball("Linf", 8 / 255), x, label, x.clone()) == [None] * 4
    assert confirm(model, x, label).tolist() == [False] * 4
    assert confirm(model, x, 1 - label).tolist() == [True] * 4


def test_close_ones_are_asked_alone() -> None:
    """Logits that differ between batch and single by less than a tenth of ``SURE``: only the single verdict counts."""
    x = images(3)
    value = x[1].double().mean()
    model = of_model(Linear(float(value) + SURE / 50, mingle=SURE / 20))
    label = torch.zeros(3, dtype=torch.int64)
    assert int(model.predict(x)[1]) == 0  # right beside the others
    assert bool(confirm(model, x, label)[1])  # wrong alone


def test_nothing_to_confirm() -> None:
    assert confirm(of_model(Linear(0.0)), images(0), torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_logits_that_are_not_finite_fool_as_they_do_in_a_verdict() -> None:
    class Nan(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 3), float("nan"))

    x = images(2)
    assert all(find_moves(of_model(Nan()), Ball("Linf", 8 / 255), x, torch.zeros(2, dtype=torch.int64), x.clone()))


@pytest.mark.parametrize(
    ("grid", "width", "data", "size"),
    [(254, 1, b"", 1), (255, 3, b"", 1), (255, 1, b"no zlib", 1), (255, 1, None, SIZE + 1), (255, 1, None, SIZE - 1),
     (255, 2, None, SIZE), (255, 1, b"more", SIZE)],
)  # fmt: skip
def test_a_damaged_move_is_a_value_error(grid: int, width: int, data: bytes | None, size: int) -> None:
    packed = Move(255, np.arange(SIZE, dtype=np.int32)).pack()[1]
    with pytest.raises(ValueError, match=r"\w"):
        Move.unpack(grid, width, packed if data is None else packed + data if data == b"more" else data, size)


@pytest.mark.parametrize(("largest", "width"), [(127, 1), (128, 2), (32767, 2), (32768, 4), (65280, 4)])
def test_steps_take_as_few_bytes_as_they_can(largest: int, width: int) -> None:
    steps = np.array([-largest, 0, largest], dtype=np.int32)
    found, packed = Move(GRIDS[-1], steps).pack()
    assert found == width
    assert Move.unpack(GRIDS[-1], found, packed, 3).steps.tolist() == steps.tolist()
