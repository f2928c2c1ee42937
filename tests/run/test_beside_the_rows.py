"""Whatever stands beside the rows of results.json is held as they are: curves, corruptions, their mean, audits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustcl import report
from robustcl.errors import Contradiction
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.report.threats import read_threats
from robustcl.run import answers, audited
from tests.shared.compared_runs import finished, first
from tests.shared.judged_run import audit

PLACE = {"protocol": "slf", "route": "clean"}


def asked(run: Path, attack: str | None, right: int, **spec: Any) -> str:
    """Let the journal hold 20 outcomes under a question, and return its digest."""
    key = Key("slf", "clean", "test", attack, json.dumps(spec, sort_keys=True))
    Journal(run / "journal.jsonl").append(key, [Outcome(i, 0, int(i >= right), i < right, 0, "") for i in range(20)])
    return key.digest


def state(run: Path, **changes: Any) -> None:
    stated = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(stated | changes))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a table of corruptions, a curve, and an audit that ``audits/`` keeps."""
    run = finished(tmp_path / "a", {None: first(18, 20), "pgd-20": first(9, 20)}, name="a")
    asks = [
        asked(run, None, right, corruption={"name": "fog", "severity": level}) for level, right in ((1, 12), (2, 6))
    ]
    fog = {**PLACE, "samples": 20, "severities": [1, 2], "accuracy": {"fog": [0.6, 0.3]}, "questions": {"fog": asks},
           "mean": 0.45, "source": "made here", "complete": False}  # fmt: skip
    point = asked(run, "pgd-20", 4, eps=0.05)
    curve = {**PLACE, "attack": "pgd-20", "n": 20, "eps": [0.05], "accuracy": [0.2], "questions": [point]}
    state(run, corruptions=[fog], security=[curve])
    entry = audit() | {"question": "0123456789ab", "reported": {"samples": 20, "standing": 9, "hash": "ba9876543210"}}
    assert audited.store(run, [entry])
    assert [path.name for path in (run / "audits").iterdir()] == ["0123456789ab-200-ba9876543210.json"]
    return run


def test_what_was_not_changed_holds(run: Path) -> None:
    assert report.load(run).unheld == {}


def change(run: Path, part: str, edit: Callable[[Any], None]) -> None:
    stated = json.loads((run / "results.json").read_text())
    edit(stated[part][0])
    (run / "results.json").write_text(json.dumps(stated))


EDITS: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "a corruption": ("corruptions", lambda e: e["accuracy"].update(fog=[0.95, 0.3]), "95 % for slf clean corruptions"),
    "the mean": ("corruptions", lambda e: e.update(mean=0.9), "90 % for the mean of slf clean corruptions.*45.00%"),
    "another question": ("corruptions", lambda e: e.update(questions={"fog": ["a" * 12] * 2}), "holds no outcomes"),
    "a point": ("security", lambda e: e.update(accuracy=[0.9]), "90 % for slf clean security pgd-20 eps 0.05"),
    "a point of no question": (
        "security", lambda e: e.update(accuracy=[0.9], questions=["c" * 12]), "holds no outcomes of that question",
    ),
    "a point at another eps": ("security", lambda e: e.update(eps=[0.07]), "holds no outcomes of that question"),
    "the verdict": ("audit", lambda e: e.update(verdict="pass"), "PASS for the audit of slf clean, and its own"),
    "verdict and finding": (
        "audit", lambda e: [e.update(verdict="pass"), e["findings"][1].update(verdict="pass")],
        "PASS at C2 for the audit of slf clean, and .*audits/.* says WARN",
    ),
    "what stood": ("audit", lambda e: e.update(worst=0.9), "worst 0.9 for the audit.* says 0.565"),
    "how many": ("audit", lambda e: e["reported"].update(hash="ba9876543210"), ""),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_number_beside_the_rows_is_refused_and_mended_by_an_evaluation(run: Path, edit: str) -> None:
    part, act, said = EDITS[edit]
    change(run, part, act)
    if not said:  # nothing was changed
        report.load(run)
        return
    with pytest.raises(Contradiction, match=said):
        report.load(run)
    stated = json.loads((run / "results.json").read_text())
    heard: list[str] = []
    fresh = {key: stated[key] for key in ("schema", "data", "rows", "timing") if key in stated} | {"data": {}}
    answers.keep(run, fresh, heard.append)
    report.load(run)
    assert len(heard) == 1
    assert heard[0].endswith(": left out")


def test_a_row_with_edited_settings_is_left_out_by_the_next_evaluation(tmp_path: Path) -> None:
    run = finished(tmp_path / "a", {None: first(18, 20), "pgd-20": first(9, 20)}, name="a")
    whole = json.loads((run / "results.json").read_text())
    for row in whole["rows"]:
        key = Key(row["protocol"], row["route"], row["split"], row["attack"], json.dumps(row["spec"], sort_keys=True))
        row["question"] = key.digest
    edited = json.loads(json.dumps(whole))
    edited["rows"][1]["spec"]["steps"] = 1000
    (run / "results.json").write_text(json.dumps(edited))
    with pytest.raises(Contradiction, match="is of other settings"):
        report.load(run)
    heard: list[str] = []
    found = answers.keep(run, whole, heard.append)
    assert found["rows"] == whole["rows"]
    assert len(heard) == 1
    report.load(run)


def test_other_threats_that_contradict_their_journals_are_said(run: Path) -> None:
    (run / "recipe.lock.toml").touch()
    below = finished(run / "threat-l2-0.5", {None: first(18, 20), "pgd-20": first(2, 20)}, name="a")
    state(below, judged="a")
    assert [len(part) for part in read_threats(run)] == [1, 0]
    change(below, "rows", lambda row: row.update(value=1.0, correct=20))
    found, absent = read_threats(run)
    assert (found, len(absent)) == ([], 1)
    assert "Left out: " in (page := report.write(run).read_text())
    assert "threat-l2-0.5/results.json says" in page
