"""How an attack is named, wherever it is named: by a name, a TOML table or a mapping, read by one reader."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner

from robustcl.analysis import again
from robustcl.analysis.bare import ModelQuestion, judge_model
from robustcl.cli.audit import command as audit
from robustcl.cli.evaluate import command
from robustcl.composition.asked import attack_of, attack_table
from robustcl.composition.parts import Parts
from robustcl.errors import Contradiction, UsageError
from robustcl.evaluate.extras.evidence import Evidence

MODULE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a module of a model, and images that the model gets right but for two of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "linear_model", raising=False)
    (tmp_path / "linear_model.py").write_text(MODULE, encoding="utf-8")
    import linear_model  # type: ignore[import-not-found]

    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        label = linear_model.build().eval()(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    label[:2] = (label[:2] + 1) % 5
    label = label.astype(np.int64)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=np.arange(20) % 5, x_test=x, y_test=label)
    safetensors.torch.save_file(linear_model.build().state_dict(), tmp_path / "weights.safetensors")
    return tmp_path


def judged(*attacks: Any, out: str = "out", **more: Any) -> dict[str, Any]:
    given = {"model": "linear_model:build", "dataset": "npz:images.npz", "weights": Path("weights.safetensors")}
    run = judge_model(ModelQuestion(**(given | {"attacks": attacks, "audit": 0, "eps": "4/255"} | more)), Path(out))  # type: ignore[arg-type]
    return dict(run.results.tables)


@pytest.mark.parametrize(
    ("given", "use", "options"),
    [
        ("pgd-20", "pgd-20", {}),
        (' { use = "pgd", steps = 50 }', "pgd", {"steps": 50}),
        ('{use="pgd",step_size="2/255",start=\'none\'}', "pgd", {"step_size": "2/255", "start": "none"}),
        ({"use": "pgd", "steps": np.int64(3), "step_size": np.float32(0.5)}, "pgd", {"steps": 3, "step_size": 0.5}),
        ({"use": "pgd", "steps": torch.tensor(3)}, "pgd", {"steps": 3}),
        ('{ use = "torchattacks:PGD", options = { steps = 3 } }', "torchattacks:PGD", {"options": {"steps": 3}}),
    ],
)
def test_names_texts_and_mappings_are_one_table(given: Any, use: str, options: dict[str, Any]) -> None:
    table = attack_table(given, "--attack")
    assert (table.use, table.options) == (use, options)
    assert all(type(value) in (int, float, str, dict) for value in table.options.values())
    assert attack_table(table, "--attack") is table


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "--attack is empty"),
        ('{ use = "pgd"', r'--attack \{ use = "pgd".*; write a name'),
        ('{ use = "pgd" }\nother = 3', "more than one table stands there; give --attack once for each attack"),
        ("{ steps = 3 }", "names no attack: write a name"),
        ("{ use = 3 }", "names no attack"),
        ({"us": "pgd"}, "names no attack"),
        (["pgd"], r"--attack = \['pgd'\] is a list"),
        (None, "--attack = None is a NoneType"),
        (3, "--attack = 3 is a int"),
        ({"use": "pgd", 3: 4}, "the option 3 is no name"),
    ],
)
def test_what_names_no_attack_is_a_sentence(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        attack_table(given, "--attack")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{ use = "pgd", stps = 3 }', "no option 'stps', did you mean 'steps'"),
        ('{ use = "pdg" }', "did you mean 'pgd'"),
        ('{ use = "pgd", alpha = 0.1 }', "what other libraries call 'alpha' is 'step_size' here"),
        ('{ use = "apgd", n_iter = 3 }', "what other libraries call 'n_iter' is 'steps' here"),
        ('{ use = "pgd", eps = "8/255" }', "'eps' is the threat's and not an option of pgd: give it by --eps"),
        ('{ use = "square", norm = "L2" }', "'norm' is the threat's and not an option of square: give it by --norm"),
        (
            '{ use = "pgd-20", steps = 50 }',
            'pgd-20 always has the same steps; take the generator behind it, use = "pgd"',
        ),
        ('{ use = "mt-pgd", steps = 50 }', 'take the generator behind it, use = "multi-targeted-pgd"'),
        ('{ use = "pgd-20", target = 3 }', "pgd-20 cannot be aimed at one class; .*fgsm.* and pgd take a target"),
        ('{ use = "rays", target = 3 }', "rays cannot be aimed at one class"),
        ('{ use = "pgd", targeted = true }', "is 'target' here, the number of the class to reach"),
        ('{ use = "pgd", target = 3.0 }', r"--attack.target = 3.0: not accepted; give int >= 0"),
        ('{ use = "pgd", target = true }', r"--attack.target = True: not accepted"),
        ('{ use = "pgd", steps = { start = 1, end = 5, kind = "linear" } }', "--attack.steps"),
    ],
)
def test_options_that_are_none_say_what_is_meant(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        attack_of(attack_table(text, "--attack"), Parts(), "--attack")


def test_the_command_takes_several_tables_and_targets_and_says_who_was_reached(
    place: Path,
) -> None:
    words = ["--model", "linear_model:build", "--weights", "weights.safetensors", "--dataset",
             "npz:images.npz", "--eps", "4/255", "--out", "out", "--device", "cpu", "--no-audit", "--attack",
             '{ use = "multi-targeted-pgd", steps = 5 }', "--attack", '{ use = "multi-targeted-pgd", steps = 2 }',
             "--attack", '{ use = "pgd", steps = 5, target = 3 }', "--attack", "fgsm"]  # fmt: skip
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    rows = json.loads((place / "out" / "results.json").read_text(encoding="utf-8"))["rows"]
    assert [row["attack"] for row in rows] == [None, *["multi-targeted-pgd"] * 2, "pgd-target-3", "fgsm"]
    assert [row["spec"]["attack"].get("steps") for row in rows[1:]] == [5, 2, 5, None]
    assert [row["resolved"].get("step_size") for row in rows[1:]] == [1 / 255, 1 / 255, 1 / 255, None]
    assert rows[1]["resolved"]["targets"] == 4
    aimed = rows[3]
    assert aimed["spec"]["attack"]["target"] == aimed["target"] == 3
    assert 0 < aimed["reached"] <= aimed["attacked"] < 18, "two are wrong from the start, some are of class 3"
    assert aimed["correct"] <= 18 - aimed["reached"], "who reaches the target is not classified rightly"
    text = f"class 3 reached by {aimed['reached']} of {aimed['attacked']}"
    assert text in done.output
    untargeted = judged({"use": "pgd", "steps": np.int64(5)}, out="other")["rows"][1]
    assert untargeted["value"] <= aimed["value"]
    assert "target" not in untargeted
    assert "target" not in untargeted["spec"]["attack"]


def test_what_a_targeted_row_counts_is_held_against_the_journal(place: Path) -> None:
    tables = judged({"use": "fab", "target": 1, "steps": 5}, {"use": "fgsm", "target": 0})
    Evidence(place / "out").hold(tables)
    assert [row["attack"] for row in tables["rows"]] == [None, "fab-target-1", "fgsm-target-0"]
    for row in tables["rows"][1:]:
        forged = {**row, "reached": row["reached"] + 1}
        with pytest.raises(Contradiction, match=f"class {row['target']} reached by {row['reached']} of"):
            Evidence(place / "out").hold({**tables, "rows": [forged]})


def test_a_class_that_the_model_lacks_is_refused_before_anything_is_judged(place: Path) -> None:
    for use in ("pgd", "fgsm", "apgd", "fab"):
        with pytest.raises(UsageError, match="target = 5, but the classes are 0 to 4"):
            judged({"use": use, "target": 5})
    assert not (place / "out").exists()


def test_in_training_a_target_is_refused() -> None:
    import robustcl

    with pytest.raises(UsageError, match=r"target = 3: in training pgd maximises a term of the stage"):
        robustcl.compose(recipe="at", budget="smoke", overrides=("stage.train.generator.w_adv.target=3",))


def test_what_is_wrong_with_an_attack_is_said_of_the_flag() -> None:
    for attack, said in (("pgd-02", "there is no attack 'pgd-02'"), ({"use": "pgd", "stps": 3}, "'steps'")):
        with pytest.raises(UsageError, match=rf"^--attack.*{said}"):
            again.read_attack(attack, {})


def test_an_audit_takes_attacks_of_a_run_alone() -> None:
    done = CliRunner().invoke(audit, ["--model", "a:b", "--dataset", "digits", "--attack", '{ use = "pgd" }'])
    assert "--attack is for a run, not for --model: leave it out" in str(done.exception)
