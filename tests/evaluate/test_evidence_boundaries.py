"""What a journal answers for one row of results, told apart by what the row says; and attacks toward a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from robustcl.errors import Contradiction, UsageError
from robustcl.evaluate import aim
from robustcl.evaluate.extras.evidence import Evidence, key_of
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.points import order
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle

SPEC: dict[str, Any] = {"model": "m", "steps": 3}


def row_of(right: list[bool], **changes: Any) -> dict[str, Any]:
    low, high = wilson(sum(right), len(right))
    return {
        "protocol": "slf", "route": "main", "split": "test", "attack": "it", "metric": "it_acc", "model": "m",
        "spec": {"steps": 3}, "n": len(right), "correct": sum(right), "value": sum(right) / len(right), "low": low,
        "high": high, **changes,
    }  # fmt: skip


RIGHT = [True, False, True, True, False, True]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    journal = Journal(tmp_path / "journal.jsonl")
    key = key_of(row_of(RIGHT))
    assert key == Key("slf", "main", "test", "it", '{"model": "m", "steps": 3}')
    journal.append(key, [Outcome(i, 1, 1, True, 7, f"c{i}") for i in range(6)])
    journal.append(key, [Outcome(i, 1, int(right), right, 7, f"a{i}", "one") for i, right in enumerate(RIGHT)])
    return Evidence(tmp_path)


def test_a_row_that_is_the_journals(evidence: Evidence) -> None:
    found = evidence.of(row_of(RIGHT, question=key_of(row_of(RIGHT)).digest, members={"one": 4 / 6}))
    assert not isinstance(found, str)
    assert [found[i][-1].correct for i in range(6)] == RIGHT
    first = evidence.of(row_of(RIGHT[:2]))
    assert not isinstance(first, str)
    assert sorted(first) == [0, 1]


def test_a_row_that_the_journal_does_not_know(evidence: Evidence, tmp_path: Path) -> None:
    other = row_of(RIGHT, attack="other")
    assert evidence.of(other) == f"{evidence.path} holds no outcomes of it"
    digest = key_of(other).digest
    with pytest.raises(Contradiction, match="holds none of them"):
        evidence.of({**other, "question": digest})
    assert isinstance(evidence.of({**other, "question": digest, "n": 0}), str)
    with pytest.raises(Contradiction, match="is of other settings"):
        evidence.of(row_of(RIGHT, question="0" * 12))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert evidence.of(row_of(RIGHT)) != Evidence(empty).of(row_of(RIGHT)) == f"there is no {empty / 'journal.jsonl'}"


@pytest.mark.parametrize(("changes", "words"), [
    ({"correct": 5}, "4 of 6 images"), ({"value": 4 / 6 + 1e-6}, "4 of 6 images"), ({"value": None}, "4 of 6 images"),
    ({"low": 0.1}, "an interval from"), ({"high": 0.99}, "an interval from"),
    ({"members": {"one": 0.5}}, "of its members"),
    ({"n": 7}, "knows 6 images"), ({"n": -1}, "knows 6 images"), ({"n": "six"}, "knows 6 images"),
])  # fmt: skip
def test_a_row_that_says_something_else(changes: dict[str, Any], words: str, evidence: Evidence) -> None:
    with pytest.raises(Contradiction, match=words):
        evidence.of(row_of(RIGHT, **changes))


@pytest.mark.parametrize("changes", [
    {"value": 4 / 6 + 1e-12}, {"low": None}, {"high": None}, {"members": {"two": 0.5}}, {"members": None},
])  # fmt: skip
def test_a_row_that_says_less(changes: dict[str, Any], evidence: Evidence) -> None:
    assert not isinstance(evidence.of(row_of(RIGHT, **changes)), str)


def test_in_haste_the_first_of_the_order_of_chance_count(evidence: Evidence) -> None:
    known = evidence.of(row_of(RIGHT))
    assert not isinstance(known, str)
    first = order(known, 6)[:3]
    right = [RIGHT[i] for i in first]
    found = evidence.of(row_of(right, partial=True, samples=6))
    assert not isinstance(found, str)
    assert list(found) == list(first)


def test_a_row_without_counts_is_all_that_is_known(evidence: Evidence) -> None:
    found = evidence.of(row_of(RIGHT, n=None, correct=None))
    assert not isinstance(found, str)
    assert sorted(found) == list(range(6))


def test_rows_against_themselves_and_reasons(evidence: Evidence) -> None:
    mean = {"protocol": "slf", "route": "main", "split": "test", "attack": None, "metric": "silhouette", "value": 0.5}
    other = {"attack": "other", "metric": "other_acc"}
    rows = [row_of(RIGHT), row_of(RIGHT, **other), row_of(RIGHT, n=None, correct=None), mean]
    reasons = evidence.hold({"rows": rows})
    assert sorted(reasons) == [1, 2]
    assert reasons[2] == "it does not say of how many images it is"
    for changes in ({"correct": 7}, {"correct": -1}, {"value": 0.9}):
        with pytest.raises(Contradiction, match="its own count"):
            evidence.hold({"rows": [row_of(RIGHT, **other, **changes)]})
    sifted, told = evidence.sift({"rows": [rows[0], row_of(RIGHT, correct=5)], "silhouette": [1]})
    assert sifted == {"rows": [rows[0]], "silhouette": [1]}
    assert len(told) == 1


@pytest.mark.parametrize(("changes", "words"), [
    ({"metric": "pgd-20_acc"}, "its own attack is of it_acc"),
    ({"metric": "clean_acc"}, "its own attack is of it_acc"),
    ({"partial": True, "samples": 8}, "its own attack is of partial it_acc"),
    ({"metric": "partial it_acc", "partial": True, "samples": 8, "upper": 0.5}, "leaves 75.00% at most"),
    ({"metric": "partial it_acc", "partial": True, "samples": 8}, "leaves 75.00% at most"),
    ({"attack": None}, "its own attack is of clean_acc"),
])  # fmt: skip
def test_a_number_bears_the_name_of_its_attack(changes: dict[str, Any], words: str, evidence: Evidence) -> None:
    evidence.hold({"rows": [row_of(RIGHT)]})
    with pytest.raises(Contradiction, match=words):
        evidence.hold({"rows": [row_of(RIGHT, **changes)]})


def test_clean_images_are_named_by_their_hashes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for attack, spec, split, name in (
        (None, "", "test", "a"), (None, '{"corruption": {"name": "fog"}}', "test", "fog"), ("it", "", "test", "it"),
        (None, "", "train", "train"),
    ):  # fmt: skip
        journal.append(Key("slf", "main", split, attack, spec), [Outcome(3, 1, 1, True, 0, name)])
    assert Evidence(tmp_path).clean("test") == {3: "a"}


def test_names_of_aimed_attacks() -> None:
    assert [aim.name_aimed("pgd", target) for target in (None, 3, torch.tensor([1]))] == [
        "pgd",
        "pgd-target-3",
        "pgd-target-each",
    ]
    assert [aim.split_aimed(name) for name in ("pgd", "pgd-target-3", "a-target-b-target-each", "pgd-target-x")] == [
        ("pgd", None), ("pgd", "3"), ("a-target-b", "each"), ("pgd-target-x", None),
    ]  # fmt: skip
    for target in (-1, 3):
        with pytest.raises(UsageError, match="the classes are 0 to 2"):
            aim.check(target, 3, "it")
    for target in (None, 0, 2):
        aim.check(target, 3, "it")
    like = torch.tensor([0, 1])
    assert aim.everywhere(None, like) is None
    assert aim.everywhere(2, like).tolist() == [2, 2]  # type: ignore[union-attr]


def test_what_is_reached_is_the_very_class() -> None:
    outcomes = [
        Outcome(0, 0, 2, False, 0, "", "it"),
        Outcome(1, 0, 1, False, 0, "", "it"),
        Outcome(2, 2, 2, True, 0, "", "it"),
        Outcome(3, 0, 2, False, 0, ""),
    ]
    assert aim.counts(2, outcomes) == {"target": 2, "attacked": 2, "reached": 1}


def test_an_aimed_attack_climbs_toward_its_classes_and_succeeds_there() -> None:
    rows, nothing = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    plain = Attack(
        oracle=Oracle(
            encode=lambda x, places: Embedding(logits=x),
            fooled=lambda e, places: e.logits.argmax(1) != 0,
            breaks=lambda x, places: x.argmax(1) != 0,
        ),
        ball=Ball("Linf", 0.1),
        rng=Rng(0),
        label=nothing,
        index=rows,
        places=rows,
    )
    target, logits = torch.tensor([1, 2, 2]), torch.tensor([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0], [0.0, 1.0, 3.0]])
    attack = aim.aim_at(plain, target, lambda x: x.argmax(1))
    embedding = Embedding(logits=logits)
    assert attack.fooled(embedding).tolist() == [True, False, True]
    assert attack.breaks(logits).tolist() == [True, False, True]
    wanted = torch.nn.functional.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(attack.objective(embedding), wanted)
    bare = aim.aim_at(plain.but(fooled=None, breaks=None), target, lambda x: x.argmax(1))
    assert not bare.has("fooled")
    assert not bare.has("breaks")


@pytest.mark.parametrize(("changes", "wrong"), [
    ({}, False), ({"mean": 0.5 + 1e-12}, False), ({"mean": 0.5 + 1e-6}, True), ({"mean": None}, False),
    ({"mean": "x"}, True), ({"accuracy": {"fog": 0.5}, "mean": 0.9}, False), ({"accuracy": [0.5], "mean": 0.9}, False),
    ({"accuracy": {"fog": [0.5, "x"]}, "mean": 0.9}, False), ({"accuracy": {}, "mean": 0.9}, False),
    ({"accuracy": {"fog": [True]}, "mean": 0.9}, False), ({"accuracy": {"fog": [0.25]}, "mean": 0.25}, False),
])  # fmt: skip
def test_the_mean_of_corruptions_is_that_of_all_numbers(
    changes: dict[str, Any], wrong: bool, evidence: Evidence
) -> None:
    entry = {"protocol": "slf", "accuracy": {"fog": [0.25, 0.5], "snow": [0.75]}, "mean": 0.5, **changes}
    if wrong:
        with pytest.raises(Contradiction, match=r"for the mean of slf corruptions, and the numbers beside it 50.00%"):
            evidence._check_mean(entry, "corruptions")
    else:
        evidence._check_mean(entry, "corruptions")
