"""A protocol that a finished run's recipe does not have is adapted to the data set as if it had always stood there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from robustcl import search
from robustcl.analysis.again import evaluate_again
from robustcl.api import compose, from_tables
from robustcl.composition.added import entry_for
from robustcl.errors import CheckpointError, UnknownPlugin
from robustcl.train import stage_files
from tests.shared import tiny

DIGITS_VIEW = {"use": "weak", "flip": 0.0, "padding": 1}


def locked(recipe: str, dataset: str = "digits") -> dict[str, Any]:
    return compose(recipe=recipe, dataset=dataset, data_dir=None if dataset == "digits" else ".").lock()


@pytest.mark.parametrize("protocol", ["alf", "aff", "fsf", "semi-supervised"])
def test_digits_are_not_mirrored_by_it_and_the_ball_is_the_recipes(protocol: str) -> None:
    table = entry_for(locked("simclr"), protocol)
    assert table["view"] == DIGITS_VIEW
    assert table["attacks"][0]["step_size"] == "8/255"
    assert not {"lr", "epochs", "batch", "decay_at"} & table.keys()  # the schedule is its own
    theirs = next(entry for entry in locked("ascl-li")["evaluate"] if entry["use"] == "alf")
    assert (table["view"], table["attacks"]) == (theirs["view"], theirs["attacks"])


@pytest.mark.parametrize("protocol", ["linear", "knn", "own"])
def test_a_protocol_without_the_option_takes_none(protocol: str) -> None:
    assert "view" not in entry_for(locked("simclr"), protocol)


def test_the_judged_encoder_and_routes_stay() -> None:
    table = entry_for(locked("dynacl"), "alf")
    assert (table["encoder"], table["route"]) == ("ema", ["adv"])


def test_a_recipe_whose_own_protocol_has_no_view_lends_that_of_its_stage() -> None:
    assert entry_for(locked("at"), "alf")["view"] == DIGITS_VIEW
    assert entry_for(locked("at", "cifar10"), "alf")["view"] == "weak"


def test_an_unknown_protocol_is_a_sentence() -> None:
    with pytest.raises(UnknownPlugin, match=r"evaluate\.alv"):
        entry_for(locked("simclr"), "alv")


def test_its_attack_steps_by_a_quarter_of_eps() -> None:
    tables = tiny.tables(evaluate=[{"use": "alf", "route": ["adv"]}, {"use": "aff", "route": ["adv"]}])
    for eps in ("8/255", "32/255"):
        for plan in from_tables({**tables, "threat": {"eps": eps}}, "tiny").evaluations:
            (generator,) = plan.stages["adv"][0][1].generators
            assert search.step_length(generator.part.plugin.step_size, generator.ball) == generator.ball.eps / 4


def small(*more: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of two digits, whose slf has adapted its view and its attack."""
    slf = {
        "use": "slf", "route": ["adv"], "epochs": 1, "samples": 16, "view": DIGITS_VIEW,
        "attacks": [{"use": "pgd-20", "step_size": "1/255"}],
    }  # fmt: skip
    return tiny.tables(data={"use": "digits", "batch": 64, "only": [0, 1]}, evaluate=[slf, *more])


def test_alf_is_that_of_a_recipe_that_always_had_it() -> None:
    alf = {"use": "alf", "view": DIGITS_VIEW, **{key: small()["evaluate"][0][key] for key in ("route", "attacks")}}
    whole = from_tables(small(alf), "tiny").evaluations[1]
    tables = from_tables(small(), "tiny").lock()
    later = from_tables({**tables, "evaluate": [entry_for(tables, "alf")]}, "tiny").evaluations[0]
    assert later.identity == whole.identity
    assert [stage.model_dump() for stage, _ in later.stages["adv"]] == [s.model_dump() for s, _ in whole.stages["adv"]]


def test_numbers_are_those_of_the_protocol_composed_from_the_start(tmp_path: Path) -> None:
    few = {
        "use": "semi-supervised", "route": ["adv"], "samples": 16, "view": DIGITS_VIEW,
        "attacks": [{"use": "pgd-20", "step_size": "1/255"}],
    }  # fmt: skip
    for name, tables in (("whole", small(few)), ("later", small())):
        from_tables(tables, "tiny").train(tmp_path / name, device="cpu", report=False)
    evaluate_again(tmp_path / "later", "semi-supervised", audit=0)
    classifier = "evaluate-semi-supervised-adv-robust"
    one, other = (
        stage_files.load(stage_files.stage_folder(tmp_path / name, classifier)) for name in ("whole", "later")
    )
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    rows = [
        [
            {key: row[key] for key in ("split", "attack", "correct", "n", "protocol_hash", "spec")}
            for row in json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))["rows"]
            if row["protocol"] == "semi-supervised"
        ]
        for name in ("whole", "later")
    ]
    assert len(rows[0]) == 4
    assert rows[0] == rows[1]
    mark = tmp_path / "later" / "stages" / classifier / "finished.json"
    facts = json.loads(mark.read_text(encoding="utf-8"))
    mark.write_text(json.dumps({**facts, "settings": "0" * 16}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"was trained by other settings of its protocol .* to train it again"):
        evaluate_again(tmp_path / "later", "semi-supervised", audit=0)
