"""A finished run under another threat, with or without its audit, and its black-box matrix on its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from robustcl import api, report
from robustcl.analysis import surrogates
from robustcl.analysis.again import Wanted, evaluate_again
from robustcl.analysis.audit import open_audited
from robustcl.analysis.black_box import matrix
from robustcl.analysis.other_threat import evaluate_under
from robustcl.cli.audit import command as audit
from robustcl.cli.evaluate import command as evaluate
from robustcl.cli.transfer import command as transfer
from robustcl.errors import RobustclError, UsageError
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.work import Work
from robustcl.report import blackbox
from robustcl.train import stage_files
from robustcl.train.engine import Engine
from tests.shared.two_seeds import AUDITED, EPS, PGD, SAMPLES, STEP, digits, iterates, recipe, right


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def plain_pgd(run: Path, eps: float, step: float) -> float:
    """Return the accuracy that the loops of PGD within an Linf ball leave."""
    points = [digits()[0], *iterates(run, 0, eps=eps, step=step)]
    return float(torch.stack([right(run, x) for x in points]).all(0).double().mean())


def test_another_size_is_a_question_of_its_own(runs: list[Path]) -> None:
    before = {name: (runs[0] / name).read_bytes() for name in ("results.json", "journal.jsonl")}
    done = CliRunner().invoke(evaluate, [str(runs[0]), "--eps", "16/255", "--json"], catch_exceptions=False)
    found = json.loads(done.stdout.splitlines()[-1])
    target = runs[0] / "threat-linf-16-255"
    assert found == results(target)
    assert found["threat"] == {"norm": "Linf", "eps": "16/255", "eps_value": pytest.approx(16 / 255)}
    assert (found["name"], found["judged"]) == ("tiny-under-linf-16-255", str(runs[0]))
    clean, attacked = (row for row in found["rows"] if row["split"] == "test")
    assert (attacked["spec"]["eps"], attacked["spec"]["norm"]) == (pytest.approx(16 / 255), "Linf")
    assert attacked["spec"]["attack"]["step_size"] == pytest.approx(STEP / 2), "the same share of eps"
    own = [row for row in results(runs[0])["rows"] if row["split"] == "test"]
    assert clean["value"] == own[0]["value"]
    assert own[1]["value"] == plain_pgd(runs[0], EPS, STEP)
    assert attacked["value"] == plain_pgd(runs[0], EPS / 2, STEP / 2)
    assert own[1]["value"] < attacked["value"] < clean["value"]
    assert attacked["model"] == own[1]["model"], "the very same classifier"
    assert attacked["protocol_hash"] == own[1]["protocol_hash"]
    assert [entry["threat"]["eps"] for entry in found["audit"]] == [pytest.approx(16 / 255)]
    assert {name: (runs[0] / name).read_bytes() for name in before} == before, "the run's own numbers stay"
    assert "16/255" in (target / "report.html").read_text(encoding="utf-8")
    assert 'href="threat-linf-16-255/report.html"' in (runs[0] / "report.html").read_text(encoding="utf-8")


def test_the_audit_of_another_size_goes_beside_its_number(runs: list[Path]) -> None:
    target = runs[0] / "threat-linf-16-255"
    evaluate_under(runs[0], "16/255", Wanted(audit=0))
    before = (runs[0] / "results.json").read_bytes()
    words = [str(runs[0]), "--eps", "16/255", "--samples", "10", "--json"]
    [told] = json.loads(CliRunner().invoke(audit, words, catch_exceptions=False).stdout).values()
    assert told["threat"]["eps"] == pytest.approx(16 / 255)
    assert [entry["samples"] for entry in results(target)["audit"]] == [10]
    assert (runs[0] / "results.json").read_bytes() == before
    [c11] = [each["evidence"] for each in told["findings"] if each["code"] == "C11"]
    assert "the reported attacks left standing" in c11, "those of the same radius, from its journal"
    words[2] = "12/255"
    [other] = json.loads(CliRunner().invoke(audit, words, catch_exceptions=False).stdout).values()
    assert other["threat"]["eps"] == pytest.approx(12 / 255)
    assert not (runs[0] / "threat-linf-12-255").exists(), "nothing was reported in that ball"


def test_the_number_is_what_the_curve_of_the_run_says(runs: list[Path], tmp_path: Path) -> None:
    """Both take steps of a quarter of the recipe's."""
    one = evaluate_under(runs[1], "8/255", Wanted(audit=0), out=tmp_path / "one").results.tables
    [curve] = evaluate_again(runs[1], curve=["8/255"], audit=0).results.tables["security"]
    assert (curve["n"], curve["eps"]) == (SAMPLES, pytest.approx([0, 8 / 255]))
    [attacked] = [row for row in one["rows"] if row["split"] == "test" and row["attack"]]
    assert attacked["value"] == curve["accuracy"][1]


def test_another_norm_with_a_curve_of_its_own(runs: list[Path], tmp_path: Path) -> None:
    wanted = Wanted(samples=16, curve=["0.25", "1.5"], audit=0)
    found = evaluate_under(runs[0], "0.5", wanted, norm="l2", out=tmp_path / "l2").results.tables
    assert found["threat"] == {"norm": "L2", "eps": "0.5", "eps_value": 0.5}
    [attacked] = [row for row in found["rows"] if row["split"] == "test" and row["attack"]]
    assert attacked["spec"]["attack"]["step_size"] == pytest.approx(0.5 * STEP / EPS)
    [curve] = found["security"]
    assert curve["eps"] == [0.0, 0.25, 1.5], "budgets of the new norm, wider than one pixel's range"
    assert curve["accuracy"] == sorted(curve["accuracy"], reverse=True)
    again = evaluate_under(runs[0], "0.5", wanted, norm="L2", out=tmp_path / "l2").results.tables
    assert again["rows"] == found["rows"]
    with pytest.raises(UsageError, match=r"holds numbers under another threat, L2 eps 0.5"):
        evaluate_under(runs[0], "0.75", wanted, norm="L2", out=tmp_path / "l2")


@pytest.mark.parametrize(
    ("norm", "eps", "attacks", "said"),
    [
        (None, "0", (), "--eps: an eps of 0 leaves nothing to attack"),
        (None, "8", (), "--eps: eps 8 is wider than the pixels' range 0 .. 1: write 8/255"),
        (None, "-1/255", (), "--eps: .*-1/255"),
        (None, "some", (), "--eps: .*some"),
        ("L7", "1", (), "the norm 'L7' is not known"),
        (None, "32/255", (), "--eps 32/255 is the threat of .*seed0 itself: leave it out"),
        ("L2", "0.5", ("rays",), "L2"),
    ],
)
def test_a_threat_that_is_none_leaves_no_folder(
    runs: list[Path], norm: str | None, eps: str, attacks: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RobustclError, match=said):
        evaluate_under(runs[0], eps, Wanted(attacks=attacks), norm=norm, out=runs[0] / "nothing")
    assert not (runs[0] / "nothing").exists()


def test_without_an_audit_the_number_says_so(runs: list[Path]) -> None:
    def judged(*words: str) -> tuple[dict[str, Any], str, str]:
        done = CliRunner().invoke(evaluate, [str(runs[1]), *words, "--json"], catch_exceptions=False)
        return results(runs[1]), (runs[1] / "report.html").read_text(encoding="utf-8"), done.stderr

    tables = results(runs[1])
    (runs[1] / "results.json").write_text(json.dumps({**tables, "audit": []}), encoding="utf-8")
    found, page, said = judged("--no-audit")
    assert found["audit"] == []
    assert "not audited: robustcl audit RUN" in page
    assert "slf clean: not audited, as was asked" in said
    assert [entry["samples"] for entry in evaluate_again(runs[1]).results.tables["audit"]] == [AUDITED], "the recipe's"
    found, page, _ = judged("--audit-samples", "6")
    assert [entry["samples"] for entry in found["audit"]] == [6]
    assert "not audited: robustcl audit RUN" not in page
    assert [entry["samples"] for entry in evaluate_again(runs[1]).results.tables["audit"]] == [6], (
        "the larger one stays"
    )


def test_a_model_from_elsewhere_too(tmp_path: Path) -> None:
    words = ["--model", "tests.cli.test_audit:honest", "--dataset", "digits", "--samples", "8", "--attack", "fgsm",
             "--out", str(tmp_path / "out"), "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(evaluate, [*words, "--no-audit"], catch_exceptions=False)
    assert results(tmp_path / "out")["audit"] == []
    assert "not audited, as was asked" in done.stderr
    CliRunner().invoke(evaluate, [*words, "--audit-samples", "5"], catch_exceptions=False)
    assert [entry["samples"] for entry in results(tmp_path / "out")["audit"]] == [5]


def test_a_curve_that_was_cut_off_compares_the_same_samples(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Six blocks each of clean images, the attack, and two points of the curve; then two of the third, none after."""
    left = iter([False] * (6 + 6 + 6 + 6 + 2))
    monkeypatch.setattr(Work, "over", property(lambda self: next(left, True)))
    tables = recipe(0)["evaluate"][0] | {"block": 8, "curve": ["4/255", "40/255", "60/255"], "audit": 0}
    said: list[str] = []
    run = api.from_tables(recipe(0) | {"data": {"use": "digits", "batch": 128, "validation": 0}, "evaluate": [tables]},
                          "the test")  # fmt: skip
    found = run.train(runs[0].parent / "cut", device="cpu", report=False, say=said.append).results.tables
    [curve] = found["security"]
    assert curve["eps"] == pytest.approx([0, 4 / 255, 40 / 255])
    assert curve["n"] == 16
    assert any("the time was up before any sample was judged at eps 0.2353" in line for line in said)
    lines = [json.loads(line) for line in (runs[0].parent / "cut" / "journal.jsonl").read_text().splitlines()]
    clean = {line["index"]: line["correct"] for line in lines if line.get("attack") is None and "index" in line}
    assert curve["accuracy"][0] == sum(clean[index] for index in range(16)) / 16
    assert curve["accuracy"] == sorted(curve["accuracy"], reverse=True)


def test_surrogates_of_a_run(runs: list[Path]) -> None:
    with open_audited(runs[0], None, (), lambda sentence: None) as [alone]:
        assert alone.surrogates == ()
    with open_audited(runs[0], None, (), lambda sentence: None, surrogate=str(runs[1])) as [beside]:
        [(name, classifier)] = beside.surrogates
    assert name == f"{runs[1]} (slf clean)"
    x = alone.subject.test.fetch(torch.arange(SAMPLES))
    own = of_encoder(stage_files.load(stage_files.stage_folder(runs[1], "evaluate-slf-clean-pretrain")), "clean")
    assert torch.equal(classifier.predict(x), own.predict(x))
    assert not torch.equal(classifier.predict(x), alone.subject.classifier.predict(x))
    engine, quiet = Engine("cpu", 1), lambda sentence: None
    for dataset, classes in (("cifar10", 10), ("digits", 9)):
        with pytest.raises(UsageError, match=f"tells 10 classes of digits apart, .* {classes} of {dataset}"):
            surrogates.open_surrogate(str(runs[1]), None, dataset, classes, engine, quiet)
    with pytest.raises(UsageError, match="--surrogate nowhere: there is no such run"):
        surrogates.open_surrogate("nowhere", None, "digits", 10, engine, quiet)
    for more, said in (
        ({"surrogate": str(runs[0] / ".")}, "is the audited run itself"),
        ({"surrogate": str(runs[1]), "surrogate_weights": Path("w")}, "has weights of its own"),
    ):
        with pytest.raises(UsageError, match=said), open_audited(runs[0], None, (), lambda sentence: None, **more):
            pass


def test_protocols_of_one_run_are_surrogates_of_each_other(tmp_path: Path) -> None:
    tables = recipe(0)
    tables["stage"][0]["split"] = "train"
    tables["evaluate"].append({"use": "knn", "attacks": [PGD], "samples": SAMPLES, "audit": 0})
    tables["evaluate"][0]["audit"] = 0
    api.from_tables(tables, "the test").train(tmp_path / "run", device="cpu", report=False)
    with open_audited(tmp_path / "run", None, (), lambda sentence: None) as found:
        assert [[name for name, _ in each.surrogates] for each in found] == [
            ["knn clean of the same run"], ["slf clean of the same run"],
        ]  # fmt: skip
        assert found[0].surrogates[0][1] is found[1].subject.classifier


def test_c9_says_what_it_lacks_and_what_it_took(runs: list[Path]) -> None:
    words = [str(runs[0]), "--samples", "12", "--json"]
    [alone] = json.loads(CliRunner().invoke(audit, words, catch_exceptions=False).stdout).values()
    [c9] = [each for each in alone["findings"] if each["code"] == "C9"]
    assert (c9["verdict"], "--surrogate, a RUN or module:function" in c9["evidence"]) == ("not run", True)
    done = CliRunner().invoke(audit, [*words, "--surrogate", str(runs[1])], catch_exceptions=False)
    [beside] = json.loads(done.stdout).values()
    [c9] = [each for each in beside["findings"] if each["code"] == "C9"]
    assert c9["verdict"] in ("pass", "warn", "fail")
    assert f"PGD-20 on {runs[1]} (slf clean) alone broke" in c9["evidence"]


def test_a_matrix_stands_on_the_page_of_each_run(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "m"
    words = [*map(str, runs), "--samples", "12", "--out", str(out), "--device", "cpu"]
    less = matrix(runs, samples=8, out=out, device="cpu")
    blackbox.hand_out(less.tables, less.path)
    CliRunner().invoke(transfer, words, catch_exceptions=False)
    tables = json.loads((out / "transfer.json").read_text(encoding="utf-8"))
    for run in runs:
        [kept] = (run / "transfers").iterdir()
        assert json.loads(kept.read_text(encoding="utf-8")) == tables | {"kept": str(out)}
        page = (run / "report.html").read_text(encoding="utf-8")
        assert page.count('id="transfer"') == 1
        assert "Percent right under adversaries of pgd, Linf eps 0.1255, n = 12." in page
        for share in (share for row in tables["accuracy"] for share in row):
            assert f'data-value="{json.dumps(share)}"' in page
    evaluate_again(runs[0], audit=0)
    (runs[0] / "transfers" / "damaged.json").write_text("{", encoding="utf-8")
    (runs[0] / "transfers" / "other.json").write_text("[1]", encoding="utf-8")
    assert report.write(runs[0]).read_text(encoding="utf-8").count("<caption><span>Percent right") == 1
