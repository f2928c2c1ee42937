"""What stands on a board, and what a person reads from it, while a run writes and after it has failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robustcl.errors import DataError, UsageError
from robustcl.launch.board import Board, Card, read_board
from robustcl.launch.standings import explain_failures, say_seconds, sum_up, tabulate
from robustcl.tasks import Event

CARDS = [
    Card("stage", "SimCLR, seed 0: pretrain", "runs/a", {"pretrain": 10}),
    Card("a", "DeACL, seed 0", "runs/a", {"pretrain": 10, "robust": 30}, ("stage",), "robustcl study x --only a"),
    Card("b", "NCP, seed 0", "runs/b", {"pretrain": 10, "robust": 30}, ("stage",)),
]


def log(folder: Path, run: str, *lines: object) -> None:
    file = folder / "runs" / run / "metrics.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines))


def test_what_has_begun_is_read_from_the_log_of_its_run(tmp_path: Path) -> None:
    board = Board(tmp_path, CARDS)
    assert [row[:2] for row in tabulate(tmp_path)] == [(card.title, "waiting") for card in CARDS]
    assert tabulate(tmp_path)[1][-1] == "stage"
    board.note(Event("stage", "done", "cuda:0", 1))
    board.note(Event("a", "started", "cuda:0", 1))
    assert tabulate(tmp_path)[1][:6] == ("DeACL, seed 0", "running", "", "", "", "cuda:0")
    assert tabulate(tmp_path)[1][6].startswith("since "), "nobody tells the end of what a dead launcher has left"
    # Half of a line is being written; 8 s for 5 of 10 epochs leave 8 s of this stage and 48 s of the next.
    log(tmp_path, "a", {"stage": "pretrain", "step": 50, "epoch": 5.0, "loss": 1.0, "seconds": 8.0}, '{"stage": "pre')
    assert tabulate(tmp_path)[1][:6] == ("DeACL, seed 0", "running", "pretrain", "5.0/10", "56 s", "cuda:0")
    assert tabulate(tmp_path)[2][-1] == "", "what it waited for is done"
    assert sum_up(tmp_path) == "3 tasks: 1 done, 1 running, 1 waiting"


def test_a_second_call_begins_a_board_of_its_own(tmp_path: Path) -> None:
    Board(tmp_path, CARDS).note(Event("a", "failed", "slot 1", 3, "a signal ended it (9)"))
    assert read_board(tmp_path)[1].state == "failed"
    Board(tmp_path, CARDS[1:])
    assert [standing.state for standing in read_board(tmp_path)] == ["waits", "waits"]


def test_a_failure_says_why_with_the_last_lines_and_the_command_that_repeats_it(tmp_path: Path) -> None:
    board = Board(tmp_path, CARDS)
    (tmp_path / "tasks" / "a.log").write_bytes(b"one\r 10%\r 20%\n\n" + b"robustcl: the loss is \x1b[31mnan\xff\n")
    board.note(Event("a", "failed", "slot 1", 1, "it ended with the exit code 1"))
    said = explain_failures(tmp_path)
    assert said[0] == "DeACL, seed 0: it ended with the exit code 1 (slot 1, attempt 1)"
    assert said[-1] == "  alone: robustcl study x --only a"
    assert "the loss is" in said[-2]
    assert "\x1b" not in "".join(said), "a log cannot colour or move the terminal"


@pytest.mark.parametrize(
    "line",
    [
        "{",
        '{"time": 1}\n',
        '{"time": "x", "task": "a"}\n',
        "[]\n",
        '{"time": 1, "task": "a", "state": "done", "x": 1}\n',
    ],
)
def test_a_damaged_event_is_passed_over(tmp_path: Path, line: str) -> None:
    Board(tmp_path, CARDS).note(Event("b", "done", "", 1))
    with open(tmp_path / "tasks" / "events.jsonl", "a") as file:
        file.write(line)
    assert [standing.state for standing in read_board(tmp_path)] == ["waits", "waits", "done"]


@pytest.mark.parametrize("line", [{"stage": "pretrain", "epoch": "abc"}, {"stage": ["s"], "epoch": 1}, [1], {}])
def test_odd_lines_of_a_log_say_nothing(tmp_path: Path, line: object) -> None:
    Board(tmp_path, CARDS).note(Event("a", "started", "slot 1", 1))
    log(tmp_path, "a", line)
    assert tabulate(tmp_path)[1][:5] == ("DeACL, seed 0", "running", "", "", "")


def test_a_card_leads_to_no_file_elsewhere(tmp_path: Path) -> None:
    Board(tmp_path, [Card("../../secret", "a")])
    with pytest.raises(DataError, match=r"'../../secret' is no name of a task"):
        read_board(tmp_path)


def test_no_board_and_a_damaged_one_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no board of tasks"):
        read_board(tmp_path)
    Board(tmp_path, CARDS)
    (tmp_path / "tasks" / "plan.json").write_text('{"tasks": [{"name": "a"}]}')
    with pytest.raises(DataError, match=r"plan\.json is damaged"):
        read_board(tmp_path)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "0 s"), (119, "119 s"), (120, "2 min"), (9000, "2 h")])
def test_a_time_has_the_unit_that_suits_it(seconds: float, said: str) -> None:
    assert say_seconds(seconds) == said
