"""Rows with parts of their own, and what a study gives every row alike: amount, optimiser, a grid of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from robustcl.errors import UsageError
from robustcl.recipe import override
from robustcl.study import api
from robustcl.study.grammar.parsing import parse
from robustcl.study.grammar.tuning import Tried
from robustcl.study.numbers import choices
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.setting import Setting
from robustcl.study.runs.execution import find_unfinished
from robustcl.study.tables import terms

ROWS: list[dict[str, Any]] = [{"name": "one", "recipe": "at"}, {"name": "two", "recipe": "ncp"}]


def composed(
    folder: Path,
    row: list[dict[str, Any]],
    budget: str = "smoke",
    seeds: int = 1,
    told: float | None = None,
    **more: Any,
) -> api.Composed:
    """Compose a study of some rows; ``told`` is the amount that the command says."""
    tables = {"name": "mine", "row": row, "column": [{"name": "SA"}, {"name": "RA", "attack": "first"}]} | more
    (folder / "mine.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    return api.compose(str(folder / "mine.toml"), Setting(budget=budget, seeds=seeds, amount=told))


def steps(run: Any, images: int = 1294) -> int:
    """Return the steps of a run on digits, counted by hand: full batches of the training images without validation."""
    return sum(stage.epochs * (images // stage.batch) for stage in run.composition.stages)


# Rows -----------------------------------------------------------------------------------------------------------------


def test_a_row_takes_parts_as_the_flags_of_compose_do(tmp_path: Path) -> None:
    from robustcl import compose

    rows = [{"name": "theirs", "recipe": "ncp"}, {"name": "mine", "recipe": "ncp", "generator": "deacl"}]
    theirs, mine = composed(tmp_path, rows).planned
    flags = compose(recipe="ncp", generator="deacl", budget="smoke", seed=0)
    assert mine.composition.lock()["stage"] == flags.lock()["stage"]
    assert mine.composition.recipe.name == "ncp+deacl"
    assert theirs.composition.recipe.name == "ncp"


def test_a_row_without_a_recipe_finds_it_by_its_objective(tmp_path: Path) -> None:
    (run,) = composed(tmp_path, [{"name": "a", "objective": "supcon", "selector": "leaked-ls"}]).planned
    assert [term.selector.name for term in run.composition.stages[-1].terms if term.selector] == ["leaked-ls"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"recipe": "ncp", "generator": "nowhere"},
            "generator: no installed distribution offers a generator called",
        ),
        ({"recipe": "ce", "generator": "pgd"}, "generator pgd: the recipe has no generator to replace"),
        ({"generator": "pgd"}, "row.a: generator needs a recipe to put it into"),
        ({"recipe": "ce", "selector": "hard"}, "selector hard: nothing in stage.train reads pairs"),
    ],
)
def test_a_part_that_does_not_fit_is_a_sentence_of_the_row(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, [{"name": "a", **row}])
    assert said in str(raised.value)
    assert "--" not in str(raised.value)


# Equal amounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [400, 120])
def test_equal_steps_are_those_of_every_row(tmp_path: Path, amount: int) -> None:
    made = composed(tmp_path, ROWS, equal="steps", amount=amount, optimizer="shared")
    for run in made.planned:
        assert abs(steps(run) - amount) <= amount / 20
        assert {stage.batch for stage in run.composition.stages} == {made.planned[0].composition.stages[-1].batch}
    one, two = made.planned
    assert {table.optimizer.model_dump_json() for table in two.composition.recipe.stage} == {
        one.composition.recipe.stage[-1].optimizer.model_dump_json()
    }


def test_equal_passes_count_what_an_attack_sends_through_the_encoder(tmp_path: Path) -> None:
    """AT with ten steps of attack has 11 passes an image and step; plain training has one."""
    rows = [{"name": "plain", "recipe": "ce"}, {"name": "attacked", "recipe": "at"}]
    plain, attacked = composed(tmp_path, rows, equal="passes", amount=110, budget="small").planned
    assert 109 <= plain.composition.stages[0].epochs <= 112, "what fills no batch is left out of an epoch"
    assert attacked.composition.stages[0].epochs in (10, 11)


def test_equal_seconds_are_timed_once_for_a_directory(tmp_path: Path) -> None:
    rows = [{"name": "plain", "recipe": "ce"}, {"name": "attacked", "recipe": "at"}]
    tables = {"name": "s", "row": rows, "column": [{"name": "SA"}], "equal": "seconds", "amount": 1000.0,
              "set": {"encoder.use": "resnet-small", "encoder.width": 4}}  # fmt: skip
    (tmp_path / "s.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    asked = str(tmp_path / "s.toml"), Setting(budget="small", seeds=2)
    first = api.compose(*asked, out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists(), "composing writes nothing"
    plain, attacked = (run.composition.stages[0].epochs for run in first.planned[::2])
    assert attacked < plain, "ten steps of attack take their time"
    assert first.timings is not None
    first.timings.keep(tmp_path / "out")
    again = api.compose(*asked, out=tmp_path / "out", device="cpu")
    assert [run.digest for run in again.planned] == [run.digest for run in first.planned]
    for damaged in ("[]", '{"a": {"train": -1}}', '{"a": {"train": NaN}}', "{"):
        (tmp_path / "out" / "timings.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(UsageError, match=r"timings\.json .*remove it: epochs are then timed again"):
            api.compose(*asked, out=tmp_path / "out", device="cpu")


def test_terms_need_no_files_where_a_data_set_publishes_its_size(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(tomli_w.dumps({
        "name": "s", "row": ROWS[:1], "column": [{"name": "SA"}], "equal": "steps", "amount": 3510,
    }), encoding="utf-8")  # fmt: skip
    found = api.compose(str(tmp_path / "s.toml"), Setting(dataset="cifar10", data_dir=str(tmp_path)))
    assert [stage.epochs for stage in found.planned[0].composition.stages] == [10], "45,000 images in batches of 128"
    with pytest.raises(UsageError, match=r"row 'one': the number of images of npz:.* is unknown before its files"):
        api.compose(str(tmp_path / "s.toml"), Setting(dataset=f"npz:{tmp_path}/none.npz"))


def test_without_an_amount_every_row_gets_what_the_first_has(tmp_path: Path) -> None:
    one, two = composed(tmp_path, ROWS, equal="epochs", budget="small").planned
    first = sum(stage.epochs for stage in one.composition.stages)
    assert first == sum(stage.epochs for stage in two.composition.stages)
    assert two.composition.stages[0].epochs > two.composition.stages[1].epochs, "shared as the recipe shares them"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"amount": 5}, "amount = 5 of what? say it"),
        ({"equal": "steps", "amount": 1}, "row 'one': whole epochs do not bring it to 1 steps"),
        (
            {"equal": "steps", "row": [{"name": "rcs", "recipe": "acl-rcs"}]},
            "row 'rcs': stage pretrain chooses its images as it goes (rcs)",
        ),
        (
            {"equal": "epochs", "row": ROWS[:1], "axis": [{"name": "e", "path": "stage.train.epochs", "values": [1]}]},
            "the axis 'e' changes stage.train.epochs, which equal = \"epochs\" sets",
        ),
        ({"equal": "joules"}, "equal = 'joules' is not accepted"),
        ({"optimizer": "theirs"}, "optimizer = 'theirs' is not accepted"),
    ],
)
def test_terms_that_cannot_be_met_are_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, **({"row": ROWS} | more))
    assert said in str(raised.value)


def test_an_amount_of_the_command_stands_in_place_of_the_studys(tmp_path: Path) -> None:
    made = composed(tmp_path, ROWS, told=120, equal="steps", amount=400)
    assert made.study.amount == 120
    assert all(abs(steps(run) - 120) <= 6 for run in made.planned)


@pytest.mark.parametrize(
    ("equal", "told", "said"),
    [
        (None, 200.0, "amount = 200 of what? the study mine makes nothing equal"),
        ("steps", 0.0, "amount = 0 steps: it has to be above 0"),
        ("steps", float("nan"), "amount = nan steps: it has to be above 0"),
    ],
)
def test_amounts_of_the_command_that_cannot_be(tmp_path: Path, equal: str | None, told: float, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, ROWS, told=told, **({"equal": equal} if equal else {}))
    assert said in str(raised.value)


def test_what_is_equal_is_told(tmp_path: Path) -> None:
    made = composed(tmp_path, ROWS, equal="steps", amount=400, optimizer="shared")
    (said,) = terms.describe_equal(made.study, made.planned)
    assert said.startswith("equal for every row: steps of training, within 5 %, optimiser, batch, data")
    made = composed(tmp_path, ROWS)
    (said,) = terms.describe_equal(made.study, made.planned)
    assert "each row's own: amount of training, optimiser, projector" in said


# Tuning ---------------------------------------------------------------------------------------------------------------

TUNED = {"path": "stage.*.optimizer.lr", "values": [0.01, 0.1]}


def test_every_value_is_tried_for_every_row_and_seed(tmp_path: Path) -> None:
    made = composed(tmp_path, ROWS, seeds=2, tuned=TUNED)
    rates = [[table.optimizer.options["lr"] for table in run.composition.recipe.stage] for run in made.planned]
    assert rates == [[0.01], [0.1]] * 2 + [[0.01] * 2, [0.1] * 2] * 2
    assert len({run.folder for run in made.planned}) == 8


def test_validation_chooses_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = composed(tmp_path, ROWS[:1], seeds=2, tuned=TUNED)
    numbers = dict(zip([run.folder for run in made.planned], [0.2, 0.7, 0.5, 0.5], strict=True))

    def read(asked: Any, run: Any, folder: Path) -> list[Reading]:
        assert [column.split for column in asked] == ["validation"]
        assert asked[0].name == "RA", "the last accuracy under attack"
        return [Reading(numbers[run.folder])]

    monkeypatch.setattr("robustcl.study.numbers.columns.read", read)
    kept, said = choices.choose_all(made.study, [(run, tmp_path) for run in made.planned])
    assert [run.tried for run, _ in kept] == [Tried(TUNED["path"], 0.1), Tried(TUNED["path"], 0.01)]
    assert said == ["tuned, one: lr = 0.01 (seed 1), lr = 0.1 (seed 0), chosen by RA on validation images"]


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (Setting(budget="smoke"), False),
        (Setting(budget="smoke", dataset="stl10"), True),
        (Setting(budget="smoke", dataset="stl10", overrides=("stage.*.split=train",)), False),
    ],
)
def test_images_that_choose_may_have_been_seen_before(
    asked: Setting, seen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STL-10 pretrains on a split of its own, digits on what is left when validation is held out."""
    composed(tmp_path, ROWS[1:], tuned=TUNED)
    made = api.compose(str(tmp_path / "mine.toml"), asked)
    monkeypatch.setattr("robustcl.study.numbers.columns.read", lambda *_: [Reading(0.5)])
    _, said = choices.choose_all(made.study, [(run, tmp_path) for run in made.planned])
    assert [line for line in said if line.startswith("tuned: stl10 pretrains on a split of its own")] == said[1:]
    assert len(said) == 1 + seen


def test_a_choice_waits_for_every_value(tmp_path: Path) -> None:
    made = composed(tmp_path, ROWS[:1], tuned=TUNED, seeds=2)
    first, *rest = made.planned
    for run in (first, *rest[1:]):
        folder = tmp_path / "out" / "runs" / run.folder
        folder.mkdir(parents=True)
        for name in ("recipe.lock.toml", "results.json"):
            (folder / name).write_text(f'{{"recipe_hash": "{run.digest}"}}', encoding="utf-8")
    found = find_unfinished(made.planned, tmp_path / "out")
    assert found == {
        rest[0].folder: "it is not finished",
        first.folder: "another value that is tried in its place is not finished",
    }


def test_a_value_without_a_number_is_never_chosen() -> None:
    readings = [None, Reading(0.0)]
    tried = [Tried("a", 1), Tried("a", 2)]
    assert choices.choose(tried, lambda place: readings[place]) == 1
    assert choices.choose(tried, lambda place: None) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"row": [{**ROWS[0], "tuned": {"path": "stage.train.optimizer.lr", "values": [1, 2, 3]}}], "tuned": TUNED},
         "row.one.tuned has 3 values, and the study's has 2"),
        ({"row": [{**ROWS[0], "tuned": TUNED}]}, "row.one.tuned: the study tunes nothing"),
        ({"tuned": {**TUNED, "by": "AS"}}, "tuned.by: there is no accuracy column 'AS'; there is SA, RA"),
        ({"tuned": {**TUNED, "values": [0.1]}}, "tuned.values"),
        ({"tuned": TUNED, "set": {"data.validation": 0.0}}, "tuned: no validation images choose; set data.validation"),
    ],
)  # fmt: skip
def test_tuning_that_would_not_be_fair_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, **({"row": ROWS} | more))
    assert said in str(raised.value)


def test_a_star_means_every_stage() -> None:
    tables: dict[str, Any] = {"stage": [{"name": "a"}, {"name": "b"}]}
    override.put(tables, "stage.*.optimizer", {"use": "sgd"}, "--set")
    assert [stage["optimizer"] for stage in tables["stage"]] == [{"use": "sgd"}] * 2
    assert tables["stage"][0]["optimizer"] is not tables["stage"][1]["optimizer"]


def test_a_study_with_rows_of_models_alone_tunes_nothing() -> None:
    study = parse({"name": "s", "row": [{"name": "theirs"}], "column": [{"name": "SA"}], "tuned": TUNED}, "the study s")
    assert study.tuned is not None
