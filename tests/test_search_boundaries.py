"""Who leaves an attack when, and what it keeps: searches on a margin that is the difference of two pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robustcl import gradients, search
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators import standing
from robustcl_plugins.generators.fgsm import FGSM
from robustcl_plugins.generators.margin import dlr, likely_targets, margin, target_count, targeted_dlr
from robustcl_plugins.generators.noise import UniformNoise
from robustcl_plugins.generators.standing import Found
from robustcl_plugins.generators.verdicts import claimed

STARTS = torch.tensor([[0.60, 0.40], [0.55, 0.45], [0.90, 0.10]])[:, :, None, None]
"""Gaps of -0.2, -0.1 and -0.8; a step of 0.05 closes 0.1."""


def attack_on(
    x: Tensor, eps: float = 0.2, sure: Callable[[Tensor], Tensor] | None = None, **more: Any
) -> tuple[Attack, list[int]]:
    """Return an attack whose loss is the second pixel minus the first, and how many rows each pass carried."""
    carried: list[int] = []

    def encode(candidates: Tensor, places: Tensor) -> Embedding:
        carried.append(len(candidates))
        return Embedding(logits=candidates.flatten(1))

    confirmation = {"breaks": lambda candidates, places: sure(candidates)} if sure is not None else {}
    rows = torch.arange(len(x))
    return Attack(
        oracle=Oracle(
            encode=encode,
            objective=lambda embedding, places: embedding.logits[:, 1] - embedding.logits[:, 0],
            clean=lambda places: Embedding(logits=x[places].flatten(1)),
            fooled=lambda embedding, places: embedding.logits[:, 1] > embedding.logits[:, 0] + 1e-6,
            **confirmation,
            **more,
        ),
        ball=Ball("Linf", eps),
        rng=Rng(0, "attack").for_rows(rows),
        label=torch.zeros(len(x), dtype=torch.int64),
        index=rows,
        places=rows,
        separable=True,
    ), carried


def test_a_row_leaves_with_the_first_input_that_fools_and_the_others_go_on() -> None:
    attack, carried = attack_on(STARTS)
    found = search.pursue(STARTS, attack, steps=5, step_size=0.05, start="none")
    expected = [[0.45, 0.55], [0.50, 0.50], [0.70, 0.30]]
    expected[1] = [0.45, 0.55]  # after two steps, as the gap of one is none
    torch.testing.assert_close(found.flatten(1), torch.tensor(expected))
    assert carried == [3, 3, 3, 2, 1]


def test_a_row_that_the_judge_does_not_confirm_goes_on() -> None:
    """The judge asks for a gap of 0.25: the first row has it after five steps, which nobody looks at any more."""
    attack, carried = attack_on(STARTS, sure=lambda x: x.flatten(1)[:, 1] - x.flatten(1)[:, 0] > 0.15)
    found = search.pursue(STARTS, attack, steps=5, step_size=0.05, start="none")
    torch.testing.assert_close(found.flatten(1), torch.tensor([[0.40, 0.60], [0.40, 0.60], [0.70, 0.30]]))
    assert carried == [3, 3, 3, 3, 2]
    same = search.confirm(attack, STARTS, torch.tensor([False, True, False]))
    assert same.tolist() == [False, False, False]
    assert search.confirm(attack_on(STARTS)[0], STARTS, torch.tensor([False, True, False])).tolist() == [
        False,
        True,
        False,
    ]


def test_restarts_attack_who_stands_and_keep_the_largest_loss() -> None:
    attack, carried = attack_on(STARTS, eps=0.12)
    found = search.pursue(STARTS, attack, steps=1, step_size=0.01, start="uniform", restarts=4)
    gap = (found.flatten(1)[:, 1] - found.flatten(1)[:, 0]).tolist()
    alone = [
        search.pursue(STARTS, attack_on(STARTS, eps=0.12)[0], steps=1, step_size=0.01, start="uniform", restarts=count)
        for count in (2, 3)
    ]
    for fewer in alone:
        assert bool((torch.tensor(gap) >= (fewer.flatten(1)[:, 1] - fewer.flatten(1)[:, 0]) - 1e-6)[2])
    assert carried == sorted(carried, reverse=True)
    assert carried[0] == 3
    assert max(gap[0], gap[1]) > -0.05
    with pytest.raises(UsageError, match="2 restarts from x itself are all the same"):
        search.pursue(STARTS, attack, steps=1, step_size=0.1, start="none", restarts=2)


def test_everybody_fooled_ends_the_search() -> None:
    x = STARTS.flip(1)
    attack, carried = attack_on(x)
    assert torch.equal(search.pursue(x, attack, steps=5, step_size=0.05, start="none"), x)
    assert carried == [3]


def test_several_climbs_keep_what_fooled_and_else_the_largest_loss() -> None:
    x = torch.zeros(4, 1)
    attack, _ = attack_on(torch.zeros(4, 2, 1, 1))
    asked: list[list[int]] = []

    def climb(adv: float, loss: list[float], fooled: list[bool]) -> standing.Climb:
        def run(rows: Tensor, some: Attack) -> Found:
            asked.append(rows.tolist())
            assert some.index.tolist() == rows.tolist()
            return Found(torch.full((len(rows), 1), adv), torch.tensor(loss)[rows], torch.tensor(fooled)[rows])

        return run

    inf = float("inf")
    first = climb(1.0, [1.0, 5.0, 5.0, -inf], [False, False, True, False])
    second = climb(2.0, [2.0, 5.0, 9.0, -inf], [False, False, False, False])
    third = climb(3.0, [0.0, 0.0, 9.0, -inf], [True, False, True, False])
    assert standing.pursue(x, attack, [first, second, third]).flatten().tolist() == [3.0, 1.0, 1.0, 0.0]
    assert asked == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 3]]


def test_a_fast_step_is_the_whole_ball_and_begins_at_the_input() -> None:
    attack, carried = attack_on(STARTS, eps=0.05)
    torch.testing.assert_close(FGSM().perturb(STARTS, attack), STARTS + torch.tensor([-0.05, 0.05])[:, None, None])
    assert carried == [3]


def test_noise_fills_the_ball_by_the_rows_streams() -> None:
    x = torch.full((400, 2, 1, 1), 0.5)
    attack, _ = attack_on(x, eps=0.25)
    moved = UniformNoise().perturb(x, attack)
    assert (moved - x).abs().max().item() == pytest.approx(0.25, abs=0.01)
    assert (moved - x).std().item() == pytest.approx(0.25 / 3**0.5, rel=0.05)
    again = UniformNoise().perturb(x, attack_on(x, eps=0.25)[0])
    assert torch.equal(again, moved)


def test_a_label_that_shares_the_largest_logit_is_not_fooled() -> None:
    attack, _ = attack_on(torch.zeros(3, 2, 1, 1))
    tied = Embedding(logits=torch.tensor([[1.0, 1.0], [1.0, 2.0], [2.0, 1.0]]))
    assert claimed(tied, attack.but(fooled=None)).tolist() == [False, True, False]
    assert claimed(tied, attack).tolist() == [False, True, False]
    assert claimed(Embedding(logits=torch.tensor([[1.0, 1.0 + 1e-7]] * 3)), attack).tolist() == [False] * 3


def test_targets_that_there_are() -> None:
    assert [target_count(None, classes, "it") for classes in (2, 10, 11, 100)] == [1, 9, 9, 9]
    assert target_count(4, 5, "it") == 4
    with pytest.raises(UsageError, match="it: targets = 5, but of 5 classes only 4 are wrong"):
        target_count(5, 5, "it")
    logits = torch.tensor([[4.0, 3.0, 2.0, 3.0], [0.0, 1.0, 5.0, 2.0]])
    label = torch.tensor([0, 2])
    assert likely_targets(logits, label, None).tolist() == [[1, 3, 2], [3, 1, 0]]
    assert likely_targets(logits, label, 2).tolist() == [[1, 3], [3, 1]]
    assert likely_targets(logits, label, 9).tolist() == [[1, 3, 2], [3, 1, 0]]


def test_ratios_by_hand() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0]], dtype=torch.float64)
    label, target = torch.tensor([0]), torch.tensor([1])
    assert margin(logits, label, target).tolist() == [-4.0]
    assert dlr(logits, label).tolist() == pytest.approx([-2 / 3])  # 5 - 3 of 5 - 2
    assert dlr(logits, torch.tensor([3])).tolist() == pytest.approx([3 / 3])
    assert targeted_dlr(logits, label, target).tolist() == pytest.approx([-4 / 3.5])  # of 5 - (2 + 1) / 2
    three = logits[:, :3]
    assert dlr(three, label).tolist() == pytest.approx([-2 / 4])
    assert targeted_dlr(three, label, target).tolist() == pytest.approx([-4 / 3])  # of 5 - (3 + 1) / 2
    two = logits[:, :2]
    assert dlr(two, label).tolist() == [-4.0]
    assert targeted_dlr(two, label, target).tolist() == [-4.0]


def test_nobody_left_ends_the_restarts_too() -> None:
    x = STARTS.flip(1)
    attack, carried = attack_on(x, eps=0.01)
    search.pursue(x, attack, steps=2, step_size=0.001, start="uniform", restarts=3)
    assert carried == [3, 3], "one look on the way and one at what came of it"


def test_a_cut_gradient_is_said_with_torchs_words_where_there_are_any() -> None:
    assert str(gradients.cut()).startswith("the model's logits have no gradient toward its inputs: take torch.no_grad")
    assert "inputs (RuntimeError: no graph" in str(gradients.cut(RuntimeError("no graph")))
