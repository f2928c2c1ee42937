"""Attacks that are written in TOML: whose they are, what they take, and what is said of one that is none."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import robustcl
from robustcl import options, registry
from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.errors import AmbiguousPlugin, NotAPlugin, OptionError, UnknownPlugin, UsageError
from robustcl.protocols import Need
from robustcl.recipe import Use
from robustcl.rng import Rng
from robustcl.testing import check_distribution, make_images
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle
from robustcl_plugins.generators.apgd import APGD
from tests.shared.distributions import GOOD, install

HARD = """
use = "nudge:much"
about = '''
Adds a constant, often.

times: how often it hits.
'''
settable = ["times", "amount"]
times = 7
amount = "8/255"
"""


def bring(site: Path, text: str, name: str = "acme", generators: bool = True, **groups: dict[str, str]) -> None:
    """Install a distribution with the preset ``hard`` and, if asked for, with the generator ``nudge``."""
    package = f"{name}_presets"
    files = {f"{package}/__init__.py": "", f"{package}/hard.toml": text, f"{package}/read.me": "no preset"}
    given = {"robustcl.presets": {name: package}, **groups}
    if generators:
        files[f"{name}_plugins.py"] = GOOD.replace("Need.FEATURES", "Need.FEATURES, Need.OBJECTIVE")
        given["robustcl.generators"] = {"nudge": f"{name}_plugins:Nudge"}
    install(site, name, given, files)


def test_a_preset_is_an_attack_of_its_own_distribution(site: Path) -> None:
    bring(site, HARD)
    assert registry.names("attack") == ["hard"]
    assert registry.origin("attack", "hard") == registry.Origin("acme", "1.0", "acme_presets/hard.toml")
    assert "acme_plugins" not in sys.modules, "names import nothing"
    cls = registry.get("attack", "hard")
    assert registry.get("attack", "acme/hard") is cls
    assert (cls.__name__, cls.__doc__) == ("NudgeAttack", "Adds a constant, often.\n\ntimes: how often it hits.")
    assert cls.citation == "Nobody, Nothing, 2020, eq. 1"  # type: ignore[attr-defined]
    assert cls.needs == {Need.PREDICTIONS, Need.LABELS, Need.FEATURES}  # type: ignore[attr-defined]
    described = [(o.name, o.default, o.constraints, o.doc) for o in options.describe(cls)]
    assert described == [
        ("times", 7, ">= 1", "how often it hits."),
        ("amount", 8 / 255, "", "what is added to every pixel, as a part of the range."),
    ]
    attack = options.build(cls, {"times": 2}, "here").instance
    assert (attack.times, attack.amount, attack.target) == (2, 8 / 255, None)
    ((name, generator),) = attack.members(4, Ball("Linf", 0.1))
    assert (name, generator.times, generator.label, generator.amount) == ("hard", 2, "much", 8 / 255)
    assert options.resolve(cls, {}, "here") == {"times": 7, "amount": 8 / 255}
    with pytest.raises(OptionError, match=r"here\.label: NudgeAttack has no option 'label'; it has: times, amount"):
        options.build(cls, {"label": "x"}, "here")


def test_another_distributions_generator_of_that_name_changes_nothing(site: Path) -> None:
    bring(site, HARD)
    bring(site, HARD.replace("7", "5"), name="other")
    assert registry.names("attack") == ["acme/hard", "other/hard"]
    with pytest.raises(AmbiguousPlugin, match="'acme/hard' or 'other/hard'"):
        registry.get("attack", "hard")
    for name, times in (("acme", 7), ("other", 5)):
        ((_, generator),) = registry.get("attack", f"{name}/hard")().members(2, Ball("L2", 1.0))
        assert (type(generator).__module__, generator.times) == (f"{name}_plugins", times)


def test_a_preset_of_somebody_elses_generator(site: Path) -> None:
    bring(site, HARD, generators=False)
    with pytest.raises(UnknownPlugin, match=r"the attack 'hard' of acme 1.0 \(acme_presets/hard.toml\): no installed"):
        registry.get("attack", "hard")
    bring(site, HARD, name="other")
    registry.refresh()
    ((_, generator),) = registry.get("attack", "acme/hard")().members(2, Ball("L2", 1.0))
    assert type(generator).__module__ == "other_plugins"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("use = ", "is not TOML: .*; mend or uninstall acme"),
        ("use = 'nudge'", "is no preset: about: "),
        ("use = 3\nabout = 'It.'", "is no preset: use: "),
        (HARD + "amuont = 3", r"hard.toml\).amuont: Nudge has no option 'amuont', did you mean 'amount'"),
        (HARD.replace("= 7", "= 0"), r"hard.toml\).times = 0: not accepted; give int >= 1"),
        (HARD.replace('"times", ', '"tims", '), r"is no preset: nudge:much has no option 'tims'"),
        (HARD.replace("= 7", "= { linear = [1, 9] }"), "has no epochs to schedule by"),
    ],
)
def test_what_is_no_preset_is_said_with_its_owner(site: Path, text: str, said: str) -> None:
    bring(site, text)
    assert registry.names("attack") == ["hard"]
    with pytest.raises(NotAPlugin, match=rf"^the attack 'hard' of acme 1\.0 .*{said}"):
        registry.get("attack", "hard")


def test_a_package_that_cannot_be_read_hides_no_other(site: Path) -> None:
    bring(site, HARD)
    install(site, "bad", {"robustcl.presets": {"bad": "no_such_package"}}, {})
    assert registry.names("attack") == ["hard"]
    (broken,) = registry.broken_recipes()
    assert "the preset 'bad' of bad 1.0 (no_such_package) cannot be imported" in str(broken)


def test_a_preset_shares_the_names_of_attacks_with_classes(site: Path) -> None:
    bring(site, HARD, **{"robustcl.attacks": {"their-ensemble": "acme_plugins:Nudge"}})
    assert registry.names("attack") == ["hard", "their-ensemble"]
    assert [entry.name for entry in registry.entries("attack")] == ["hard", "their-ensemble"]
    install(site, "other", {"robustcl.attacks": {"hard": "acme_plugins:Nudge"}})
    registry.refresh()
    assert registry.names("attack") == ["acme/hard", "other/hard", "their-ensemble"]


def test_a_generator_is_asked_whether_it_can_attack_before_it_does() -> None:
    for use in ("apgd-t", "apgd-targeted", "mt-pgd", "fab-t", "fab"):
        attack = attack_of(Use(use=use, targets=4), Parts(), "here")
        assert attack.plugin.members(5, Ball("L2", 0.5))
        with pytest.raises(UsageError, match=f"^{use}: targets = 4, but of 4 classes only 3"):
            attack.plugin.members(4, Ball("L2", 0.5))
    with pytest.raises(UsageError, match="rays searches the corners of a Linf ball"):
        attack_of(Use(use="rays"), Parts(), "here").plugin.members(4, Ball("L2", 0.5))


def test_what_was_read_is_read_again_after_a_refresh(site: Path) -> None:
    bring(site, HARD)
    assert registry.get("attack", "hard") is registry.get("attack", "hard")
    assert options.resolve(registry.get("attack", "hard"), {}, "here")["times"] == 7
    (site / "acme_presets" / "hard.toml").write_text(HARD.replace("7", "9"))
    (site / "acme_presets" / "soft.toml").write_text(HARD.replace("7", "1"))
    assert registry.names("attack") == ["hard"]
    registry.refresh()
    assert registry.names("attack") == ["hard", "soft"]
    assert options.resolve(registry.get("attack", "hard"), {}, "here")["times"] == 9


def test_a_preset_of_a_part_that_is_missing_says_so(site: Path) -> None:
    bring(site, HARD)
    absent = "    def available(self):\n        return 'no GPU here'\n\n    def perturb"
    (site / "acme_plugins.py").write_text(GOOD.replace("    def perturb", absent, 1) + "\nNudge.target = 3\n")
    attack = registry.get("attack", "hard")()
    assert (attack.available(), attack.target) == ("no GPU here", 3)


@pytest.mark.parametrize(("name", "variant"), [("apgd-ce", "APGD-CE"), ("apgd-dlr", "APGD-DLR"), ("apgd-t", "APGD-T")])
def test_a_variant_cites_its_generators_source(name: str, variant: str) -> None:
    assert registry.get("attack", name).citation == f"{variant} of {APGD.citation}"  # type: ignore[attr-defined]


def test_a_class_to_reach_is_the_attacks_own() -> None:
    attack = attack_of(Use(use="fgsm", target=2), Parts(), "here")
    assert (attack.name, attack.plugin.target) == ("fgsm-target-2", 2)
    ((member, generator),) = attack.plugin.members(4, Ball("Linf", 0.1))
    assert (member, generator.target) == ("fgsm", 2)


def test_a_strangers_preset_keeps_the_promises_and_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "use = 'pgd'\nabout = 'Seven steps from x itself.'\nsettable = ['step_size']\nsteps = 7\nstart = 'none'\n"
    files = {"seven_presets/__init__.py": "", "seven_presets/pgd-7.toml": text}
    install(tmp_path, "seven", {"robustcl.presets": {"seven": "seven_presets"}}, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        reports = check_distribution("seven")
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        x = make_images(6, (3, 2, 2))
        y = net(x).argmax(1)
        found = robustcl.attacks.PGD7(net, eps=0.02)(x, y)
    finally:
        registry.refresh()
    assert [str(report) for report in reports if not report.ok] == []
    assert {report.check for report in reports} >= {"breaks_linear_models", "init_only_stores"}
    same = robustcl.attacks.PGD(net, eps=0.02, steps=7, start="none", stop_early=True)(x, y)
    assert torch.equal(found, same)
    assert not torch.equal(found, x)


def test_a_preset_is_pickled_and_copied_like_any_plugin() -> None:
    attack = options.build(registry.get("attack", "pgd-20"), {"step_size": 0.5}, "it").instance
    for again in (pickle.loads(pickle.dumps(attack)), copy.copy(attack), copy.deepcopy(attack)):
        assert type(again) is type(attack)
        assert (again.step_size, again.generator.step_size, again.generator.steps) == (0.5, 0.5, 20)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    made = pickle.loads(pickle.dumps(robustcl.attacks.make("pgd-20", net, eps=0.1)))
    assert made(torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64)).shape == (2, 1, 2, 2)


@pytest.mark.parametrize("name", ["members", "generator", "name", "needs", "available"])
def test_an_option_never_takes_the_place_of_what_an_attack_has(site: Path, name: str) -> None:
    bring(site, HARD.replace('["times", "amount"]', f'["times", "{name}"]'))
    generator = (site / "acme_plugins.py").read_text().replace("amount", name)
    (site / "acme_plugins.py").write_text(generator)
    with pytest.raises(NotAPlugin, match="no preset"):
        registry.get("attack", "hard")


def test_an_option_may_be_named_twice(site: Path) -> None:
    bring(site, HARD.replace('["times", "amount"]', '["times", "times", "amount"]'))
    assert [option.name for option in options.describe(registry.get("attack", "hard"))] == ["times", "amount"]


def test_a_name_of_two_distributions_and_kinds_is_nobodys_by_itself(site: Path) -> None:
    bring(site, HARD)
    install(site, "else", {"robustcl.attacks": {"nudge": "else_plugins:Nudge"}}, {"else_plugins.py": GOOD})
    kinds = ("attack", "generator")
    with pytest.raises(AmbiguousPlugin, match="write 'else/nudge' or 'acme/nudge'"):
        registry.kind_of("nudge", kinds)
    assert (registry.kind_of("else/nudge", kinds), registry.kind_of("acme/nudge", kinds)) == ("attack", "generator")
    assert registry.kind_of("hard", kinds) == "attack"


def test_a_generator_that_asks_by_a_former_name_is_told_the_new_one() -> None:
    attack = Attack(
        oracle=Oracle(encode=lambda x, places: Embedding()), ball=Ball("Linf", 0.1), rng=Rng(0), label=torch.zeros(1),
        index=torch.zeros(1), places=torch.zeros(1),
    )  # fmt: skip
    with pytest.raises(NotAPlugin, match=r"no 'loss': its plugin asks objective\(\) of the attack instead"):
        attack.loss  # noqa: B018
    assert not hasattr(Attack, "loss")
