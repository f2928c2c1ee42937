"""Model cards in RobustBench's shape: only what was measured, as percent texts, at the place where it is looked for."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from robustcl.cli import console
from robustcl.errors import DataError, UsageError
from robustcl.robustbench import ModelInfo, read_model_info, write_model_info
from tests.shared.compared_runs import finished, first


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "run", {None: first(853, 1000), "pgd-20": first(500, 1000)})


def with_autoattack(run: Path, **more: Any) -> None:
    stated = json.loads((run / "results.json").read_text())
    row = {**stated["rows"][1], "attack": "autoattack", "metric": "autoattack_acc", "value": 0.4531, "correct": None}
    (run / "results.json").write_text(json.dumps({**stated, "rows": [*stated["rows"], row | more]}))


def test_only_what_was_measured(run: Path, tmp_path: Path) -> None:
    file = write_model_info(run, tmp_path / "model_info", id="Doe2026Away_R18", authors="J. Doe", reported="46.00")
    assert file == tmp_path / "model_info" / "digits" / "Linf" / "Doe2026Away_R18.json"
    card = json.loads(file.read_text())
    assert list(card)[:17] == [field.name for field in fields(ModelInfo)]
    measured = {name: value for name, value in card.items() if value is not None and name != "robustcl"}
    assert measured == {
        "name": "ncp", "authors": "J. Doe", "number_forward_passes": 1, "dataset": "digits", "eps": "8/255",
        "clean_acc": "85.30", "reported": "46.00",
        "footnote": "Measured by robustcl under protocol slf, route clean, encoder online on 1000 test images.",
    }  # fmt: skip
    assert card["robustcl"]["metrics"]["pgd-20_acc"]["value"] == 0.5
    assert card["robustcl"]["seed"] == 0
    assert read_model_info(file) == ModelInfo(**measured)


def test_autoattack_and_architecture(run: Path, tmp_path: Path) -> None:
    with_autoattack(run)
    (run / "recipe.lock.toml").write_text('[encoder]\nuse = "resnet-18"\n')
    info = read_model_info(write_model_info(run, tmp_path, id="a", additional_data=False, dataset="cifar10"))
    assert (info.autoattack_acc, info.architecture, info.additional_data) == ("45.31", "resnet-18", False)
    assert info.dataset == "cifar10"


def test_a_partial_attack_and_the_validation_split_do_not_count(run: Path, tmp_path: Path) -> None:
    with_autoattack(run, metric="partial autoattack_acc")
    with_autoattack(run, split="validation")
    assert read_model_info(write_model_info(run, tmp_path, id="a")).autoattack_acc is None


@pytest.mark.parametrize("first", [True, False])
def test_a_part_of_autoattack_is_not_autoattack(run: Path, tmp_path: Path, first: bool) -> None:
    whole = {"spec": {"attack": {"use": "autoattack", "version": "standard"}}, "value": 0.3}
    part = {"spec": {"attack": {"use": "autoattack", "attacks_to_run": ["square"]}}, "value": 0.7}
    for row in (whole, part) if first else (part, whole):
        with_autoattack(run, **row)
    assert read_model_info(write_model_info(run, tmp_path, id="a")).autoattack_acc == "30.00"


def test_several_ways_of_judging(run: Path, tmp_path: Path) -> None:
    with_autoattack(run, route="adv")
    with pytest.raises(UsageError, match=r"judged in several ways: choose .* of protocol slf route clean .*; .* adv"):
        write_model_info(run, tmp_path, id="a")
    assert read_model_info(write_model_info(run, tmp_path, id="a", route="clean")).clean_acc == "85.30"
    info = read_model_info(write_model_info(run, tmp_path, id="b", route="adv"))
    assert (info.clean_acc, info.autoattack_acc) == (None, "45.31")
    with pytest.raises(UsageError, match="no number on its test images for protocol alf"):
        write_model_info(run, tmp_path, id="a", protocol="alf")


@pytest.mark.parametrize("id", ["../../x", "a/b", "", ".hidden"])
def test_an_id_is_a_file_name(run: Path, tmp_path: Path, id: str) -> None:
    with pytest.raises(UsageError, match="is no plain name of a file"):
        write_model_info(run, tmp_path, id=id)


@pytest.mark.parametrize("fact", ["id", "dataset"])
def test_a_file_s_name_has_an_end(run: Path, tmp_path: Path, fact: str) -> None:
    write_model_info(run, tmp_path, **{"id": "a", fact: "x" * 200})
    with pytest.raises(
        UsageError, match=f"201 bytes, too long for a file's name: give one of at most 200 with --{fact}"
    ):
        write_model_info(run, tmp_path, **{"id": "a", fact: "x" * 201})


def test_a_card_is_not_replaced_unasked(run: Path, tmp_path: Path) -> None:
    write_model_info(run, tmp_path, id="a")
    with pytest.raises(UsageError, match="exists already"):
        write_model_info(run, tmp_path, id="a")
    write_model_info(run, tmp_path, id="a", force=True)


@pytest.mark.parametrize("reported", ["4531", "100.01", "-1", "nan", "inf", "45.31%", "0.5e1", "much", ""])
def test_a_reported_accuracy_is_a_percentage(run: Path, tmp_path: Path, reported: str) -> None:
    with pytest.raises(UsageError, match=r"--reported .*: write a percentage from 0 to 100, such as 45\.31"):
        write_model_info(run, tmp_path, id="a", reported=reported)
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize("reported", ["0", "100", "100.00", "45.31"])
def test_a_percentage_is_kept_as_it_was_written(run: Path, tmp_path: Path, reported: str) -> None:
    assert read_model_info(write_model_info(run, tmp_path, id="a", reported=reported)).reported == reported


def test_reads_cards_of_others(tmp_path: Path) -> None:
    file = tmp_path / "Carmon2019Unlabeled.json"
    file.write_text(
        '{"name": "n", "clean_acc": 89.69, "additional_data": true, "external": "59.5", "unreliable": false}'
    )
    info = read_model_info(file)
    assert (info.name, info.clean_acc, info.additional_data, info.venue) == ("n", "89.69", True, None)
    for text in ("[]", "{", ""):
        file.write_text(text)
        with pytest.raises(DataError, match="is no model card"):
            read_model_info(file)


def test_command(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["robustcl", "export", str(run), "--model-info", str(tmp_path / "cards"), "--id"]
    monkeypatch.setattr(sys, "argv", [*words, "Doe2026Away", "--venue", "ArXiv, Jan 2026"])
    with pytest.raises(SystemExit) as left:
        console.main()
    assert left.value.code == 0
    file = tmp_path / "cards" / "digits" / "Linf" / "Doe2026Away.json"
    assert capsys.readouterr().out == f"model info: {file}\n"
    assert read_model_info(file).venue == "ArXiv, Jan 2026"
    monkeypatch.setattr(sys, "argv", [*words, "a/b"])
    with pytest.raises(SystemExit) as left:
        console.main()
    assert left.value.code == 2
