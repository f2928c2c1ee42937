"""``robustcl audit`` as a user types it: a table, an exit code, JSON; and mistakes in one sentence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from safetensors.torch import save_file
from torch import nn
from zoo.honest import mlp, trained
from zoo.masked import Quantised

from robustcl.composition import api

Audited = Callable[..., tuple[int, str, str]]
MODEL = ("--model", "test_cli_audit:honest", "--dataset", "digits", "--eps", "0.1", "--device", "cpu")


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
    judged = {"protocol": "own", "route": ["clean"], "attacks": ["fgsm"], "samples": 24}
    api.from_tables(tables | {"stage": [stage], "evaluate": [judged]}, "test").train(folder, device="cpu")
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
    masked = ["test_cli_audit:rounded" if word == MODEL[1] else word for word in MODEL]
    code, out, _ = robustcl(
        "audit", *masked, "--samples", "20", "--out", str(kept), "--surrogate", "test_cli_audit:honest"
    )
    assert code == 3
    assert re.search(r"^FAIL +C14 .*exactly 0", out, re.MULTILINE)
    assert re.search(r"^ +samples 0, 1, 2, ", out, re.MULTILINE)
    told = json.loads(kept.read_text())["test_cli_audit:rounded"]
    assert told["verdict"] == "fail"
    assert {f["code"] for f in told["findings"] if f["verdict"] == "fail"} >= {"C14", "C6", "C9"}


def test_weights_are_loaded_and_json_is_one_document(robustcl: Audited, tmp_path: Path) -> None:
    save_file(trained("MLP 32").state_dict(), tmp_path / "model.safetensors")
    loaded = ["test_cli_audit:fresh" if word == MODEL[1] else word for word in MODEL]
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name what is to be audited"),
        (("nowhere",), "there is no run directory nowhere"),
        (("nowhere", "--model", "a:b"), "name what is to be audited"),
        (("nowhere", "--eps", "0.1"), "--eps is for --model, not for a run"),
        (("--model", "a:b", "--route", "adv"), "--route is for a run, not for --model"),
        (("--model", "test_cli_audit:honest"), "--model needs --dataset as well"),
        ((*MODEL[:4], "--surrogate-weights", "x"), "--surrogate-weights needs --surrogate"),
        (("--model", "test_cli_audit:nobody", "--dataset", "digits"), "has no 'nobody'"),
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
