"""Every reader holds results.json against the journal, and every line of a journal is what it was when written."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from robustcl import report
from robustcl.cli.main import robustcl
from robustcl.comparison import compare, render
from robustcl.errors import Contradiction, DataError, RobustclError
from robustcl.evaluate import shards
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.report.commands import list_commands
from robustcl.report.tables import inert
from robustcl.robustbench import write_model_info
from tests.shared.compared_runs import finished, first, unchecked
from tests.shared.finished_run import write_run

KEY = Key("slf", "clean", "test", "pgd-20", json.dumps({"model": "m"}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished(tmp_path / "a", {None: first(18, 20), "pgd-20": first(9, 20)}, name="a")


def edit(run: Path, **changes: Any) -> None:
    stated = json.loads((run / "results.json").read_text())
    stated["rows"][1] |= changes
    (run / "results.json").write_text(json.dumps(stated))


READERS: dict[str, Callable[[Path], object]] = {
    "report": report.write,
    "table": lambda run: report.table([run]),
    "compare": lambda run: compare([run, finished(run.parent / "b", {None: first(18, 20)}, name="b")]),
    "export": lambda run: write_model_info(run, run.parent / "cards", id="A2026B"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.95, "correct": 19},
        {"value": 0.95},
        {"correct": 10, "value": 0.5},
        {"n": 10, "value": 0.9},
        {"low": 0.4},
        {"n": 2000, "correct": 1900, "value": 0.95},
    ],
)
def test_an_edited_number_is_refused_by_every_reader(run: Path, reader: str, changes: dict[str, Any]) -> None:
    edit(run, **changes)
    with pytest.raises(Contradiction, match=r"results.json says .* for slf clean test pgd-20_acc") as told:
        READERS[reader](run)
    assert told.value.exit_code == 1


def test_numbers_without_a_journal_are_marked(run: Path) -> None:
    (run / "journal.jsonl").unlink()
    other = finished(run.parent / "b", {None: first(18, 20), "pgd-20": first(3, 20)}, name="b")
    notes = [note for note in compare([run, other]).notes if "not held against a journal" in note]
    assert [note.partition(":")[0] for note in notes] == [str(run)] * 2
    assert "Not held against a journal" in report.write(run).read_text()
    assert "Not held against a journal" not in report.write(other).read_text()


def test_a_row_contradicts_itself_without_any_journal(run: Path) -> None:
    (run / "journal.jsonl").unlink()
    edit(run, value=0.95)
    with pytest.raises(Contradiction, match="its own count 9 of 20 images"):
        report.write(run)


@pytest.mark.parametrize("name", ["eps", "steps"])
def test_points_of_curves_are_held(run: Path, name: str) -> None:
    part = {"eps": "security", "steps": "convergence"}[name]
    more = {"eps": 0.05} if name == "eps" else {"steps": 5}
    key = Key("slf", "clean", "test", "pgd-20", json.dumps({"eps": 0.031, **more}, sort_keys=True))
    Journal(run / "journal.jsonl").append(key, [Outcome(i, 0, int(i >= 4), i < 4, 0, "") for i in range(20)])
    stated = json.loads((run / "results.json").read_text())
    for share, right in ((0.2, True), (0.95, False)):
        entry = {"protocol": "slf", "route": "clean", "attack": "pgd-20", "n": 20, name: [0, next(iter(more.values()))]}
        stated[part] = [{**entry, "accuracy": [0.9, share]}]
        (run / "results.json").write_text(json.dumps(stated))
        if right:
            report.load(run)
            continue
        with pytest.raises(Contradiction, match=f"says 95 % for slf clean {part} pgd-20"):
            report.load(run)


def journal_of(folder: Path) -> Path:
    outcomes = [Outcome(i, i % 3, (i + (i > 4)) % 3, i <= 4, 0, f"{i:016x}") for i in range(8)]
    Journal(folder / "j").append(KEY, outcomes)
    return folder / "j"


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"correct": false', '"correct": true', "correct is true, not false, by label and prediction"),
        ('"index": 3', '"index": "x"', 'index is "x", not a whole number'),
        ('"index": 3', '"index": -1', "index is -1, not 0 or more"),
        ('"index": 3', '"index": true', "index is true, not a whole number"),
        ('"index": 3', '"index": 2', "sample 2 "),
        ('"label": 2', '"label": 2.0', "label is 2.0, not a whole number"),
        ('"hash": "0000000000000003"', '"hash": 3', "hash is 3, not a digest"),
        ('"attack": "pgd-20"', '"attack": 7', "attack is 7, not a name or null"),
        ('"seed": 0', '"seed": null', "seed is null, not a whole number"),
        ('"protocol": "slf"', '"protocol": ["slf"]', "protocol is"),
        ('"index": 3', '"index": 3, "index": 4', "a key stands in it twice"),
        ('"index": 3', f'"index": {"9" * 6000}', "a number has 6000 digits"),
        ('"index": 3', f'"index": {"[" * 100_000}', "nested more than 64 levels deep"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, old: str, new: str, said: str, checked: bool) -> None:
    path = journal_of(tmp_path)
    text = path.read_text() if checked else unchecked(path.read_text())
    path.write_text(text.replace(old, new, 1))
    if old == '"correct": false' and not checked:
        assert re.search(r'"correct": true', path.read_text())
    said = "its check is not that of this line" if checked else said
    with pytest.raises(DataError, match=rf"/j: line \d+ is damaged: .*{re.escape(said)}"):
        Journal(path)


def test_every_flipped_bit_of_a_journal_is_noticed(tmp_path: Path) -> None:
    path = journal_of(tmp_path)
    whole = path.read_bytes()
    before = Journal(path).known(KEY)
    unnoticed = []
    for place in range(0, len(whole), 7):
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            try:
                if Journal(path).known(KEY) != before:
                    unnoticed.append((place, bit))
            except DataError:
                continue
    assert not unnoticed


def test_lines_of_earlier_versions_are_read_and_followed_by_checked_ones(tmp_path: Path) -> None:
    path = journal_of(tmp_path)
    path.write_text(unchecked(path.read_text()))
    old = path.read_text()
    again = Journal(path)
    assert len(again.known(KEY)) == 8
    again.append(KEY, [Outcome(8, 1, 1, True, 0, "")])
    assert path.read_text().startswith(old)
    assert len(Journal(path).known(KEY)) == 9
    path.write_text(path.read_text().replace('"label": 1', '"label": 2').replace('"prediction": 1', '"prediction": 2'))
    with pytest.raises(DataError, match="damaged"):
        Journal(path)


def test_a_line_taken_out_is_noticed(tmp_path: Path) -> None:
    path = journal_of(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))
    with pytest.raises(DataError, match="line 4 is damaged"):
        Journal(path)


def test_merged_shares_stay_whole(tmp_path: Path) -> None:
    for number in range(2):
        mine = [Outcome(i, 0, 0, True, 0, "") for i in range(number, 8, 2)]
        shards.journal(tmp_path, (number, 2)).append(KEY, mine)
    assert shards.merge(tmp_path) == (8, 2)
    assert len(Journal(tmp_path / "journal.jsonl").known(KEY)) == 8
    assert shards.merge(tmp_path) == (0, 2)


WRONG: list[Any] = [None, True, -1, 10**30, 1e308, "x", "\x1b[2J", "\ud800", "a\x00", [], [[]], [None], {}, {"a": 1}]
KEYS = ["name", "seed", "threat", "data", "rows", "security", "silhouette", "timing", "environment", "audit",
        "composition", "convergence", "corruptions", "transfer", "model", "schema"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole") / "run", images=20)


@pytest.mark.parametrize("key", KEYS)
def test_wrong_types_in_results_are_sentences(key: str, whole: Path, tmp_path: Path) -> None:
    """In the tables that need no drawing each, by the readers that draw nothing: 224 mutations."""
    shutil.copytree(whole, tmp_path / "run")
    other = finished(tmp_path / "b", {None: first(18, 20)}, name="b")
    stated = json.loads((whole / "results.json").read_text())
    for value in WRONG:
        (tmp_path / "run" / "results.json").write_text(json.dumps(stated | {key: value}))
        for reader in (
            lambda: render(compare([tmp_path / "run", other], allow_mixed=True), "csv"),
            lambda: write_model_info(tmp_path / "run", tmp_path / "cards", id="A2026B", route="clean", force=True),
            lambda: report.table([tmp_path / "run"]),
        ):
            said = ""
            try:
                reader()
            except RobustclError as error:
                said = str(error)
            assert said.isprintable()


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1"])
def test_formulas_are_inert_in_csv(cell: str) -> None:
    assert inert(cell) == f"'{cell}"
    assert inert(-1.5) == -1.5
    assert inert("a=1") == "a=1"


def test_reading_never_writes(run: Path) -> None:
    other = finished(run.parent / "b", {None: first(18, 20), "pgd-20": first(3, 20)}, name="b")
    before = {path: path.read_bytes() for path in sorted(run.parent.rglob("*")) if path.is_file()}
    for arguments in (["compare", str(run), str(other)], ["report", str(run), str(other)],
                      ["export", str(run), "--model-info", str(run.parent / "cards"), "--id", "A2026B"]):  # fmt: skip
        done = CliRunner().invoke(robustcl, arguments, standalone_mode=False)
        assert done.exception is None, done.exception
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in run.iterdir()} == {"journal.jsonl", "results.json", "recipe.lock.toml"}
    report.write(run)
    assert {path.name for path in run.iterdir()} - {"report.html"} == {
        "journal.jsonl",
        "results.json",
        "recipe.lock.toml",
    }


def test_shell_text_in_a_command_on_a_page_is_quoted(tmp_path: Path) -> None:
    threat = {"norm": "Linf; rm -rf ~", "eps": "$(reboot)"}
    said = list_commands({"judged": "a", "threat": threat}, tmp_path).evaluate
    assert shlex.split(said)[3:] == ["--norm", threat["norm"], "--eps", threat["eps"], "--out", "FOLDER"]
