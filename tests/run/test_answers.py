"""results.json holds the answers to every question that was asked of a run, each until the same is asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustcl.run import answers

Tables = dict[str, Any]


def row(attack: str | None, n: int = 40, *, route: str = "adv", protocol: str = "slf", model: str = "m", right: int = 9,
        **more: Any) -> Tables:  # fmt: skip
    spec = {"protocol": {"epochs": 25}, "identity": protocol, "stage": "", "encoder": "online", "content": "c"}
    spec |= {} if attack is None else {"attack": {"steps": 20}, "norm": "Linf", "eps": 0.1}
    spec |= more.pop("spec", {})
    return {"protocol": protocol, "route": route, "split": "test", "attack": attack, "n": n, "correct": right,
            "metric": f"{attack or 'clean'}_acc", "value": right / n, "spec": spec, "model": model, **more}  # fmt: skip


def tables(*rows: Tables, **more: Any) -> Tables:
    empty: Tables = {"security": [], "convergence": [], "corruptions": [], "audit": []}
    data = {"use": "digits", "test": max((r["n"] for r in rows), default=0)}
    return {"schema": 1, "data": data, "timing": {"evaluate_seconds": 2.0}, "recipe_hash": "r", "rows": list(rows),
            **empty, **more}  # fmt: skip


def said(found: Tables) -> list[tuple[Any, ...]]:
    return [(r["protocol"], r["route"], r["attack"], r["n"], r["correct"]) for r in found["rows"]]


@pytest.fixture
def heard() -> list[str]:
    return []


def test_another_attack_route_protocol_or_number_of_images_is_added(heard: list[str]) -> None:
    found = tables(row(None), row("pgd-20"))
    for fresh in (row("fgsm"), row("pgd-20", route="clean"), row("pgd-20", protocol="alf"), row("pgd-20", 10)):
        found = answers.add(found, tables(fresh), heard.append)
    assert said(found) == [
        ("slf", "adv", None, 40, 9), ("slf", "adv", "pgd-20", 40, 9), ("slf", "adv", "fgsm", 40, 9),
        ("slf", "adv", "pgd-20", 10, 9), ("slf", "clean", "pgd-20", 40, 9), ("alf", "adv", "pgd-20", 40, 9),
    ]  # fmt: skip
    assert (found["data"]["test"], found["timing"]["evaluate_seconds"], heard) == (40, 10.0, [])


def test_other_options_of_one_attack_stand_beside_each_other(heard: list[str]) -> None:
    found = answers.add(tables(row("pgd")), tables(row("pgd", spec={"attack": {"steps": 50}})), heard.append)
    assert [r["spec"]["attack"]["steps"] for r in found["rows"]] == [20, 50]


def test_the_same_question_replaces_its_own_answer_and_a_whole_one_a_partial_one(heard: list[str]) -> None:
    partial = row("pgd-20", 12, partial=True, samples=40, right=3) | {"metric": "partial pgd-20_acc"}
    found = answers.add(tables(row(None), partial, row("fgsm")), tables(row("pgd-20")), heard.append)
    assert said(found)[1:] == [("slf", "adv", "pgd-20", 40, 9), ("slf", "adv", "fgsm", 40, 9)]
    assert answers.add(found, tables(partial), heard.append)["rows"] == found["rows"], "a whole answer stays"


@pytest.mark.parametrize("change", [{"model": "other"}, {"spec": {"content": "other"}}])
def test_answers_of_other_weights_or_images_are_not_mixed_and_this_is_said(change: Tables, heard: list[str]) -> None:
    audit = {"protocol": "slf", "route": "adv", "question": "q", "model": "m"}
    curve = {"protocol": "slf", "route": "adv", "eps": [0, 1], "accuracy": [1, 0], "model": "m"}
    stored = tables(row(None), row("pgd-20"), row(None, protocol="knn"), audit=[audit], security=[curve])
    found = answers.add(stored, tables(row(None, **change)), heard.append)
    assert said(found) == [("knn", "adv", None, 40, 9), ("slf", "adv", None, 40, 9)]
    assert (found["audit"], found["security"]) == ([], [])
    [sentence] = heard
    assert sentence.startswith("results.json leaves out slf adv test clean_acc, slf adv test pgd-20_acc: they were")


def test_curves_corruptions_and_audits_stay_beside_new_ones(heard: list[str]) -> None:
    place = {"protocol": "slf", "route": "adv"}
    curve = {**place, "attack": "pgd-20", "eps": [0, 1], "accuracy": [0.9, 0.4], "n": 9, "questions": ["a", "b"]}
    other = curve | {"eps": [0, 2], "accuracy": [0.9, 0.1], "questions": ["a", "c"]}
    fog = {**place, "severities": [1], "accuracy": {"fog": [0.5]}, "mean": 0.5, "source": "made here"}
    audits = [{**place, "question": name, "verdict": "pass"} for name in ("p", "q")]
    found = tables(row(None), security=[curve], corruptions=[fog], audit=audits[:1])
    found = answers.add(found, tables(row(None), security=[other], audit=audits[1:]), heard.append)
    assert (found["security"], found["corruptions"], found["audit"]) == ([curve, other], [fog], audits)
    better = curve | {"accuracy": [0.8, 0.3]}
    noise = fog | {"accuracy": {"noise": [0.1]}}
    found = answers.add(found, tables(row(None), security=[better], corruptions=[noise]), heard.append)
    assert (found["security"], found["corruptions"]) == ([better, other], [fog, noise])


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path, heard: list[str]) -> None:
    first = tables(row(None), finished="then", environment={"torch": "1"})
    assert answers.keep(tmp_path, first, heard.append) == first
    file = tmp_path / "results.json"
    before = (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino)
    again = answers.keep(tmp_path, tables(row(None), finished="now", environment={"torch": "2"}), heard.append)
    assert again == first
    assert (file.read_bytes(), file.stat().st_mtime_ns, file.stat().st_ino) == before
    answers.keep(tmp_path, tables(row("fgsm"), finished="now"), heard.append)
    assert [r["attack"] for r in json.loads(file.read_bytes())["rows"]] == [None, "fgsm"]


@pytest.mark.parametrize("damage", ["{", "[1]", '{"schema": 2, "rows": []}', "[" * 100_000])
def test_results_that_cannot_be_read_are_written_anew_with_a_sentence(
    damage: str, tmp_path: Path, heard: list[str]
) -> None:
    (tmp_path / "results.json").write_text(damage)
    found = answers.keep(tmp_path, tables(row(None)), heard.append)
    assert json.loads((tmp_path / "results.json").read_bytes()) == found
    assert len(heard) == 1
    assert "cannot be read as results of this version" in heard[0]


@pytest.mark.parametrize(
    "change",
    [{"timing": 5}, {"timing": {"evaluate_seconds": "x"}}, {"security": 5}, {"audit": [{"protocol": {}}]},
     {"rows": [row(None) | {"n": "abc"}]}, {"rows": [row(None) | {"protocol": [1]}]}],
)  # fmt: skip
def test_results_of_wrong_types_are_written_anew_with_a_sentence(
    change: Tables, tmp_path: Path, heard: list[str]
) -> None:
    (tmp_path / "results.json").write_text(json.dumps(tables(row(None)) | change), encoding="utf-8")
    assert answers.keep(tmp_path, tables(row("fgsm")), heard.append)["rows"] == [row("fgsm")]
    assert "cannot be read as results of this version" in heard[0]
