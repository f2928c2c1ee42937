"""Aims of the boundary attack, stripes of the Square Attack, and an adapter beside a library that overshoots."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.art_adapter import ART
from robustcl_plugins.generators.fab import FAB
from robustcl_plugins.generators.square_moves import MOVES, Stripes, sparsely_projected
from robustcl_plugins.generators.square_windows import Canvas

INF = float("inf")


@pytest.mark.parametrize(("targets", "expected"), [
    (None, [[2, 3, 0], [0, 2, 3]]), (3, [[2, 3, 0], [0, 2, 3]]), (2, [[2, 3], [0, 2]]), (1, [[2], [0]]),
])  # fmt: skip
def test_likely_classes_come_first_and_the_lower_of_equals(targets: int | None, expected: list[list[int]]) -> None:
    likely = torch.tensor([[0.5, -INF, 3.0, 1.0], [2.0, -INF, 2.0, 2.0]])
    assert FAB(targets=targets).aims(likely).tolist() == expected
    with pytest.raises(UsageError, match="fab: targets = 4, but of 4 classes only 3 are wrong"):
        FAB(targets=4).aims(likely)


def test_a_square_gets_one_colour_for_each_channel_by_the_side_on_which_its_number_lies() -> None:
    """Two channels of 4 x 4, a quarter of the plane: the sides are 2, wherever they lie."""
    canvas = Canvas(2, 1, 4, 4)
    x = torch.full((2, 2, 1, 16), 0.5)
    best, ball = x.clone(), Ball("Linf", torch.tensor([0.1, 0.25]))
    numbers = torch.tensor([[0.0, 0.0, 0.49, 0.5], [0.99, 0.99, 0.5, 0.0]])
    moved = Stripes().propose(x, best, ball, canvas, 0.25, numbers) - x
    for row, (eps, signs) in enumerate(((0.1, (-1, 1)), (0.25, (1, -1)))):
        for channel, sign in enumerate(signs):
            cells = moved[row, channel, 0]
            assert int((cells != 0).sum()) == 4
            torch.testing.assert_close(cells[cells != 0], torch.full((4,), sign * eps), rtol=0, atol=1e-6)
    assert Stripes().move_numbers(canvas) == 4
    assert Stripes().start_numbers(canvas) == (2, 4)
    assert set(MOVES) == {"Linf", "L2", "L1"}


def test_stripes_are_vertical_and_stay_in_the_range() -> None:
    canvas, x = Canvas(1, 1, 3, 2), torch.tensor([[[[0.5, 0.95] * 3]]])
    for numbers, expected in (([[[0.2, 0.7]]], [0.4, 1.0] * 3), ([[[0.5, 0.0]]], [0.6, 0.85] * 3)):
        started = Stripes().start(x, Ball("Linf", 0.1), canvas, torch.tensor(numbers))
        torch.testing.assert_close(started.flatten(), torch.tensor(expected))
        open_ = Stripes().start(x, Ball("Linf", 0.1, None), canvas, torch.tensor(numbers))
        assert float(open_.max()) == pytest.approx(1.05 if expected[1] == 1.0 else 0.85)


def test_few_perturbed_pixels_are_projected_as_all_would_be() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(3, 1, 1, 12, generator=generator)
    delta = torch.zeros_like(x)
    delta[0, 0, 0, [1, 4, 7]] = torch.tensor([0.9, -0.8, 0.1])
    delta[1, 0, 0, [0, 11]] = torch.tensor([-0.05, 0.02])
    for ball in (Ball("L1", 0.5), Ball("L1", 0.5, None), Ball("L1", torch.tensor([0.1, 0.2, 0.3]))):
        torch.testing.assert_close(sparsely_projected(delta, x, ball), ball.project(x + delta, x), rtol=0, atol=1e-6)


LIBRARY = """
class Overshooting:
    def __init__(self, estimator, norm, eps, batch_size, verbose, share=1.0):
        self.length = eps * share
        self.given = {"norm": norm, "eps": eps, "batch_size": batch_size, "verbose": verbose}

    def generate(self, x, y):
        assert self.given["batch_size"] == len(x) and not self.given["verbose"]
        return x + self.length


class Nearest:
    def __init__(self, estimator, share=1.0):
        self.share = share

    def generate(self, x, y):
        return x + 0.125 * self.share


somewhere = 3
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library of that name whose attacks move every pixel by a length that is told, whatever the ball."""
    for name in [name for name in sys.modules if name.split(".")[0] == "art"]:
        monkeypatch.delitem(sys.modules, name)
    for path, text in (
        ("attacks/evasion.py", LIBRARY),
        (
            "estimators/classification.py",
            "class PyTorchClassifier:\n    def __init__(self, **given):\n        self.given = given\n",
        ),
    ):
        file = tmp_path / "art" / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        (file.parent / "__init__.py").write_text("")
    (tmp_path / "art" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "art"]:
        del sys.modules[name]


def attacked(generator: ART, ball: Ball) -> Tensor:
    x, rows = torch.full((2, 1, 2, 2), 0.25, dtype=torch.float64), torch.arange(2)
    attack = Attack(
        oracle=Oracle(
            encode=lambda candidates, places: Embedding(logits=candidates.flatten(1)),
            clean=lambda places: Embedding(logits=x[places].flatten(1)),
        ),
        ball=ball,
        rng=Rng(0).for_rows(rows),
        label=torch.zeros(2, dtype=torch.int64),
        index=rows,
        places=rows,
    )
    return generator.perturb(x, attack) - x


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("share", "moved"), [
    (0.5, 0.5), (1.0, 1.0), (1 + 5e-6, 1.0), (1 + 0.9e-5, 1.0), (1 + 2e-5, 1 + 2e-5), (1.5, 1.5),
])  # fmt: skip
def test_what_overshoots_by_rounding_is_projected_back_and_more_is_left_to_be_seen(share: float, moved: float) -> None:
    ball = Ball("Linf", 0.125)
    assert ART.available() is None
    found = attacked(ART(attack="Overshooting", options={"share": share}), ball)
    assert found.flatten().tolist() == pytest.approx([0.125 * moved] * 8, rel=1e-9)
    of_rows = attacked(ART(attack="Overshooting", options={"share": share}), Ball("Linf", torch.tensor([0.125] * 2)))
    assert of_rows.flatten().tolist() == pytest.approx([0.125 * moved] * 8, rel=1e-7)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("share", "moved"), [(0.5, 0.5), (1.0, 1.0), (1 + 0.9e-5, 1.0), (1 + 2e-3, 0.0), (3.0, 0.0)])
def test_who_looks_for_the_nearest_point_keeps_rows_clean_that_would_leave_the_ball(share: float, moved: float) -> None:
    found = attacked(ART(attack="Nearest", options={"share": share}), Ball("Linf", 0.125))
    assert found.flatten().tolist() == pytest.approx([0.125 * moved] * 8, rel=1e-9)


@pytest.mark.usefixtures("library")
def test_mistakes_with_a_library_are_named() -> None:
    ball = Ball("Linf", 0.125)
    for name in ("Missing", "somewhere"):
        with pytest.raises(UsageError, match=f"art.attacks.evasion has no attack '{name}'"):
            attacked(ART(attack=name), ball)
    with pytest.raises(UsageError, match=r"art:Overshooting refuses the options .*'other': 1"):
        attacked(ART(attack="Overshooting", options={"other": 1}), ball)
    assert ART(attack="Overshooting", options={"eps_step": "1/4"}).grow(2.0) == {"options": {"eps_step": 0.5}}
    assert ART(attack="Nearest", options={"eps_step": "1/4"}).grow(2.0) == {}
