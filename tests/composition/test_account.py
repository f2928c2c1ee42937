"""What a composition says of how it was made: every change once, under the name that somebody gave it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import tomli_w
import torch
from torch import Tensor

from robustcl import promises
from robustcl.api import Composition, compose, from_file
from robustcl.composition import matrix
from robustcl.errors import NeedNotMet, UsageError
from robustcl.protocols import Need
from robustcl.registry import get
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding


def changed(composition: Composition) -> list[str]:
    assert composition.recipe.made is not None
    return composition.recipe.made.changed


def test_of_a_path_that_is_given_twice_the_last_value_is_told() -> None:
    made = compose(recipe="deacl", budget="smoke", overrides=["data.batch=32", " data.batch = 64 ", "seed=3"])
    assert changed(made) == ["data.batch=64", "seed=3"]
    assert made.recipe.data.batch == 64


def test_a_value_that_is_also_a_parts_name_is_still_a_change() -> None:
    """The generator pgd came; an attack of that name elsewhere, or a text that says so, did not come with it."""
    made = compose(recipe="deacl", generator="pgd", budget="smoke", overrides=['about="pgd"', "encoder.use=cnn-4"])
    assert changed(made) == ['about="pgd"', "encoder.use=cnn-4"]
    part = compose(recipe="deacl", budget="smoke", overrides=['stage.robust.generator.use="pgd"'])
    assert changed(part) == [], "told as replaced"


def test_a_name_by_set_is_a_name_by_its_flag() -> None:
    by_set = compose(recipe="ncp", generator="pgd", budget="smoke", overrides=['name="mine"'])
    by_flag = compose(recipe="ncp", generator="pgd", budget="smoke", name="mine")
    assert by_set.recipe == by_flag.recipe
    assert by_set.recipe.name == "mine"
    assert by_set.recipe.made is not None
    assert by_set.recipe.made.recipe == "ncp", "the base keeps its name"


@pytest.mark.parametrize("path", ["made.recipe", "made", "lock.plugins", "lock"])
def test_the_account_is_not_written_by_hand(path: str) -> None:
    with pytest.raises(UsageError, match=f"--set {path}=x: the table {path.partition('.')[0]} tells how the recipe"):
        compose(recipe="ncp", budget="smoke", overrides=[f"{path}=x"])


def test_a_file_with_a_budget_keeps_its_account(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(dict(compose(recipe="ncp", budget="smoke", overrides=["seed=4"]).tables)))
    again = from_file(path, ["seed=5"])
    assert changed(again) == ["seed=4", "seed=5"]


def test_the_matrix_says_with_which_target_a_generator_composes() -> None:
    reading = [name for name in matrix.names("generator") if Need.CLUSTERS in get("generator", name).needs]  # type: ignore[attr-defined]
    targets = matrix.names("target")
    found = [matrix._with_any(name, objective, targets) for name in reading for objective in matrix.names("objective")]
    cells = [cell for cell in found if cell.target is not None]
    assert cells
    for cell in cells:
        assert cell.refused is None
        assert matrix.attempt(cell.generator, cell.objective).refused is not None
        assert Need.CLUSTERS in get("generator", str(cell.generator)).needs  # type: ignore[attr-defined]
        assert f"--target {cell.target}" in cell.command
    assert f"| with --target {cells[0].target} |" in matrix.markdown({"generator x objective": cells})


class Undeclared:
    """Reads the clusters, and says to nobody that it does."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "unpublished, 2026"

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x + attack.clusters.centroids[0].sum()


def test_what_was_not_declared_is_told_of_the_plugin_by_its_name() -> None:
    ball = Ball("Linf", 0.1)
    attack = SimpleNamespace(ball=ball, clusters=Embedding(h=torch.zeros(1)))
    with pytest.raises(NeedNotMet, match=r"the generator 'mine' reads what it did not declare: .*add .* to the needs"):
        promises.perturb(Undeclared(), "mine", torch.rand(2, 3), attack, modules=())  # type: ignore[arg-type]
