"""``robustcl audit`` as a user types it: a table, an exit code, JSON; and mistakes in one sentence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import nn

from robustcl import api, compose
from robustcl.analysis.again import evaluate_again
from robustcl.analysis.audit import AuditedModel
from robustcl.analysis.bare import ModelQuestion
from robustcl.analysis.subject import OutsideModel
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Journal, Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.work import WHOLE
from robustcl.rng import Rng
from robustcl.run import audited
from robustcl.threat import Ball
from tests.audit.test_audit import Lazy
from tests.audit.zoo.honest import mlp, trained
from tests.audit.zoo.images import digits
from tests.audit.zoo.masked import Quantised
from tests.shared import tiny
from tests.shared.asked import subject

Audited = Callable[..., tuple[int, str, str]]
Held = Callable[..., tuple[dict[str, Any], list[str]]]
MODEL = ("--model", "tests.cli.test_audit:honest", "--dataset", "digits", "--eps", "0.1", "--device", "cpu")


def honest() -> nn.Module:
    return trained("MLP 32")


def rounded() -> nn.Module:
    return Quantised(trained("MLP 32"), 16)


def fresh() -> nn.Module:
    return mlp(32)()


@pytest.fixture
def robustcl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audited:
    """Return the command line, run here: exit code, standard output, standard error."""
    from robustcl.cli.console import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcl", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one small stage that has learnt little, judged on 16 images of each route."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    tables = tiny.tables()
    stage = tables["stage"][0] | {"split": "train", "views": {"w": "weak"}, "batch": 64}
    stage |= {"term": {"learn": {"use": "cross-entropy", "views": ["w"]}}, "routes": {"w": "clean"}}
    del stage["objective"]
    stage["optimizer"] = {"use": "adam", "lr": 0.01}
    judged = {"protocol": "own", "route": ["clean"], "samples": 24}
    judged["attacks"] = ["fgsm", {"use": "pgd-20", "step_size": "4/255"}]
    api.from_tables(tables | {"stage": [stage], "evaluate": [judged]}, "test").train(folder, device="cpu", report=False)
    return folder


def test_an_honest_model_passes_with_a_table(robustcl: Audited) -> None:
    code, out, _ = robustcl("audit", *MODEL, "--samples", "20")
    assert code == 0
    assert re.search(r"^PASS +C14 +gradients lead somewhere", out, re.MULTILINE)
    assert re.search(r"^NOT RUN +C8 ", out, re.MULTILINE)
    assert "adaptive attacks" in out
    assert out.rstrip().endswith("20 samples")


def test_a_masked_model_leaves_with_3_and_names_samples(robustcl: Audited, tmp_path: Path) -> None:
    kept = tmp_path / "audit.json"
    masked = ["tests.cli.test_audit:rounded" if word == MODEL[1] else word for word in MODEL]
    code, out, _ = robustcl(
        "audit", *masked, "--samples", "20", "--out", str(kept), "--surrogate", "tests.cli.test_audit:honest"
    )
    assert code == 3
    assert re.search(r"^FAIL +C14 .*exactly 0", out, re.MULTILINE)
    assert re.search(r"^ +samples 0, 1, 2, ", out, re.MULTILINE)
    told = json.loads(kept.read_text())["tests.cli.test_audit:rounded"]
    assert told["verdict"] == "fail"
    assert {f["code"] for f in told["findings"] if f["verdict"] == "fail"} >= {"C14", "C6", "C9"}


def test_weights_are_loaded_and_json_is_one_document(robustcl: Audited, tmp_path: Path) -> None:
    save_file(trained("MLP 32").state_dict(), tmp_path / "model.safetensors")
    loaded = ["tests.cli.test_audit:fresh" if word == MODEL[1] else word for word in MODEL]
    code, out, _ = robustcl(
        "audit", *loaded, "--samples", "20", "--weights", str(tmp_path / "model.safetensors"), "--json"
    )
    (told,) = json.loads(out).values()
    assert code == 0
    assert told["clean"] > 0.9
    assert told["samples"] == 20


def test_a_run_is_audited_on_its_own_images(robustcl: Audited, run_folder: Path) -> None:
    before = (run_folder / "results.json").read_bytes(), (run_folder / "journal.jsonl").read_bytes()
    code, out, err = robustcl("audit", str(run_folder), "--samples", "24", "--json")
    assert code in (0, 3), err
    (told,) = json.loads(out).values()
    rows = json.loads(before[0])["rows"]
    (clean,) = [row["value"] for row in rows if row["attack"] is None and row["split"] == "test"]
    (fgsm,) = [row["value"] for row in rows if row["attack"] == "fgsm" and row["split"] == "test"]
    assert told["clean"] == pytest.approx(clean)
    assert told["worst"] <= fgsm + 1e-6
    (claimed,) = [f["evidence"] for f in told["findings"] if f["code"] == "C11"]
    assert "the reported attacks left standing" in claimed
    assert before[1] == (run_folder / "journal.jsonl").read_bytes()
    after = json.loads((run_folder / "results.json").read_bytes())
    (kept,) = after.pop("audit")
    assert after == {key: value for key, value in json.loads(before[0]).items() if key != "audit"}
    assert {key: kept[key] for key in told} == told, "the report shows this audit from now on"


def test_an_evaluation_keeps_a_larger_audit_of_the_same_question(robustcl: Audited, run_folder: Path) -> None:
    def stored() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((run_folder / "results.json").read_text())["audit"]
        return found

    robustcl("audit", str(run_folder), "--samples", "24")
    large = stored()
    assert evaluate_again(run_folder).results.tables["audit"] == stored() == large
    assert large[0]["reported"]["samples"] == 24
    evaluate_again(run_folder, attacks=["pgd-20"])
    both = stored()
    assert [entry["samples"] for entry in both] == [24, 6], "another attack is another question"
    assert both[0] == large[0]
    evaluate_again(run_folder)
    assert stored() == both


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """Audits of a small model, as an evaluation makes them in a folder; what was said of them."""
    judge = Judge(of_model(trained("MLP 32")), Ball("Linf", 0.1), Rng(0), nullcontext)
    journal = Journal(tmp_path / "journal.jsonl")

    def ask(samples: int, spec: str = "a", seed: int = 0, judged: int = 0) -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        asked = subject(judge, digits()[1], [("pgd-20", Lazy())], attack="pgd-20", model=spec, seed=seed, audit=samples)
        ((key, _),) = asked.questions()
        there = journal.known(key)
        journal.append(key, [Outcome(i, 0, 0, True, 0, "", "pgd-20") for i in range(judged) if i not in there])
        (found,) = audited.audit_subject(asked, Measurement(journal, seed, WHOLE, said.append, tmp_path))
        assert said.pop() == f"as-is audit of {found['samples']} samples: {found['verdict'].upper()}"
        (tmp_path / "results.json").write_text(json.dumps({"audit": [found]}))
        return found, said

    return ask


def test_a_larger_audit_stays_and_says_so(held: Held) -> None:
    large, said = held(8, judged=4)
    assert (large["samples"], said) == (8, [])
    assert large["reported"] | {"hash": ""} == {"samples": 4, "standing": 4, "hash": ""}
    assert held(5) == (large, ["as-is: the audit of 8 samples stays, it asks the same as one of 5"])
    assert held(8) == (large, [])
    assert held(9)[0]["samples"] == 9


@pytest.mark.parametrize("changes", [{"judged": 6}, {"untold": True}])
def test_an_audit_of_another_question_is_replaced_and_says_so(
    held: Held, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Other outcomes, or an audit of older results that does not tell its question."""
    held(8, judged=4)
    if "untold" in changes:
        results = tmp_path / "results.json"
        results.write_text(results.read_text().replace('"question"', '"asked"'))
    asked = {key: value for key, value in changes.items() if key != "untold"}
    small, (said,) = held(5, **{"judged": 4, **asked})
    assert small["samples"] == 5
    assert said.startswith("as-is: an audit of 5 samples replaces that of 8, whose model, threat, attacks")


@pytest.mark.parametrize("changes", [{"spec": "b"}, {"seed": 1}])
def test_an_audit_of_another_question_is_no_reason_to_keep_or_replace(held: Held, changes: dict[str, Any]) -> None:
    """Another model, threat or attack is another spec of the key."""
    large, _ = held(8, judged=4)
    small, said = held(5, **{"judged": 4, **changes})
    assert (small["samples"], said) == (5, [])
    assert small["question"] != large["question"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"audit": 3}', '{"audit": [{"protocol": "as-is"}]}'])
def test_results_that_nobody_can_read_hold_no_audit(held: Held, tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    found, said = held(4)
    assert (found["samples"], said) == (4, [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name what is to be audited"),
        (("nowhere",), "there is no run directory nowhere"),
        (("nowhere", "--model", "a:b"), "name what is to be audited"),
        (("nowhere", "--eps", "0.1"), "there is no run directory nowhere"),
        (("nowhere", "--norm", "L2"), "--norm L2 needs --eps as well"),
        (("nowhere", "--seed", "1"), "--seed is for --model, not for a run"),
        (("--model", "a:b", "--route", "adv"), "--route is for a run, not for --model"),
        (("--model", "tests.cli.test_audit:honest"), "--model needs --dataset as well"),
        ((*MODEL[:4], "--surrogate-weights", "x"), "--surrogate-weights needs --surrogate"),
        (
            ("--model", "tests.cli.test_audit:nobody", "--dataset", "digits"),
            "--model tests.cli.test_audit:nobody: tests.cli.test_audit has",
        ),
        (
            (*MODEL, "--surrogate", "tests.cli.test_audit:no"),
            "--surrogate tests.cli.test_audit:no: tests.cli.test_audit has no 'no'",
        ),
        ((*MODEL, "--surrogate", "nowhere:no"), "--surrogate nowhere:no: there is no module 'nowhere'"),
        ((*MODEL, "--surrogate", "tests.cli.test_audit:MODEL"), "--surrogate tests.cli.test_audit:MODEL is a tuple"),
        ((*MODEL, "--surrogate", "torchvision:resnet18"), "with --surrogate-weights FILE.safetensors"),
        ((*MODEL, "--surrogate", "torchvision:resnet"), "--surrogate torchvision:resnet: torchvision has no model"),
        (
            (*MODEL, "--surrogate", "tests.cli.test_audit:fresh", "--surrogate-weights", "none.safetensors"),
            "--surrogate-weights none.safetensors does not exist",
        ),
        ((*MODEL[:4], "--eps", "8"), "eps 8 is wider than the pixels' range"),
        ((*MODEL[:4], "--device", "gpu"), "--device 'gpu' is not known"),
    ],
)
def test_mistakes_end_with_2_and_one_sentence(robustcl: Audited, words: tuple[str, ...], said: str) -> None:
    code, _, err = robustcl("audit", *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_run_s_mistakes_are_explained(robustcl: Audited, run_folder: Path) -> None:
    code, _, err = robustcl("audit", str(run_folder), "--route", "north")
    assert code == 2
    assert "no route 'north'" in err
    code, _, err = robustcl("audit", *MODEL, "--out", str(run_folder / "no" / "where.json"))
    assert code == 2
    assert "cannot be written" in err


def test_an_attack_that_is_named_is_the_recipes_with_its_options(robustcl: Audited, run_folder: Path) -> None:
    asked = ("audit", str(run_folder), "--samples", "8", "--attack")
    code, _, err = robustcl(*asked, "pgd-20")
    assert code in (0, 3), err
    code, _, err = robustcl(*asked, '{ use = "pgd-20", step_size = "3/255" }')
    assert code == 2
    assert "was not judged by it, with these options, under own clean: run robustcl evaluate" in err

    def judged() -> list[Any]:
        rows = evaluate_again(run_folder, attacks=["pgd-20"]).results.tables["rows"]
        return [row["spec"]["attack"]["step_size"] for row in rows if row["attack"] == "pgd-20"]

    assert set(judged()) == {"4/255"}
    assert judged() == judged(), "no row beside the recipe's own"


@pytest.mark.parametrize("question", [AuditedModel, ModelQuestion])
def test_files_that_are_named_twice_are_said(question: type[OutsideModel]) -> None:
    said = re.escape("--dataset npz:i.npz names its files already: leave out --data-dir elsewhere")
    with pytest.raises(UsageError, match=said):
        question("module:build", "npz:i.npz", data_dir="elsewhere").data()
    with pytest.raises(UsageError, match=said):
        compose(recipe="at", dataset="npz:i.npz", data_dir="elsewhere")
    assert question("module:build", "cifar10", data_dir="there").data().options == {"path": "there"}
