"""Where FAB and Square begin, in places that no small case reaches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.testing import make_attack, make_images
from robustcl.threat import Ball
from robustcl_plugins.generators.fab import _Found
from robustcl_plugins.generators.fab_untargeted import FABUntargeted
from robustcl_plugins.generators.square_moves import Bumps
from robustcl_plugins.generators.square_windows import Canvas


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_tiles_that_leave_a_border_stand_in_the_middle(norm: str) -> None:
    canvas, order = Canvas(1, 1, 17, 18), {"L2": 2, "L1": 1}[norm]
    moves = Bumps(order)
    numbers = Rng(0).uniform((2, *moves.start_numbers(canvas)), 0.0, 1.0)
    assert numbers.shape == (2, 2, 5, 6)  # tiles of 3: 15 of 17 rows, all 18 columns
    x = torch.full((2, 1, 1, 17 * 18), 0.5)
    moved = (moves.start(x, Ball(norm, 0.5), canvas, numbers) - x).reshape(2, 17, 18)
    assert not moved[:, 0].any()
    assert not moved[:, 16].any()
    assert bool(moved[:, 1:16].any(2).all()) or norm == "L1"


def test_each_class_of_each_restart_has_a_start_of_its_own() -> None:
    x, rows = make_images(3), torch.arange(3)

    def start(restart: int, place: int) -> Tensor:
        return _Found(x, make_attack(x), torch.zeros(3, dtype=torch.bool)).halfway(rows, restart, place)

    starts = [start(restart, place) for restart in (1, 2) for place in (0, 1)]
    assert len({tuple(each.flatten().tolist()) for each in starts}) == 4
    assert torch.equal(starts[0], start(1, 0))


def test_a_target_and_a_number_of_targets_contradict_each_other() -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(32, 4)).eval(), make_images(3)
    attack = robustcl.attacks.FAB(net, eps=0.1, steps=1, targets=2)
    attack(x, torch.tensor([0, 1, 2]))
    with pytest.raises(UsageError, match="targets = 2 and a target: leave one out"):
        attack(x, torch.tensor([0, 1, 2]), target=3)


def test_a_row_without_any_slope_has_no_nearest_class() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    leaf = torch.zeros(1, 2, requires_grad=True)
    value, slope = FABUntargeted().boundary(logits + 0.0 * leaf.sum(), leaf, torch.tensor([1]), torch.tensor([0]), "L2")
    assert (float(value.detach()), slope.tolist()) == (0.0, [[0.0, 0.0]])
