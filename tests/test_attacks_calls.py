"""The Python calls of attacks: words of other libraries, blocks, progress, members alone, settings after the making."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl.errors import NotOffered, OptionError, UsageError

CLASSES, ROWS = 5, 10


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, CLASSES)).eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(ROWS, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def y(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"alpha": 0.1}, "'alpha' is 'step_size' here"),
        ({"eps_iter": 0.1}, "'eps_iter' is 'step_size' here"),
        ({"num_steps": 3}, "'num_steps' is 'steps' here"),
        ({"n_iter": 3}, "'n_iter' is 'steps' here"),
        ({"nb_iter": 3}, "'nb_iter' is 'steps' here"),
        ({"random_start": True}, "'random_start' is 'start' here"),
        ({"targeted": True}, "'targeted' is 'target' here, the number of the class to reach"),
        ({"epsilon": 0.1}, "'epsilon' is the threat's and not an option of pgd: give eps"),
        ({"clip_min": 0.0}, "'clip_min' is the threat's and not an option of pgd: give range"),
        ({"device": "cpu"}, "device is not offered here: the attack computes where the model is"),
        ({"batch_size": 4}, "batch_size is not offered here: give it where the attack is called"),
        ({"verbose": 1}, "verbose = 1; give True or False"),
        ({"stps": 3}, "did you mean 'steps'"),
    ],
)
def test_words_of_other_libraries_are_answered(net: nn.Module, words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        robustcl.attacks.PGD(net, eps=0.1, **words)


def test_a_radius_by_position_or_none_at_all_is_a_sentence(net: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"robustcl.attacks.PGD\(model, 0.03, 0.01\): name what is meant"):
        robustcl.attacks.PGD(net, 0.03, 0.01)  # type: ignore[misc]
    with pytest.raises(UsageError, match="PGD needs eps, the radius of the ball"):
        robustcl.attacks.PGD(net)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match='take the generator behind it, use = "pgd"'):
        robustcl.attacks.PGD20(net, eps=0.1, steps=3)


def test_make_takes_tables_as_everything_else_does(net: nn.Module, x: Tensor, y: Tensor) -> None:
    made = robustcl.attacks.make({"use": "pgd", "steps": np.int64(3)}, net, eps=0.05)
    assert torch.equal(made(x, y), robustcl.attacks.PGD(net, eps=0.05, steps=3)(x, y))
    with pytest.raises(UsageError, match="names no attack"):
        robustcl.attacks.make({"us": "pgd"}, net, eps=0.05)


@pytest.mark.parametrize(("name", "options"), [("PGD", {}), ("Square", {"queries": 20}), ("PGD20", {}), ("FGSM", {})])
def test_every_attack_takes_blocks_and_tells_its_progress(
    net: nn.Module, x: Tensor, y: Tensor, name: str, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    attack = getattr(robustcl.attacks, name)(net, eps=0.05, verbose=True, **options)
    parts = attack(x, y, bs=4)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in said] == [f"{n} of 10 inputs attacked" for n in (4, 8, 10)]
    whole = getattr(robustcl.attacks, name)(net, eps=0.05, **options)(x, y)
    assert capsys.readouterr().out == ""
    assert float((parts - whole).abs().lt(1e-5).float().mean()) > 0.99
    for bs in (0, -1, 2.5, True, "all"):
        with pytest.raises(UsageError, match=r"bs = .*: give the number of inputs that are attacked together"):
            attack(x, y, bs=bs)


def test_blocks_are_refused_where_they_would_change_the_outcome(net: nn.Module, x: Tensor, y: Tensor) -> None:
    attack = robustcl.attacks.PGD(net, eps=0.05, mode="batch")
    with pytest.raises(UsageError, match='bs: in mode = "batch" an outcome depends on its batch'):
        attack(x, y, bs=4)


@pytest.mark.parametrize(("second", "eps", "standing"), [("square", 0.2, False), ("apgd-t", 0.02, True)])
def test_members_alone_meet_every_input_that_is_right(
    net: nn.Module, x: Tensor, y: Tensor, tmp_path: Any, second: str, eps: float, standing: bool
) -> None:
    names = ["apgd-ce", second]
    adversary = robustcl.AutoAttack(net, eps=eps, attacks_to_run=names)
    found = adversary.run_standard_evaluation_individual(x, y, bs=6, return_labels=True, journal=tmp_path / "j.jsonl")
    assert list(found) == names
    assert all(bool((labels == y).any()) is standing for _, labels in found.values())
    for name, (adversarial, labels) in found.items():
        alone = robustcl.AutoAttack(net, eps=eps, attacks_to_run=[name])
        theirs, classes = alone.run_standard_evaluation(x, y, return_labels=True)
        torch.testing.assert_close(adversarial, theirs, rtol=0, atol=1e-5)
        assert torch.equal(labels, classes)
    again = adversary.run_standard_evaluation_individual(x, y, journal=tmp_path / "j.jsonl")
    assert all(torch.equal(again[name], found[name][0]) for name in names)


def test_what_is_set_afterwards_holds_or_is_refused(net: nn.Module, x: Tensor, y: Tensor) -> None:
    attack = robustcl.attacks.PGD(net, eps=0.02, seed=1)
    first = attack(x, y)
    attack.seed = 2
    assert torch.equal(attack(x, y), robustcl.attacks.PGD(net, eps=0.02, seed=2)(x, y))
    assert not torch.equal(attack(x, y), first)
    for seed in (None, 1.5, True):
        with pytest.raises(UsageError, match="seed = "):
            attack.seed = seed  # type: ignore[assignment]
    adversary = robustcl.AutoAttack(net, eps=0.02)
    for name, said in [
        ("attacks_to_run", "give attacks_to_run"),
        ("version", "give version="),
        ("epsilon", "give eps="),
        ("ball", "give ball when it is made"),
    ]:
        with pytest.raises(NotOffered, match=f"{name} of a made attack cannot be changed: {said}"):
            setattr(adversary, name, "square")
    with pytest.raises(NotOffered, match=r"apgd is not offered: attack by one member .* robustcl.attacks.APGD"):
        adversary.apgd.n_restarts = 2
    assert not hasattr(adversary, "apgd")


def test_the_arguments_of_autoattack_work_or_say_what_does(net: nn.Module) -> None:
    assert robustcl.AutoAttack(net, eps=0.02, device="cpu").seed == 0
    assert robustcl.AutoAttack(net, eps=0.02, device=torch.device("cpu")).seed == 0
    cases: list[tuple[dict[str, Any], str]] = [
        ({"device": "meta"}, "the attack computes where the model is"),
        ({"device": 3.5}, "the attack computes where the model is"),
        ({"log_path": "a.txt"}, "the journal of run_standard_evaluation"),
        ({"version": "custom", "attacks_to_run": ["apgd-ce"]}, "name members of a version, attacks_to_run="),
        ({"alpha": 1}, "no option 'alpha'; it has: version, attacks_to_run"),
        ({"target": 1}, "autoattack cannot be aimed at one class"),
    ]
    for words, said in cases:
        with pytest.raises(UsageError, match=said):
            robustcl.AutoAttack(net, eps=0.02, **words)
