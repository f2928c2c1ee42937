"""``samples`` in an attack's table: the first so many judged images under that attack, all of them under the others."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import robustcl
from robustcl.analysis.again import Wanted, evaluate_again
from robustcl.analysis.bare import ModelQuestion, judge_model
from robustcl.analysis.other_threat import under
from robustcl.composition.assembly import assemble
from robustcl.composition.lock import digest, lock
from robustcl.errors import UsageError
from robustcl.evaluate import shards
from robustcl.evaluate.extras.evidence import Evidence
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.work import WHOLE, Work
from robustcl.recipe import reading
from robustcl.report import tables
from robustcl.study.grammar.columns import COLUMN
from robustcl.study.grammar.study import Row
from robustcl.study.numbers import columns
from robustcl.study.plan.planned import Planned

MODULE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
BOTH = ("fgsm", '{ use = "pgd-20", samples = 7 }')


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of a model of the digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "some_linear_model", raising=False)
    (tmp_path / "some_linear_model.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def judged(*attacks: Any, out: str = "out", work: Work = WHOLE, **more: Any) -> dict[str, Any]:
    asked = ModelQuestion("some_linear_model:build", "digits", attacks=attacks, audit=0, **{"samples": 20, **more})
    return dict(judge_model(asked, Path(out), device="cpu", work=work).results.tables)


def test_the_others_are_judged_on_all_images_and_each_row_counts_its_own(place: Path) -> None:
    found = judged(*BOTH)
    assert [(row["attack"], row["n"]) for row in found["rows"]] == [(None, 20), ("fgsm", 20), ("pgd-20", 7)]
    assert found["data"]["test"] == 20
    assert not Evidence(place / "out").hold(found), "each row is held against the journal"
    alone = judged("pgd-20", out="alone", samples=7)["rows"][1]
    assert found["rows"][2] == alone, "the same question, of which nothing else is said: an old answer is found again"
    assert (alone["low"], alone["high"]) == wilson(alone["correct"], 7)
    assert "7.00, n = 7" not in tables.markdown({"out": found}), "n stands once"
    assert tables.markdown({"out": found}).count(", n = 7 ") == 1


def test_more_images_add_only_what_is_missing_and_both_answers_stand(place: Path) -> None:
    judged(*BOTH)
    before = len((place / "out" / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    again = judged("fgsm", {"use": "pgd-20", "samples": 9})
    after = len((place / "out" / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    assert after - before <= 2 * 2, "two images, each clean and under the attack"
    assert [row["n"] for row in again["rows"]] == [20, 20, 7, 9]


@pytest.mark.parametrize(("own", "all_of_them", "n"), [(7, 5, 5), (7, 7, 7), (30, 20, 20)])
def test_the_smaller_of_both_holds(own: int, all_of_them: int, n: int, place: Path) -> None:
    found = judged("fgsm", {"use": "pgd-20", "samples": own}, samples=all_of_them)
    assert [row["n"] for row in found["rows"]] == [all_of_them, all_of_them, n]


def test_shares_make_the_same_rows(place: Path) -> None:
    for number in range(3):
        judged(*BOTH, out="shared", block=3, work=Work(shard=(number, 3)))
    shards.merge(place / "shared")
    journal = (place / "shared" / "journal.jsonl").read_bytes()
    assert judged(*BOTH, out="shared", block=3)["rows"] == judged(*BOTH, out="alone")["rows"]
    assert (place / "shared" / "journal.jsonl").read_bytes() == journal, "nothing was left to judge"


@pytest.mark.parametrize("samples", ["0", "-3", "1.5", "true", '"all"'])
def test_what_is_no_count_is_one_sentence(samples: str, place: Path) -> None:
    with pytest.raises(UsageError, match=r"^--attack .*: samples = .* is not accepted; give a[^\n]*$"):
        judged(f'{{ use = "pgd-20", samples = {samples} }}')
    with pytest.raises(
        UsageError, match=r"evaluate\.slf\.attacks\.pgd-20\.samples = .* is not accepted; give a[^\n]*$"
    ):
        composed(f'[{{ use = "pgd-20", samples = {samples} }}]')
    assert not (place / "out").exists()


def composed(attacks: str) -> robustcl.api.Composition:
    return robustcl.compose(recipe="ncp", budget="smoke", overrides=(f"evaluate.slf.attacks={attacks}",))


def test_the_key_stands_in_lock_and_hash_only_where_it_is_given() -> None:
    without, with_it = composed('["pgd-20", "autoattack"]'), composed('["pgd-20", { use = "autoattack", samples = 7 }]')
    assert ["samples" in attack for attack in lock(without)["evaluate"][0]["attacks"]] == [False, False]
    assert [attack.get("samples") for attack in lock(with_it)["evaluate"][0]["attacks"]] == [None, 7]
    assert digest(without) != digest(with_it)
    [line] = [line for line in with_it.explain().splitlines() if line.startswith("  attacks ")]
    assert line.endswith("on the first 7 images")
    assert "images" not in next(line for line in without.explain().splitlines() if line.startswith("  attacks "))


def test_a_run_keeps_it_under_another_threat_and_for_its_curves(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    asked = Wanted(attacks=["fgsm", {"use": "pgd", "steps": 2, "samples": 5}])
    own = assemble(asked.tables(run, print)[0], "run")
    assert [table.samples for table in under(own, run, "4/255", None).evaluations[0].table.attacks] == [None, 5]
    first = [{"use": "pgd", "steps": 2, "samples": 5}, "fgsm"]
    found = evaluate_again(run, routes=["adv"], attacks=first, curve=["4/255"], convergence=[1, 2]).results.tables
    assert [(entry["samples"], entry["n"]) for part in ("security", "convergence") for entry in found[part]] == [
        (5, 5),
        (5, 5),
    ]
    told = {(row["attack"], row["n"]) for row in found["rows"] if row["split"] == "test" and row["route"] == "adv"}
    assert told == {(None, 16), ("fgsm", 16), ("pgd", 5)}
    assert not Evidence(run).hold(found)


def test_a_column_of_a_study_reads_the_row_of_its_own_number_of_images(whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    evaluate_again(run, routes=["adv"], attacks=["fgsm", {"use": "fgsm", "samples": 5}])
    table: dict[str, Any] = reading.read(run / "recipe.lock.toml")
    column = COLUMN.validate_python({"name": "RA", "use": "accuracy", "route": "adv", "attack": "fgsm"})
    for attack, n in ((["fgsm"], 16), ([{"use": "fgsm", "samples": 5}], 5), ([{"use": "fgsm", "samples": 50}], 16)):
        table["evaluate"][0]["attacks"] = attack
        planned = Planned("tiny", Row(name="tiny"), {}, 0, assemble(table, "run"), "", "")  # type: ignore[arg-type]
        [found] = columns.read([column], planned, run)
        assert found is not None
        assert found.n == n
