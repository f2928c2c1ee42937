"""Two starts on one directory, starts that were killed early, and directories that somebody has prepared."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from robustcl import api
from robustcl.composition.lock import digest
from robustcl.disk import Leases
from robustcl.errors import UsageError
from robustcl.run import folder, occupation
from robustcl.terminal import printable
from tests.shared import tiny
from tests.shared.forks import Asked, fork_all

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")


@pytest.fixture
def composition() -> api.Composition:
    return api.from_tables(tiny.tables(), "tiny")


def test_of_two_starts_with_different_recipes_one_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = tiny.RECIPE.replace('name = "tiny"', f'name = "{name}"').replace(
            "[[evaluate]]", "[[evaluate]]\nblock = 8"
        )
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    names = ("one", "two")
    commands = [["run", f"{name}.toml", "--device", "cpu", "--out", "run"] for name in names]
    ends = fork_all([Asked(command, tmp_path, tiny.environment(), together=True) for command in commands])
    said = {name: ended.stdout for name, ended in zip(names, ends, strict=True)}
    codes = {name: ended.returncode for name, ended in zip(names, ends, strict=True)}
    assert sorted(codes.values()) == [0, 2], said
    (winner,) = [name for name, code in codes.items() if code == 0]
    (loser,) = set(codes) - {winner}
    assert "another process is at work" in said[loser] or "holds another run" in said[loser], said
    assert "Traceback" not in said[loser]
    for file in ("recipe.toml", "recipe.lock.toml"):
        assert f'name = "{winner}"' in (tmp_path / "run" / file).read_text(encoding="utf-8")


def test_default_directories_of_one_second_are_different(
    composition: api.Composition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [folder.free(composition, None) for _ in range(4)]
    assert len(set(names)) == 4
    assert all(path.is_dir() for path in names)


@pytest.mark.parametrize(
    "left",
    [
        (),
        (".lock",),
        (".lock", "recipe.toml"),
        (".lock", "recipe.toml", "run.json", ".recipe.lock.toml.0123456789abcdef"),
    ],
)
def test_what_a_start_was_killed_in_is_started_again(
    left: tuple[str, ...], composition: api.Composition, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).write_text("half a recip")
    assert folder.free(composition, run) == run
    folder.create(composition, run, {"device": "cpu", "devices": 1, "precision": "32-true"})
    assert digest(folder.reopen(run)[0]) == digest(composition)
    assert not list(run.glob(".recipe*"))


@pytest.mark.parametrize("name", ["notes.txt", ".gitignore", "recipe.toml", "run.json", "recipe.toml.bak", "stages"])
def test_a_stranger_s_files_are_not_ours(name: str, composition: api.Composition, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        folder.free(composition, tmp_path)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_start_killed_before_its_lock_is_there_works_again(call: int, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny.RECIPE.replace("epochs = 2", "epochs = 0"), encoding="utf-8")
    killed, again = tiny.run_legs(tmp_path, [tiny.Leg(START, "before a rename", call), tiny.Leg(START)])
    assert killed.code == -9
    assert again.code == 0, again.said


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".hidden", "a\0b", "a\x1b[31mb", "a b", "x" * 200, "-x", "a\n"])
def test_a_run_s_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(UsageError, match="name") as caught:
        api.from_tables(tiny.tables(name=name), "the recipe")
    assert not set(str(caught.value)) & {"\0", "\x1b", "\n"}


@pytest.mark.parametrize("name", ["ncp+drift", "dynacl++", "a-rocl", "ResNet_18.v2", "5"])
def test_names_of_methods_are_names(name: str) -> None:
    assert api.from_tables(tiny.tables(name=name), "the recipe").recipe.name == name


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b]0;x\x07\u202eb\x9b\r\tc\nd é") == "a\\x1b]0;x\\x07\\u202eb\\x9b\\r\tc\nd é"


def test_a_lock_that_is_a_link_leaves_its_target_alone(composition: api.Composition, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    run = tmp_path / "run"
    folder.create(composition, run, {})
    (run / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="symbolic link"), occupation.only_one(run):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "trap",
    ["checkpoints", "artifacts", "stages", "tensorboard", "journal.jsonl", "metrics.jsonl", "results.json", ".lock"],
)
def test_a_prepared_run_writes_nothing_outside(trap: str, stopped_run: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped_run, tmp_path / "run")
    outside, there = tmp_path / "outside", tmp_path / "run" / trap
    if there.is_dir():
        shutil.move(there, outside)
    elif "." in trap:
        outside.write_bytes(there.read_bytes() if there.exists() else b"mine")
        there.unlink(missing_ok=True)
    else:
        outside.mkdir()
    there.symlink_to(outside)
    before = _content(outside)
    (ended,) = tiny.run_legs(tmp_path, [tiny.Leg(("resume", "run"))])
    assert _content(outside) == before
    assert "Traceback" not in ended.said
    # A link in the place of a file that is replaced as a whole is replaced; all others are refused.
    assert ended.code == (0 if trap == "results.json" else 2), ended.said
    assert ended.code == 0 or "link" in ended.said


def _content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("text", "words"),
    [("[", "damaged"), ("[]", "device"), ('{"device": 3}', "device = 3"), ('{"devices": "x"}', "devices = 'x'"),
     ('{"devices": 0}', "devices = 0"), ('{"devices": true}', "devices = True"), ("[" * 100_000, "nested")],
)  # fmt: skip
def test_damaged_device_options_are_a_sentence(
    text: str, words: str, composition: api.Composition, tmp_path: Path
) -> None:
    folder.create(composition, tmp_path, {})
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json") as caught:
        folder.reopen(tmp_path)
    assert words in str(caught.value)


def test_without_locks_of_the_system_a_living_process_is_respected_and_a_dead_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network disk without locks, where the other may be on any machine: its number says nothing there."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(occupation, "PATIENCE", 0.3)
    monkeypatch.setattr(occupation, "BEAT", 0.05)
    (tmp_path / ".lock").write_text("1 another-machine")
    with occupation.only_one(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"{os.getpid()} ")
        with Leases(tmp_path) as other:
            assert not other.take(".lock")
    with Leases(tmp_path, beat=0.02) as living:
        assert living.take(".lock")
        with pytest.raises(UsageError, match="another process"), occupation.only_one(tmp_path):
            pass
    (tmp_path / ".lock.lease").write_text("dead another-machine 1 0\n")
    with occupation.only_one(tmp_path):
        pass
    assert folder.is_begun(file.name for file in tmp_path.iterdir())
