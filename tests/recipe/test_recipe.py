"""Recipes as files: what is written is what is read, and a mistake is one sentence that names its place."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from robustcl.api import Composition, compose, from_file, from_tables
from robustcl.composition.lock import digest
from robustcl.errors import UsageError
from robustcl.recipe import override, reading
from tests.shared import tiny


def composed(*overrides: str, text: str = tiny.RECIPE) -> Composition:
    tables = tomllib.loads(text)
    for assignment in overrides:
        override.apply(tables, assignment)
    return from_tables(tables, "tiny.toml")


def refusal(*overrides: str, text: str = tiny.RECIPE) -> str:
    with pytest.raises(UsageError) as caught:
        composed(*overrides, text=text)
    said = str(caught.value)
    assert said
    assert "\n" not in said
    return said


# --- files


def test_a_saved_recipe_and_a_lock_compose_to_the_same(tmp_path: Path) -> None:
    first = compose(generator="ncp", objective="deacl", budget="smoke", seed=3, overrides=["data.batch=64"])
    saved, lock = tmp_path / "saved.toml", tmp_path / "lock.toml"
    saved.write_text(tomli_w.dumps(dict(first.tables)), encoding="utf-8")
    lock.write_text(tomli_w.dumps(first.lock()), encoding="utf-8")
    assert digest(from_file(saved)) == digest(first)
    assert digest(from_file(lock)) == digest(first)
    assert digest(from_tables(first.lock(), "the lock")) == digest(first)
    again = from_file(lock).lock()
    kept = {key: value for key, value in first.lock().items() if key != "lock"}
    assert {key: value for key, value in again.items() if key != "lock"} == kept
    assert digest(from_file(saved, seed=4)) != digest(first)
    assert digest(from_file(saved, ["stage.robust.generator.steps=6"])) != digest(first)


def test_the_digest_knows_what_is_learnt_and_not_how_it_is_told() -> None:
    whole = digest(composed())
    assert digest(composed("run.log_every=7", 'cite="another"')) == whole
    for change in ("seed=1", 'threat.eps="4/255"', "stage.robust.generator.neighbour=3", "evaluate.slf.epochs=2"):
        assert digest(composed(change)) != whole, change


def test_the_lock_leaves_nothing_to_defaults() -> None:
    lock = composed().lock()
    robust = lock["stage"][1]
    generator = robust["generator"]["w_adv"]
    assert generator["step_size"] == pytest.approx(2 / 255)
    expected = {"use": "ncp", "strategy": "both", "neighbour": 2, "clustering": 0, "steps": 2, "mode": "eval"}
    assert {key: generator[key] for key in expected} == expected
    assert robust["encoders"]["slow"]["update"] == "after-optimiser"
    assert robust["targets"]["seeding"] == "k-means++"
    assert lock["encoder"]["use"] == "resnet-small"
    assert lock["lock"]["plugins"]["generator ncp"].startswith("robustcl ")
    assert set(lock["lock"]["versions"]) == {"python", "torch", "robustcl"}
    assert lock["lock"]["threads"] >= 1


def test_find() -> None:
    parsed = reading.parse(tiny.tables(), "tiny")
    assert parsed.find("robust").epochs == 2
    with pytest.raises(UsageError, match=r"no stage 'robus'; its stages are pretrain, robust"):
        parsed.find("robus")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no recipe file"):
        reading.read(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bad\.toml is no text: byte 0 is no UTF-8"):
        reading.read(path)
    path.write_text("name = \n", encoding="utf-8")
    with pytest.raises(UsageError, match="is not TOML"):
        reading.read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a = {'[' * 100_000}", "nested more than 64 levels deep"),
        (f"a = {'9' * 6_000}", "Exceeds the limit"),
        (f"{'.'.join('a' * 50_000)} = 1", "a key has more than 64 parts"),
    ],
)
def test_files_that_would_break_a_parser_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trap.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        reading.read(path)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 6_000])
def test_values_that_would_break_a_parser_are_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="too many digits or is nested too deeply"):
        reached(f"threat.eps={text}")


# --- mistakes in tables


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stage.robust.epoch=3", "unknown key 'stage.robust.epoch', did you mean 'epochs'?"),
        ("epochs=3", "unknown key 'epochs', which belongs in a [[stage]]"),
        ("encoder.projector.width=[1]", "unknown key 'encoder.projector.width', did you mean 'widths'?"),
        ('threat.epsilon="8/255"', "unknown key 'threat.epsilon', did you mean 'eps'?"),
        ("run.log_evry=1", "unknown key 'run.log_evry', did you mean 'log_every'?"),
        ('stage.robust.targets.of.rout="adv"', "unknown key 'stage.robust.targets.of.rout', did you mean 'route'?"),
        ('stage.robust.encoders.slow={of="online", momentun=0.9}', "did you mean 'momentum'?"),
        ('stage.robust.generator.ball={epss="8/255"}', "unknown key 'stage.robust.generator.w_adv.ball.epss'"),
        ('stage.robust.epochs="3"', "stage.robust.epochs = '3' is not accepted; give an integer"),
        ("stage.robust.epochs=-1", "stage.robust.epochs = -1 is not accepted; give a number greater than or equal"),
        ("stage=3", "stage = 3 is not accepted; give a list"),
        ("evaluate=3", "evaluate = 3 is not accepted; give a list"),
        ("stage.robust.term=3", "stage.robust.term = 3 is not accepted; give a table"),
        ("stage.robust.encoders.teacher=3", "stage.robust.encoders.teacher = 3 is not accepted; give a string or a"),
        ('stage.robust.forward="x"', "stage.robust.forward = 'x' is not accepted; give 'by-route' or 'by-view' or a"),
        ('stage.robust.generator.mode="x"', "generator.w_adv.mode = 'x' is not accepted; give 'eval', 'batch' or"),
        ("threat.eps=true", "threat.eps = True is not accepted"),
        ('evaluate.slf.route="clean"', "evaluate.slf.route = 'clean' is not accepted; give a list"),
        ("stage.robust.targets.clusters=0", "stage.robust.targets.clusters = 0 is not accepted"),
        ("stage.robust.targets.clusters=[]", "at least 1 item"),
        ("stage.robust.targets.grid=[]", "at least 1 item"),
        ("stage.robust.targets.grid=[1]", "greater than or equal to 2"),
        ("encoder.projector.widths=[0]", "greater than or equal to 1"),
        ("data.validation=1.0", "data.validation = 1.0 is not accepted; give a number less than 1"),
        ("stage.robust.clip=0", "stage.robust.clip = 0 is not accepted"),
        ('stage.robust.name="A b"', "is not accepted; give a text like"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(assignment: str, words: str) -> None:
    said = refusal(assignment)
    assert said.startswith("tiny.toml: ")
    assert words in said


def test_what_is_missing_is_named() -> None:
    assert "the key 'stage' is missing" in refusal(text='name = "x"')
    assert "the key 'data.use' is missing" in refusal(text=tiny.RECIPE.replace('use = "digits"\n', "", 1))
    assert "the key 'name' is missing; add it" in refusal(text=tiny.RECIPE.replace('name = "tiny"\n', "", 1))
    without = tiny.RECIPE.replace('objective = { use = "info-nce", temperature = 0.5 }', "term = { c = {} }")
    assert "the key 'stage.pretrain.term.c.use' is missing" in refusal(text=without)


def test_a_long_value_is_not_repeated_whole() -> None:
    assert len(refusal(f"seed={list(range(500))}")) < 200


def test_an_objective_is_not_given_twice() -> None:
    twice = tiny.RECIPE.replace("objective = {", 'term = { objective = "supcon" }\nobjective = {')
    assert "stage.pretrain.objective" in refusal(text=twice)


# --- overrides


def reached(assignment: str) -> dict[str, Any]:
    tables = tiny.tables()
    override.apply(tables, assignment)
    return tables


def test_overrides_reach_everything() -> None:
    assert reached("stage.robust.epochs=7")["stage"][1]["epochs"] == 7
    assert reached("stage.0.epochs=7")["stage"][0]["epochs"] == 7
    assert reached("stage.robust.generator.steps=9")["stage"][1]["generator"]["w_adv"]["steps"] == 9
    assert reached("stage.robust.generator.w_adv.steps=9")["stage"][1]["generator"]["w_adv"]["steps"] == 9
    assert reached("stage.robust.generator.ball.eps=0.1")["stage"][1]["generator"]["w_adv"]["ball"] == {"eps": 0.1}
    assert reached("stage.robust.term.slow.mix.distil=2")["stage"][1]["term"]["slow"]["mix"] == {"distil": 2}
    assert reached("evaluate.slf.epochs=3")["evaluate"][0]["epochs"] == 3
    attacks = [{"use": "pgd-20", "step_size": "8/255"}]
    assert reached('evaluate.slf.attacks=[{use="pgd-20", step_size="8/255"}]')["evaluate"][0]["attacks"] == attacks
    assert reached("stage.pretrain.views.a.flip=0.0")["stage"][0]["views"]["a"] == {"use": "weak", "flip": 0.0}
    assert reached("stage.pretrain.objective.temperature=0.2")["stage"][0]["objective"]["temperature"] == 0.2
    assert reached("threat.eps=8/255")["threat"]["eps"] == "8/255", "what is not TOML is text"
    assert reached("name = new = name")["name"] == "new = name"
    lr = {"cosine": [0.1, 0.0]}
    assert reached("stage.robust.optimizer.lr={cosine=[0.1, 0.0]}")["stage"][1]["optimizer"]["lr"] == lr


def test_a_table_at_a_protocol_is_its_evaluation_or_one_more() -> None:
    more = reached("evaluate.alf={ epochs = 3 }")["evaluate"]
    assert more == [*tiny.tables()["evaluate"], {"protocol": "alf", "epochs": 3}]
    other = reached("evaluate.slf={ epochs = 3 }")["evaluate"]
    assert other == [{"protocol": "slf", "epochs": 3}], "nothing of the one before is left"
    judged = composed("evaluate.alf={ epochs = 3, samples = 8 }", "evaluate.alf.epochs=2").evaluations
    assert [plan.table.use for plan in judged] == ["slf", "alf"]
    assert judged[1].table.options["epochs"] == 2
    none = tiny.tables() | {"evaluate": []}
    override.apply(none, "evaluate.alf={}")
    assert none["evaluate"] == [{"protocol": "alf"}]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("stage.robust.epochs", "--set 'stage.robust.epochs' is not of the form path=value"),
        ("=3", "is not of the form path=value"),
        (
            "stage.robots.epochs=3",
            "nothing is named 'robots' on the way to 'stage.robots.epochs'; there is pretrain, r",
        ),
        ("stage.7.epochs=3", "nothing is named '7'"),
        ("stage.robust.term.use=deacl", "could mean any of deacl, slow; name one of them in the path"),
        ("name.x=3", "--set name.x=3: "),
        ("seed.x.y=3", "goes through"),
        ("stage.robust=3", "leads to a value"),
        ("evaluate.slf=3", "leads to a value"),
        ("evaluate.alf={ protocol = 'slf' }", "evaluate.alf names the protocol 'slf' as well; leave one out"),
        ("evaluate.alff={ epochs = 2 }", "alff"),
    ],
)
def test_overrides_that_lead_nowhere(assignment: str, words: str) -> None:
    tables = tiny.tables() | {"seed": 1}

    def compose() -> None:
        override.apply(tables, assignment)
        from_tables(tables, f"--set {assignment}")

    with pytest.raises(UsageError) as caught:
        compose()
    assert words in str(caught.value)
