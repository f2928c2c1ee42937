"""Tables and sentences on a terminal of 80 and of 200 letters, a real one, and in a pipe as they were."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from pathlib import Path

import pytest

from robustcl import comparison
from robustcl.claims import telling
from robustcl.claims.outcome import ClaimOutcome
from robustcl.report import marked
from robustcl.report.grid import Text, plain
from robustcl.study.runs import costs
from robustcl.terminal.width import columns, fold
from tests.shared import tiny, tiny_study
from tests.shared.forks import Asked, fork_all

PINS = Path(__file__).parents[1] / "pins"
RUNS = [str(PINS / "stored" / "run"), str(PINS / "stored" / "study" / "runs" / "near-seed0")]
COMPARE = ["compare", *RUNS, "--by", "run", "--allow-mixed"]


def on_terminal() -> None:
    """Be the command line on a terminal of WIDTH letters; what it shows goes to the standard output there was."""
    from robustcl.cli.console import main

    before, (shown, terminal) = os.dup(1), pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, int(os.environ["WIDTH"]), 0, 0))
    os.dup2(terminal, 1)
    os.close(terminal)

    def copy() -> None:
        try:
            while told := os.read(shown, 65536):
                os.write(before, told.replace(b"\r\n", b"\n"))
        except OSError:  # the last that held the terminal has let it go
            pass

    reader = threading.Thread(target=copy)
    reader.start()
    try:
        main()
    finally:
        sys.stdout.flush()
        os.dup2(before, 1)
        reader.join()


def told(folder: Path, *commands: list[str], widths: tuple[int | None, ...]) -> list[str]:
    """Return what commands print on terminals of these widths, ``None`` for a pipe."""
    plain = {key: value for key, value in tiny.environment().items() if key != "COLUMNS"}
    asked = [
        Asked(command, folder, plain if width is None else plain | {"WIDTH": str(width)},
              **({} if width is None else {"target": "tests.terminal.test_width:on_terminal"}))
        for command in commands for width in widths
    ]  # fmt: skip
    done = fork_all(asked)
    assert [one.returncode for one in done] == [0] * len(done), [one.stderr for one in done]
    return [one.stdout for one in done]


def longest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_comparisons_and_claims(tmp_path: Path) -> None:
    narrow, wide, piped, *claims = told(tmp_path, COMPARE, ["claims"], widths=(80, 200, None))
    assert longest(narrow) <= 80
    assert 80 < longest(wide) <= 200
    assert max(len(line) for line in wide.splitlines() if line.startswith("|")) > 80, "wide tables stay tables"
    assert longest(piped) > 160, "notes in one line each"
    made = comparison.compare([Path(run) for run in RUNS], by="run", allow_mixed=True)
    assert piped == comparison.render(made, "markdown")
    assert sorted(piped.split())[-1] in narrow
    assert longest(claims[0]) <= 80 < longest(claims[1]) <= 200
    assert len({" ".join(text.split()) for text in claims}) == 1, "the same words, broken elsewhere"


def test_studies_finished_and_asked(tmp_path: Path) -> None:
    row = {"name": "a name of many words, " * 2 + "two", "recipe": "tiny.toml"}
    name = tiny_study.write_study(tmp_path, row=[row], column=[{"name": "SA"}, tiny_study.RA])
    asked = ["study", name, "--budget", "smoke"]
    told(tmp_path, asked, widths=(80,))
    texts = told(tmp_path, [*asked, "--so-far"], [*asked, "--dry-run"], widths=(80, 200, None))
    for narrow, wide, piped in (texts[:3], texts[3:]):
        where = [line for line in narrow.splitlines() if line.startswith("study  ")]
        assert all(len(line) <= 80 for line in narrow.splitlines() if line not in where)
        assert any(len(line) > 80 for line in wide.splitlines() if line not in where)
        assert len(piped.splitlines()) < len(narrow.splitlines()), "no line of a pipe is broken"


GRID = plain("t", ["row", *(f"column {n}" for n in range(12))], [[Text("a"), *[Text("12.34")] * 12]] * 3)


@pytest.mark.parametrize("room", [40, 80, 120, 200, None])
def test_tables_are_cut_where_the_terminal_ends(room: int | None) -> None:
    found = marked.table(GRID, room)
    assert longest(found) <= (room or 160)
    assert found.count("12.34") == 36
    if room is None or room > 160:
        assert found.count("column 11") == 1


def test_a_table_of_which_not_one_column_finds_room_is_a_list() -> None:
    grid = plain("t", ["", "said"], [[Text("x | y"), Text("word " * 30, bold=True)], [Text("z"), Text("")]], words=2)
    assert longest(marked.table(grid)) > 80
    assert marked.table(grid, 80) == f"- x \\| y\n  - said: **{'word ' * 30}**\n- z"
    assert longest(fold(marked.table(grid, 80), 80)) <= 80


def test_claims_that_find_no_room_are_a_list() -> None:
    says = "This row is more robust than every other one, whatever the attack and however many steps it takes."
    one = ClaimOutcome(name="a", says=says, place="table 1", status="not run at this size", why="no number", asked={})
    assert telling.table([one], 1000) == telling.table([one]), "where it finds room it is a table"
    shown = fold(telling.table([one], 80), 80)
    assert "|" not in shown
    assert longest(shown) <= 80
    assert "  - outcome: not run at this size\n  - place: table 1\n" in shown


def test_runs_of_long_names_and_their_costs() -> None:
    head, rows = ("run", "steps", "memory"), [("a-long-name-" * 3, "12,345", "1 MiB"), ("in all", "", "1 MiB")]
    assert costs._align(head, rows, None) == costs._align(head, rows, 80)
    assert costs._align(head, rows, 50) == [
        "run                                   steps", "a-long-name-a-long-name-a-long-name-  12,345", "in all", "",
        "run                                   memory", "a-long-name-a-long-name-a-long-name-  1 MiB",
        "in all                                1 MiB",
    ]  # fmt: skip
    assert costs._align(head, rows, 40) == [rows[0][0], "  steps 12,345, memory 1 MiB", "in all", "  memory 1 MiB"]


def test_lines_are_broken_between_words_and_set_in() -> None:
    assert fold("one two three", None) == "one two three"
    assert fold("- one two three\n\n    one two three", 11) == "- one two\n  three\n\n    one two\n      three"
    assert fold("| a table | stays |", 5) == "| a table | stays |"
    assert fold("/a/path/that-is/long and more", 8) == "/a/path/that-is/long\nand more"


def test_neither_a_pipe_nor_a_closed_stream_is_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "33")
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert columns() is None
    assert columns() is None, "closed"
    monkeypatch.setattr(sys, "stdout", None)
    assert columns() is None
