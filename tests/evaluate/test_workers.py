"""Workers: who takes which piece of a block, what a dead one costs, and what becomes of outcomes judged twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.evaluate import shards, workers
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome
from robustcl.evaluate.work import Work

N, MEMBERS = 10, ["weak", "strong"]
SPEC = {"attack": {"steps": 3}, "model": "m"}
KEY = Key("as-is", "", "test", "two", json.dumps(SPEC))
BLOCKS = torch.split(torch.arange(N), 3)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.15)
    monkeypatch.setattr(workers, "BEAT", 0.02)
    monkeypatch.setattr(workers, "PAUSE", 0.02)


def outcome(index: int, member: str) -> Outcome:
    """Return what always becomes of a sample: every third is wrong, every third falls to weak, the others stand."""
    correct = index % 3 != ([CLEAN, "weak"].index(member) if member != "strong" else 3)
    return Outcome(index, 1, int(correct), correct, 0, f"{index:08x}{len(member):08x}", member)


def judge(journal: Journal, block: Tensor, members: tuple[str, ...] = (CLEAN, *MEMBERS)) -> None:
    """Send a block through the members that it has not met, as a judge does."""
    for member in members:
        known = journal.known(KEY)
        standing = [i for i in block.tolist() if all(o.correct and o.member != member for o in known.get(i, ()))]
        if standing:
            journal.append(KEY, [outcome(index, member) for index in standing])


Pieces = Iterator[tuple[Tensor, Sequence[str]]]


def said(piece: tuple[Tensor, Sequence[str]]) -> tuple[int, str]:
    """Return the first sample of a piece, and the members it is sent through."""
    return int(piece[0][0]), " ".join(piece[1])


def do(journal: Journal, piece: tuple[Tensor, Sequence[str]]) -> None:
    judge(journal, piece[0], (CLEAN, *piece[1]))


def worker(folder: Path) -> tuple[Journal, Pieces]:
    journal = shards.journal(folder, (0, 1), worker=True)
    return journal, journal.blocks(KEY, MEMBERS, BLOCKS, 3)


def conclude(folder: Path) -> bytes:
    journal = shards.journal(folder, (0, 1))
    for piece in journal.blocks(KEY, MEMBERS, BLOCKS, 3):
        do(journal, piece)
    return journal.path.read_bytes()


@pytest.fixture
def alone(tmp_path: Path) -> bytes:
    """The journal of one process."""
    (tmp_path / "alone").mkdir()
    return conclude(tmp_path / "alone")


def test_each_piece_is_taken_once_and_all_of_them_know_it(tmp_path: Path, alone: bytes) -> None:
    (one, first), (two, second) = worker(tmp_path), worker(tmp_path)
    taken = [next(first), next(second)]
    do(two, taken[1])
    taken.append(next(second))
    do(two, taken[2])
    taken.append(next(second))
    do(two, taken[3])
    taken.append(next(second))
    do(one, taken[0])
    taken.append(next(first))
    do(two, taken[4])
    do(one, taken[5])
    for piece in second:
        taken.append(piece)
        do(two, piece)
    assert [said(piece) for piece in taken[:4]] == [(0, "weak"), (3, "weak"), (6, "weak"), (9, "weak")]
    assert sorted(said(piece) for piece in taken[4:]) == [(0, "strong"), (3, "strong"), (6, "strong")]
    assert not list(first), "sample 9 is wrong from the start, and nobody takes its block again"
    assert one.finished(KEY, MEMBERS) == two.finished(KEY, MEMBERS), "both end when all is done"
    assert sorted(one.finished(KEY, MEMBERS)) == [*range(N)]
    assert conclude(tmp_path) == alone, "as one process has it, in its order"
    assert conclude(tmp_path) == alone, "a second time adds nothing"
    late, blocks = worker(tmp_path)
    assert list(blocks) == []
    assert not late.path.read_bytes(), "a worker that comes late has nothing to do"
    assert not list((tmp_path / ".workers").rglob("*.lease"))


def test_blocks_of_which_most_stands_come_first(tmp_path: Path) -> None:
    journal = shards.journal(tmp_path, (0, 1), worker=True)
    whole = shards.journal(tmp_path, (0, 1))
    blocks = torch.split(torch.arange(N), [1, 3, 6])  # of which none, one and two stand
    for block in blocks:
        judge(whole, block, (CLEAN, "weak"))
    taken = []
    for piece in journal.blocks(KEY, MEMBERS, blocks, 4):
        taken.append(said(piece))
        do(journal, piece)
    assert taken == [(4, "strong"), (1, "strong")], "what is left for the end is short"


def test_a_journal_tells_all_that_came_before_what_it_found(tmp_path: Path) -> None:
    (one, first), (two, second) = worker(tmp_path), worker(tmp_path)
    for piece in first:
        do(one, piece)
        if piece[1] == ["weak"] and int(piece[0][0]) == 9:
            break
    for piece in second:
        do(two, piece)
    first.close()  # type: ignore[attr-defined]
    alone = Journal(two.path).known(KEY)
    assert [each.member for each in alone[2]] == [CLEAN, "weak", "strong"], "the first two by another"


def test_a_dead_worker_costs_its_piece_alone(tmp_path: Path, alone: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BEAT", 1000.0)  # it gives no sign of life from now on
    dead, silent = worker(tmp_path)
    do(dead, next(silent))
    judge(dead, next(silent)[0], (CLEAN,))
    monkeypatch.setattr(workers, "BEAT", 0.02)
    other, blocks = worker(tmp_path)
    taken = []
    for piece in blocks:
        taken.append(said(piece))
        do(other, piece)
    assert taken[:2] == [(6, "weak"), (9, "weak")]
    assert sorted(taken[2:]) == [(0, "strong"), (3, "strong"), (3, "weak"), (6, "strong")], (
        "and what it had done stands"
    )
    assert conclude(tmp_path) == alone
    judge(dead, BLOCKS[1])  # it wakes up, and finishes what is no longer its own
    assert list(silent) == []
    assert conclude(tmp_path) == alone


def test_what_one_process_had_judged_is_not_judged_again(tmp_path: Path, alone: bytes) -> None:
    whole = shards.journal(tmp_path, (0, 1))
    judge(whole, BLOCKS[0])
    judge(whole, BLOCKS[1], (CLEAN,))
    journal, blocks = worker(tmp_path)
    for piece in blocks:
        assert int(piece[0][0]) > 0
        do(journal, piece)
    assert conclude(tmp_path) == alone


def test_two_outcomes_of_one_sample_are_refused(tmp_path: Path) -> None:
    for correct in (True, False):
        journal, _ = worker(tmp_path)
        made = replace(outcome(1, CLEAN), correct=correct, prediction=int(correct))
        journal.append(KEY, [made])
    with pytest.raises(UsageError, match=r"contradict each other on sample 1 under two, clean: class \d and class \d"):
        conclude(tmp_path)


def test_another_model_is_refused_by_workers_and_by_who_concludes(tmp_path: Path) -> None:
    judge(shards.journal(tmp_path, (0, 1), worker=True), BLOCKS[0])
    other = replace(KEY, spec=json.dumps(SPEC | {"model": "another"}))
    for late in (shards.journal(tmp_path, (0, 1), worker=True), shards.journal(tmp_path, (0, 1))):
        with pytest.raises(UsageError, match=r"journal\.worker-.* is of another model \(m\) than .* \(another\)"):
            next(late.blocks(other, MEMBERS, BLOCKS, 3))
    more = replace(KEY, spec=json.dumps(SPEC | {"attack": {"steps": 9}, "model": "another"}))
    assert said(next(shards.journal(tmp_path, (0, 1)).blocks(more, MEMBERS, BLOCKS, 3))) == (0, "weak strong")


def test_blocks_of_another_size_are_refused(tmp_path: Path) -> None:
    _, blocks = worker(tmp_path)
    next(blocks)
    late = shards.journal(tmp_path, (0, 1), worker=True)
    with pytest.raises(UsageError, match="blocks of 3 images there, and this one would judge 5: give the same --block"):
        next(late.blocks(KEY, MEMBERS, torch.split(torch.arange(N), 5), 5))


def test_a_worker_neither_answers_for_all_nor_shuts_anybody_out() -> None:
    assert [work.whole for work in (Work(), Work(shard=(0, 2)), Work(worker=True))] == [True, False, False]
    assert [work.occupies for work in (Work(), Work(shard=(1, 2)), Work(worker=True))] == [(0, 1), (1, 2), None]
