"""What users get wrong, as processes: the right exit code, one sentence that says what, where and what to do, no trace.

Most cases are legs (see ``tiny``): each a process of its own, forked after the imports. One starts Python anew.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from robustcl.analysis import again
from tests.shared import tiny
from tests.shared.forks import fork

Start = Callable[[Path, Sequence[str]], "subprocess.CompletedProcess[str]"]
RECIPE = """
name = "small"
[data]
use = "digits"
batch = 512
[encoder]
use = "resnet-small"
width = 2
projector = { widths = [4] }
[[stage]]
name = "only"
epochs = 1
split = "train"
views = { a = "weak", b = "weak" }
optimizer = { use = "sgd", lr = 0.01 }
[stage.term.pull]
use = "supcon"
views = ["a", "b"]
selector = "global"
"""
JUDGED = """
[[evaluate]]
protocol = "slf"
attacks = ["fgsm"]
epochs = 1
samples = 8
"""
STARTED = RECIPE.replace('split = "train"', 'split = "train"\ninit = "file:FOLDER"')
TAUGHT = STARTED.replace('init = "file:FOLDER"', 'encoders = { teacher = "file:FOLDER" }').replace(
    'views = ["a", "b"]', 'views = ["a", "b@teacher"]'
)
CLUSTERED = RECIPE.replace(
    'name = "only"', 'name = "only"\nlabels = "targets:0"\ntargets = { use = "spherical-kmeans" }'
)


@dataclass(frozen=True)
class Case:
    """The command line, the words of its answer, its exit code; ``made`` is what must not exist afterwards."""

    line: str
    words: tuple[str, ...]
    code: int = 2

    @property
    def arguments(self) -> list[str]:
        return self.line.split()


def run(recipe: str, *rest: str) -> str:
    return " ".join(["run", recipe, "--device", "cpu", "--out", "new", *rest])


CASES: Mapping[str, Case] = {
    # --- plugins, options, keys
    "unknown plugin": Case("compose --objective info-nec --out new", ("--objective", "did you mean 'info-nce'")),
    "plugin of another kind": Case("compose --objective pgd --out new", ("'pgd'", "another kind: generator")),
    "unknown option": Case(
        run("small.toml", "--set stage.only.term.temprature=1"), ("stage.only.term.pull", "did you mean 'temperature'")
    ),
    "unknown key": Case(run("key.toml"), ("key.toml", "'stage.only.epoch'", "did you mean 'epochs'")),
    "wrong type": Case(run("type.toml"), ("type.toml", "stage.only.epochs = 'three'", "give an integer")),
    "not TOML": Case(run("text.toml"), ("text.toml is not TOML", "line 1")),
    "no recipe file": Case(run("none.toml"), ("there is no recipe file none.toml",)),
    "recipe is a folder": Case(run("folder"), ("folder", "directory")),
    "need that nobody meets": Case(
        run("small.toml", "--set", 'stage.only.term={d={use="deacl",views=["a","b","a"]}}'),
        ("deacl needs a frozen teacher encoder", "add encoders = { teacher ="),
    ),
    "part that nothing reads": Case(
        run("small.toml", "--set", 'stage.only.targets="spherical-kmeans"'),
        ("stage.only.targets: nothing reads the clusters", "remove the table"),
    ),
    # --- the ball
    "eps 8": Case(run("small.toml", "--set threat.eps=8"), ("threat: eps 8", "write 8/255")),
    "eps negative": Case(run("small.toml", "--set threat.eps=-1"), ("threat: eps -1", "not negative")),
    "eps 8/0": Case(run("small.toml", "--set threat.eps=8/0"), ("threat: eps '8/0'", "such as '8/255'")),
    # --- sizes
    "K beyond the data": Case(
        run("clustered.toml", "--set stage.only.targets.clusters=5000"),
        ("stage.only.targets.clusters: 5000 clusters", "1293 training images", "ask for 1293 or less"),
    ),
    "grid beyond the data": Case(
        run("clustered.toml", "--set stage.only.targets.grid=[5,2000]"),
        ("stage.only.targets.grid: 2000 clusters", "1293 training images"),
    ),
    "batch beyond the data": Case(
        run("small.toml", "--set data.batch=5000"), ("stage.only: a batch of 5000", "1293 or less")
    ),
    # --- data
    "npz missing": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=none.npz"), ("there is no file none.npz", "data.path=")
    ),
    "npz without a path": Case(run("small.toml", "--set data.use=npz"), ("data: Npz needs the option 'path'",)),
    "npz empty": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=empty.npz"), ("empty.npz", "not a complete .npz")
    ),
    "npz truncated": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=cut.npz"), ("cut.npz", "not a complete .npz")
    ),
    "npz without images": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=none-in.npz"), ("x_train", "holds no images")
    ),
    "npz outside [0, 1]": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=wide.npz"), ("from 0 to 255", "[0, 1]")
    ),
    "npz of objects": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=objects.npz"), ("objects.npz", "Python objects")
    ),
    "no labels": Case(
        run("small.toml", "--set data.use=npz", "--set data.path=unlabelled.npz"),
        ("stage.only: it needs labels, and the split 'train' has none; take a data set that has labels",),
    ),
    "no labels for the judge": Case(
        "compose --recipe simclr --budget smoke --device cpu --out new --dataset npz:unlabelled.npz --set data.batch=16"
        " --set stage.pretrain.batch=16 --set evaluate.slf.batch=16",
        ("evaluate.slf: it needs labels, and the split 'train' has none; take a data set that has labels",),
    ),
    "supervised method without labels": Case(
        "compose --recipe at --budget smoke --device cpu --out new --dataset npz:unlabelled.npz",
        ("stage.train: it needs labels, and the split 'train' has none",),
    ),
    "more labels than there are": Case(
        "compose --recipe vat --budget smoke --device cpu --out new --set stage.train.labelled=100000",
        ("stage.train.labelled: 100000 labels are asked for", "ask for 1293 or less"),
    ),
    "mixed batches of another size": Case(
        "compose --recipe vat --budget smoke --device cpu --out new --set stage.train.batch=7",
        ("stage.train.sampler: its batches hold 32 + 128 images, but the stage's batch is 7; write batch = 160",),
    ),
    "no unlabelled images to mix": Case(
        "compose --recipe vat --budget smoke --device cpu --out new --set stage.train.labelled=1.0",
        ("stage.train.sampler.unlabelled = 128: there are only 0 unlabelled images",),
    ),
    "a neighbour beyond the clusters": Case(
        "compose --recipe ncp --budget smoke --device cpu --out new --set stage.robust.generator.neighbour=99",
        ("stage.robust.generator.w_adv: ncp: neighbour = 99 needs as many clusters",),
    ),
    "one class to tell apart": Case(
        run("judged.toml", "--set data.use=npz", "--set data.path=one.npz", "--set data.batch=16"),
        ("evaluate.slf: a classifier needs two classes or more", "only 0"),
    ),
    # --- the run directory
    "directory of another run": Case(
        "run small.toml --device cpu --out done", ("--out done exists and holds another run", "robustcl resume done")
    ),
    "directory of other files": Case(
        "run small.toml --device cpu --out folder", ("--out folder exists and holds other files; choose another",)
    ),
    "directory below a file": Case(
        "run small.toml --device cpu --out small.toml/x", ("--out small.toml/x", "choose another directory")
    ),
    "directory is a file": Case(
        "run small.toml --device cpu --out small.toml", ("--out small.toml", "choose another directory")
    ),
    "resume nothing": Case("resume none", ("there is no run directory none",)),
    "resume other files": Case("resume folder", ("folder holds no run", "start one with robustcl compose")),
    "resume a damaged lock": Case("resume unlocked", ("unlocked/recipe.lock.toml is not TOML",)),
    "evaluate nothing": Case("evaluate none", ("there is no run directory none",)),
    "evaluate other files": Case("evaluate folder", ("folder holds no run",)),
    "evaluate an unfinished run": Case(
        "evaluate unfinished", ("stage only is not finished", "robustcl resume unfinished")
    ),
    "evaluate by no protocol": Case("evaluate done --protocol slff", ("evaluate.slff", "did you mean 'slf'")),
    "evaluate no route": Case("evaluate done --route adv", ("evaluate.slf.route", "no route 'adv'; it has clean")),
    "evaluate no attack": Case("evaluate done --attack pgd-02", ("--attack: there is no", "did you mean 'pgd-20'")),
    # --- flags
    "set without a value": Case(
        run("small.toml", "--set data.batch"), ("--set 'data.batch'", "of the form path=value")
    ),
    "no device": Case("run small.toml --device cuda --out new", ("--device cuda", "use --device cpu")),
    "unknown device": Case("run small.toml --device gpu --out new", ("--device 'gpu' is not known", '"cuda"')),
    "no devices": Case(run("small.toml", "--devices 0"), ("--devices", "0 is not in the range")),
    "unknown precision": Case(run("small.toml", "--precision fp8"), ("--precision", "'fp8'", "bf16-mixed")),
    "unknown budget": Case(
        "compose --recipe simclr --budget smal --out new", ("no budget 'smal'", "did you mean 'small'")
    ),
    "unknown recipe": Case("compose --recipe simclrr --out new", ("'simclrr'", "did you mean 'simclr'")),
    "nothing to compose": Case("compose --out new", ("give --objective NAME or --recipe NAME",)),
    "save nowhere": Case(
        "compose --recipe simclr --save none/saved.toml --dry-run", ("--save none/saved.toml cannot be written",)
    ),
    "seed is text": Case("compose --recipe simclr --seed one --out new", ("--seed", "'one'")),
    # --- weights from outside
    **{
        f"{use} {damage}": Case(run(f"{use}-{damage}.toml"), (f"stage.only.{key} = 'file:{damage}'", words))
        for use, key in (("init", "init"), ("teacher", "encoders.teacher"))
        for damage, words in {
            "truncated": "model.safetensors is truncated",
            "flipped": "SHA-256 differs",
            "page": "is no safetensors file",
            "pickled": "is no safetensors file",
            "folder": "config.json is missing",
        }.items()
    },
    "init of another encoder": Case(
        run("init-done-weights.toml", "--set encoder.width=4"),
        ("weights are of another encoder", "width 2 instead of 4"),
    ),
    "weights for other images": Case(
        run("init-done-weights.toml", "--set data.use=npz", "--set data.path=colour.npz", "--set data.batch=16"),
        ("images of shape (1, 8, 8)", "(3, 8, 8)"),
    ),
}  # fmt: skip

GOOD: Mapping[str, Case] = {
    "one class without a judge": Case(
        "run small.toml --device cpu --out one --set data.use=npz --set data.path=one.npz --set data.batch=16", (), 0
    ),
    "weights of a run": Case("run init-done-weights.toml --device cpu --out started", (), 0),
    "a teacher from a run": Case("run teacher-done-weights.toml --device cpu --out taught", (), 0),
}
"""Near the mistakes, and none."""


@dataclass(frozen=True)
class Outcome:
    """The folder in which all legs ran, each one's end, and what stood there before."""

    folder: Path
    ended: Mapping[str, tiny.Ended]
    before: Mapping[str, str]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "judged.toml").write_text(RECIPE + JUDGED, encoding="utf-8")
    (made,) = tiny.run_legs(folder, [tiny.Leg(Case("run judged.toml --device cpu --out done", ()).arguments)])
    assert made.code == 0, made.said
    _recipes(folder)
    _data(folder)
    _runs(folder)
    _weights(folder)
    before = content(folder)
    cases = {**CASES, **GOOD}
    ended = tiny.run_legs(folder, [tiny.Leg(case.arguments) for case in cases.values()])
    return Outcome(folder, dict(zip(cases, ended, strict=True)), before)


def _recipes(folder: Path) -> None:
    texts = {
        "small": RECIPE,
        "key": RECIPE.replace("epochs = 1", "epoch = 1"),
        "type": RECIPE.replace("epochs = 1", 'epochs = "three"'),
        "text": "this is no recipe",
        "clustered": CLUSTERED,
    }
    for damage in ("truncated", "flipped", "page", "pickled", "folder", "done-weights"):
        texts[f"init-{damage}"] = STARTED.replace("FOLDER", damage)
        texts[f"teacher-{damage}"] = TAUGHT.replace("FOLDER", damage)
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")


def _data(folder: Path) -> None:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2

    def archive(name: str, x: object = images, y: object = labels, tested: object = labels * 0) -> None:
        np.savez(folder / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=tested)

    archive("one", y=labels * 0)
    archive("wide", x=images.astype(np.float32))
    archive("unlabelled", y=labels * 0 - 1, tested=labels)
    archive("none-in", x=images[:0], y=labels[:0])
    archive("objects", x=np.array([{}] * 40, dtype=object))
    archive("colour", x=draw.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    (folder / "empty.npz").write_bytes(b"")
    (folder / "cut.npz").write_bytes((folder / "one.npz").read_bytes()[:-200])


def _runs(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "folder/notes.txt").write_text("mine", encoding="utf-8")
    for name in ("unfinished", "unlocked"):
        shutil.copytree(folder / "done", folder / name)
    (folder / "unfinished/stages/only/finished.json").unlink()
    (folder / "unlocked/recipe.lock.toml").write_text("name = ", encoding="utf-8")


class Canary:
    """Sings when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (_sing, (str(self.path), "sang"))


def _sing(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def _weights(folder: Path) -> None:
    whole = (folder / "done/stages/only/model.safetensors").read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    files = {
        "done-weights": whole,
        "truncated": whole[:-100],
        "flipped": bytes(flipped),
        "page": b"<!DOCTYPE html><html>404</html>",
        "pickled": pickle.dumps({"weight": Canary(folder / "canary")}),
    }
    for name, data in files.items():
        shutil.copytree(folder / "done/stages/only", folder / name)
        (folder / name / "model.safetensors").write_bytes(data)


def content(folder: Path) -> dict[str, str]:
    """Return a digest of each file that a mistake must not touch."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def the_sentence(said: str) -> str:
    """Return the one line that is the answer."""
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith(("robustcl: ", "Error: "))]
    assert len(lines) == 1, said
    assert said.rstrip().endswith(lines[0]), said
    return lines[0]


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_answered_in_a_sentence(name: str, outcome: Outcome) -> None:
    if name == "no device" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    ended = outcome.ended[name]
    assert ended.code == CASES[name].code, ended.said
    sentence = the_sentence(ended.said)
    for words in CASES[name].words:
        assert words in sentence


@pytest.mark.parametrize("name", GOOD)
def test_what_is_near_a_mistake_and_none(name: str, outcome: Outcome) -> None:
    assert outcome.ended[name].code == 0, outcome.ended[name].said


def test_nothing_is_half_written(outcome: Outcome) -> None:
    after = content(outcome.folder)
    legs = ("one/", "started/", "taught/")
    changed = {path for path in after.keys() | outcome.before.keys() if after.get(path) != outcome.before.get(path)}
    assert [path for path in sorted(changed) if not path.startswith(legs)] == []
    for name in ("new", "runs", "none", "canary"):
        assert not (outcome.folder / name).exists(), name


def test_nothing_was_unpickled(outcome: Outcome) -> None:
    canary = outcome.folder / "canary"
    assert not canary.exists()
    pickle.loads((outcome.folder / "pickled/model.safetensors").read_bytes())
    assert canary.read_text(encoding="utf-8") == "sang", "the canary can sing"
    canary.unlink()


def test_judging_by_what_the_recipe_does_not_name_is_said(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "execute", lambda composition, *_: composition)
    monkeypatch.chdir(outcome.folder)
    said: list[str] = []
    again.evaluate_again(Path("started"), say=said.append)
    assert said == ["the recipe of started has no [[evaluate]] table: judging by slf; --protocol NAME takes another"]
    again.evaluate_again(Path("started"), "slf", say=said.append)
    again.evaluate_again(Path("done"), say=said.append)
    assert len(said) == 1


# --- as started by hand


def in_a_new_python(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robustcl", *words]
    return subprocess.run(command, cwd=folder, env=tiny.environment(), capture_output=True, text=True, check=False)


def forked(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return fork(words, folder, tiny.environment())


@pytest.mark.parametrize(
    ("start", "line", "words"),
    [
        (in_a_new_python, "compos --objective deacl", ("there is no command 'compos'", "did you mean 'compose'")),
        (forked, "frobnicate", ("frobnicate",)),
        (forked, "compose --objektive deacl", ("--objektive",)),
        (forked, "compose --objective nonsense", ("--objective", "'nonsense'", "there are: ")),
        (forked, "run none.toml", ("there is no recipe file none.toml",)),
    ],
)
def test_nothing_but_a_sentence_is_said(start: Start, line: str, words: tuple[str, ...], tmp_path: Path) -> None:
    done = start(tmp_path, line.split())
    assert done.returncode == 2
    assert done.stdout == ""
    sentence = the_sentence(done.stderr)
    for one in words:
        assert one in sentence
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    done = forked(tmp_path, ("--debug", "run", "none.toml"))
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "there is no recipe file none.toml" in done.stderr
