"""What a data set makes of recipes that were written for another one: its rules, told once and by the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tomli_w
import torch

from robustcl import compose, registry
from robustcl.api import Composition, from_file, from_tables
from robustcl.composition import dataset_rules
from robustcl.composition.choice import Flags, choose
from robustcl.composition.lock import digest
from robustcl.data.arrays import ArraySource, blocks
from robustcl.data.moments import Statistics, statistics_of
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.ratio import ratio
from robustcl.recipe import adaptation, inherit, override
from robustcl.recipe.adaptation import Adaptation
from robustcl.recipe.multiples import scale
from robustcl.testing import check_class

RECIPES = sorted(registry.recipes())


RULES = {
    "threat": {"Linf": {"times": "3/2", "curve": ["6/255", "12/255"]}},
    "times": {"projector.widths": "1/16", "view.radius": 0.25, "objective.depth": 0.25},
    "at_least": {"projector.widths": 16, "view.scale": 0.5},
    "at_most": {"target.clusters": 20, "stage.labelled": 90, "data.batch": 160, "objective.width": 16},
    "set": {
        "encoder.use": "resnet-small", "view.flip": 0.0, "view.padding": 1, "target.grid": [3, 6],
        "objective.heads": 4, "objective.inner": 64
    },
}  # fmt: skip


class Badges:
    """A stranger's data set: 300 badges (3, 8, 8) of three colours, which no recipe knows."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    encoder: ClassVar[str] = "resnet-small"
    citation: ClassVar[str] = "no source"
    adaptation: ClassVar[Mapping[str, Any]] = dict.fromkeys(("cifar10", "badges"), RULES)

    def open(self, split: str) -> ArraySource:
        generator = torch.Generator().manual_seed(len(split))
        label = torch.arange(60 if split == "test" else 300) % 3
        images = torch.rand(len(label), 3, 8, 8, generator=generator) / 2
        images[torch.arange(len(label)), label] += 0.4
        return ArraySource((255 * images).to(torch.uint8), label)

    def classes(self) -> tuple[str, ...]:
        return ("red", "green", "blue")

    def statistics(self) -> Statistics:
        return statistics_of(blocks(self.open("train").images))


@pytest.fixture(scope="module", autouse=True)
def badges() -> Iterator[None]:
    with registry.local("dataset", "badges", Badges):
        yield


def test_the_conformance_suite_takes_a_strangers_rules() -> None:
    assert [str(report) for report in check_class("dataset", Badges, "badges") if not report.ok] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_composes_on_a_strangers_data_under_its_rules(recipe: str) -> None:
    theirs = compose(recipe=recipe, dataset="cifar10", budget="paper").lock()
    composed = compose(recipe=recipe, dataset="badges", budget="paper")
    ours = composed.lock()
    assert float(composed.ball.eps) == pytest.approx(1.5 * eps_of(theirs))
    views = [view for stage in ours["stage"] for view in stage.get("views", {}).values()]
    views += [entry["view"] for entry in ours["evaluate"] if isinstance(entry.get("view"), dict)]
    assert all(view.get("flip", 0.0) == 0.0 for view in views)
    assert all(view.get("scale", 1.0) >= 0.5 for view in views)
    assert all(stage.get("labelled", 0) <= 90 for stage in ours["stage"])
    assert ours["encoder"]["use"] == "resnet-small"
    assert ours["data"]["batch"] <= 160
    assert all(entry["curve"] in ([], ["6/255", "12/255"]) for entry in ours["evaluate"])
    for stage, other in zip(ours["stage"], theirs["stage"], strict=True):
        for name, table in stage.get("generator", {}).items():
            if "ball" not in table and "step_size" in table:
                before = steps_of(other["generator"][name]["step_size"])
                assert steps_of(table["step_size"]) == pytest.approx(1.5 * before)
    assert any(line.startswith("adapted to badges: threat.eps=") for line in composed.how)
    assert "written_for" not in ours


@pytest.mark.parametrize("recipe", ["ncp", "vat"])
def test_recipes_train_on_a_strangers_data(recipe: str, tmp_path: Path) -> None:
    run = compose(recipe=recipe, dataset="badges", budget="smoke").train(tmp_path / "run", device="cpu", report=False)
    assert run.results.tables["rows"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_says_of_digits_only_what_no_rule_says(recipe: str) -> None:
    own = inherit.own(recipe).get("adapt", {}).get("digits", {})
    tables = inherit.read_installed(recipe)
    rules = dataset_rules.rules_of("digits", tables["written_for"])
    assert rules is not None
    for changes in (tables.pop("adapt", {}).get("digits", {}), own):
        dataset_rules.apply(copied := inherit.read_installed(recipe), rules)
        repeated = [path for path in own if path in changes and override.get(copied, path) == changes[path]]
        assert repeated == []


def test_the_recipes_own_table_comes_after_the_rules() -> None:
    tables = {**inherit.read_installed("at"), "adapt": {"badges": {"threat.eps": "5/255"}}}
    tables["data"] = {"use": "badges"}
    composed = composed_of(tables)
    assert composed.recipe.threat.eps == "5/255"
    assert composed.lock()["stage"][0]["generator"]["w_adv"]["step_size"] == "3/255", "the rule holds for the rest"
    (said,) = [line for line in composed.how if line.startswith("adapted to")]
    assert "threat.eps=5/255" in said


@pytest.mark.parametrize("written_for", [None, "badges", "imagenet"])
def test_a_recipe_that_was_written_for_no_such_data_stays_as_it_is(written_for: str | None) -> None:
    tables = inherit.read_installed("at")
    tables.pop("adapt", None)
    tables |= {"data": {"use": "badges"}, "threat": {"norm": "Linf", "eps": 0.3}, "written_for": written_for}
    composed = composed_of({key: value for key, value in tables.items() if value is not None})
    assert composed.recipe.threat.eps == 0.3
    assert composed.lock()["stage"][0]["generator"]["w_adv"]["step_size"] == "2/255"
    assert not any(line.startswith("adapted") for line in composed.how)


def test_rules_reach_what_is_left_to_a_plugins_default_and_not_what_is_left_to_the_core_s() -> None:
    simclr, at = (compose(recipe=name, dataset="badges").lock() for name in ("simclr", "at"))
    assert simclr["evaluate"][0]["view"] == {"use": "weak", "flip": 0.0, "padding": 1}, "the protocol's own view"
    assert simclr["encoder"]["projector"]["widths"] == [128, 16]
    assert at["encoder"]["projector"]["widths"] == [512, 128], "of no head does the recipe say a word"
    sampler = compose(recipe="acl-rcs", dataset="badges").lock()["stage"][0]["sampler"]
    assert steps_of(sampler["step_size"]) == pytest.approx(15 / 765)
    targets = compose(recipe="advcl", dataset="badges").lock()["stage"][1]["targets"]
    assert targets["clusters"] == [2, 10, 20, 20, 20]
    assert len(targets["grid"]) > 2, "which no rule touches where the recipe has none"


class Raising(dict[str, Any]):
    """A table that cannot be looked through."""

    def items(self) -> Any:
        raise KeyError("lost")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"cifar10": {"times": {"data.batch": 1e308}}}, "its adaptation multiplies a number of the recipe out of the"),
        ({"cifar10": {"threat": {"Linf": {"times": 1e308}}}}, "its adaptation multiplies a number of the recipe"),
        ({"cifar10": {"set": {"view.flip": (_ for _ in ())}}}, "cifar10: set.view.flip is of generator; give what"),
        ({"cifar10": {"set": {"view.flip": float("nan")}}}, "cifar10: set.view.flip is of float; give what"),
        ({"cifar10": {"set": {"view.flip": Badges}}}, "cifar10: set.view.flip is of type; give what a recipe can hold"),
        (Raising(), "adaptation cannot be read, KeyError: 'lost': a mistake in the plugin"),
    ],
)
def test_rules_that_break_are_the_plugins_mistake(rules: Any, said: str) -> None:
    class Broken(Badges):
        adaptation = rules

    with registry.local("dataset", "broken", Broken), pytest.raises(UsageError, match=said) as told:
        compose(recipe="at", dataset="broken", budget="paper", overrides=["threat.eps=8/255"])
    assert str(told.value).startswith("the data set 'broken'")


@pytest.mark.parametrize("norm", ["inf", "linf", "LINF", "Linf"])
def test_a_norm_is_the_same_by_each_of_its_names(norm: str) -> None:
    class Named(Badges):
        adaptation: ClassVar[Mapping[str, Any]] = {"cifar10": {"threat": {norm: {"times": 2}}}}

    with registry.local("dataset", "named", Named):
        assert compose(recipe="at", dataset="named").recipe.threat.eps == "16/255"
    tables = inherit.read_installed("at") | {"data": {"use": "badges"}, "threat": {"norm": norm, "eps": 1}}
    assert choose(Flags(), tables)[0]["threat"]["eps"] == 1.5, "which is no whole number of its kind"


def test_a_data_set_is_the_same_with_its_distribution() -> None:
    plain, full = (compose(recipe="ascl-li", dataset=name) for name in ("digits", "robustcl/digits"))
    changed = [next(line for line in each.how if line.startswith("adapted to digits: ")) for each in (plain, full)]
    assert changed[0] == changed[1]


def test_a_generator_s_own_ball_is_not_the_threats() -> None:
    tables = inherit.read_installed("at") | {"data": {"use": "badges"}}
    tables["stage"][0]["generator"]["w_adv"]["ball"] = {"norm": "L2", "eps": 2.0}
    composed = composed_of(tables)
    assert composed.recipe.threat.eps == "12/255"
    assert composed.lock()["stage"][0]["generator"]["w_adv"]["step_size"] == "2/255"


def test_attacks_of_one_name_are_told_by_their_number() -> None:
    tables = inherit.read_installed("at")
    tables["evaluate"][0]["attacks"] = ["pgd-20", {"use": "pgd-20", "restarts": 2}, "fgsm"]
    composed = composed_of(tables)
    steps = [table.get("step_size") for table in composed.lock()["evaluate"][0]["attacks"]]
    assert steps == ["8/255", "8/255", None], "there is nothing to write out in one step"
    (said,) = [line for line in composed.how if line.startswith("adapted to digits")]
    assert "evaluate.own.attacks.0.step_size=8/255, evaluate.own.attacks.1.step_size=8/255" in said


def test_another_norm_is_not_scaled_and_a_lock_is_not_adapted_again(tmp_path: Path) -> None:
    tables = {**inherit.read_installed("at"), "data": {"use": "badges"}, "threat": {"norm": "L2", "eps": 0.5}}
    assert composed_of(tables).recipe.threat.eps == 0.5
    composed = compose(recipe="at", dataset="badges")
    (tmp_path / "lock.toml").write_text(tomli_w.dumps(composed.lock()))
    assert digest(from_file(tmp_path / "lock.toml")) == digest(composed)


@pytest.mark.parametrize(
    "broken",
    [
        {"encoder": [1]}, {"encoder": {"projector": 3}}, {"threat": "x"}, {"threat": {"norm": [], "eps": {}}},
        {"stage": {"views": 1}}, {"stage": [3]}, {"stage": [{"views": [1], "generator": {"g": 2}}]}, {"data": 7},
        {"evaluate": [{"use": "slf", "view": [1], "attacks": [3, {"use": {}}]}, "x"]}, {"written_for": 3},
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused_in_its_own_sentence(broken: dict[str, Any]) -> None:
    tables = inherit.read_installed("at") | {"data": {"use": "badges"}} | broken
    with pytest.raises(UsageError, match=next(iter(broken))):
        composed_of(tables)


def test_an_extending_recipe_may_be_written_for_other_data() -> None:
    assert inherit.whole({"name": "mine", "extends": "at"}, "mine")["written_for"] == "cifar10"
    assert inherit.whole({"name": "mine", "extends": "at", "written_for": "badges"}, "mine")["written_for"] == "badges"


MINE = """
name = "mine"
extends = "at"
[set]
{}
[[stage]]
name = "more"
epochs = 1
init = "stage:train"
views = {{ w = {{ use = "weak", flip = 0.5 }} }}
objective = "cross-entropy"
optimizer = {{ use = "sgd", lr = 0.1 }}
"""


@pytest.mark.parametrize(
    ("said", "path", "value"),
    [
        ('"encoder.use" = "cnn-4"', "encoder.use", "cnn-4"),
        ('"encoder" = { use = "resnet-18", stem = "imagenet" }', "encoder.stem", "imagenet"),
        ('"threat.eps" = "0.1"', "threat.eps", "0.1"),
        ('"threat" = { norm = "Linf", eps = 0.1 }', "threat.eps", 0.1),
        ('"stage.train.generator.step_size" = "3/255"', "stage.train.generator.w_adv.step_size", "3/255"),
        ('"stage.0.views.w" = { use = "weak", padding = 2 }', "stage.train.views.w.padding", 2),
        ('"evaluate.own.curve" = ["1/255"]', "evaluate.own.curve", ["1/255"]),
        ('"evaluate.own.attacks" = [{ use = "pgd-20", step_size = 0.01 }]', "evaluate.own.attacks.0.step_size", 0.01),
        ('"seed" = 1', "stage.more.views.w.flip", 0.5),
    ],
)
def test_what_a_file_itself_sets_is_moved_by_no_rule(said: str, path: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE.format(said))
    for composed in (from_file(file), compose(recipe=str(file), dataset="badges")):
        lock = composed.lock()
        assert override.get(lock, path) == value
        moved = {"threat.eps": "8/255", "encoder.use": "resnet-18", "stage.train.views.w.flip": 0.5}
        kept = [key for key, before in moved.items() if override.get(lock, key) == before]
        assert kept == ([] if "resnet-18" not in said else ["encoder.use"]), "the rest follows the data"
        assert override.get(lock, "stage.more.views.w.padding") == 1, "and so does what a stage leaves to its default"


def test_a_file_may_say_that_what_it_sets_is_for_other_data_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nextends = "at"\nwritten_for = "cifar10"\n[set]\n"threat.eps" = "16/255"\n')
    assert from_file(file).recipe.threat.eps == "64/255"
    but = 'written_for = { data = "cifar10", but = ["threat"] }'
    file.write_text(file.read_text().replace('written_for = "cifar10"', but))
    assert from_file(file).recipe.threat.eps == "16/255"
    file.write_text(file.read_text().replace("but =", "butt ="))
    with pytest.raises(UsageError, match=r"unknown key 'written_for.butt'"):
        from_file(file)


def test_a_recipe_that_names_other_data_is_written_for_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nextends = "at"\n[set]\n"data.use" = "badges"\n"encoder.use" = "resnet-small"\n')
    composed = from_file(file)
    assert composed.recipe.threat.eps == "8/255"
    assert not any(line.startswith("adapted") for line in composed.how)
    file.write_text(file.read_text().replace("badges", "digits"))
    assert from_file(file).recipe.threat.eps == "32/255", "which the other one says too"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"cifar10": {"at_lest": {"view.scale": 0.4}}}, r"cifar10: unknown key 'at_lest', did you mean 'at_least'\?"),
        ({"cifar10": {"times": {"view.scale": "four"}}}, r"cifar10: times.view.scale = 'four' is not accepted"),
        ({"cifar10": {"times": {"view.scale": -1}}}, r"times.view.scale = -1 is not accepted; give a number greater"),
        ({"cifar10": {"threat": {"Linf": {"time": 4}}}}, r"unknown key 'threat.Linf.time'"),
        ({"cifar10": {"set": {"veiw.flip": 0.0}}}, r"the rule 'veiw.flip' is no KIND.OPTION, did you mean 'view'\?"),
        ({"cifar10": {"set": {"flip": 0.0}}}, r"the rule 'flip' is no KIND.OPTION"),
        ({"cifar10": {"at_most": {"stage.labeled": 9}}}, r"is about no key of a recipe, did you mean 'labelled'\?"),
        ({"cifar10": {"set": {"view": 0.0}}}, r"the rule 'view' names no option of a view; write view.OPTION"),
        ({"cifar10": {"set": {"data.use": "digits"}}}, r"the rule 'data.use' would exchange the data set itself"),
        ({"cifar10": {"threat": {"Lnf": {"times": 4}}}}, r"cifar10.threat: the norm 'Lnf' is not known: write one of"),
        ({"cifar10": {"threat": {"inf": {"times": 4}, "Linf": {"times": 2}}}}, r"'Linf' is Linf, of which another"),
        ({"cifar10": 4}, r"adaptation.cifar10 = 4 is not accepted; give a table of rules"),
        (4, r"adaptation = 4 is not accepted; give a table of rules for each data set"),
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused_by_the_plugins_name(rules: Any, said: str) -> None:
    class Wrong(Badges):
        adaptation = rules

    with registry.local("dataset", "wrong", Wrong), pytest.raises(UsageError, match=said) as told:
        compose(recipe="at", dataset="wrong")
    assert str(told.value).startswith("the data set 'wrong' of local")


def test_a_rule_about_no_option_is_found_by_the_conformance_suite() -> None:
    class Wrong(Badges):
        """Badges with a misspelt rule."""

        adaptation: ClassVar[Mapping[str, Any]] = {"cifar10": {"set": {"view.flop": 0.0}}}

    (failed,) = [report for report in check_class("dataset", Wrong, "wrong") if not report.ok]
    assert "'view.flop' is about no option of any installed view, did you mean 'flip'?" in failed.message


def test_numbers_keep_their_sort() -> None:
    assert [scale(value, 4) for value in ("8/255", 0.007, 3, "0.5", True, None, "eps")] == [
        "32/255", 0.028, 12, "2", True, None, "eps"
    ]  # fmt: skip
    assert scale(["2/255", 1], 1.5) == ["3/255", 1.5]
    stepped = {"piecewise": [0.1, 0.2], "at": [10, 20], "warmup_from": 0.1}
    assert scale(stepped, 2) == {"piecewise": [0.2, 0.4], "at": [10, 20], "warmup_from": 0.2}
    rules = Adaptation(times={"view.x": 2}, at_least={"view.x": 0.5}, at_most={"view.x": 3}, set={"view.y": [1]})
    assert [rules.change("view", "x", value) for value in (0.1, 1, "1/2", 7, 7.0)] == [0.5, 2, "2/2", 3, 3.0]
    assert [rules.change("view", "x", value) for value in ("1/8", "7/2")] == ["4/8", "6/2"]
    assert rules.change("view", "y", None) == [1]
    halved = Adaptation(times={"view.x": 0.5}, at_least={"view.x": 0.4}, at_most={"view.x": 2.5})
    assert [halved.change("view", "x", value) for value in (0, 1, 9)] == [0.4, 0.5, 2.5]
    assert [halved.change("view", "x", value, whole=True) for value in (0, 1, 3, 9)] == [1, 1, 2, 2]
    assert rules.options("view") == ["x", "y"]


def test_rules_are_told_once_for_data_sets_that_share_them() -> None:
    lines = adaptation.say(adaptation.read(registry.get("dataset", "digits"), "digits"))
    assert lines[0] == "Recipes written for cifar10, cifar100, stl10:"
    assert "  at least: projector.widths 128, view.scale 0.4" in lines
    assert len(lines) == 5


def composed_of(tables: dict[str, Any]) -> Composition:
    recipe, how = choose(Flags(), tables)
    return from_tables(recipe, "the recipe", how)


def eps_of(lock: Mapping[str, Any]) -> float:
    return steps_of(lock["threat"]["eps"])


def steps_of(value: Any) -> float:
    return float(ratio(value))
