"""What reaches a terminal: one printable line for an error, whoever's it is, and no control character in any output."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from robustcl.cli import console
from robustcl.cli.main import robustcl
from robustcl.cli.output import escape_output
from robustcl.evaluate import shards
from robustcl.evaluate.journal import Key, Outcome
from robustcl.terminal import sentence
from robustcl.train.log import Log, stage_of


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["robustcl", *arguments])
    return console._run()


def test_what_commands_print_is_printable(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mred\x9b2J"
    folder.mkdir()
    for number in range(2):
        shards.journal(folder, (number, 2)).append(Key("slf", "", "test", None), [Outcome(number, 0, 0, True, 0, "")])
    done = CliRunner().invoke(robustcl, ["merge", str(folder)], standalone_mode=False)
    assert done.exception is None
    assert r"red\x9b2J/journal.jsonl" in done.output
    assert not {"\x1b", "\x9b"} & set(done.output)


def test_tabs_lines_and_letters_stay(capsys: pytest.CaptureFixture[str]) -> None:
    with escape_output():
        click.echo("a\tb\nä – 中 \u202eevil\r\x00")
        sys.stdout.writelines(["one\n", "two\x07\n"])
        assert sys.stdout.encoding
    assert capsys.readouterr().out == "a\tb\nä – 中 \\u202eevil\\r\\x00\none\ntwo\\x07\n"


@pytest.mark.parametrize("command", ["report", "compare", "evaluate", "resume", "merge"])
def test_a_name_that_no_disk_takes_is_a_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, command, "x" * 400, *(["y" * 400] if command == "compare" else []))
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 4
    assert said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/d/x.bin"),
            "/d/x.bin cannot be used: the disk is full",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "runs/a"), "runs/a cannot be used: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be used: the disk is full; make room"),
    ],
)
def test_a_file_that_fails_is_named_and_no_output_is_blamed(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(console.robustcl, "main", failing)
    assert run(monkeypatch, "doctor") == 1
    assert said in capsys.readouterr().err


def test_a_full_disk_behind_the_output_is_told_as_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space") as told:
            click.echo("x" * 100_000)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    assert console.say_error(told.value) == "the output cannot be written: no space left on device"


def test_a_long_value_is_cut_in_its_middle_and_an_error_is_one_line() -> None:
    assert sentence(f"no plugin {'x' * 5000} here\nlook") == f"no plugin {'x' * 120}...{'x' * 60} here look"


def test_a_damaged_line_of_the_metrics_costs_no_other(tmp_path: Path) -> None:
    """A stage that starts anew drops its own lines and a torn last one; what others logged stays."""
    lines = ['{"stage": "a", "step": 1}', "{dam\x00aged", '["a", "list"]', '{"stage": "b", "step": 2}', '{"stage": "c"']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    log = Log(tmp_path, "c")
    log.open(None, 0)
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join(lines[:4]) + "\n"
    log = Log(tmp_path, "b")
    log.open(None, 0)
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join(lines[:3]) + "\n"
    assert [stage_of(line.encode()) for line in lines] == ["a", None, None, "b", None]
