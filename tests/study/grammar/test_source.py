"""Where studies come from, and what their tables may hold: faults are sentences, data set and budget change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustcl import registry
from robustcl.errors import UnknownPlugin, UsageError
from robustcl.study import api
from robustcl.study.grammar import source
from tests.shared.distributions import install
from tests.shared.tiny_study import study, write_study


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": []}, "unknown key 'rows', did you mean 'row'"),
        ({"row": [{"name": "x", "recip": "simclr"}]}, "unknown key 'row.x.recip', did you mean 'recipe'"),
        ({"row": []}, "row = []"),
        ({"row": [{"name": "x", "recipe": "a"}] * 2}, "two row tables are named 'x'; rename one"),
        ({"column": [{"name": "SA", "use": "acuracy"}]}, "column"),
        ({"column": [{"name": "SA", "rout": "adv"}]}, "column.SA.rout"),
        ({"column": []}, "nothing is measured; add a [[column]] or a [[figure]]"),
        ({"figure": [{"kind": "bars", "columns": ["RA"]}]}, "figure.bars.columns: there is no column 'RA'"),
        ({"figure": [{"kind": "lines", "axis": "K", "columns": ["SA"]}]}, "there is no axis 'K'"),
        (
            {"row": [{"name": "x", "recipe": "a", "paper": {"cifar10": {"AS": 1.0}}}]},
            "row.x.paper.cifar10: there is no column 'AS'; there is SA",
        ),
        ({"name": "../elsewhere"}, "name = '../elsewhere' is not accepted"),
        ({"figure": [{"kind": "pie"}]}, "give kind = one of 'bars', 'lines', 'epochs', 'silhouette'"),
        ({"row": "a"}, "row = 'a' is not accepted; give a list"),
        (
            {"row": [{"name": "x", "recipe": "a", "column": {"SA": {"split": "tset"}}}]},
            "row.x.column.SA: split = 'tset' is not accepted",
        ),
    ],
)
def test_faults_are_sentences(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        study(**changes)
    assert said in str(raised.value)
    assert str(raised.value).startswith("the study tiny-study: ")
    assert "\n" not in str(raised.value)


def test_an_unknown_study_is_answered_with_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownPlugin, match="offers a study called 'ncp-table-6', did you mean 'ncp-table-"):
        api.compose("ncp-table-6")
    with pytest.raises(UsageError, match=r"there is no study file .*none\.toml"):
        api.compose(str(tmp_path / "none.toml"))


def test_the_data_set_changes_a_study_before_the_budget(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 3, 4, 5]}]
    digits = {"axis.n.values": [2, 3], "set": {"data.batch": 64}, "budget": {"paper": {"set": {"data.batch": 32}}}}
    changes = {
        "adapt": {"digits": digits, "cifar10": {"axis.n.values": [5]}},
        "budget": {"smoke": {"axis.n.values": [4]}, "paper": {"set": {"data.batch": 512}, "optimizer": "shared"}},
    }
    name = write_study(tmp_path, axis=axis, **changes)
    assert source.read(name, budget="small").axis[0].values == [2, 3]
    assert source.read(name, budget="smoke").axis[0].values == [4]
    assert source.read(name, budget="small", dataset="cifar10").axis[0].values == [5]
    assert source.read(name, budget="small", dataset="npz:some.npz").axis[0].values == [2, 3, 4, 5]
    assert source.read(name, budget="small").set == {"data.batch": 64}
    assert source.read(name, budget="paper", dataset="cifar10").set == {"data.batch": 512}
    both = source.read(name, budget="paper")
    assert (both.set, both.optimizer, both.axis[0].values) == ({"data.batch": 32}, "shared", [2, 3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapt": "x"}, r"adapt = 'x' is not accepted; give tables \[adapt.NAME\]"),
        ({"budget": {"small": 3}}, "budget.small of the study .*: write a table of paths and values"),
        ({"budget": {"small": {"set": 3}}}, "budget.small of the study .*: set = 3 is not accepted; give a table"),
        ({"adapt": {"digits": 3}}, "^adapt.digits of the study .*: write a table of paths and values"),
        ({"adapt": {"digits": {"budget": 3}}}, "^adapt.digits.budget of the study .*: write a table"),
        ({"adapt": {"digits": {"budget": {"small": 3}}}}, "^adapt.digits.budget.small of the study .*: write a table"),
    ],
)
def test_changes_that_are_no_tables_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        source.read(write_study(tmp_path, **changes))


def test_studies_of_other_distributions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"acme_studies/__init__.py": "", "acme_studies/theirs.toml": "name = 'theirs'"}
    install(tmp_path, "acme", {"robustcl.studies": {"acme": "acme_studies"}}, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        assert str(registry.studies()["theirs"]) == "acme 1.0"
        assert registry.study_text("theirs") == "name = 'theirs'"
        with pytest.raises(UsageError, match="the study theirs: the key 'row' is missing; add it"):
            api.compose("theirs")
    finally:
        registry.refresh()
