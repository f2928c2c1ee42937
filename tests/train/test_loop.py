"""What the loop does after which step: what it logs, keeps, samples and counts, and that it ends what it began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from robustcl.errors import Interrupted, UsageError
from robustcl.options.duration import Progress
from robustcl.train.log import Log
from robustcl.train.loop import StageRun

PAIRS = "pairs/deacl/positive"


class Loop:
    """A stage of two epochs of five batches whose steps only say that they were taken."""

    def __init__(self, run: StageRun, monkeypatch: pytest.MonkeyPatch, pairs: float | None, **keeping: Any) -> None:
        self.run, self.logged, self.kept, self.refreshed = run, [], [], []  # type: ignore[var-annotated]
        self.progress: list[Progress] = []
        self.orders: list[int] = []
        self.pairs, self.asked_at = pairs, -1
        monkeypatch.setattr(run, "plan", replace(run.plan, epochs=2))
        monkeypatch.setattr(run, "keeping", replace(run.keeping, **keeping))
        monkeypatch.setattr(run, "engine", SimpleNamespace(wrap=lambda *given: given, device=torch.device("cpu")))
        monkeypatch.setattr(run, "images", SimpleNamespace(batches=self.batches))
        monkeypatch.setattr(run, "log", SimpleNamespace(write=lambda *told: self.logged.append(told)))
        monkeypatch.setattr(run, "learn", self.one)
        monkeypatch.setattr(run, "_order", self.order)
        monkeypatch.setattr(run, "_sample", lambda: self.refreshed.append("sample"))
        monkeypatch.setattr(run, "_refresh", self.refreshed.append)
        monkeypatch.setattr(run, "_keep", lambda optimizer, loss: self.kept.append((run.done, loss)))

    def order(self, epoch: int) -> list[int]:
        self.orders.append(epoch)
        return list(range(5))

    def batches(self, order: list[int]) -> Iterator[tuple[int, int]]:
        return ((number, number) for number in order)

    def one(self, wrapped: Any, stepper: Any, rows: int, x: int, progress: Progress) -> dict[str, float]:
        assert rows == self.run.within
        self.progress.append(progress)
        if self.pairs is not None:
            self.run.pairs.add({PAIRS: self.pairs})
        return {"loss": float(10 - self.run.done), "lr": 0.5}

    def go(self) -> None:
        interrupt: Any = SimpleNamespace(asked=lambda device: self.run.done == self.asked_at)
        self.run._epochs(torch.optim.SGD([torch.zeros(1)], lr=0.1), interrupt)

    @property
    def steps(self) -> list[int]:
        return [told[0] for told in self.logged]


@pytest.mark.parametrize(("every", "pairs", "steps"), [
    (4, None, [1, 4, 8, 10]), (3, None, [1, 3, 6, 9, 10]), (4, 2.0, [1, 4, 5, 8, 10]), (100, 2.0, [1, 5, 10]),
    (100, None, [1, 10]), (1, None, list(range(1, 11))),
])  # fmt: skip
def test_the_first_step_every_so_manyth_and_the_last_are_logged(
    run: StageRun, monkeypatch: pytest.MonkeyPatch, every: int, pairs: float | None, steps: list[int]
) -> None:
    loop = Loop(run, monkeypatch, pairs, log_every=every)
    loop.go()
    assert loop.steps == steps
    for step, of, numbers in loop.logged:
        assert of == 10
        assert numbers["epoch"] == pytest.approx(step / 5)
        assert (numbers["loss"], numbers["lr"]) == (11.0 - step, 0.5)
        assert numbers.get("pairs-of-epoch/deacl/positive") == (pairs if step in (5, 10) else None)


@pytest.mark.parametrize(("every", "steps"), [(None, [5, 10]), (3, [3, 6, 9, 10]), (4, [4, 8, 10]), (5, [5, 10])])
def test_states_are_kept_when_they_are_due_and_at_the_end(
    run: StageRun, monkeypatch: pytest.MonkeyPatch, every: int | None, steps: list[int]
) -> None:
    loop = Loop(run, monkeypatch, None, every_steps=every)
    loop.go()
    assert loop.kept == [(step, 11.0 - step) for step in steps]


def test_each_step_is_told_where_it_stands(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(run, monkeypatch, None)
    loop.go()
    assert loop.progress == [Progress(step, 10, step / 5, 2.0) for step in range(10)]
    assert loop.orders == [0, 1]
    first = [0.0, "sample", 0.0, 0.2, 0.4, 0.6, 0.8]
    assert loop.refreshed == [*first, *[each if each == "sample" else each + 1 for each in first]]  # type: ignore[operator]
    assert (run.curve.first, run.curve.losses, run.curve.times) == (10.0, [8.0, 3.0], [2.5, 2.5])


def test_a_stage_goes_on_within_its_epoch(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(run, monkeypatch, None, log_every=100)
    run.done, run.epoch, run.within = 8, 1, 3
    loop.go()
    assert loop.progress == [Progress(8, 10, 1.6, 2.0), Progress(9, 10, 1.8, 2.0)]
    assert loop.steps == [10]
    assert loop.orders == [1]


def test_who_is_asked_to_stop_keeps_the_state_and_says_where(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(run, monkeypatch, None, log_every=100)
    loop.asked_at = 4
    with pytest.raises(Interrupted, match=r"^stopped at step 4 of 10 of stage .*; resume it$"):
        loop.go()
    assert loop.kept == [(4, 7.0)]
    assert run.seconds > 0.0


def test_an_epoch_without_a_positive_ends_the_stage(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(run, monkeypatch, 0.0)
    with pytest.raises(UsageError, match=r"term.deacl: no anchor had a positive in a whole epoch"):
        loop.go()
    assert loop.kept == []
    assert run.done == 5


def test_no_epochs_are_a_look_at_the_clusters(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(run, monkeypatch, None)
    monkeypatch.setattr(run, "plan", replace(run.plan, epochs=0))
    loop.go()
    assert (loop.refreshed, loop.progress, loop.kept) == ([0.0], [], [])


@pytest.mark.parametrize(("done", "epoch", "within", "batches", "expected"), [
    (0, 0, 0, 5, Progress(0, 15, 0.0, 3.0)), (7, 1, 2, 5, Progress(7, 15, 1.4, 3.0)),
    (7, 1, 2, 8, Progress(7, 21, 1.25, 3.0)), (14, 2, 4, 5, Progress(14, 15, 2.8, 3.0)),
])  # fmt: skip
def test_the_end_is_reckoned_from_the_epoch_in_progress(
    run: StageRun, done: int, epoch: int, within: int, batches: int, expected: Progress
) -> None:
    run.done, run.epoch, run.within = done, epoch, within
    assert run._progress(batches) == expected


@pytest.mark.parametrize("fails", [False, True])
def test_the_log_is_closed_whatever_becomes_of_the_stage(
    run: StageRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: bool
) -> None:
    log = Log(tmp_path, run.plan.name)
    opened: list[bool] = []

    def epochs(optimizer: Any, interrupt: Any) -> None:
        opened.append(log._file is not None)
        if fails:
            raise Interrupted("stopped")

    monkeypatch.setattr(run, "log", log)
    monkeypatch.setattr(run, "_epochs", epochs)
    if fails:
        with pytest.raises(Interrupted):
            run.train()
    else:
        run.train()
    assert opened == [True]
    assert log._file is None
