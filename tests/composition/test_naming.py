"""What a composition is called, and what stands in its headline, however its parts came into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import tomli_w
from torch import Tensor

from robustcl import registry
from robustcl.api import Composition, compose, from_file
from robustcl.composition.lock import digest
from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.recipe.made import differences, headline, of_results
from robustcl.search import ascend
from robustcl.study import api as studies
from robustcl.types import Attack
from tests.shared import tiny


class Drift:
    """Five steps away from the clean features.

    steps: how many.
    step_size: of each.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = "unpublished, no source"

    def __init__(self, *, steps: int = 5, step_size: float | str = "2/255") -> None:
        self.steps = steps
        self.step_size = step_size

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        clean = attack.clean().h
        return ascend(x, lambda c: (attack.encode(c).h - clean).square().sum(1), attack.ball, steps=self.steps,
                      step_size=0.01, rng=attack.rng)  # fmt: skip


@pytest.fixture(autouse=True)
def _drift() -> Iterator[None]:
    with registry.local("generator", "drift", Drift):
        yield


def name_of(*overrides: str, **flags: str) -> str:
    return compose(budget="smoke", overrides=overrides, **flags).recipe.name


def test_what_is_replaced_names_the_run_whichever_way_it_came() -> None:
    assert name_of(recipe="ncp") == "ncp"
    assert name_of(generator="ncp", objective="deacl") == "ncp"
    assert name_of(recipe="ncp", generator="drift") == "ncp+drift"
    assert name_of(generator="drift", objective="deacl") == "deacl+drift"
    assert name_of('stage.robust.generator.use="pgd"', recipe="deacl") == "deacl+pgd"
    assert name_of("stage.robust.generator.use=local/drift", recipe="deacl") == "deacl+local-drift"
    assert name_of(recipe="supcon", selector="all") == "supcon+all"
    assert name_of(recipe="simclr", objective="supcon") == "simclr+supcon"
    assert name_of("stage.robust.epochs=3", recipe="ncp", encoder="cnn-4") == "ncp", "no part of the method"
    assert name_of(recipe="ncp", target="spherical-kmeans", generator="ncp") == "ncp", "what stood there already"


def test_what_the_base_says_of_itself_stands_as_the_bases() -> None:
    composition = compose(recipe="ncp", generator="drift", budget="smoke", seed=3, overrides=["stage.robust.epochs=2"])
    base = compose(recipe="ncp", budget="smoke").recipe
    recipe, made = composition.recipe, composition.recipe.made
    assert (recipe.about, recipe.cite, recipe.deviations) == ("", "", [])
    assert made is not None
    assert (made.recipe, made.budget, made.cite, made.deviations) == ("ncp", "smoke", base.cite, base.deviations)
    told = ["ncp+drift, seed 3, budget smoke, base ncp", "replaced: ncp by drift",
            "without: the target spherical-kmeans", "changed: stage.robust.epochs=2"]  # fmt: skip
    assert headline(recipe.name, recipe.seed, made) == told
    text = composition.explain()
    assert text.startswith("\n".join(told))
    assert "source of the base ncp" in text
    assert "known deviations of the base ncp" in text
    assert base.cite in compose(recipe="ncp", budget="smoke").explain()


def test_a_name_of_ones_own() -> None:
    composition = compose(recipe="ncp", generator="drift", budget="smoke", name="mine-2")
    assert composition.recipe.name == "mine-2"
    assert composition.recipe.made is not None
    assert differences(composition.recipe.made)["replaced"] == "ncp by drift"
    assert digest(composition) == digest(compose(recipe="ncp", generator="drift", budget="smoke")), (
        "a name decides nothing"
    )
    for bad in ("../x", "A", "", "a b", "-a", "a\0", "a\x1b[31m", "ä"):
        with pytest.raises(UsageError, match=r"--name .* is not accepted; write it as a stage's"):
            compose(recipe="ncp", budget="smoke", name=bad)


def test_the_hash_of_a_composition_is_what_it_was_before_names_told_parts(tmp_path: Path) -> None:
    """A replaced part had the base's name in the hash; finished runs are recognised by it."""
    new = compose(recipe="deacl", generator="pgd", budget="smoke")
    lock = {key: value for key, value in new.lock().items() if key not in ("made", "lock")} | {"name": "deacl"}
    (tmp_path / "old.toml").write_text(tomli_w.dumps(lock))
    assert digest(from_file(tmp_path / "old.toml")) == digest(new)


def test_files_locks_and_further_changes_keep_the_account(tmp_path: Path) -> None:
    first = compose(recipe="ncp", generator="drift", budget="smoke")
    for name, tables in (("saved.toml", first.tables), ("lock.toml", first.lock())):
        (tmp_path / name).write_text(tomli_w.dumps(dict(tables)))
        again = from_file(tmp_path / name)
        assert (again.recipe.name, again.recipe.made) == ("ncp+drift", first.recipe.made)
        assert digest(again) == digest(first)
        other = from_file(tmp_path / name, ["stage.robust.generator.use=deacl"])
        assert other.recipe.name == "ncp+deacl", "not ncp+drift+deacl: drift is gone"
        assert other.recipe.made is not None
        assert differences(other.recipe.made)["replaced"] == "ncp by deacl"


def test_a_recipe_file_has_budgets_and_is_a_base(tmp_path: Path) -> None:
    file = tmp_path / "my recipe.toml"
    file.write_text(tiny.RECIPE + '\n[budget.quick]\n"stage.robust.epochs" = 1\n')
    assert from_file(file).recipe.find("robust").epochs == 2
    quick = from_file(file, budget="quick")
    assert quick.recipe.find("robust").epochs == 1
    assert quick.recipe.made is not None
    assert quick.recipe.made.budget == "quick"
    assert from_file(file, budget="paper").recipe.find("robust").epochs == 2
    with pytest.raises(UsageError, match="no budget 'quik', did you mean 'quick'"):
        from_file(file, budget="quik")
    composed = compose(recipe=str(file), generator="drift", budget="quick")
    assert composed.recipe.name == "tiny+drift"
    assert compose(recipe=str(file)).recipe.find("robust").epochs == 2, "it has no budget small: as it stands"
    (tmp_path / "saved.toml").write_text(tomli_w.dumps(dict(quick.tables)))
    with pytest.raises(UsageError, match="composed at the budget quick already"):
        from_file(tmp_path / "saved.toml", budget="small")
    with pytest.raises(UsageError, match=r"there is no recipe file .*none\.toml"):
        compose(recipe=str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("stage = 3")
    with pytest.raises(UsageError, match=r"bad\.toml"):
        compose(recipe=str(tmp_path / "bad.toml"), generator="drift")


def generator_of(composition: Composition) -> Mapping[str, object]:
    ((table),) = composition.recipe.find("robust").generator.values()
    return table.options


WHOLE = 'stage.robust.generator={ w_adv = { use = "drift", reads = ["w"] } }'
"""A generator in place of another, table and all."""


def test_the_data_sets_steps_reach_the_generator_that_stands_there() -> None:
    """Digits are attacked in a ball of 32/255: 5 steps of 2/255 would not reach its border."""
    for flags in (
        {"generator": "drift"},
        {"overrides": ['stage.robust.generator.use="drift"']},
        {"overrides": [WHOLE]},
    ):
        composition = compose(recipe="deacl", dataset="digits", budget="small", **flags)
        assert generator_of(composition)["step_size"] == "8/255", flags
    told = compose(recipe="deacl", budget="smoke", overrides=[WHOLE])
    assert generator_of(told) == {"step_size": "8/255", "steps": 2}
    assert "stage.robust.generator.w_adv.step_size = 8/255, as adapt.digits says" in told.how
    assert "stage.robust.generator.w_adv.steps = 2, as budget.smoke says" in told.how
    own = compose(recipe="deacl", budget="smoke", overrides=[WHOLE, 'stage.robust.generator.step_size="1/255"'])
    assert generator_of(own)["step_size"] == "1/255", "what a person says wins"
    other = compose(recipe="deacl", budget="small", dataset="cifar10", overrides=[WHOLE])
    assert "step_size" not in generator_of(other), "nothing is adapted to cifar10"


def test_an_attack_that_cannot_reach_the_border_is_told() -> None:
    short = compose(recipe="deacl", budget="small", overrides=['stage.robust.generator.step_size="2/255"'])
    assert any("stage.robust.generator.w_adv: 5 steps of" in line and "less than half" in line for line in short.how)
    assert not any("less than half" in line for line in compose(recipe="deacl", budget="small").how)


def test_what_set_has_replaced_is_not_said_to_be_adapted() -> None:
    lines = compose(recipe="ncp", budget="smoke", overrides=['threat.eps="16/255"']).how
    (adapted,) = [line for line in lines if line.startswith("adapted to digits")]
    assert "threat.eps" not in adapted
    assert "stage.robust.generator.step_size=8/255" in adapted


STUDY = """
name = "mine"
[[row]]
name = "DeACL"
recipe = "deacl"
[[row]]
name = "drift"
recipe = "deacl"
[row.set]
"stage.robust.generator.w_adv" = { use = "drift", reads = ["w"] }
[[column]]
name = "SA"
use = "accuracy"
"""


def test_runs_of_a_study_are_named_by_their_parts(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(STUDY)
    plain, replaced = studies.compose(str(tmp_path / "mine.toml")).planned
    assert plain.composition.recipe.name == "deacl"
    assert replaced.composition.recipe.name == "deacl+drift"
    assert generator_of(replaced.composition)["step_size"] == "8/255"
    assert replaced.composition.recipe.made is not None
    assert replaced.composition.recipe.made.budget == "small"


def test_results_that_say_nothing_or_nonsense_of_it_have_no_account() -> None:
    assert of_results({}) is None
    assert of_results({"made": 3}) is None
    assert of_results({"made": {"replaced": [{"kind": 1}]}}) is None


def test_what_a_file_no_longer_holds_is_not_said_to_be_published(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(dict(compose(recipe="ncp", budget="smoke").tables)), encoding="utf-8")
    for budget in ("paper", "small"):
        for made in (lambda: from_file(path, budget=budget), lambda: compose(recipe=str(path), budget=budget)):  # noqa: B023
            with pytest.raises(UsageError, match=f"budget smoke already .* anew with --budget {budget}"):
                made()
    assert from_file(path, budget="smoke").recipe.stage == from_file(path).recipe.stage


def test_a_name_of_ones_own_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    made = compose(recipe="ncp", generator="drift", budget="smoke", name="mine")
    path.write_text(tomli_w.dumps(dict(made.tables)), encoding="utf-8")
    assert from_file(path).recipe.name == compose(recipe=str(path)).recipe.name == "mine"


@pytest.mark.parametrize(
    "made", ['"x"', "1979-05-27", "{ changed = 1979-05-27 }", "{ replaced = [3] }", '{ replaced = [{ kind = "x" }] }']
)
def test_an_account_of_another_shape_is_refused_at_its_place(made: str, tmp_path: Path) -> None:
    whole = tomli_w.dumps({key: table for key, table in compose(recipe="simclr").tables.items() if key != "made"})
    (tmp_path / "mine.toml").write_text(f"made = {made}\n{whole}", encoding="utf-8")
    with pytest.raises(UsageError, match="made"):
        from_file(tmp_path / "mine.toml")


def test_an_account_of_a_kind_that_nobody_knows_is_read(tmp_path: Path) -> None:
    tables = {key: table for key, table in compose(recipe="simclr").tables.items() if key != "made"}
    tables["made"] = {"recipe": "simclr", "replaced": [{"kind": "x", "place": "y", "before": "a", "by": "b"}]}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    assert from_file(tmp_path / "mine.toml").recipe.made is not None
