"""Finished runs whose plugins another distribution offers too by now, or instead: the lock says whose was meant."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from robustcl import api, registry
from robustcl.cli.main import robustcl
from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.errors import AmbiguousPlugin, UnknownPlugin, UsageError
from robustcl.recipe import Use
from robustcl.train import stage_files
from tests.shared.distributions import install

PLUGINS = """
import torch
from torch import nn
from robustcl.data.arrays import ArraySource

class Plugin:
    needs = frozenset()
    citation = "Nobody, Nothing, 2020"

class Pictures(Plugin):
    encoder = "stranger"
    def open(self, split):
        images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(len(split)))
        return ArraySource(images, torch.arange(24) % 3)
    def classes(self):
        return ("a", "b", "c")
    def statistics(self):
        return (0.5,), (0.3,)

class Stranger(Plugin):
    def backbone(self, item):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH)), WIDTH

class Nudge(Plugin):
    def perturb(self, x, attack):
        return attack.ball.project(x + AMOUNT, x).detach()
"""
GROUPS = {
    "robustcl.datasets": "pictures = {0}:Pictures",
    "robustcl.encoders": "stranger = {0}:Stranger",
    "robustcl.generators": "nudge = {0}:Nudge",
}


def offer(site: Path, name: str, width: int) -> None:
    groups = {group: dict([line.format(f"{name}_plugins").split(" = ")]) for group, line in GROUPS.items()}
    source = PLUGINS.replace("WIDTH", str(width)).replace("AMOUNT", str(width / 100))
    install(site, name, groups, {f"{name}_plugins.py": source})
    registry.refresh()


def withdraw(site: Path, name: str) -> None:
    (info,) = site.glob(f"{name}-*.dist-info")
    shutil.rmtree(info)
    registry.refresh()


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """Let a folder of distributions stand beside what is installed."""
    seen, real = set(sys.modules), importlib.metadata.distributions
    own = [one for one in real() if one.metadata["Name"] == "robustcl"]
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(importlib.metadata, "distributions", lambda: [*own, *real(path=[str(folder)])])
        registry.refresh()
        yield folder
    registry.refresh()
    for name in set(sys.modules) - seen:
        if name.endswith("_plugins"):
            del sys.modules[name]


RECIPE: dict[str, Any] = {
    "name": "tiny", "seed": 0, "data": {"use": "pictures", "batch": 8}, "threat": {"eps": "32/255"},
    "stage": [{
        "name": "only", "epochs": 1, "split": "train", "views": {"w": "none"},
        "generator": {"w_adv": {"use": "nudge", "reads": ["w"]}},
        "term": {"ce": {"use": "cross-entropy", "views": ["w_adv"]}}, "optimizer": {"use": "adam", "lr": 0.01},
    }],
    "evaluate": [{"use": "own", "attacks": [{"use": "nudge"}], "samples": 6, "audit": 0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("owners")
    with beside(place / "site") as site:
        offer(site, "acme", 5)
        api.from_tables(RECIPE, "the test").train(place / "run", device="cpu", report=False)
    return place / "run"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    with beside(tmp_path / "site") as folder:
        offer(folder, "acme", 5)
        yield folder


@pytest.fixture
def run(made: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "run")
    shutil.copytree(made, "twin")
    return Path("run")


COMMANDS = [
    ("evaluate", "run", "--no-audit"),
    ("evaluate", "run", "--no-audit", "--attack", "nudge", "--attack", "fgsm", "--route", "clean"),
    ("evaluate", "run", "--no-audit", "--eps", "8/255"),
    ("evaluate", "run", "--no-audit", "--protocol", "slf"),
    ("audit", "run", "--samples", "3"),
    ("measure", "run", "--samples", "6", "--what", "alignment"),
    ("transfer", "run", "twin", "--samples", "4", "--out", "matrix"),
    ("resume", "run"),
]  # fmt: skip


def asked(*command: str) -> Result:
    return CliRunner().invoke(robustcl, list(command), standalone_mode=False)


def numbers(run: Path) -> list[tuple[Any, ...]]:
    rows = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    return sorted((row["split"], row["attack"] or "", row["value"]) for row in rows)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_name_that_two_offer_by_now_is_the_lock_s(command: tuple[str, ...], run: Path, site: Path) -> None:
    before = numbers(run)
    offer(site, "beta", 7)
    done = asked(*command)
    assert done.exception is None, done.exception
    assert done.return_value in (0, None) or command[0] == "audit"
    assert set(before) <= set(numbers(run))


def test_another_s_plugin_of_the_name_is_not_taken(run: Path, site: Path) -> None:
    """It would fit: the networks are alike."""
    offer(site, "beta", 5)
    withdraw(site, "acme")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for command in COMMANDS:
        done = asked(*command)
        assert isinstance(done.exception, UsageError), (command, done.exception)
        said = "the dataset 'pictures' is beta 1.0's, and the run was made with that of acme 1.0: install acme again"
        assert said in str(done.exception)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_an_attack_of_that_name_is_not_taken_for_the_generator_of_the_lock(run: Path, site: Path) -> None:
    before = numbers(run)
    install(site, "delta", {"robustcl.attacks": {"nudge": "delta_plugins:Nudge"}}, {
        "delta_plugins.py": PLUGINS.replace("WIDTH", "5").replace("AMOUNT", "0.05")
    })  # fmt: skip
    registry.refresh()
    done = asked("evaluate", "run", "--no-audit")
    assert done.exception is None, done.exception
    assert numbers(run) == before
    with pytest.raises(
        AmbiguousPlugin, match=r"^--attack: 'nudge' is the attack .* write 'delta/nudge' or 'acme/nudge'"
    ):
        attack_of(Use(use="nudge"), Parts(), "--attack")


def test_nobody_s_plugin_is_said_with_its_owner(run: Path, site: Path) -> None:
    withdraw(site, "acme")
    for command in COMMANDS:
        done = asked(*command)
        assert isinstance(done.exception, UnknownPlugin), (command, done.exception)
        assert "'pictures'" in str(done.exception)
        assert "the run was made with that of acme 1.0: install it again" in str(done.exception)


def test_two_others_are_no_owner_either(run: Path, site: Path) -> None:
    offer(site, "beta", 5)
    offer(site, "gamma", 5)
    withdraw(site, "acme")
    done = asked("evaluate", "run", "--no-audit")
    assert isinstance(done.exception, AmbiguousPlugin)
    assert "made with that of acme 1.0, which is not installed" in str(done.exception)


def test_weights_are_loaded_by_the_plugin_of_their_run(run: Path, site: Path) -> None:
    stage = run / "stages/only"
    offer(site, "beta", 7)
    assert stage_files.load(stage).features == 5
    withdraw(site, "acme")
    with pytest.raises(UsageError, match=r"only/config.json: the encoder 'stranger' is beta 1.0's, .* acme 1.0"):
        stage_files.load(stage)


def test_weights_that_left_their_run_say_where_to_write_whose_they_are(run: Path, site: Path, tmp_path: Path) -> None:
    offer(site, "beta", 7)
    loose = Path(shutil.copytree(run / "stages/only", tmp_path / "loose"))
    with pytest.raises(AmbiguousPlugin, match=r"loose/config.json: .*write 'acme/stranger' or 'beta/stranger'"):
        stage_files.load(loose)
    told = json.loads((loose / "config.json").read_text(encoding="utf-8"))
    told["encoder"]["use"] = "acme/stranger"
    (loose / "config.json").write_text(json.dumps(told), encoding="utf-8")
    assert stage_files.load(loose).features == 5


def test_what_a_notebook_added_may_be_installed_since(run: Path, site: Path) -> None:
    lock = (run / "recipe.lock.toml").read_text(encoding="utf-8")
    (run / "recipe.lock.toml").write_text(lock.replace('"acme 1.0"', '"local"'), encoding="utf-8")
    done = asked("evaluate", "run", "--no-audit")
    assert done.exception is None, done.exception


def test_a_new_version_of_the_same_distribution_is_taken(run: Path, site: Path) -> None:
    lock = (run / "recipe.lock.toml").read_text(encoding="utf-8")
    (run / "recipe.lock.toml").write_text(lock.replace('"acme 1.0"', '"Acme 0.9"'), encoding="utf-8")
    done = asked("evaluate", "run", "--no-audit")
    assert done.exception is None, done.exception


def test_an_audit_throws_its_own_attacks_whoever_else_has_one_of_the_name(run: Path, site: Path) -> None:
    """What the audit throws at a model stands in no lock: it is that of the audit's own distribution."""

    def told() -> list[str]:
        done = asked("audit", "run", "--samples", "3")
        assert done.exception is None, done.exception
        return [line for line in done.output.splitlines() if " left" not in line]

    before = told()
    install(site, "delta", {"robustcl.generators": {"pgd": "delta_plugins:Nudge"}}, {
        "delta_plugins.py": PLUGINS.replace("WIDTH", "5").replace("AMOUNT", "0.05")
    })  # fmt: skip
    registry.refresh()
    assert told() == before
