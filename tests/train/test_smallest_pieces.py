"""The smallest pieces of training: who hears a signal, who starts processes, who learns, what a fall and a mean are."""

from __future__ import annotations

import math
import os
import signal
import statistics
import threading
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.options.duration import Progress
from robustcl.train import companions, falling, interrupt
from robustcl.train import engine as engines
from robustcl.train.encoders import ONLINE, Encoders, at_least_float32
from robustcl.train.falling import LossCurve, still_falling
from robustcl.train.interrupt import Interrupt
from robustcl.train.pairs import EpochMeans, refuse_without_positives
from robustcl.train.plan import EmaPlan
from robustcl.train.world import World

NEGLIGIBLE = 10.0
"""Seconds that a thread has to do what it does at once."""


def listener() -> threading.Thread:
    """Return the thread that hears of signals."""
    *earlier, thread = (each for each in threading.enumerate() if "_listen" in each.name)
    for each in earlier:  # of a test before, on its way out
        each.join(60.0)
        assert not each.is_alive()
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
    (2, True, "0", ["look after mine", "launch"]),
    (2, True, "1", ["look after", "follow", "launch"]),
    (2, False, "0", ["look after", "launch", "listen"]),
    (2, False, "1", ["look after", "launch", "listen"]),
])  # fmt: skip
def test_processes_that_were_started_by_us_follow_who_has_started_them(
    devices: int, ours: bool, rank: str, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    engine = engines.Engine("cpu")
    monkeypatch.setenv("LOCAL_RANK", rank)
    environment = engine.world.environment if ours else TorchElasticEnvironment()
    monkeypatch.setattr(engine, "world", World(devices, 1, environment))
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(engine, "fabric", SimpleNamespace(launch=lambda: told.append("launch")))
    monkeypatch.setattr(companions, "look_after", lambda starts: told.append("look after" + " mine" * starts))
    monkeypatch.setattr(companions, "listen", lambda: told.append("listen"))
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


def routed(*routes: str) -> Encoder:
    """Return an encoder whose branches scale by 1, 2, ..., in the order of their names."""
    made = Encoder(Flat(), 4, item=(1, 2, 2), routes=routes)
    for number, route in enumerate(routes, start=1):
        nn.init.constant_(made.backbone.norm.branch(route).weight, float(number))  # type: ignore[union-attr, operator]
    return made


@pytest.mark.parametrize("leading", [(), (3,), (3, 2)])
def test_axes_before_the_item_are_rows_and_stand_where_they_stood(leading: tuple[int, ...]) -> None:
    named = Encoders(routed("clean", "adv"), {}, {})
    rows = torch.rand(2 * 3 * 2, 1, 2, 2)
    x = rows if not leading else rows.view(-1, *leading, 1, 2, 2)
    for route, scale in (("clean", 1.0), ("adv", 2.0)):
        found = named.embed(x, ONLINE, route, frozenset({"h"}), "eval").h
        assert found.shape == (*x.shape[:-3], 4)
        torch.testing.assert_close(found.reshape(-1, 4), scale * rows.flatten(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("routes", "asked", "scale"), [
    (("main",), "adv", 1.0), (("main", "adv"), "adv", 2.0), (("main", "adv"), "main", 1.0),
    (("adv", "x"), "clean", 1.0),
])  # fmt: skip
def test_a_frozen_encoder_takes_its_own_route_in_eval_mode(routes: tuple[str, ...], asked: str, scale: float) -> None:
    named = Encoders(routed("clean", "adv"), {"teacher": routed(*routes)}, {})
    x = torch.rand(5, 1, 2, 2)
    for mode in ("train", "batch", "eval"):
        found = named.embed(x, "teacher", asked, frozenset({"h"}), mode).h
        torch.testing.assert_close(found, scale * x.flatten(1), rtol=1e-4, atol=1e-4)
    assert int(named["teacher"].backbone.norm.num_batches_tracked) == 0  # type: ignore[union-attr, arg-type]


def test_the_online_encoder_embeds_in_the_mode_that_is_asked_for() -> None:
    named = Encoders(routed("clean", "adv"), {}, {})
    x = torch.rand(5, 1, 2, 2)
    centred = x.flatten(1) - x.flatten(1).mean(0)
    norm = named[ONLINE].backbone.norm
    for mode, batch, counted in (("eval", False, 0), ("batch", True, 0), ("train", True, 1)):
        found = named.embed_constant(x, ONLINE, "clean", frozenset({"h"}), mode)
        assert not found.h.requires_grad
        expected = centred / (centred.square().mean(0) + 1e-5).sqrt() if batch else x.flatten(1)
        torch.testing.assert_close(found.h, expected, rtol=1e-4, atol=1e-4)
        assert int(norm.num_batches_tracked) == counted  # type: ignore[union-attr, arg-type]
    plain = named.embed_constant(x, ONLINE, "clean", frozenset({"h"})).h
    again = named.embed_constant(x, ONLINE, "clean", frozenset({"h"}), "eval").h
    assert torch.equal(plain, again), "eval is what is meant where nothing is said"
    with pytest.raises(UsageError, match="the route 'other' is unknown"):
        named.embed(x, ONLINE, "other", frozenset({"h"}), "eval")


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


def test_a_follower_whose_turn_it_is_not_holds_nobody_up() -> None:
    named = encoders(first=EmaPlan(ONLINE, 0.5, True, False), second=EmaPlan(ONLINE, 0.5, False, False))
    with torch.no_grad():
        named[ONLINE].backbone.norm.weight.fill_(3.0)  # type: ignore[union-attr, operator]
    named.follow(Progress(0, 10, 0.0, 1.0), before_optimiser=False)
    moved = [float(named[name].backbone.norm.weight[0]) for name in ("first", "second")]  # type: ignore[union-attr, index]
    assert moved == [1.0, 2.0]


@pytest.mark.parametrize(("dtype", "becomes"), [
    (torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float32, torch.float32),
    (torch.float64, torch.float64),
])  # fmt: skip
def test_verdicts_are_of_single_precision_at_least(dtype: torch.dtype, becomes: torch.dtype) -> None:
    value = torch.tensor([0.5], dtype=dtype)
    assert at_least_float32(value).dtype == becomes
    assert at_least_float32(value).tolist() == [0.5]


def test_a_curve_keeps_the_first_loss_and_the_mean_and_time_of_each_epoch() -> None:
    curve = LossCurve()
    for loss, rate in ((4.0, 0.5), (2.0, 0.25)):
        curve.add(loss, rate)
    assert (curve.first, curve.sum, curve.time, curve.steps) == (4.0, 6.0, 0.75, 2)
    curve.end_epoch()
    assert (curve.sum, curve.time, curve.steps) == (0.0, 0.0, 0)
    for loss in (5.0, 3.0, 1.0, 1.0):
        curve.add(loss, 0.125)
    curve.end_epoch()
    assert curve.facts() == {"first": 4.0, "losses": [3.0, 2.5], "times": [0.75, 0.5]}
    curve.end_epoch()
    assert curve.facts() == {"first": 4.0, "losses": [3.0, 2.5, 0.0], "times": [0.75, 0.5, 0.0]}


def test_means_and_errors_by_hand() -> None:
    assert still_falling(1.0, [], [1.0]) is None
    assert falling._mean([3.0, 5.0, 100.0], [0.0, 0.0, 1.0], [0, 1]) == 4.0
    assert falling._mean([3.0, 5.0, 100.0], [1.0, 3.0, 1.0], [0, 1]) == 4.5
    assert falling._error([1.0, 5.0, 2.0], [0, 1], [2]) == 0.0, "three epochs tell nothing of scatter"
    losses = [9.0, 4.0, 7.0, 1.0, 3.0, 2.0]
    steps = [3.0, -6.0, 2.0, -1.0]  # from the second to the last
    expected = statistics.stdev(steps) * math.sqrt(0.5 * (1 / 2 + 1 / 3))
    assert falling._error(losses, [1, 2], [3, 4, 5]) == pytest.approx(expected, rel=1e-15)
    assert falling._error(losses, [2, 3], [4, 5]) == pytest.approx(statistics.stdev(steps[1:]) * 0.5**0.5, rel=1e-15)


@pytest.mark.parametrize(("times", "late", "early"), [
    ([1.0], [0], []), ([1.0, 1.0], [1], [0]), ([1.0] * 4, [3], [2]), ([1.0] * 8, [6, 7], [4, 5]),
    ([1.0, 0.0], [0, 1], []), ([0.0, 1.0], [1], [0]), ([95.0, 5.0], [1], [0]), ([95.1, 4.9], [0, 1], []),
])  # fmt: skip
def test_quarters_are_of_the_time_and_hold_an_epoch_each(times: list[float], late: list[int], early: list[int]) -> None:
    assert falling._quarters(times, sum(times)) == (late, early)


@pytest.mark.parametrize(("sent", "ends"), [
    ((), False), ((signal.SIGINT,), False), ((signal.SIGINT, signal.SIGINT), True), ((signal.SIGTERM,), False),
    ((signal.SIGTERM, signal.SIGINT), True), ((signal.SIGINT, signal.SIGTERM), False),
    ((signal.SIGTERM, signal.SIGTERM), False),
])  # fmt: skip
@pytest.mark.parametrize("patience", [None, 600.0])
def test_a_signal_is_remembered_and_a_ctrl_c_after_it_ends(
    sent: tuple[signal.Signals, ...], ends: bool, patience: float | None
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    asked = Interrupt(patience)
    raised = False
    try:
        with asked:
            assert patience is None or listener().daemon
            for number in sent:
                signal.raise_signal(number)
            assert asked.asked(torch.device("cpu")) == bool(sent)
    except KeyboardInterrupt:
        raised = True
    assert raised == ends
    assert asked.number == (None if not sent else sent[0] if ends else sent[-1])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
