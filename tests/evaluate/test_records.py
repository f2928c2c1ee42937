"""What stands in a journal's line, in an audit's entry and in results.json: each bound by itself, from both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import Contradiction, DataError
from robustcl.evaluate import audits, shape
from robustcl.evaluate.lines import Outcome, OutcomeLine, QuestionLine, digest_of, entry_of, written

PLACE = ("slf", "main", "test", "pgd", digest_of("{}"))
LINE: dict[str, Any] = written(PLACE, Outcome(0, 1, 1, True, 7, "ab", "one"))


@pytest.mark.parametrize("changes", [
    {}, {"index": 2**63 - 1}, {"label": -1, "correct": False}, {"prediction": 0, "correct": False}, {"seed": -5},
    {"seed": -(2**63 - 1)}, {"attack": None}, {"hash": ""}, {"hash": "a.b-c_9" + 57 * "x"}, {"route": ""},
    {"label": 0, "prediction": 0},
])  # fmt: skip
def test_an_outcome_at_its_bounds_is_read(changes: dict[str, Any]) -> None:
    said = entry_of({**LINE, **changes})
    assert isinstance(said, OutcomeLine)
    assert said.place == tuple({**LINE, **changes}[name] for name in ("protocol", "route", "split", "attack", "spec"))
    told = {name: getattr(said.outcome, name) for name in ("index", "label", "prediction", "correct", "seed", "hash")}
    assert told == {name: {**LINE, **changes}[name] for name in told}
    assert said.outcome.member == "one"


def test_an_outcome_without_a_member_is_of_the_clean_image() -> None:
    said = entry_of({name: value for name, value in LINE.items() if name != "member"})
    assert isinstance(said, OutcomeLine)
    assert said.outcome.member == "clean"


@pytest.mark.parametrize(("changes", "words"), [
    ({"index": -1}, "index is -1, not 0 or more"), ({"index": 2**63}, "index is 9223372036854775808, not a number of"),
    ({"label": -2, "correct": False}, "label is -2, not -1 or more"),
    ({"prediction": -1, "correct": False}, "0 or more"),
    ({"seed": -(2**63)}, "not a number of 64 bits"), ({"seed": 1.0}, "seed is 1.0, not a whole number"),
    ({"index": True}, "index is true, not a whole number"),
    ({"correct": False}, "correct is false, not true, by label"),
    ({"correct": 1}, "correct is 1, not true"), ({"prediction": 2}, "correct is true, not false"),
    ({"attack": ""}, 'attack is "", not a name or null'), ({"attack": 3}, "attack is 3, not a name or null"),
    ({"member": ""}, 'member is "", not a name'), ({"member": None}, "member is null, not a name"),
    ({"protocol": None}, "protocol is null, not a text"), ({"route": 1}, "route is 1, not a text"),
    ({"split": []}, r"split is \[\], not a text"), ({"spec": "0" * 11}, "not a digest of 12 digits"),
    ({"spec": "0" * 13}, "not a digest of 12 digits"), ({"spec": 5}, "spec is 5, not a digest"),
    ({"hash": "x" * 65}, "not a digest"), ({"hash": "a b"}, "not a digest"), ({"hash": None}, "hash is null"),
    ({"more": 1, "also": 2}, "it has the key 'also', which is none"), ({"spec": "y" * 40}, 'is "y{36}\\.\\.\\., not'),
])  # fmt: skip
def test_what_is_no_outcome_is_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        entry_of({**LINE, **changes})


def test_what_is_missing_is_told_and_long_values_are_cut() -> None:
    for name in (*LINE,)[:-1]:
        with pytest.raises(ValueError, match=f"^{name} is missing$"):
            entry_of({key: value for key, value in LINE.items() if key != name})
    for text, shown in (("y" * 38, json.dumps("y" * 38)), ("y" * 39, f'"{"y" * 36}...')):
        with pytest.raises(ValueError, match="is") as told:
            entry_of({**LINE, "spec": text})
        assert str(told.value) == f"spec is {shown}, not a digest of 12 digits"


def test_a_question_is_its_specification_and_nothing_else() -> None:
    spec = '{"a": 1}'
    assert entry_of({"question": digest_of(spec), "spec": spec}) == QuestionLine(digest_of(spec), spec)
    assert entry_of({"question": digest_of(""), "spec": ""}) == QuestionLine(digest_of(""), "")
    for entry, words in (
        ({"question": digest_of(spec)}, "without its specification"),
        ({"question": digest_of(spec), "spec": spec, "more": 1}, "with something beside it"),
        ({"question": digest_of(spec), "spec": 1}, "spec is 1, not a text"),
        ({"question": "0" * 12, "spec": spec}, "not the digest of its specification"),
        ({"question": digest_of("[]"), "spec": "[]"}, "not a JSON object"),
        ({"question": digest_of("{"), "spec": "{"}, "its specification is no JSON"),
    ):
        with pytest.raises(ValueError, match=words):
            entry_of(entry)


def audit(**changes: Any) -> dict[str, Any]:
    findings = [{"code": "C1", "evidence": "a", "verdict": "pass"}, {"code": "C2", "evidence": "b", "verdict": "warn"}]
    return {
        "protocol": "slf", "route": "adv", "question": "q1", "samples": 200, "reported": {"hash": "h2"}, "clean": 0.9,
        "worst": 0.5, "verdict": "warn", "findings": findings, **changes,
    }  # fmt: skip


def test_an_audits_file_is_named_by_all_three(tmp_path: Path) -> None:
    assert audits.path_of(tmp_path, audit()) == tmp_path / "audits" / "q1-200-h2.json"
    for lacking in ({"question": None}, {"samples": 1.5}, {"reported": None}, {"reported": {}}, {"question": "../x"}):
        assert audits.path_of(tmp_path, audit(**lacking)) is None


def test_an_audit_is_held_against_itself_and_its_file(tmp_path: Path) -> None:
    audits.check(tmp_path, audit(), "again")
    audits.check(tmp_path, audit(verdict="not run"), "again")
    audits.check(tmp_path, audit(findings=None), "again")
    audits.check(tmp_path, audit(findings=[{"code": "C16", "evidence": "x", "verdict": "report"}]), "again")
    for verdict, said in (("pass", "PASS"), ("fail", "FAIL")):
        with pytest.raises(
            Contradiction, match=rf"says {said} for the audit of slf adv, and its own findings WARN: ag"
        ):
            audits.check(tmp_path, audit(verdict=verdict), "again")
    path = audits.path_of(tmp_path, audit())
    assert path is not None
    path.parent.mkdir()
    path.write_text(json.dumps(audit()))
    audits.check(tmp_path, audit(), "again")
    for changes, words in (
        ({"clean": 0.8}, r"says clean 0.8 for the audit of slf adv, and .*q1-200-h2.json says 0.9: again"),
        ({"worst": 0.6}, "says worst 0.6 .* says 0.5: again"),
        ({"findings": [{"code": "C1", "evidence": "a", "verdict": "warn"}]}, "says WARN at C1 .* says PASS: again"),
    ):
        with pytest.raises(Contradiction, match=words):
            audits.check(tmp_path, audit(**changes), "again")
    # Another evidence is of a deeper audit, which may have found something else.
    audits.check(
        tmp_path, audit(findings=[{"code": "C1", "evidence": "deeper", "verdict": "warn"}], clean=0.1), "again"
    )
    path.write_text(json.dumps({**audit(), "verdict": "fail"}))
    with pytest.raises(Contradiction, match=r"says verdict warn .* says fail: again"):
        audits.check(tmp_path, audit(), "again")


def test_an_audit_that_lacks_a_part_was_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    assert audits.read_kept(file) is None
    whole: dict[str, Any] = {"samples": 2, "findings": [], "verdict": "pass"}
    for found in (whole, {**whole, "more": 1}):
        file.write_text(json.dumps(found))
        assert audits.read_kept(file) == found
    for name in whole:
        file.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        assert audits.read_kept(file) is None
    file.write_text("[]")
    assert audits.read_kept(file) is None


ROW: dict[str, Any] = {"metric": "clean_acc"}


@pytest.mark.parametrize("results", [
    {"rows": [ROW], "seed": 2**63 - 1}, {"rows": [{**ROW, "n": None, "value": 1}]},
    {"rows": [ROW], "timing": {"a": 1.5}},
    {"rows": [ROW], "threat": {"eps": "8/255", "eps_value": 0.03}}, {"rows": [ROW], "data": {"classes": ["a", 1, 0.5]}},
    {"rows": [ROW], "unknown": [{}, True]}, {"rows": [ROW], "name": "tab\tand\nline"},
])  # fmt: skip
def test_results_that_have_their_shape(results: dict[str, Any]) -> None:
    shape.check(Path("results.json"), results)


@pytest.mark.parametrize(("results", "words"), [
    ({}, "has no result rows"), ({"rows": []}, "has no result rows"), ({"rows": {}}, "has no result rows"),
    ({"rows": [ROW, {"metric": 3}]}, "row 1 names no metric"), ({"rows": [ROW, "x"]}, "row 1 names no metric"),
    ({"rows": [{**ROW, "n": 1.5}]}, r"rows\[0\].n is 1.5, not a whole number"),
    ({"rows": [{**ROW, "n": True}]}, r"rows\[0\].n is true, not a whole number"),
    ({"rows": [{**ROW, "value": True}]}, r"rows\[0\].value is true, not a number"),
    ({"rows": [{**ROW, "value": "x"}]}, r'rows\[0\].value is "x", not a number'),
    ({"rows": [{**ROW, "members": {"a": "x"}}]}, r'rows\[0\].members.a is "x", not a number'),
    ({"rows": [ROW], "name": 3}, "name is 3, not a text"),
    ({"rows": [ROW], "threat": []}, r"threat is \[\], not a table"),
    ({"rows": [ROW], "threat": {"eps": []}}, r"threat.eps is \[\], not a text or a number"),
    ({"rows": [ROW], "silhouette": {"a": 1}}, 'silhouette is {"a": 1}, not a list'),
    ({"rows": [ROW], "silhouette": [{"grid": [1, "x"]}]}, r'silhouette\[0\].grid\[1\] is "x", not a number'),
    ({"rows": [ROW], "composition": {"stages": [{"terms": [{"use": 1}]}]}}, r"terms\[0\].use is 1, not a te"),
    ({"rows": [ROW], "environment": 1}, "environment is 1, not a table"),
    ({"rows": [ROW], "seed": 2**63}, "a number of more than 64 bits"),
    ({"rows": [ROW], "x": [{"\x1b": 1}]}, r"the control character '\\x1b'"),
    ({"rows": [ROW], "x": ["a\x07"]}, "control"),
])  # fmt: skip
def test_results_of_another_shape(results: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        shape.check(Path("results.json"), results)


def test_rows_may_lack_where_nothing_was_judged() -> None:
    shape.check(Path("results.json"), {"rows": []}, unjudged=True)
    with pytest.raises(DataError, match="has no result rows"):
        shape.check(Path("results.json"), {}, unjudged=True)


def test_values_are_shown_up_to_sixty_letters() -> None:
    assert shape.short("x" * 58) == json.dumps("x" * 58)
    assert shape.short("x" * 59) == f'"{"x" * 56}...'
