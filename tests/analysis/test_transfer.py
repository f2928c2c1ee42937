"""Finished runs judged further: on adversaries of the others, on another data set, after growing numbers of steps."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from robustcl import api
from robustcl.analysis import black_box as transfer
from robustcl.analysis.again import Wanted, evaluate_again
from robustcl.analysis.other_data import evaluate_elsewhere
from robustcl.cli.evaluate import command as evaluate
from robustcl.errors import UsageError, WeightsError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.judge import Judge
from robustcl.nn.encoder import Encoder
from robustcl.protocols import Need
from robustcl.recipe import Use, reading
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train import stage_files
from tests.shared import tiny
from tests.shared.forks import fork
from tests.shared.two_seeds import EPS, PGD, SAMPLES, digits, iterates, judged, recipe, right


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 12 x 12 pixels in three classes, and the same in colour."""
    folder = tmp_path_factory.mktemp("images")
    draw, label = np.random.default_rng(0), np.arange(120) % 3
    grey = (draw.integers(0, 60, (120, 12, 12)) + 80 * label[:, None, None]).astype(np.uint8)
    for name, x in (("grey", grey), ("colour", np.stack([grey] * 3, axis=-1))):
        np.savez(folder / f"{name}.npz", x_train=x, y_train=label, x_test=x[:30], y_test=label[:30])
    return folder


@pytest.fixture(scope="module")
def moved(runs: list[Path], archive: Path) -> Path:
    """The first run's encoder, judged on other images."""
    return evaluate_elsewhere(runs[0], f"npz:{archive / 'grey.npz'}", Wanted(audit=0)).path


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found


def test_a_matrix_of_adversaries_toward_a_class(runs: list[Path], tmp_path: Path) -> None:
    """Images of that class are shown as they are; accuracy is still that of the true labels."""
    made = transfer.matrix(runs, attack={**PGD, "target": 3}, samples=SAMPLES, out=tmp_path / "m", device="cpu").tables
    x, y = digits()
    ends = [iterates(run, seed, target=3)[-1] for seed, run in enumerate(runs)]
    ends = [torch.where((y == 3)[:, None, None, None], x, end) for end in ends]
    assert made["accuracy"] == [[float(right(judge, end).double().mean()) for judge in runs] for end in ends]
    assert made["attack"]["name"] == "pgd-target-3"
    assert made["attack"]["spec"]["target"] == 3
    plain = [iterates(run, seed)[-1] for seed, run in enumerate(runs)]
    assert made["accuracy"][0][0] > float(right(runs[0], plain[0]).double().mean()), "a class is harder than any other"


# --- the matrix


def test_the_matrix_is_what_loops_give(runs: list[Path], tmp_path: Path) -> None:
    made = transfer.matrix(runs, samples=SAMPLES, out=tmp_path / "m", device="cpu").tables
    ends = [iterates(run, seed)[-1] for seed, run in enumerate(runs)]
    assert made["accuracy"] == [[float(right(judge, end).double().mean()) for judge in runs] for end in ends]
    assert made["clean"] == [float(right(judge, digits()[0]).double().mean()) for judge in runs]
    assert made["clean"] == [results(run)["rows"][0]["value"] for run in runs]
    correct = round(made["accuracy"][0][1] * SAMPLES)
    assert (made["low"][0][1], made["high"][0][1]) == wilson(correct, SAMPLES)
    # Who attacks and who judges is told apart, and an attack reaches its own model best.
    assert made["accuracy"][0][1] != made["accuracy"][1][0]
    assert all(made["accuracy"][k][k] < made["accuracy"][1 - k][k] < made["clean"][k] for k in (0, 1))
    assert (made["n"], made["norm"], made["eps"]) == (SAMPLES, "Linf", pytest.approx(EPS))
    assert made["attack"]["spec"] == {**PGD, "start": "uniform", "restarts": 1, "deviation": 0.001}
    assert json.loads((tmp_path / "m/transfer.json").read_text()) == made


def test_a_killed_matrix_goes_on_where_it_stopped(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked: list[int] = []
    original = Judge.perturb

    def counting(self: Judge, x: Tensor, *rest: Any) -> Tensor:
        if len(attacked) == 1 and die:
            raise KeyboardInterrupt
        attacked.append(len(x))
        return original(self, x, *rest)

    monkeypatch.setattr(Judge, "perturb", counting)
    die = True
    with pytest.raises(KeyboardInterrupt):
        transfer.matrix(runs, samples=20, out=tmp_path / "m", device="cpu")
    assert not (tmp_path / "m/transfer.json").exists()
    die = False
    ended = transfer.matrix(runs, samples=20, out=tmp_path / "m", device="cpu")
    assert attacked == [20, 20]
    longer = transfer.matrix(runs, samples=SAMPLES, out=tmp_path / "m", device="cpu")
    assert attacked == [20, 20, SAMPLES - 20, SAMPLES - 20]
    assert transfer.matrix(runs, samples=SAMPLES, out=tmp_path / "m", device="cpu").tables == longer.tables
    assert transfer.matrix(runs, samples=20, out=tmp_path / "whole", device="cpu").tables == ended.tables
    assert len(attacked) == 6


class Moves:
    """Adds to every pixel, and remembers which rows it was given."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source: a test"

    def __init__(self, by: Sequence[float]) -> None:
        self.by, self.met = torch.tensor(by), torch.empty(0)

    def perturb(self, x: Tensor, attack: Any) -> Tensor:
        self.met = attack.index
        assert not attack.has("fooled")
        return x + self.by[attack.index][:, None]


def test_of_several_members_the_first_stays_unless_a_later_one_fools() -> None:
    class Threshold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([0.5 - x, x - 0.5], dim=1)

    from robustcl.evaluate.unstopped import Unstopped, adversaries

    ball = Ball.checked("Linf", 0.4)
    judge = Unstopped(of_model(Threshold().eval()), ball, Rng(0), lambda: torch.autocast("cpu", enabled=False))
    x, label = torch.tensor([[0.3], [0.3], [0.3], [0.8]]), torch.zeros(4, dtype=torch.int64)
    first, second = Moves([0.3, 0.1, 0.1, 0.1]), Moves([0.2, 0.3, 0.05, 0.2])
    members = [("one", first), ("two", second)]
    made = adversaries(judge, x, label, torch.arange(4), "both", members)
    # Row 3 is wrong already: it is attacked all the same, once. Row 2 stands after both.
    assert torch.equal(first.met, torch.arange(4))
    assert torch.equal(second.met, torch.tensor([1, 2]))
    assert torch.allclose(made[:, 0], torch.tensor([0.6, 0.6, 0.4, 0.9]))


def test_the_command_prints_the_table(runs: list[Path], tmp_path: Path) -> None:
    words = ["--attack", '{ use = "fgsm" }', "--eps", "8/255", "--samples", "16", "--device", "cpu"]
    done = fork(["transfer", *map(str, runs), *words], tmp_path, tiny.environment())
    assert done.returncode == 0, done.stderr
    [file] = tmp_path.glob("runs/transfer-*/transfer.json")
    table = json.loads(file.read_text())
    shown = re.sub(" +", " ", done.stdout)
    assert shown.startswith("| adversaries of | seed0 | seed1 |")
    value, low, high = (table[key][0][0] for key in ("accuracy", "low", "high"))
    assert f"| seed0 | **{100 * value:.2f} ({100 * low:.1f} to {100 * high:.1f})** | " in shown
    assert "fgsm, Linf eps 0.03137, n = 16." in done.stdout
    assert str(file.relative_to(tmp_path)) in done.stdout
    assert "Whose adversaries fool whom" in (file.parent / "transfer.html").read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_said(runs: list[Path], moved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-threat"
    stage = {"name": "pretrain", "epochs": 0, "init": f"run:{runs[0]}"}
    tables = recipe(threat={"eps": "8/255"}, stage=[stage])
    api.from_tables(tables, "the test").train(other, device="cpu", report=False)
    cases: list[tuple[list[Path], dict[str, Any], str]] = [
        (runs[:1], {}, "needs two runs or more"),
        ([runs[0], runs[0]], {}, "seed0 is named twice"),
        ([runs[0], tmp_path / "nowhere"], {}, "there is no run directory .*nowhere"),
        ([runs[0], moved], {}, "they are of the data sets digits and npz:.*; take runs of one"),
        ([runs[0], other], {}, "are Linf eps 0.1255 and Linf eps 0.03137; give one for all with --norm and --eps"),
        (runs, {"attack": "pdg-20"}, "pgd-20"),
        (runs, {"attack": {"steps": 3}}, "names no attack: write a name"),
        (runs, {"attack": {"use": "pgd", "steps": 0}}, "--attack.steps = 0"),
        (runs, {"norm": "L2"}, "--norm L2 needs --eps as well"),
        (runs, {"eps": "8"}, "--eps"),
        (runs, {"route": "adv"}, "the encoder has no route 'adv'"),
        (runs, {"out": runs[0]}, "is the folder of a run"),
        (runs, {"device": "gpu"}, "--device 'gpu' is not known"),
    ]
    for folders, more, said in cases:
        asked: dict[str, Any] = {"device": "cpu", "out": tmp_path / "m"} | more
        with pytest.raises(UsageError, match=said):
            transfer.matrix(folders, **asked)
    assert not (tmp_path / "m").exists()
    made = transfer.matrix([runs[0], other], eps="8/255", samples=8, out=tmp_path / "m", device="cpu").tables
    assert made["eps"] == pytest.approx(8 / 255)


# --- another data set


def test_an_encoder_is_judged_on_another_data_set(runs: list[Path], moved: Path, archive: Path) -> None:
    assert moved == runs[0] / "transfer-npz-grey"
    found, source = results(moved), results(runs[0])
    assert found["data"]["use"] == f"npz:{archive / 'grey.npz'}"
    assert (found["data"]["classes"], found["data"]["item"]) == (["0", "1", "2"], [1, 12, 12])
    assert found["pretrained"] == f"run:{runs[0].resolve()}"
    assert (source["pretrained"], source["data"]["use"]) == (None, "digits")
    clean = found["rows"][0]
    assert (clean["n"], clean["metric"]) == (30, "clean_acc")
    assert clean["value"] > 0.6, "three levels of grey are easily told apart"
    trained, encoder = judged(moved), stage_files.load(stage_files.stage_folder(runs[0], "pretrain"))
    assert trained.classes == 3
    for name, value in encoder.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(trained.state_dict()[name], value), f"{name} is the pre-trained one"


def test_its_folder_is_a_run_like_any_other(moved: Path, runs: list[Path], archive: Path) -> None:
    again = evaluate_again(moved, attacks=["fgsm"], audit=0).results.tables
    assert [row["attack"] for row in again["rows"]] == [None, "pgd", "fgsm", None, "pgd", "fgsm"]
    assert again["pretrained"] == f"run:{runs[0].resolve()}"
    with pytest.raises(UsageError, match="holds another run; choose another directory"):
        evaluate_elsewhere(runs[0], f"npz:{archive / 'grey.npz'}", Wanted())


def test_every_judged_encoder_becomes_a_stage(runs: list[Path]) -> None:
    from robustcl.analysis.other_data import recipe as elsewhere

    tables = reading.read(runs[0] / "recipe.lock.toml")
    tables["stage"] = [{"name": "pretrain"}, {"name": "robust"}]
    tables["evaluate"] = [{"use": "slf"}, {"use": "slf", "encoder": "slow"}, {"use": "alf", "stage": "pretrain"}]
    made = elsewhere(tables, runs[0], Use(use="cifar10", path="data/cifar"))
    whole = runs[0].resolve()
    assert made["stage"] == [
        {"name": "robust", "epochs": 0, "init": f"run:{whole}"},
        {"name": "robust-slow", "epochs": 0, "init": f"run:{whole}@slow"},
        {"name": "pretrain", "epochs": 0, "init": f"file:{whole}/stages/pretrain"},
    ]
    assert [(entry["stage"], entry["encoder"]) for entry in made["evaluate"]] == [
        ("robust", "online"), ("robust-slow", "online"), ("pretrain", "online"),
    ]  # fmt: skip
    assert made["data"] == {"use": "cifar10", "path": "data/cifar", "batch": 128, "validation": 0.1}


def test_images_that_the_encoder_cannot_take(
    runs: list[Path], archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"for images of shape \(1, 8, 8\), and the data set's have \(3, 12, 12\)"):
        evaluate_elsewhere(runs[0], f"npz:{archive / 'colour.npz'}", Wanted(), out=tmp_path / "out")
    with pytest.raises(UsageError, match="cifar10"):
        evaluate_elsewhere(runs[0], "cifar01", Wanted(), out=tmp_path / "out")

    def flat(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x144 and 64x8)\nand more")

    monkeypatch.setattr(Encoder, "forward", flat)
    said = r"its images are \(1, 12, 12\), and the backbone of run:.* was made for \(1, 8, 8\): .* 64x8\)$"
    with pytest.raises(UsageError, match=said):
        evaluate_elsewhere(runs[0], f"npz:{archive / 'grey.npz'}", Wanted(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- convergence and flags


def test_convergence_is_what_loops_give(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    attacked: list[int] = []
    original = Judge.perturb

    def counting(self: Judge, x: Tensor, *rest: Any) -> Tensor:
        attacked.append(len(x))
        return original(self, x, *rest)

    monkeypatch.setattr(Judge, "perturb", counting)
    before = results(runs[1])
    words = [str(runs[1]), "--convergence", "1,2,4,7", "--curve", "16/255, 32/255", "--no-audit", "--json"]
    done = CliRunner().invoke(evaluate, words, catch_exceptions=False)
    [found] = json.loads(done.stdout.splitlines()[-1])["convergence"]
    clean = right(runs[1], digits()[0])
    stands = torch.stack([right(runs[1], point) for point in iterates(runs[1], 1, 7)])
    after = [float((clean & stands[: steps + 1].all(0)).double().mean()) for steps in (1, 2, 4, 7)]
    assert found["accuracy"] == [float(clean.double().mean()), *after]
    assert found["accuracy"] == sorted(found["accuracy"], reverse=True)
    assert found["accuracy"][0] > found["accuracy"][1] > found["accuracy"][-1]
    assert (found["steps"], found["n"], found["attack"]) == ([0, 1, 2, 4, 7], SAMPLES, "pgd")
    # Four steps are the attack's own, which the run has made: only 1, 2 and 7, 16/255 and the images to look at.
    assert before["rows"][1]["value"] == found["accuracy"][3]
    assert attacked == [int(clean.sum())] * 5
    assert [curve["eps"] for curve in results(runs[1])["security"]] == [pytest.approx([0, 16 / 255, 32 / 255])]
    evaluate_again(runs[1], convergence=[1, 2, 4, 7], audit=0)
    assert attacked == [int(clean.sum())] * 6, "nothing but the images to look at"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"convergence": [0, 1]}, r"evaluate.slf.convergence = \[0, 1\]: write growing numbers of steps from 1 on"),
        ({"convergence": [2, 1]}, "growing numbers of steps"),
        ({"convergence": [1, 1]}, "growing numbers of steps"),
        ({"convergence": []}, "growing numbers of steps"),
        ({"convergence": [1], "attacks": []}, "there is no attack whose steps could be counted"),
        ({"convergence": [1], "attacks": ["square"]}, "the attack square .* it has no option steps"),
        ({"convergence": [1], "attacks": ["autoattack"]}, "the attack autoattack .* its member square has no option"),
        ({"convergence": "1"}, "convergence = '1' is not accepted"),
    ],
)
def test_convergence_that_cannot_be_measured(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        api.from_tables(recipe(0, evaluate=[{"use": "slf"} | changes]), "the test")


def test_flags_that_do_not_belong_together() -> None:
    for words, said in (
        (["run", "--convergence", "1;2"], "--convergence 1;2: write growing numbers of steps"),
        (["run", "--data-dir", "data"], "--data-dir is for --model or --dataset"),
        (["run", "--out", "here"], "--out is for --model or --dataset"),
        (["run", "--dataset", "digits", "--shard", "1/2"], "trains its classifiers in one process"),
        (["run", "--dataset", "digits", "--eps", "8/255"], "--eps and --dataset: judge RUN on the data set first"),
        (["run", "--norm", "L2"], "--norm L2 needs --eps as well"),
        (["run", "--eps", "1/255", "--corruptions", "made"], "corrupted images are of no threat"),
        (["run", "--no-audit", "--audit-samples", "9"], "--no-audit and --audit-samples contradict each other"),
        (["--model", "a:b", "--curve", "8/255"], "--curve is for a run, not for --model"),
    ):
        result = CliRunner().invoke(evaluate, words)
        assert isinstance(result.exception, UsageError), words
        assert said in str(result.exception)
