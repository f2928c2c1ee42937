"""What chance may bring about, and the record of an audit, by hand."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
import torch
from torch import Tensor, nn

from robustcl.audit import chance, record
from robustcl.audit.arms import CHEAP
from robustcl.audit.bench import Bench
from robustcl.evaluate.classifier import of_model
from robustcl.rng import Rng
from robustcl.threat import Ball


@pytest.mark.parametrize(("more", "less", "expected"), [
    (0, 0, 1.0), (1, 0, 0.5), (0, 1, 1.0), (2, 0, 0.25), (3, 1, 5 / 16), (7, 0, 1 / 128), (6, 0, 1 / 64),
    (8, 1, 10 / 512),
])  # fmt: skip
def test_a_coin_falls_so_often_on_one_side(more: int, less: int, expected: float) -> None:
    assert chance.mcnemar(more, less) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("count", "n", "many"), [
    (0, 10, False), (1, 10, False), (2, 10, True), (2, 999, True), (2, 1000, False), (3, 1000, True),
    (20, 10000, False), (21, 10000, True),
])  # fmt: skip
def test_two_samples_and_more_than_a_five_hundredth_are_not_forgiven(count: int, n: int, many: bool) -> None:
    assert chance.beyond(count, n) == many


@pytest.mark.parametrize(("correct", "n", "share", "above"), [
    (0, 0, 0.0, False), (0, 0, 0.5, False), (1, 1, 0.5, False), (10, 10, 0.5, True), (0, 10, 0.0, False),
    (4, 4, 0.5, True), (3, 3, 0.5, False), (4, 4, 0.511, False), (100, 1000, 0.1, False), (120, 1000, 0.1, True),
])  # fmt: skip
def test_an_accuracy_above_chance_with_its_whole_interval(correct: int, n: int, share: float, above: bool) -> None:
    """All of n right have the lower end n / (n + 3.8415): 0.51011 of four and 0.438 of three."""
    assert chance.above(correct, n, share) == above


@pytest.mark.parametrize(
    ("count", "n", "share"), [(0, 5, 0.05), (1, 5, 0.05), (3, 20, 0.15), (20, 20, 0.5), (5, 4, 0.5)]
)
def test_so_many_of_n_by_their_chance(count: int, n: int, share: float) -> None:
    exact = Fraction(share)
    expected = sum(comb(n, k) * exact**k * (1 - exact) ** (n - k) for k in range(count, n + 1))
    assert chance.at_least(count, n, share) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(("lost", "judged", "verdict"), [
    (0, 0, "pass"), (1, 1, "pass"), (2, 2, "fail"), (3, 10, "pass"), (4, 10, "fail"), (4, 20, "pass"), (5, 20, "fail"),
    (6, 100, "pass"), (7, 100, "warn"), (15, 100, "warn"), (16, 100, "fail"), (50, 1000, "pass"), (51, 1000, "warn"),
    (150, 1000, "warn"), (151, 1000, "fail"),
])  # fmt: skip
def test_what_the_fall_of_samples_means_for_a_number(lost: int, judged: int, verdict: str) -> None:
    """Six that fell to one attack alone are a coin's work in 1.6 % of cases, seven in 0.8 %.

    At a chance of 5 % each, three of ten are as rare as 1.15 %, four 0.10 %; four of twenty 1.6 %, five 0.26 %.
    """
    n = judged + 3
    fell, read = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    fell[:lost], read[:judged] = True, True
    fell[judged:] = True  # of samples that nobody reported nothing is known
    assert chance.say_overstatement(fell, read) == verdict


def test_the_bars_are_those_that_the_page_names() -> None:
    assert (chance.ALPHA, chance.SHARE, chance.POINTS) == (0.01, 0.002, (0.05, 0.15))


class Half(nn.Module):
    """Says 0 of images darker than a half in the mean, and 1 of others."""

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5) * 10
        return torch.stack([-z, z], 1)


def bench(ball: Ball, dark: int, bright: int) -> Bench:
    """Return a bench of images that all bear the label 0, of which the dark ones are right."""
    level = torch.tensor([0.25] * dark + [0.75] * bright)
    n = len(level)
    x = level[:, None, None, None].expand(n, 1, 2, 2).clone()
    return Bench(of_model(Half()), x, torch.zeros(n, dtype=torch.int64), torch.arange(n), ball, Rng(0), CHEAP, 100)


@pytest.mark.parametrize(("ball", "words"), [
    (Ball("Linf", 0.125, None), "Linf eps 0.125 in no range, and the options"),
    (Ball("L2", 0.5), r"L2 eps 0.5 in 0 .. 1, and the options"),
    (Ball("L1", 2.0, (-1.0, 2.5)), r"L1 eps 2 in -1 .. 2.5, and the options"),
])  # fmt: skip
@pytest.mark.parametrize(
    ("dark", "bright", "verdict"), [(10, 0, "pass"), (5, 5, "warn"), (4, 0, "pass"), (3, 0, "warn")]
)
def test_the_record_names_threat_and_range_and_doubts_chance(
    ball: Ball, words: str, dark: int, bright: int, verdict: str
) -> None:
    found = record.fields(bench(ball, dark, bright))
    assert (found.code, found.verdict) == ("C12", verdict)
    assert words in found.evidence
    assert found.evidence.startswith(f"clean accuracy {100 * dark / (dark + bright):.1f} % of {dark + bright}")
    assert ("no better than chance" in found.evidence) == (verdict == "warn")
