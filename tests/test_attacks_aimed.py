"""Attacks toward a class: losses of the papers in naked loops, a library beside them, success, and wrong targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import robustcl
from robustcl.cli.measure import _lines
from robustcl.errors import DataError, OptionError, UsageError
from robustcl.evaluate import aim
from robustcl.evaluate.journal import CLEAN
from robustcl.report.measured import _about

CLASSES, ROWS = 5, 16
EPS = {"Linf": 0.05, "L2": 0.6, "L1": 6.0}
AIMABLE: dict[str, dict[str, Any]] = {"PGD": {}, "FGSM": {}, "APGD": {"steps": 20}, "FAB": {"steps": 20}}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, CLASSES)).eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 0.2 + 0.6 * torch.rand(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def y(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1)


def predicted(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1)


def shortest(slope: Tensor, norm: str) -> Tensor:
    """The steepest step of length 1 in a norm, written from its definition."""
    if norm == "Linf":
        return slope.sign()
    flat = slope.flatten(1)
    if norm == "L2":
        return slope / flat.norm(dim=1).reshape(-1, 1, 1, 1)
    step = torch.zeros_like(flat)
    for row, values in enumerate(flat):
        place = int(values.abs().argmax())
        step[row, place] = values[place].sign()
    return step.view_as(slope)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_pgd_goes_down_the_cross_entropy_of_the_target(net: nn.Module, x: Tensor, y: Tensor, norm: str) -> None:
    """Far from the ball's edge and the range nothing is projected, so that the loop is the formula alone."""
    target, adv = (y + 1) % CLASSES, x.clone()
    for _ in range(3):
        leaf = adv.clone().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(net(leaf), target, reduction="sum"), leaf)
        adv = adv - 0.01 * shortest(slope, norm)
    ours = robustcl.attacks.PGD(net, eps=0.1, norm=norm, steps=3, step_size=0.01, start="none")(x, y, target=target)
    torch.testing.assert_close(ours, adv, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("name", "norm"), [("PGD", "Linf"), ("FGSM", "Linf"), ("PGDL2", "L2")])
def test_targeted_attacks_are_those_of_torchattacks(net: nn.Module, x: Tensor, y: Tensor, name: str, norm: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    target = (y + 2) % CLASSES
    options: dict[str, Any] = {} if name == "FGSM" else {"alpha": 0.01, "steps": 6, "random_start": False}
    theirs = getattr(torchattacks, name)(net, eps=0.05, **options)
    theirs.set_mode_targeted_by_label(quiet=True)
    ours = robustcl.attacks.make(
        name.removesuffix("L2").lower(), net, eps=0.05, norm=norm,
        **({} if name == "FGSM" else {"steps": 6, "step_size": 0.01, "start": "none"}),
    )  # fmt: skip
    torch.testing.assert_close(ours(x, y, target=target), theirs(x, target), rtol=0, atol=2e-6)


def test_auto_pgd_climbs_minus_the_cross_entropy_or_the_targeted_ratio(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """Equation 7 by hand; each finds an input whose own loss is above that of the start and of the other's input."""
    target = (y + 1) % CLASSES

    def ratio(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            values = []
            for row, z in enumerate(net(inputs)):
                first, *_, third, fourth = [float(v) for v in z.sort(descending=True).values[[0, 1, 2, 3]]]
                values.append(-float(z[y[row]] - z[target[row]]) / (first - (third + fourth) / 2))
            return torch.tensor(values)

    def entropy(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.tensor([float(z[t] - z.logsumexp(0)) for z, t in zip(net(inputs), target, strict=True)])

    by_entropy, by_ratio = (
        robustcl.attacks.APGD(net, eps=0.02, steps=20, loss=loss)(x, y, target=target)
        for loss in ("cross-entropy", "dlr")
    )
    assert bool((entropy(by_entropy) >= entropy(x)).all())
    assert bool((ratio(by_ratio) >= ratio(x)).all())
    assert float((entropy(by_entropy) - entropy(by_ratio)).mean()) > 0
    assert float((ratio(by_ratio) - ratio(by_entropy)).mean()) > 0


def test_fab_goes_to_the_nearest_point_of_the_target_s_region_in_closed_form() -> None:
    """Class 2 is where 2 a + b < 0.9 and a + 2 b < 0.9: one row meets the label's border, the other its corner."""
    net = nn.Linear(2, 3, bias=True).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        net.bias.copy_(torch.tensor([0.0, 0.0, 0.9]))
    x, y, target = torch.tensor([[0.7, 0.1], [0.7, 0.6]]), torch.tensor([0, 0]), torch.tensor([2, 2])
    with torch.no_grad():
        assert net(x).argmax(1).tolist() == [0, 0]
    adv = robustcl.attacks.FAB(net, eps=0.9, norm="L2", steps=40)(x, y, target=target)
    assert predicted(net, adv).tolist() == [2, 2]
    for row in range(2):
        grid = torch.cartesian_prod(torch.linspace(0, 1, 401), torch.linspace(0, 1, 401))
        reached = grid[predicted(net, grid) == 2]
        best = float((reached - x[row]).norm(dim=1).min())
        assert float((adv[row] - x[row]).norm()) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("name", AIMABLE)
def test_success_is_the_target_and_the_rest_is_told_apart(
    net: nn.Module, x: Tensor, y: Tensor, name: str, norm: str
) -> None:
    target = (y + 1) % CLASSES
    attack = getattr(robustcl.attacks, name)(net, eps=EPS[norm], norm=norm, **AIMABLE[name])
    adv = attack(x, y, target=target)
    assert bool(attack.ball.contains(adv, x).all())
    assert int((predicted(net, adv) == target).sum()) > ROWS // 3
    outcomes = attack.outcomes(x, y, target=target)
    reached = [outcome.prediction == int(target[outcome.index]) for outcome in outcomes]
    assert sum(reached) > ROWS // 3
    assert all(outcome.correct == (outcome.prediction == outcome.label) for outcome in outcomes)
    assert not any(outcome.correct and hit for outcome, hit in zip(outcomes, reached, strict=True))


@pytest.mark.parametrize("name", AIMABLE)
def test_a_number_and_one_for_each_are_one_attack_and_blocks_change_nothing(
    net: nn.Module, x: Tensor, y: Tensor, name: str
) -> None:
    def make(**more: Any) -> Any:
        return getattr(robustcl.attacks, name)(net, eps=0.05, **AIMABLE[name], **more)

    whole = make(target=3)(x, y)
    for target in (3, np.int64(3), torch.tensor(3), torch.full_like(y, 3), [3] * ROWS, np.full(ROWS, 3, np.uint8)):
        assert torch.equal(make()(x, y, target=target), whole)
    parts = make(target=[3] * ROWS)(x, y, bs=7)
    assert float((parts - whole).abs().lt(1e-3).float().mean()) > 0.95, "equal up to a model's rounding"
    own = y == 3
    assert torch.equal(whole[own], x[own]), "what is of the target's class has nowhere to go"
    assert not torch.equal(whole, make()(x, y))
    assert torch.equal(make(target=1)(x, y, target=3), whole), "a call's target takes the place of the attack's own"


def test_an_input_goes_on_where_it_is_merely_misclassified() -> None:
    """A line of three classes: 0, then 1, then 2; on the way to 2 the input passes 1 and must not stop there."""
    net = nn.Linear(1, 3).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0], [10.0], [20.0]]))
        net.bias.copy_(torch.tensor([0.0, -3.0, -8.0]))
    x, y = torch.tensor([[0.1], [0.4]]), torch.tensor([0, 0])  # the second is taken for class 1 from the start
    options: dict[str, Any] = {"eps": 0.6, "steps": 30, "step_size": 0.02, "start": "none", "stop_early": True}
    assert predicted(net, robustcl.attacks.PGD(net, **options)(x, y)).tolist() == [1, 1]
    assert predicted(net, robustcl.attacks.PGD(net, target=2, **options)(x, y)).tolist() == [2, 2]
    attack = robustcl.attacks.PGD(net, target=2, **options)
    adv, labels = attack.run_standard_evaluation(x, y, return_labels=True)
    assert labels.tolist() == [2, 1]
    assert torch.equal(adv[1], x[1]), "an evaluation leaves alone what is wrong from the start"
    assert [outcome.member == CLEAN for outcome in attack.outcomes(x, y)] == [False, True]


def test_an_evaluation_tells_targets_and_its_journal_holds_them_apart(
    net: nn.Module, x: Tensor, y: Tensor, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    attack = robustcl.attacks.PGD(net, eps=0.05, verbose=True)
    file, target = tmp_path / "j.jsonl", (y + 1) % CLASSES
    adv, labels = attack.run_standard_evaluation(x, y, bs=10, journal=file, target=target, return_labels=True)
    said = capsys.readouterr().out
    hits = int((labels == target).sum())
    assert f"target reached by {hits} of {ROWS} inputs that were attacked" in said
    assert "pgd: 10 of 16 inputs judged" in said
    again, _ = attack.run_standard_evaluation(x, y, bs=16, journal=file, target=target, return_labels=True)
    assert torch.equal(adv, again), "inputs of known verdicts are made again toward the same classes"
    lines = len(file.read_text(encoding="utf-8").splitlines())
    attack.run_standard_evaluation(x, y, journal=file, target=(y + 2) % CLASSES)
    assert len(file.read_text(encoding="utf-8").splitlines()) > lines + ROWS


@pytest.mark.parametrize("name", ["Square", "RayS", "MultiTargetedPGD", "APGDT", "PGD20", "AutoAttack", "Noise"])
def test_what_cannot_be_aimed_says_what_can(net: nn.Module, x: Tensor, y: Tensor, name: str) -> None:
    said = r"cannot be aimed at one class; .*apgd, fab, fgsm.* and pgd take a target"
    with pytest.raises(OptionError, match=said):
        getattr(robustcl.attacks, name)(net, eps=0.05, target=3)
    with pytest.raises(OptionError, match=said):
        getattr(robustcl.attacks, name)(net, eps=0.05)(x, y, target=(y + 1) % CLASSES)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (CLASSES, r"target = 5, but the classes are 0 to 4"),
        (-1, r"target = -1"),
        (3.0, r"target = 3.0"),
        (True, r"target = True"),
        ("3", r"target = '3'"),
        ({"a": 1}, r"target = \{'a': 1\}"),
        ([1, 2], r"have the shape \(2,\) for 16 inputs; give one class number for each"),
        (torch.rand(ROWS), r"the targets are torch.float32: give class numbers, for example target.long\(\)"),
        (torch.zeros(ROWS, CLASSES, dtype=torch.int64), r"shape \(16, 5\) .* for example target.argmax\(1\)"),
        (torch.full((ROWS,), 9), r"row 0 has the target 9, but the classes are 0 to 4"),
        ([None] * ROWS, r"targets are a list .* give a class number for each row"),
    ],
)
def test_targets_that_are_none_are_sentences(net: nn.Module, x: Tensor, y: Tensor, target: Any, said: str) -> None:
    with pytest.raises((DataError, UsageError), match=said):
        robustcl.attacks.PGD(net, eps=0.05)(x, y, target=target)
    with pytest.raises((DataError, UsageError), match=said):
        robustcl.attacks.PGD(net, eps=0.05, target=target)(x, y)


def test_fab_takes_a_target_or_a_number_of_them(net: nn.Module, x: Tensor, y: Tensor) -> None:
    with pytest.raises(OptionError, match="leave one out"):
        robustcl.attacks.FAB(net, eps=0.05, targets=2, target=1)
    with pytest.raises(UsageError, match="leave one out"):
        robustcl.attacks.FAB(net, eps=0.05, targets=2)(x, y, target=1)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({"use": "pgd", "steps": 5, "target": 3}, "pgd-target-3"),
        ({"use": "pgd", "target": 0}, "pgd-target-0"),
        ({"use": "pgd", "target": None}, "pgd"),
        ({"use": "pgd", "target": True}, "pgd"),
        ({"use": "fgsm"}, "fgsm"),
        ({}, "an attack"),
    ],
)
def test_a_table_is_called_by_the_class_it_aims_at(table: dict[str, object], name: str) -> None:
    assert aim.of_table(table) == name


def test_measures_say_at_which_class_they_aimed() -> None:
    about = {"samples": 9, "split": "test", "protocol": "slf", "route": "clean", "norm": "Linf", "eps": 0.1}
    question = {**about, "attack": {"use": "pgd", "target": 3}}
    assert "pgd-target-3 within Linf 0.1" in next(_lines({"question": question}, ()))
    assert "under pgd-target-3 (Linf, eps 0.1)" in _about(question)
