"""The smallest pieces of training: who hears a signal, who starts processes, who learns, what a fall and a mean are."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.options.duration import Progress
from robustcl.train import companions, interrupt
from robustcl.train import engine as engines
from robustcl.train.encoders import ONLINE, Encoders
from robustcl.train.falling import still_falling
from robustcl.train.interrupt import Interrupt
from robustcl.train.pairs import EpochMeans, refuse_without_positives
from robustcl.train.plan import EmaPlan

NEGLIGIBLE = 10.0
"""Seconds that a thread has to do what it does at once."""


def listener() -> threading.Thread:
    """Return the thread that hears of signals."""
    (thread,) = (each for each in threading.enumerate() if "_listen" in each.name)
    return thread


def wakeup() -> int:
    """Return the descriptor that hears of signals, -1 for none."""
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    return number


def test_who_was_asked_and_did_not_end_is_abandoned_once_and_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = threading.Event()
    monkeypatch.setattr(companions, "abandon", abandoned.set)  # the real one ends this process
    with Interrupt(patience=0.0) as asked:
        watch, thread = asked._watch, listener()
        assert watch is not None
        assert not abandoned.wait(0.1), "nobody has asked"
        os.kill(os.getpid(), signal.SIGTERM)
        assert abandoned.wait(NEGLIGIBLE)
        thread.join(NEGLIGIBLE)
        assert not thread.is_alive()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(watch._reading)
    assert asked.number == signal.SIGTERM


def test_other_signals_and_an_end_in_time_abandon_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = threading.Event()
    monkeypatch.setattr(companions, "abandon", abandoned.set)
    handler = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        with Interrupt(patience=0.0):
            thread = listener()
            os.kill(os.getpid(), signal.SIGUSR2)
            assert not abandoned.wait(0.1)
            assert thread.is_alive()
        thread.join(NEGLIGIBLE)
        assert not thread.is_alive()
        assert not abandoned.is_set()
    finally:
        signal.signal(signal.SIGUSR2, handler)
    with Interrupt(patience=600.0) as asked:
        thread = listener()
        os.kill(os.getpid(), signal.SIGTERM)
        assert not abandoned.wait(0.1)
        assert asked.number == signal.SIGTERM
    thread.join(NEGLIGIBLE)
    assert not abandoned.is_set()


@pytest.mark.parametrize(("patience", "world", "watches"), [
    (None, 1, False), (None, 2, True), (0.0, 1, True), (5.0, 2, True),
])  # fmt: skip
def test_signals_are_watched_where_there_is_a_patience(
    patience: float | None, world: int, watches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt.ranks, "world", lambda: world)
    before = wakeup()
    with Interrupt(patience) as asked:
        assert (asked._watch is not None) == watches
        assert (wakeup() != before) == watches
        if asked._watch is not None:
            assert asked._watch._patience == (interrupt.PATIENCE if patience is None else patience)
    assert wakeup() == before
    assert interrupt.PATIENCE == 120.0


def test_beside_the_main_thread_nobody_watches() -> None:
    seen: list[object] = []

    def run() -> None:
        try:
            with Interrupt(patience=1.0) as asked:
                seen.append(asked._watch)
        except ValueError as error:
            seen.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(NEGLIGIBLE)
    assert seen == [None]


@pytest.mark.parametrize(("devices", "ours", "rank", "done"), [
    (1, True, "0", []),
    (2, True, "0", ["look after", "launch"]),
    (2, True, "1", ["look after", "follow", "launch"]),
    (2, False, "0", ["look after", "launch"]),
    (2, False, "1", ["look after", "launch"]),
])  # fmt: skip
def test_processes_that_were_started_by_us_follow_who_has_started_them(
    devices: int, ours: bool, rank: str, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    engine = engines.Engine("cpu")
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(engine, "devices", devices)
    if not ours:
        monkeypatch.setattr(engine, "_environment", object())
    monkeypatch.setattr(engine, "fabric", SimpleNamespace(launch=lambda: told.append("launch")))
    monkeypatch.setattr(companions, "look_after", lambda: told.append("look after"))
    monkeypatch.setattr(companions, "follow_parent", lambda: told.append("follow"))
    engine.launch()
    engine.launch()  # once
    assert told == done


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(x.flatten(1))
        return found


def encoders(**plans: EmaPlan) -> Encoders:
    online, frozen = (Encoder(Flat(), 4, item=(1, 2, 2)) for _ in range(2))
    return Encoders(online, {"teacher": frozen}, plans)


def test_only_the_online_encoder_learns_and_the_surroundings_are_left_as_they_are() -> None:
    named = encoders(slow=EmaPlan(ONLINE, 0.5, False, False))
    for name, learns in ((ONLINE, True), ("slow", False), ("teacher", False)):
        with named.training_context(name):
            assert torch.is_grad_enabled() == learns
        assert torch.is_grad_enabled()
        with torch.no_grad():
            with named.training_context(name):
                assert not torch.is_grad_enabled()
            assert not torch.is_grad_enabled()
    assert [all(p.requires_grad for p in named[name].parameters()) for name in (ONLINE, "slow", "teacher")] == [
        True, False, False,
    ]  # fmt: skip
    assert not named["teacher"].training
    x = torch.rand(3, 1, 2, 2)
    for name, graph in ((ONLINE, True), ("slow", False), ("teacher", False)):
        with named.training_context(name):
            assert named.embed(x, name, "main", frozenset({"h"}), "train").h.requires_grad == graph


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("buffers", [False, True])
def test_a_follower_moves_at_its_turn_and_takes_statistics_where_it_says_so(before: bool, buffers: bool) -> None:
    named = encoders(slow=EmaPlan(ONLINE, 0.75, before, buffers))
    mine, theirs = (named[name].backbone.norm for name in ("slow", ONLINE))  # type: ignore[union-attr]
    now = Progress(0, 10, 0.0, 1.0)
    with torch.no_grad():
        theirs.weight.fill_(5.0)  # type: ignore[union-attr, operator]
        theirs.running_mean.fill_(2.0)  # type: ignore[union-attr, operator]
    named.follow(now, before_optimiser=not before)
    assert mine.weight.tolist() == [1.0] * 4  # type: ignore[union-attr, operator]
    named.follow(now, before_optimiser=before)
    assert mine.weight.tolist() == [2.0] * 4  # type: ignore[union-attr, operator]
    assert mine.running_mean.tolist() == [2.0 if buffers else 0.0] * 4  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(("whole", "share", "falls"), [
    (100.0, 0.0205, True), (100.0, 0.0195, False), (0.1, 0.0205, True), (0.1, 0.0195, False), (1.0, 0.03, True),
    (1e-6, 0.5, True), (1e6, 0.01, False),
])  # fmt: skip
def test_a_fall_is_measured_by_the_whole_fall_of_its_objective(whole: float, share: float, falls: bool) -> None:
    """Three epochs of one time each: too few to estimate an error."""
    said = still_falling(3.0 + whole, [3.0 + whole / 2, 3.0 + share * whole, 3.0], [1.0] * 3)
    assert (said is not None) == falls


@pytest.mark.parametrize(("first", "losses", "times", "falls"), [
    (1.0, [], [], False), (1.0, [0.0], [0.0], False), (1.0, [0.0], [1.0], True), (1.0, [1.0], [1.0], False),
    (1.0, [2.0], [1.0], False), (1.0, [0.5, 0.6], [1.0, 1.0], False), (2.0, [1.0, 0.5], [1.0, 1.0], True),
])  # fmt: skip
def test_what_rose_or_took_no_time_was_not_falling(
    first: float, losses: list[float], times: list[float], falls: bool
) -> None:
    assert (still_falling(first, losses, times) is not None) == falls


@pytest.mark.parametrize(("means", "refused"), [
    ({}, None), ({"a/positive": 0.0}, "a"), ({"a/negative": 0.0}, None), ({"a/positive": 1e-9}, None),
    ({"a/negative": 0.0, "b/positive": 1.0}, None), ({"a/positive": 1.0, "b/positive": 0.0}, "b"),
    ({"positive/negative": 0.0}, None), ({"negative/positive": 0.0}, "negative"),
])  # fmt: skip
def test_terms_without_a_positive_are_refused(means: dict[str, float], refused: str | None) -> None:
    of_epoch = {f"pairs-of-epoch/{name}": mean for name, mean in means.items()}
    if refused is None:
        refuse_without_positives(of_epoch, "it")
        return
    with pytest.raises(UsageError, match=rf"^stage\.it\.term\.{refused}: no anchor had a positive in a whole epoch"):
        refuse_without_positives(of_epoch, "it")


def test_means_of_an_epoch_are_over_its_steps_and_begin_anew() -> None:
    means = EpochMeans({"pairs/a/positive": 3.0}, 1)
    means.add({"pairs/a/positive": 1.0, "pairs/b/negative": 4.0})
    assert means.take() == {"pairs-of-epoch/a/positive": 2.0, "pairs-of-epoch/b/negative": 2.0}
    assert means.take() == {}
    means.add({"pairs/a/positive": 7.0})
    assert (means.sums, means.steps) == ({"pairs/a/positive": 7.0}, 1)
