"""``robustcl evaluate --model``: anybody's classifier, its weights from safetensors, through the same attacks."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from robustcl import report
from robustcl.analysis.bare import ModelQuestion, judge_model
from robustcl.cli import console
from robustcl.errors import DataError, OptionError, UsageError, WeightsError
from robustcl.evaluate import shards
from robustcl.evaluate.journal import Journal
from robustcl.evaluate.work import Work
from robustcl.nn import outside
from tests.shared import tiny
from tests.shared.forks import fork

MODULE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
                         nn.Linear(36, 5))

def soft():
    return nn.Sequential(build(), nn.Softmax(1))

def broken():
    return 1 / 0

class Clips(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten())
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.body(x))

SEVEN = 7
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of models, images and clips in npz, and weights; it is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "their_models", raising=False)
    (tmp_path / "their_models.py").write_text(MODULE, encoding="utf-8")
    draw = np.random.default_rng(0)
    label = np.arange(12) % 5
    for name, shape in (("images", (12, 8, 8, 3)), ("clips", (12, 3, 4, 8, 8))):
        x = draw.integers(0, 256, shape, dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=label, x_test=x, y_test=label)
    import their_models  # type: ignore[import-not-found]

    safetensors.torch.save_file(their_models.build().state_dict(), tmp_path / "weights.safetensors")
    return tmp_path


def asked(**more: object) -> ModelQuestion:
    given = {"model": "their_models:build", "dataset": "npz:images.npz", "weights": Path("weights.safetensors")}
    return ModelQuestion(**(given | {"attacks": ("fgsm",), "block": 5} | more))  # type: ignore[arg-type]


def test_the_command_judges_a_model_and_goes_on_where_it_stopped(place: Path) -> None:
    words = ["evaluate", "--model", "their_models:build", "--weights",
             "weights.safetensors", "--dataset", "npz:images.npz", "--attack", "fgsm", "--eps", "16/255",
             "--out", "out", "--device", "cpu", "--json"]  # fmt: skip
    done = fork(words, place, tiny.environment())
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["protocol"], row["attack"], row["n"]) for row in rows] == [("as-is", None, 12), ("as-is", "fgsm", 12)]
    assert rows[1]["spec"]["eps"] == pytest.approx(16 / 255)
    assert (place / "out" / "report.html").is_file()
    written = (place / "out" / "journal.jsonl").read_bytes()
    again = fork(words, place, tiny.environment())
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == rows
    assert (place / "out" / "journal.jsonl").read_bytes() == written, "nothing was computed twice"


def test_shares_merge_into_the_same_results(place: Path) -> None:
    whole = judge_model(asked(), place / "whole", device="cpu")
    for number in range(3):
        judge_model(asked(), place / "shared", device="cpu", work=Work(shard=(number, 3)))
        assert not (place / "shared" / "results.json").exists()
    shards.merge(place / "shared")
    before = (place / "shared" / "journal.jsonl").read_bytes()
    joined = judge_model(asked(), place / "shared", device="cpu")
    assert joined.results.tables["rows"] == whole.results.tables["rows"]
    assert (place / "shared" / "journal.jsonl").read_bytes() == before


def test_the_commands_judge_a_share_and_merge(place: Path) -> None:
    from click.testing import CliRunner

    from robustcl.cli.evaluate import command as evaluate
    from robustcl.cli.merge import command as merge

    words = ["--model", "their_models:build", "--dataset", "npz:images.npz", "--attack", "fgsm", "--block", "4",
             "--out", "out", "--device", "cpu"]  # fmt: skip
    for number in (1, 2):
        said = CliRunner().invoke(evaluate, [*words, "--shard", f"{number}/2"], catch_exceptions=False).output
        assert f"share {number}/2 of out is judged; when all are: robustcl merge out" in said
    assert CliRunner().invoke(merge, ["out"], catch_exceptions=False).output.startswith("joined 2 shares, ")
    done = CliRunner().invoke(evaluate, [*words, "--budget", "1h", "--json"], catch_exceptions=False)
    rows = json.loads(done.output.splitlines()[-1])["rows"]
    assert [row["n"] for row in rows] == [12, 12], "an hour is enough for nothing at all"


def test_a_number_is_audited_before_anything_is_drawn(place: Path) -> None:
    """Should the time be up, pictures are what is missing."""
    drawn: dict[str, bool] = {}

    def say(sentence: str) -> None:
        drawn[sentence.partition(":")[0]] = (place / "out" / "artifacts").exists()

    run = judge_model(asked(audit=2), place / "out", device="cpu", say=say)
    assert len(run.results.tables["audit"]) == 1
    assert drawn["as-is audit of 2 samples"] is False
    assert (place / "out" / "artifacts" / "strip.npz").is_file()


def test_clips_go_through_the_same_attacks(place: Path) -> None:
    run = judge_model(
        asked(model="their_models:Clips", weights=None, dataset="npz:clips.npz", attacks=("pgd-20",)),
        place / "clips", device="cpu",
    )  # fmt: skip
    assert run.results.tables["data"]["item"] == [3, 4, 8, 8]
    assert len(Journal(run.path / "journal.jsonl").places()) == 2


def test_torchvision_models_by_name_with_local_weights(place: Path) -> None:
    from torchvision import models

    weights = place / "mobilenet.safetensors"
    safetensors.torch.save_file(models.mobilenet_v3_small(num_classes=5).state_dict(), weights)
    found = asked(model="torchvision:mobilenet_v3_small:own", weights=weights)
    said: list[str] = []
    assert judge_model(found, place / "tv", device="cpu", say=said.append).results.tables["rows"][0]["n"] == 12
    assert "images are normalised by mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225]" in said[0]
    with pytest.raises(UsageError, match=r"5 classes apart and the published ones 1000, so say .*small:plain leaves"):
        judge_model(asked(model="torchvision:mobilenet_v3_small", weights=weights), place / "no", device="cpu")
    with pytest.raises(UsageError, match=r"write torchvision:mobilenet_v3_small, with :own or :plain behind it"):
        judge_model(asked(model="torchvision:mobilenet_v3_small:imagenet", weights=weights), place / "no", device="cpu")
    with pytest.raises(UsageError, match=r"torchvision has no model 'mobilenet_v3_smal', did you mean"):
        judge_model(asked(model="torchvision:mobilenet_v3_smal"), place / "no", device="cpu")
    with pytest.raises(UsageError, match="give its weights with --weights"):
        judge_model(asked(model="torchvision:mobilenet_v3_small", weights=None), place / "no", device="cpu")
    assert not (place / "no").exists()


@pytest.mark.parametrize("how", ["own", "plain"])
def test_googlenet_gets_the_whole_of_what_its_published_weights_ask(how: str, tmp_path: Path) -> None:
    """They were trained on images in [-1, 1], which the network itself makes of normalised ones if it is told to."""
    from torchvision import models

    model = models.get_model("googlenet", weights=None, init_weights=False, num_classes=3)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    found = outside.build(f"torchvision:googlenet:{how}", tmp_path / "w.safetensors", 3)
    seen: list[torch.Tensor] = []
    first = next(part for part in found.modules() if isinstance(part, nn.Conv2d))
    first.register_forward_pre_hook(lambda part, given: seen.append(given[0]))
    x = torch.rand(1, 3, 64, 64)
    found(x)
    assert torch.allclose(seen[0], 2 * x - 1 if how == "own" else x, atol=1e-6)


def test_the_page_is_written(place: Path) -> None:
    run = judge_model(asked(), place / "out", device="cpu")
    page = Path(report.write(run.path)).read_text(encoding="utf-8")
    assert "their_models:build" in page
    assert "as-is" in page


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"model": "their_models"}, UsageError, "write module:function"),
        ({"model": "no_such:build"}, UsageError, "no module 'no_such'"),
        ({"model": "their_models:biuld"}, UsageError, "has no 'biuld', did you mean 'build'"),
        ({"model": "their_models:SEVEN"}, UsageError, "is a int: name a function"),
        ({"model": "their_models:broken"}, UsageError, "calling it failed with ZeroDivisionError"),
        ({"model": "their_models:soft", "weights": None}, UsageError, "probabilities: return the logits"),
        ({"weights": Path("none.safetensors")}, WeightsError, "does not exist"),
        ({"eps": "0"}, UsageError, "--eps: an eps of 0 leaves nothing to attack"),
        ({"eps": "8"}, UsageError, "write 8/255"),
        ({"eps": "1e-50"}, UsageError, "--eps: eps 1e-50 is too small"),
        ({"norm": "Linfty"}, UsageError, "--norm: the norm 'Linfty' is not known"),
        ({"norm": "L0"}, UsageError, "--norm: the norm 'L0' is not known"),
        ({"attacks": ("pgd-21",)}, UsageError, "pgd-21"),
        ({"dataset": "npz:none.npz"}, DataError, "none.npz: .* or --data-dir FILE beside --dataset"),
        ({"dataset": "npz"}, OptionError, "--dataset: Npz needs the option 'path'; write --dataset NAME:PATH"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(
    place: Path, change: dict[str, object], error: type, said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        judge_model(asked(**change), place / "out", device="cpu")
    assert "\n" not in str(caught.value)
    assert not (place / "out").exists()


def test_weights_that_are_a_pickle_or_another_model_s(place: Path) -> None:
    (place / "w.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match=r"no safetensors file: .*pickle"):
        judge_model(asked(weights=place / "w.pt"), place / "out", device="cpu")
    safetensors.torch.save_file({"0.weight": torch.zeros(4, 3, 5, 5)}, place / "other.safetensors")
    with pytest.raises(WeightsError, match=r"not this model's: .* missing: .*; 1 of another shape: 0\.weight"):
        judge_model(asked(weights=place / "other.safetensors"), place / "out", device="cpu")


def test_labels_that_the_model_has_no_output_for(place: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2]

    sys.modules["their_models"].Two = Two  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"label 4 of sample 4 is outside 0 \.\. 1: the model has 2 outputs"):
        judge_model(asked(model="their_models:Two", weights=None), place / "out", device="cpu")


def test_another_model_does_not_write_into_a_journal(place: Path) -> None:
    judge_model(asked(), place / "out", device="cpu")
    import their_models

    torch.manual_seed(1)
    changed = {name: value + 1 for name, value in their_models.build().state_dict().items()}
    safetensors.torch.save_file(changed, place / "changed.safetensors")
    with pytest.raises(UsageError, match="is the journal of another model"):
        judge_model(asked(weights=place / "changed.safetensors"), place / "out", device="cpu")


def test_the_same_weights_in_other_code_are_another_model(place: Path) -> None:
    """Who mends a forward and judges again into the same folder must not be told the old numbers."""
    shift = "class Shifted(nn.Sequential):\n    def forward(self, x):\n        return super().forward(x + {})\n"
    build = "def made():\n    return Shifted(*build())\n"
    for number in (0.0, 0.5):
        name = f"shifted_{int(10 * number)}"
        code = MODULE + shift.format(number) + build
        (place / f"{name}.py").write_text(code, encoding="utf-8")
    judge_model(asked(model="shifted_0:made"), place / "out", device="cpu")
    with pytest.raises(UsageError, match="is the journal of another model"):
        judge_model(asked(model="shifted_5:made"), place / "out", device="cpu")


def test_another_seed_precision_or_content_is_another_question(place: Path) -> None:
    first = judge_model(asked(attacks=("pgd-20",)), place / "out", device="cpu")
    asked_before = set(Journal(place / "out" / "journal.jsonl").questions)
    other = judge_model(asked(attacks=("pgd-20",), seed=1), place / "out", device="cpu")
    judge_model(asked(attacks=("pgd-20",)), place / "out", device="cpu", precision="bf16-mixed")
    asked_since = set(Journal(place / "out" / "journal.jsonl").questions) - asked_before
    assert len(asked_since) == 2
    assert first.results.tables["rows"][1]["spec"] != other.results.tables["rows"][-1]["spec"]
    images = dict(np.load(place / "images.npz"))
    images["x_test"] = 255 - images["x_test"]
    np.savez(place / "images.npz", **images)
    turned = judge_model(asked(attacks=("pgd-20",)), place / "out", device="cpu")
    assert turned.results.tables["rows"][0]["spec"] != first.results.tables["rows"][0]["spec"]


def test_flags_that_belong_to_the_other_subject(place: Path) -> None:
    from click.testing import CliRunner

    from robustcl.cli.evaluate import command

    for arguments, said in (
        ([], "name what is to be judged"),
        (["run", "--model", "a:b"], "name what is to be judged"),
        (["run", "--block", "8"], "--block is for --model, not for a run"),
        (["run", "--seed", "0"], "--seed is for --model, not for a run"),
        (["--model", "a:b", "--route", "adv"], "--route is for a run, not for --model"),
        (["run", "--shard", ""], "--shard : write the share"),
        (["--model", "a:b", "--budget", ""], "--budget : write a time"),
        (["--model", "a:b"], "--model needs --dataset"),
        (["--model", "a:b", "--dataset", "digits"], "--model needs --out"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "run", "--budget", ""],
        ["evaluate", "run", "--shard="],
        ["evaluate", "run", "--eps", "8/255", "--norm", ""],
        ["compose", "--budget", "", "--dry-run"],
    ],
)
def test_a_flag_without_a_value_is_refused_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["robustcl", *words])
    with pytest.raises(SystemExit) as left:
        console.main()
    assert left.value.code == 2
    flag = next(word.rstrip("=") for word in reversed(words) if word.startswith("--") and word != "--dry-run")
    assert f"{flag} is followed by an empty text: give a value, or leave the flag out" in capsys.readouterr().err
