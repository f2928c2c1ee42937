"""The parts of a stage that no step shows: processes, devices, signals, orders, plans, followers."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from robustcl import api
from robustcl.errors import CheckpointError, UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.train import engine
from robustcl.train.derived import line_of, looked_through
from robustcl.train.interrupt import Interrupt
from robustcl.train.log import Log
from robustcl.train.loop import StageRun
from robustcl.train.plan import SamplerPlan, layers_of, routes_until
from robustcl.train.refresh import ClusterState
from robustcl.types import Clustering
from tests.shared import tiny
from tests.shared.one_step import stage_run

CLUSTERS = Clustering(
    (torch.eye(3), torch.eye(2)), torch.tensor([[0, 2], [1, 0]]), torch.tensor([[0.5, 0.25], [1.0, 0.0]]), (0.5, 1.5),
    {"seed": 3},
)  # fmt: skip


@pytest.mark.parametrize(("cores", "devices", "fits"), [
    (1, 8, True), (1, 9, False), (2, 8, True), (3, 12, True), (3, 13, False), (None, 8, True), (None, 9, False),
])  # fmt: skip
def test_so_many_processes_of_a_machine(
    cores: int | None, devices: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.os, "cpu_count", lambda: cores)
    if fits:
        engine._check_number("cpu", devices)
        engine._check_number("mps", 99)
    else:
        with pytest.raises(
            UsageError, match=f"--devices {devices}: these are processes, and this machine has {cores or 1} p"
        ):
            engine._check_number("cpu", devices)


def test_so_many_gpus_as_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine._check_number("cuda", 2)
    with pytest.raises(UsageError, match="--devices 3: torch sees 2 CUDA devices here"):
        engine._check_number("cuda", 3)


def test_who_is_first_and_in_which_type(monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine.Engine("cpu")
    assert made.starter
    assert made.starts_processes
    assert (made.dtype, engine.Engine("cpu", 1, "64-true").dtype) == (torch.float32, torch.float64)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not made.starter
    made.launch()  # of one process there are no others to start
    for device, words in (("mps", "torch sees no Apple GPU here"), ("cuda", "torch sees no CUDA device here")):
        available = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
        if not available:
            with pytest.raises(UsageError, match=words):
                engine.Engine(device)


def test_a_module_is_moved_as_it_is_ours_or_not() -> None:
    double = engine.Engine("cpu", 1, "64-true")
    single = engine.Engine("cpu")
    ours, theirs = (torch.nn.Conv2d(4, 4, 3) for _ in range(2))
    mixed = torch.nn.Module()
    mixed.register_buffer("wave", torch.ones(1, dtype=torch.complex64))
    mixed.register_buffer("count", torch.ones(1, dtype=torch.int64))
    mixed.register_buffer("narrow", torch.ones(1, dtype=torch.float16))
    double.place(mixed)
    assert (mixed.wave.dtype, mixed.count.dtype, mixed.narrow.dtype) == (torch.complex64, torch.int64, torch.float64)
    double.place(ours)
    assert ours.weight.dtype == torch.float64
    assert ours.weight.is_contiguous(memory_format=torch.channels_last)
    single.place(theirs.half(), ours=False)
    assert theirs.weight.dtype == torch.float16
    assert theirs.weight.is_contiguous()
    double.place(theirs, ours=False)
    assert theirs.weight.dtype == torch.float64


def test_a_second_ctrl_c_stops_at_once() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.asked(torch.device("cpu"))
        interrupt._ask(signal.SIGTERM)
        assert interrupt.asked(torch.device("cpu"))
        interrupt._ask(signal.SIGTERM)
        assert interrupt.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            interrupt._ask(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt._ask(signal.SIGINT)
        assert interrupt.asked(torch.device("cpu"))


def test_batches_of_a_sampler_are_taken_as_they_are_and_images_in_a_drawn_order(run: StageRun) -> None:
    run.chosen_rows = torch.tensor([[5, 3], [2, 4]])
    assert [batch.tolist() for batch in run._order(0)] == [[5, 3], [2, 4]]
    run.chosen_rows = torch.arange(300, 900)
    first, again, other = (torch.cat(run._order(epoch)).tolist() for epoch in (0, 0, 1))
    assert first == again != other
    assert [len(batch) for batch in run._order(0)] == [256, 256]
    assert set(first) <= set(range(300, 900))
    run.chosen_rows = None
    assert len(torch.cat(run._order(0)).unique()) == run.images.samples // 256 * 256


@pytest.mark.parametrize(("epoch", "within", "chosen"), [
    (0, 0, False), (2, 0, True), (3, 0, False), (4, 0, False), (5, 0, True), (5, 1, False),
])  # fmt: skip
def test_a_sampler_chooses_from_its_epoch_on_and_so_often(
    run: StageRun, epoch: int, within: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def select(survey: Any, now: int) -> torch.Tensor:
        seen.append((now, survey.rng.key))
        return torch.tensor([now])

    part: Any = SimpleNamespace(plugin=SimpleNamespace(select=select), move_to=lambda progress: None)
    plan = replace(run.plan, sampler=SamplerPlan(part, every=3, after=2))
    monkeypatch.setattr(run, "plan", plan)
    run.epoch, run.within = epoch, within
    run._sample()
    assert seen == ([(epoch, run.rng.child("survey", epoch).key)] if chosen else [])
    assert (run.chosen_rows is not None) == chosen


def test_labels_may_be_clusters(run: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run._labels() is run.images.labels
    monkeypatch.setattr(run, "plan", replace(run.plan, labels=1))
    with pytest.raises(CheckpointError, match="stage robust takes its labels from clusters, but has none"):
        run._labels()
    run.clusters = ClusterState(CLUSTERS)
    assert run._labels().tolist() == [1, 0]


def test_a_plan_knows_its_parts_routes_and_layers(composition: Any) -> None:
    pretrain, robust = composition.stages
    assert routes_until([pretrain]) == ("clean",)
    assert routes_until([robust]) == routes_until([pretrain, robust]) == ("clean", "adv")
    assert routes_until([replace(robust, targets=replace(robust.targets, route="third"))])[-1] == "third"
    assert robust.route_of("w", "main") == "clean"
    assert robust.route_of("other", "main") == "main"
    names = [part.name for part in robust.parts()]
    assert names == ["weak", "ncp", "deacl", "deacl", "spherical-kmeans", "adam"]
    term = robust.terms[0]
    assert [str(ref) for ref in term.refs] == ["w@online", "w_adv@online", "w@teacher"]
    assert [str(ref) for ref in replace(term, support=(term.refs[2],)).refs][-1] == "w@teacher"
    assert term.layers == frozenset({"h"})
    assert term.taps == frozenset()
    assert layers_of(frozenset()) == frozenset()
    assert {part.name for part in pretrain.parts()} >= {"weak", "info-nce", "all", "sgd"}


def test_views_are_followed_to_where_they_come_from() -> None:
    of = {"a": None, "b": "a", "c": "b", "r": "s", "s": "r"}
    assert line_of(of, "c") == ["c", "b", "a"]
    assert line_of(of, "r") == ["r", "s"]
    assert line_of(of, "written") == ["written"]
    assert looked_through({"d": "x"}, ["x", "y"], ["d", "d", "y", "z"]) == {"x": "d", "y": "y"}
    assert looked_through({}, ["x"], []) == {"x": "x"}
    with pytest.raises(ValueError, match=r"^d and e, all of 'x'$"):
        looked_through({"d": "x", "e": "x"}, ["x"], ["d", "e"])


def test_followers_move_by_their_momentum_at_their_turn(run: StageRun) -> None:
    from robustcl.options.duration import Progress

    slow, online = run.encoders.ema["slow"], run.encoders.online
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(1.0)
    before = [parameter.clone() for parameter in slow.parameters()]
    now, plan = Progress(0, 10, 0.0, 3.0), run.encoders.plans["slow"]
    run.encoders.follow(now, before_optimiser=not plan.before_optimiser)
    assert all(torch.equal(parameter, old) for parameter, old in zip(slow.parameters(), before, strict=True))
    run.encoders.follow(now, before_optimiser=plan.before_optimiser)
    for mine, old, leader in zip(slow.parameters(), before, online.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.9 * old + 0.1 * leader)
    assert not any(parameter.requires_grad for parameter in slow.parameters())
    assert not any(parameter.requires_grad for parameter in run.encoders.frozen["teacher"].parameters())


def test_each_plugin_is_built_from_a_stream_of_its_own(composition: Any, tmp_path: Path) -> None:
    drawn: list[float] = []
    part: Any = SimpleNamespace(
        name="it", plugin=SimpleNamespace(build=lambda dims: drawn.append(float(torch.rand(()))))
    )
    run = stage_run(composition, composition.stages[1], tmp_path)
    before = torch.get_rng_state()
    plan: Any = SimpleNamespace(targets=None, parts=lambda: [part, part])
    for rng in (Rng(0, "stage"), Rng(0, "stage"), Rng(1, "stage")):
        run.plan, run.rng = plan, rng
        run._build_heads()
    assert torch.equal(torch.get_rng_state(), before)
    assert drawn[:2] == drawn[2:4]
    assert len(set(drawn)) == 4


def test_a_loss_of_rows_alone_says_so_and_is_of_one_view() -> None:
    from robustcl.train.adversary import _is_separable

    batch: Any = SimpleNamespace(label=torch.tensor([0, 1]))
    unlabelled: Any = SimpleNamespace(label=torch.tensor([0, -1]))
    for plugin, writes, needs, of, found in (
        (SimpleNamespace(separable=True), 1, (), unlabelled, True), (SimpleNamespace(), 1, (), batch, False),
        (SimpleNamespace(separable=False), 1, (), batch, False), (SimpleNamespace(separable=True), 2, (), batch, False),
        (SimpleNamespace(separable=True), 1, (Need.LABELS,), batch, True),
        (SimpleNamespace(separable=True), 1, (Need.LABELS,), unlabelled, False),
    ):  # fmt: skip
        term: Any = SimpleNamespace(objective=SimpleNamespace(plugin=plugin, needs=frozenset(needs)))
        generator: Any = SimpleNamespace(writes=("w",) * writes)
        assert _is_separable(term, generator, of) is found


@pytest.mark.parametrize(
    ("world", "value", "slope"), [(1, 2 * 6.0 + 3 * 4.0, 3.0), (2, 2 * (2 * 6.0 + 3 * 4.0 / 2), 1.5)]
)
def test_a_value_of_the_batch_is_shared_by_the_ranks_and_rows_are_added(
    world: int, value: float, slope: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks with the same rows: the whole is twice what is here, and a batch's own value counts once."""
    from robustcl.train import adversary

    monkeypatch.setattr(adversary.ranks, "world", lambda: world)
    monkeypatch.setattr(adversary.ranks, "total", lambda here: world * here)
    rows, whole = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor(4.0, requires_grad=True)
    found = adversary._over_ranks({"a": rows, "b": whole}, {"a": 2.0, "b": 3.0})
    assert float(found.detach()) == pytest.approx(value)
    found.backward()
    assert rows.grad is not None
    assert rows.grad.tolist() == [2.0] * 3
    assert float(whole.grad) == slope  # type: ignore[arg-type]


@pytest.mark.parametrize("world", [1, 2])
def test_a_mean_over_ranks_is_of_all_rows(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl.train import step

    monkeypatch.setattr(step.ranks, "world", lambda: world)
    monkeypatch.setattr(step.ranks, "total", lambda here: world * here)
    rows = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    found = step._mean_over_ranks(rows)
    assert float(found.detach()) == pytest.approx(3.0)
    found.backward()
    assert rows.grad is not None
    assert rows.grad.tolist() == pytest.approx([1 / 3] * 3), "DDP divides by the ranks"
    assert float(step._mean_over_ranks(torch.zeros(0))) == 0.0


def test_pairs_of_an_epoch_are_told_at_its_end(composition: Any, tmp_path: Path) -> None:
    """Two views of 128 images: one other view of its own, and 254 of others."""
    plan = replace(composition.stages[0], epochs=2)
    run = stage_run(composition, plan, tmp_path)
    run.train()
    lines = tiny.lines(tmp_path / "metrics.jsonl")
    whole = [line for line in lines if any(name.startswith("pairs-of-epoch/") for name in line)]
    assert [line["step"] for line in whole] == [run.done // 2, run.done]
    for line in whole:
        told = {name.split("/", 2)[2]: value for name, value in line.items() if name.startswith("pairs-of-epoch/")}
        halves = {"positive/a": 0.5, "positive/b": 0.5, "negative/a": 127.0, "negative/b": 127.0}
        assert told == {"positive": 1.0, "negative": 254.0} | halves
    assert [line["epoch"] for line in whole] == [1.0, 2.0]
    assert len(run.curve.losses) == 2


def test_a_stage_that_starts_anew_drops_its_own_lines_and_a_torn_one(tmp_path: Path) -> None:
    lines = ['{"stage": "a", "step": 1}', '{"stage": "b", "step": 1}', '{"stage": "a", "step": 2}']
    for text, stage, kept in (
        ("\n".join(lines) + "\n", "b", 1), ("\n".join(lines) + "\n", "a", 0), ("\n".join(lines) + "\n", "c", 3),
        ("\n".join(lines), "c", 2),
    ):  # fmt: skip
        (tmp_path / "metrics.jsonl").write_text(text)
        log = Log(tmp_path, stage)
        log.open(None, 0)
        log.close()
        assert (tmp_path / "metrics.jsonl").read_text().splitlines() == lines[:kept]


def test_whether_a_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl.train import companions

    alive = {number: companions._lives(number) for number in (str(os.getpid()), "", "x", "-1", "9" * 30, "1")}
    assert alive == dict.fromkeys(alive, True)
    assert not companions._lives(str(2**22 + 7)), "beyond the largest number that Linux gives"


@pytest.mark.parametrize(("clip", "moved"), [(1e-12, False), (None, True)])
def test_a_clip_holds_every_step_back(tmp_path: Path, clip: float | None, moved: bool) -> None:
    stage = {**tiny.tables()["stage"][0], "optimizer": {"use": "sgd", "lr": 0.1, "weight_decay": 0.0}}
    composition = api.from_tables(tiny.tables(stage=[stage], evaluate=[]), "the test")
    run = stage_run(composition, replace(composition.stages[0], epochs=1, clip=clip), tmp_path)
    before = [parameter.detach().clone() for parameter in run.parameters]
    run.train()
    most = max(float((new.detach() - old).abs().max()) for new, old in zip(run.parameters, before, strict=True))
    assert (most > 1e-6) == moved
