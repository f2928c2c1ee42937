"""An audit's rivals, threats without a range, and the order in which faults of a gradient are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from robustcl import registry
from robustcl.audit import gradients, record, rivals, runner, strength
from robustcl.audit.arms import CHEAP, Arm, Effort
from robustcl.audit.bench import Bench
from robustcl.errors import DataError
from robustcl.evaluate.classifier import of_model
from robustcl.rng import Rng
from robustcl.threat import Ball


class Half(nn.Module):
    """Says 0 of images darker than ``edge`` in the mean, and 1 of others."""

    def __init__(self, edge: float = 0.5) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - self.edge) * 10
        return torch.stack([-z, z], 1)


class Brighten:
    """Turns the images of some numbers bright."""

    needs: ClassVar[frozenset[Any]] = frozenset()
    citation = "none"

    def __init__(self, *, first: int = 0, last: int = 0) -> None:
        self.first = first
        self.last = last

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        chosen = (attack.index >= self.first) & (attack.index < self.last)
        return torch.where(chosen[:, None, None, None], torch.full_like(x, 0.55), x)


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with registry.local("generator", "brighten", Brighten):
        yield


def breaking(first: int, last: int, *, white: bool = True, use: str = "brighten") -> Arm:
    return Arm(f"{use} {first} {last}", use, {"first": first, "last": last}, white=white)


NOBODY = breaking(0, 0)
IDLE = replace(
    CHEAP, single=NOBODY, iterative=NOBODY, longer=NOBODY, restarts=NOBODY, unbounded=NOBODY, targeted=NOBODY,
    black_box=breaking(0, 0, white=False), second=(), noise=1,
)  # fmt: skip


def bench(n: int = 6, effort: Effort = IDLE, *, level: float = 0.45, ball: Ball | None = None) -> Bench:
    x = torch.full((n, 1, 2, 2), level)
    return Bench(
        of_model(Half()), x, torch.zeros(n, dtype=torch.int64), torch.arange(n), ball or Ball("Linf", 0.6), Rng(0),
        effort, 4,
    )  # fmt: skip


def test_what_is_not_installed_is_not_run() -> None:
    held = bench(effort=replace(IDLE, black_box=breaking(0, 6, use="no-such-attack"), hard_label=NOBODY))
    found = rivals.black_box(held)
    assert (found.code, found.verdict) == ("C6", "not run")
    assert "no-such-attack" in found.evidence
    assert not held.fallen
    assert rivals.hard_label(bench()).verdict == "not run"
    assert rivals.hard_label(bench()).evidence == "part of the deep audit: --deep"
    deep = bench(effort=replace(IDLE, hard_label=breaking(1, 3, white=False)))
    found = rivals.hard_label(deep)
    assert (found.verdict, found.samples) == ("fail", (1, 2))
    missing = bench(effort=replace(IDLE, hard_label=breaking(0, 6, use="no-such-attack")))
    assert rivals.hard_label(missing).verdict == "not run"


def test_adversaries_of_another_model_are_tried_on_who_stands() -> None:
    """The other model is wrong of all images from the start, and is attacked all the same, to the end."""
    held = bench(effort=replace(IDLE, iterative=breaking(2, 6)))
    held.white[5] = True
    found = rivals.transfer(held, (("another", of_model(Half(0.3))), ("a third", of_model(Half(0.2)))))
    assert held.fallen["transfer"].tolist() == [False, False, True, True, True, False]
    assert (found.verdict, found.samples) == ("fail", (2, 3, 4))
    assert "brighten 2 6 on another, a third alone broke 3 samples" in found.evidence
    assert rivals.transfer(bench(), ()).verdict == "not run"


def test_gradients_get_no_second_chance_where_there_are_none() -> None:
    effort = replace(IDLE, black_box=breaking(0, 4, white=False), second=(breaking(0, 4),))
    held = bench(effort=effort)
    assert rivals.black_box(held).verdict == "pass"
    flat = bench(effort=effort)
    flat.flat = "the model gives no gradient (C14)"
    found = rivals.black_box(flat)
    assert (found.verdict, found.samples) == ("fail", (0, 1, 2, 3))
    lacking = bench(effort=replace(effort, second=(breaking(0, 4, use="no-such-attack"), breaking(0, 3))))
    assert rivals.black_box(lacking).samples == (3,)


def test_noise_draws_for_those_alone_that_stand() -> None:
    held = bench(4, ball=Ball("Linf", 0.01))
    held.white[0], held.correct[1] = True, False
    assert "1 draws for each of 2 samples" in rivals.noise(held).evidence
    held.white[:] = True
    assert "1 draws for each of 0 samples" in rivals.noise(held).evidence
    assert not held.fallen["noise"].any()


def test_other_changes_in_the_range_of_the_images_where_the_threat_has_none() -> None:
    """From 0.25 to 0.75: a fifth of that is 0.1, which lifts the first image's mean of 0.4375 above a half."""
    held = bench(2, ball=Ball("Linf", 0.1, None))
    held.x = torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.75]]).view(2, 1, 2, 2)
    said = record.broader(held).evidence
    assert "brightness +0.2 0.0 %, half contrast 50.0 %, shift by 1 pixel 100.0 %" in said


def images(labels: list[int], level: float = 0.45) -> Any:
    return SimpleNamespace(
        fetch=lambda index: torch.full((len(index), 1, 2, 2), level), labels=torch.tensor(labels),
        device=torch.device("cpu"), samples=len(labels),
    )  # fmt: skip


def test_a_whole_audit_tells_its_threat_its_checks_and_what_stood() -> None:
    told: list[tuple[str, int, int]] = []
    for ball, ends in ((Ball("Linf", 0.6), [0.0, 1.0]), (Ball("Linf", 0.6, None), None)):
        told.clear()
        found = runner.audit(
            of_model(Half()), images([0, 0, 0, 1]), torch.tensor([3, 0, 2]), ball, Rng(0),
            effort=replace(IDLE, restarts=breaking(2, 9), noise=0), told=lambda *said: told.append(said),
        )  # fmt: skip
        assert found.threat == {"norm": "Linf", "eps": 0.6, "range": ends}
        assert (found.samples, found.clean, found.worst) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
        assert [number for _, number, _ in told] == list(range(len(told)))
        assert {total for _, _, total in told} == {len(told)}
        assert told[0][0].startswith("H4 ")
        assert [finding.code for finding in found.findings] == list(runner.TITLES)


@pytest.mark.parametrize("label", [2, 5, -1])
def test_labels_without_an_output_are_refused(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label} of sample 1 is outside 0 .. 1"):
        runner.audit(of_model(Half()), images([0, label]), torch.arange(2), Ball("Linf", 0.1), Rng(0), effort=IDLE)


def test_of_several_faults_the_failing_one_is_told_and_else_the_first_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([True, False, False])

    def fault(verdict: str | None, said: str) -> Any:
        return lambda held, at: None if verdict is None else (verdict, said, mask)

    for looks, verdict, said in (
        ([fault("warn", "one"), fault("fail", "two"), fault("fail", "three")], "fail", "two"),
        ([fault("warn", "one"), fault(None, ""), fault("warn", "two")], "warn", "one"),
    ):
        monkeypatch.setattr(gradients, "_LOOKS", looks)
        found = gradients.check_gradients(bench(3))
        assert (found.verdict, found.evidence, found.samples) == (verdict, said, (0,))
    monkeypatch.setattr(gradients, "_LOOKS", [fault(None, "")])
    assert gradients.check_gradients(bench(3, level=0.3)).verdict == "pass"
    nobody = bench(3, level=0.9)
    assert gradients.check_gradients(nobody).evidence == "no sample is classified rightly"


def test_the_rise_is_told_of_those_that_the_shorter_attack_left() -> None:
    """The longer one breaks all that stood: the loss of those is looked at, and not of nobody."""
    held = bench(6, replace(IDLE, iterative=breaking(0, 2), longer=breaking(0, 6)))
    strength.iterative(held)
    found = strength.steps(held)
    assert found.samples == (2, 3, 4, 5)
    assert "of the loss's rise" in found.evidence
    assert held.white.tolist() == [True] * 6
