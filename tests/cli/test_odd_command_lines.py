"""Command lines as hands and scripts get them wrong: one sentence, the right exit code, no trace, nothing written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from robustcl.cli import console
from tests.cli.test_bad_input import RECIPE, content
from tests.shared import tiny
from tests.shared.compared_runs import finished, first

LONG = "x" * 5000
HUGE = "9" * 5000
OUTSIDE = ("--model", "torch.nn:Identity", "--dataset", "digits")

ODD: Sequence[tuple[str, str | tuple[str, ...]]] = (
    # --- which command
    ("there is no command 'comp'; did you mean 'compose'?", "comp"),
    ("there is no command 'COMPOSE'; did you mean 'compose'?", "COMPOSE"),
    ("there is no command 'frobnicate'; there are compose, run,", "frobnicate"),
    ("there is no command ''", ("",)),
    ("missing command", "--"),
    ("no such option", "-x"),
    ("no such command 'lst'", "recipes lst"),
    ("no such command 'frob'", "plugins frob"),
    (r"there is no command '\x1b[31mred'", "\x1b[31mred"),
    (r"unexpected extra argument (\x1b[31m)", "compose \x1b[31m"),
    # --- what is forgotten, given twice, or swallowed
    ("'--recipe' requires an argument", "compose --recipe"),
    ("--recipe is followed by an empty text", ("compose", "--recipe", "")),
    ("--recipe is followed by an empty text", "compose --recipe="),
    ("--out is followed by the flag --json", "compose --recipe ncp --out --json"),
    ("--budget is followed by the flag --dry-run", "compose --recipe ncp --budget --dry-run"),
    ("--attack is followed by the flag --json", "transfer a b --attack --json"),
    ("offers a recipe called 'nope'", "compose --recipe simclr --recipe nope"),
    ("the recipe has no budget 'SMOKE'", "compose --recipe ncp --budget SMOKE"),
    ("unexpected extra argument (ncp)", "compose ncp"),
    ("unexpected extra argument (--dry-run)", "run small.toml -- --dry-run"),
    ("'--dry-run' does not take a value", "compose --recipe ncp --dry-run=3"),
    ("missing argument 'RUN'", "resume --json"),
    ("there is no run directory --json", "resume -- --json"),
    ("missing argument '[LABEL=]RUN...'", "compare"),
    ("name what is to be written: --model-info DIR", "export a"),
    # --- numbers
    ("'1e3' is not a valid integer", "compose --recipe ncp --seed 1e3"),
    ("'1.5' is not a valid integer", "compose --recipe ncp --seed 1.5"),
    ("is not a valid integer", f"compose --recipe ncp --seed {HUGE}"),
    ("0 is not in the range", "compose --recipe ncp --devices 0"),
    (
        "--devices 100000: these are processes, and this machine has",
        "compose --recipe ncp --devices 100000 --device cpu",
    ),
    ("-3 is not in the range", "evaluate a --samples -3"),
    ("0 is not in the range", "audit a --samples 0"),
    ("--shard 2/1: write the share", "evaluate a --shard 2/1"),
    ("--budget -1m: write a time", "evaluate a --budget -1m"),
    ("--convergence 1,,2: write growing numbers", "evaluate a --convergence 1,,2"),
    ("eps 'x': not a number", ("evaluate", *OUTSIDE, "--out", "new", "--eps", "x")),
    ("eps -1 is not a distance", ("evaluate", *OUTSIDE, "--out", "new", "--eps", "-1")),
    ("the norm 'L3' is not known", ("audit", *OUTSIDE, "--norm", "L3")),
    # --- devices
    ("'cpu:3' is not known", "compose --recipe ncp --device cpu:3"),
    ("--device mps: torch sees no Apple GPU here", "compose --recipe ncp --device mps"),
    # --- --set
    ("is not of the form path=value", "compose --recipe ncp --set ="),
    ("a key of the path is empty", "compose --recipe ncp --set data..batch=3"),
    ("unknown key", "compose --recipe ncp --set a="),
    (r"unknown key '\x1b[31m'", "compose --recipe ncp --set \x1b[31m=3"),
    ("unknown key 'aaa", f"compose --recipe ncp --set {'a' * 100_000}=3"),
    ("data.batch = nan is not accepted", "compose --recipe ncp --set data.batch=nan"),
    ("'stage.robust' leads to a value", "compose --recipe ncp --set stage.robust=3"),
    ("nothing is named 'nope'", "compose --recipe ncp --set stage.nope.epochs=3"),
    ("eps inf is not a distance", "compose --recipe ncp --set threat.eps=1e400"),
    ("--set made.recipe=x: the table made tells how", "compose --recipe ncp --set made.recipe=x"),
    ("--set name='../x' is not accepted", "compose --recipe ncp --set name=../x"),
    # --- names and addresses
    ("--name '../../x' is not accepted", "compose --recipe ncp --name ../../x"),
    ("give at most 120 characters", f"compose --recipe ncp --name {'x' * 300}"),
    ("is an address: nothing is fetched", "compose --recipe https://example.org/a.toml"),
    ("is an address: nothing is fetched", "compose --recipe ncp --dataset npz:https://example.org/a.npz"),
    ("is an address: nothing is fetched", "report s3://bucket/run"),
    (r"'a\x00b' holds a character of value 0", ("resume", "a\0b")),
    # --- files and folders
    ("there is no recipe file", "compose --recipe ~/none-of-ours.toml"),
    ("offers a recipe called 'folder'", "compose --recipe folder"),
    ("...", f"compose --recipe {LONG}"),
    ("name too long", f"compose --recipe {'x' * 300}.toml"),
    ("its name is too long", f"resume {'x' * 300}"),
    ("the key 'name' is missing", "compose --recipe empty.toml"),
    ("latin.toml is no text: byte 8", "run latin.toml"),
    ("fifo is a pipe or a device, not a file", "run fifo"),
    ("'folder' is a directory", "run folder"),
    ("has no budget 'huge'", ("run", "a b.toml", "--budget", "huge")),
    ("--out notes.txt", "run small.toml --device cpu --out notes.txt"),
    ("--out notes.txt/x", "run small.toml --device cpu --out notes.txt/x"),
    ("exists and holds other files", "run small.toml --device cpu --out folder"),
    ("--save small.toml exists and is not this recipe", "compose --recipe ncp --dry-run --save small.toml"),
    ("/dev/null is a device or a pipe", "compose --recipe ncp --dry-run --save /dev/null"),
    ("fifo is a device or a pipe", "report a --out fifo"),
    ("--out notes.txt is there and is no page", "report a --out notes.txt"),
    ("--out small.toml is there and is no page", "report a b --out small.toml"),
    ("'notes.txt' is a file", "resume notes.txt"),
    ("fifo is a pipe (FIFO) and no file", "run small.toml --device cpu --set data.use=npz:fifo"),
    ("there is no run directory none", "evaluate none"),
    ("folder holds no run", "audit folder"),
    ("there is no", "measure none"),
    # --- models
    ("write module:function", ("evaluate", "--model", ":", "--dataset", "digits", "--out", "new")),
    ("there is no module 'nomodule'", ("evaluate", "--model", "nomodule:f", "--dataset", "digits", "--out", "new")),
    ("returned a str", ("evaluate", "--model", "os:getcwd", "--dataset", "digits", "--out", "new")),
    ("failed with SystemExit", ("evaluate", "--model", "sys:exit", "--dataset", "digits", "--out", "new")),
    ("--weights none does not exist", ("evaluate", *OUTSIDE, "--out", "new", "--weights", "none")),
    ("--model needs --out as well", ("evaluate", *OUTSIDE)),
    # --- the others
    ("none holds no shares of an evaluation", "merge none"),
    ("none does not exist", "compare none a"),
    ("--baseline", "compare a b --baseline nope"),
    ("--branch", "compare a b --branch nope=adv"),
    ("'pdf' is not one of", "compare a b --format pdf"),
    ("--out notes.txt", "compare a b --out notes.txt"),
    ("'umap' is not one of", "report a --projection umap"),
    ("'generators' is not one of", "plugins list --kind generators"),
    ("did you mean 'npz'", "plugins show npx"),
    ("no installed distribution 'nobody'", "plugins check nobody"),
    ("there is no study file none.toml", "study none.toml"),
    ("offers a study called 'nope'", "study nope"),
)
"""What is said, and the words of the command line."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    for name in ("small.toml", "a b.toml"):
        (folder / name).write_text(RECIPE, encoding="utf-8")
    (folder / "empty.toml").write_text("", encoding="utf-8")
    (folder / "latin.toml").write_bytes(b'name = "\xff"\n')
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "folder/notes.txt").write_text("mine", encoding="utf-8")
    os.mkfifo(folder / "fifo")
    for seed, name in enumerate("ab"):
        finished(folder / name, {None: first(90, 100), "pgd-20": first(40 + seed, 100)}, name=name, seed=seed)
    return folder


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Work in the folder; afterwards it must be as it was."""
    monkeypatch.chdir(place)
    before = content(place), sorted(os.listdir(place))
    yield before[0]
    assert (content(place), sorted(os.listdir(place))) == before, "something was written"


def answer(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["robustcl", *words])
    with pytest.raises(SystemExit) as left:
        console.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize(("said", "line"), ODD, ids=[str(number) for number in range(len(ODD))])
@pytest.mark.usefixtures("there")
def test_an_odd_command_line_is_a_sentence(
    said: str, line: str | tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = answer(line.split() if isinstance(line, str) else line, monkeypatch)
    told = capsys.readouterr()
    assert (code, told.out) == (2, ""), told.err
    sentence = told.err.splitlines()[-1]
    assert sentence.startswith("robustcl: "), told.err
    assert said in sentence
    assert len(sentence) < 3000
    assert not re.search(r"Traceback|[\x00-\x08\x0b-\x1f\x7f]", told.err)
    assert told.err.count("robustcl: ") == 1


@pytest.mark.parametrize(
    "line", ["-h", "--version frobnicate", "compose -h", "-- compose -h", "study -h", "run --help"]
)
@pytest.mark.usefixtures("there")
def test_help_and_version_are_answers(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(line.split(), monkeypatch) == 0
    told = capsys.readouterr()
    assert told.out
    assert told.err == ""


@pytest.mark.parametrize("line", ["", "recipes", "plugins", "study"])
@pytest.mark.usefixtures("there")
def test_a_group_alone_is_answered_by_its_help(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(line.split(), monkeypatch) == 2
    assert capsys.readouterr().err.startswith(f"Usage: robustcl {line}".rstrip())


@pytest.mark.parametrize(
    "line",
    [
        "compose --recipe ncp --budget smoke --seed -1 --dry-run",
        f"compose --recipe ncp --budget smoke --seed {2**64} --dry-run",
        "compose --recipe ncp --budget paper --budget smoke --set data.batch=3 --set data.batch=64 --dry-run",
        "compose --recipe ncp --budget smoke --set about=https://example.org --dry-run",
    ],
)
@pytest.mark.usefixtures("there")
def test_what_looks_odd_and_is_meant(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(line.split(), monkeypatch) == 0
    assert "data.batch=3," not in capsys.readouterr().out, "the last one counts, and is told"


def test_a_path_below_the_home_folder(
    there: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No shell puts the home folder into ``--save=~/x``; a folder of the name ~ is nobody's wish."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert answer(["compose", "--recipe", "simclr", "--dry-run", "--save=~/mine.toml"], monkeypatch) == 0
    assert (tmp_path / "mine.toml").is_file()
    assert "mine.toml" not in there


@pytest.mark.parametrize(
    ("code", "said", "line"),
    [
        (2, "there is no command 'comp'", ("comp",)),
        (2, "--out is followed by the flag --json", ("compose", "--recipe", "ncp", "--out", "--json")),
        (2, "b'\\xff'"[2:-1].replace("\\\\", "\\"), ("resume", b"\xff\xfe")),
        (0, "", ("--version",)),
    ],
)
def test_as_real_processes(code: int, said: str, line: Sequence[str | bytes], place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "robustcl", *line], cwd=place, env=tiny.environment(), capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert said in done.stderr.decode("ascii") or said == "\\xff"
