"""The ledger of claims: what is installed, what finished studies show of it, and claims.json as anybody may send it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from robustcl import registry
from robustcl.claims import outcome
from robustcl.claims.outcome import ClaimOutcome, Claims, Found, Measured
from robustcl.cli.main import robustcl
from robustcl.errors import DataError
from robustcl.study.grammar import source
from robustcl.study.ledger import wording
from robustcl.study.ledger.entries import Ledger, LedgerEntry, Shown, open_ledger, shorten
from tests.shared.distributions import install

STUDY = source.read("ncp-table-4", budget="small")
BEST = next(claim for claim in STUDY.claim if claim.name == "both-parts-are-best")


def told(**changes: Any) -> dict[str, Any]:
    """Return claims.json of NCP's table 4 with five seeds, in which both parts are better than either."""
    found = Found(said="RA: (iii) both - (i) away", value=3.2, margin=0, low=1.5, high=4.9, up=0.004, down=0.996)
    one = ClaimOutcome(name=BEST.name, says=BEST.says, place=BEST.place, asked=BEST.asked(), status="seen", p=0.008,
                       adjusted=0.008, method="t over seeds", seeds=5, unit="points", contrasts=[found],
                       numbers=[Measured(line="(i) away", column="RA", values={"0": 30.1})])  # fmt: skip
    whole = Claims(version=1, study="ncp-table-4", cite=STUDY.cite, dataset="digits", data="digits", budget="small",
                   seeds=5, equal="steps", claims=[one])  # fmt: skip
    return {**whole.model_dump(mode="json", by_alias=True), **changes}


def kept(folder: Path, plain: Any) -> Path:
    folder.mkdir(exist_ok=True)
    text = plain if isinstance(plain, str) else json.dumps(plain)
    (folder / "claims.json").write_text(text, encoding="utf-8")
    return folder


def asked(*words: str | Path) -> Result:
    return CliRunner().invoke(robustcl, ["claims", *map(str, words)])


def test_without_a_study_every_claim_is_there_and_none_is_run() -> None:
    found = open_ledger([])
    assert not found.notes
    assert wording.count(found) == f"{len(found.entries)} claims: {len(found.entries)} not run"
    papers = [entry.paper for entry in found.entries]
    assert papers == sorted(papers, key=str.casefold), "each paper is one section"
    text = asked().stdout
    assert "  ncp-table-4, both-parts-are-best (appendix B.1, table 4)\n" in text


def test_what_a_study_has_shown_stands_at_its_claim(tmp_path: Path) -> None:
    folder = kept(tmp_path / "digits", told())
    text = asked(folder).stdout
    measured = "RA: (iii) both - (i) away: +3.2 [+1.5, +4.9] points"
    assert f"    seen: digits, small, 5 seeds, equal steps, p 0.008; {measured} [{folder}]" in text
    assert ": 1 seen, " in text
    page = asked("--markdown", folder / "claims.json").stdout
    (row,) = [line for line in page.splitlines() if line.startswith("| ") and "study ncp-table-4" in line]
    assert "(appendix B.1, table 4; study ncp-table-4) | seen, p 0.008 by t over seeds, n = 5 | digits, small" in row
    assert "Not run:\n\n- " in page
    (shown,) = [one for one in json.loads(asked("--json", folder).stdout)["claims"] if one["shown"]]
    assert shown["name"] == "both-parts-are-best"
    assert shown["shown"][0]["outcome"]["status"] == "seen"
    assert shown["shown"][0]["seeds"] == 5


def test_the_same_directory_counts_once_and_two_studies_twice(tmp_path: Path) -> None:
    one, other = kept(tmp_path / "one", told()), kept(tmp_path / "other", told(budget="paper"))
    found = open_ledger([one, tmp_path / "." / "one", other])
    (entry,) = [entry for entry in found.entries if entry.shown]
    assert [shown.path for shown in entry.shown] == [tmp_path / "one", other]


def test_an_outcome_of_another_test_is_left_out_and_said(tmp_path: Path) -> None:
    """Whoever makes a claim easier does not inherit what was seen of the harder one."""
    plain = told()
    plain["claims"][0]["asked"]["above"]["by"] = -10
    found = open_ledger([kept(tmp_path / "old", plain)])
    assert not any(entry.shown for entry in found.entries)
    assert found.notes == (
        f"{tmp_path / 'old'}: ncp-table-4, both-parts-are-best is another claim today; run the study again",
    )


def test_a_study_of_ones_own_is_listed_too(tmp_path: Path) -> None:
    folder = kept(tmp_path / "mine", told(study="mine", cite="Nobody, Nothing at all, 2031, table 9"))
    text = asked(folder).stdout
    assert "Nobody, Nothing at all, 2031\n\n  mine, both-parts-are-best" in text


def test_a_study_that_cannot_be_read_is_said_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "broken_claims/__init__.py": "",
        "broken_claims/torn.toml": "name = ",
        "broken_claims/wrong.toml": "name = 'wrong'\n[[claim]]\nname = 'it'\nsay = 'So.'",
        "broken_claims/odd.toml": "name = 'odd'\nclaim = 3",
        "broken_claims/good.toml": "name = 'good'\n[[claim]]\nname = 'it'\nsays = 'So.'\nplace = 'table 1'",
    }
    install(tmp_path, "broken-claims", {"robustcl.studies": {"broken-claims": "broken_claims"}}, files)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.refresh()
    try:
        found = open_ledger([], "broken-claims")
    finally:
        registry.refresh()
    assert [(entry.study, entry.name) for entry in found.entries] == [("good", "it")]
    assert [note.partition(": ")[0] for note in found.notes] == [
        "the study odd",
        "the study torn is not TOML",
        "the study wrong",
    ]
    assert found.notes[2].startswith("the study wrong: claim.it: unknown key 'say', did you mean 'says'?; remove or ")
    assert found.notes[2].endswith(": its claims are left out")


def test_a_paper_is_what_stands_before_its_year() -> None:
    assert shorten("A. Author, On 12 things,\n 2021, section 2, figures 2a") == "A. Author, On 12 things, 2021"
    assert shorten("A. Author, On it, 2021, figure 4; the numbers from table 4") == "A. Author, On it, 2021"
    assert shorten("A. Author, 2021; B. Author, 2024, table 3") == "Several papers"
    assert shorten("a page in the web") == "a page in the web"


# Mistakes and malice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ("{", "claims.json is damaged: "),
        ("[]", "claims.json holds a list, not a table; run the study's command again"),
        ('{"schema": NaN}', "claims.json is damaged: NaN is no number"),
        ("[" * 100_000, "claims.json is damaged: it is nested more than 64 levels deep"),
        (told(schema=2), "schema = 2 is not accepted; give a number less than or equal to 1"),
        (told(study=["x"]), "study = ['x'] is not accepted; give a string"),
        (told(data="\x1b[2J"), r"claims.json holds the control character '\x1b'"),
        ({"schema": 1}, "is missing; add it"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, plain: Any, said: str) -> None:
    done = asked(kept(tmp_path / "bad", plain))
    assert said in str(done.exception)
    assert isinstance(done.exception, DataError)
    assert "\n" not in str(done.exception)


def test_a_directory_without_claims_is_told_so(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"no claims\.json: name the directory of a finished|there is no file"):
            open_ledger([place])
    assert "--json and --markdown are two forms of one list" in str(asked("--json", "--markdown").exception)


TREE = {"a": {"b": [1]}}
HOSTILE: tuple[Any, ...] = (None, True, -1, 10**30, 1e308, "", "|\n<script>", "x" * 5000, [], {}, [[]], TREE)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Go through every place of a tree."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def opened(file: Path) -> Claims | str:
    """Return what a file says, or the sentence that refuses it."""
    try:
        return outcome.read(file)
    except DataError as error:
        return str(error)


def spoilt(plain: dict[str, Any], path: tuple[Any, ...], value: Any) -> str:
    """Return the file with another value at a place."""
    whole = copy.deepcopy(plain)
    node: Any = whole
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return json.dumps(whole)


def test_whatever_stands_at_a_place_is_read_or_refused(tmp_path: Path) -> None:
    """Every place of the file with every hostile value: shown in one line and without a tag, or one sentence."""
    plain = told(terms=[{"label": "x", "steps": 1}], versions={"torch": "1"}, changed=["a=1"])
    file, refused, shown = tmp_path / "claims.json", 0, 0
    for path in places(plain):
        for value in HOSTILE:
            file.write_text(spoilt(plain, path, value), encoding="utf-8")
            read = opened(file)
            if isinstance(read, str):
                assert "\n" not in read
                refused += 1
                continue
            found = Ledger(tuple(
                LedgerEntry(shorten(read.cite), read.study, one.name, one.says, one.place,
                                   (Shown(file, read, one),)) for one in read.claims
            ))  # fmt: skip
            page = wording.markdown(found)
            assert wording.text(found)
            assert wording.records(found) is not None
            assert "<script" not in page
            table = [line for line in page.splitlines() if line.startswith("| ")]
            assert len(table) == (3 if read.claims else 0)
            shown += 1
    assert refused > 200
    assert shown > 100
