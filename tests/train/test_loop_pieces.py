"""The pieces of the training loop each by itself: where a stage stands, what is due, what is refused, what is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from robustcl import api
from robustcl.errors import NonFiniteLoss, UsageError
from robustcl.options.duration import Progress
from robustcl.testing import make_scene
from robustcl.train.encoders import at_least_float32
from robustcl.train.loop import StageRun
from robustcl.train.pairs import EpochMeans, counts, refuse_without_positives
from robustcl.train.plan import Ref, TargetPlan, TermPlan
from robustcl.train.refresh import ClusterState
from robustcl.types import Clustering, Embedding, Pairs
from tests.shared import tiny


@pytest.fixture
def run(built: StageRun) -> Iterator[StageRun]:
    """Return a stage that begins; what a test changes of it is put back."""
    kept = {name: value.clone() for name, value in built.encoders.online.state_dict().items()}
    yield built
    built.encoders.online.load_state_dict(kept)
    built.done, built.epoch, built.within = 0, 0, 0


def test_progress_counts_the_steps_that_are_left_by_the_epoch_in_progress(run: StageRun) -> None:
    run.done, run.epoch, run.within = 7, 1, 2
    assert run._progress(5) == Progress(7, 7 + 3 + 5, 1.4, 3.0)


def test_a_step_moves_within_the_epoch_and_the_last_one_ends_it(run: StageRun) -> None:
    stood = []
    for _ in range(4):
        run._advance(3)
        stood.append((run.done, run.epoch, run.within))
    assert stood == [(1, 0, 1), (2, 0, 2), (3, 1, 0), (4, 1, 1)]


@pytest.mark.parametrize(("every", "done", "within", "due"), [
    (4, 8, 3, True), (4, 9, 0, False), (None, 9, 0, True), (None, 8, 3, False),
])  # fmt: skip
def test_checkpoints_are_due_by_steps_or_at_an_epochs_end(
    every: int | None, done: int, within: int, due: bool, run: StageRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "keeping", replace(run.keeping, every_steps=every))
    run.done, run.within = done, within
    assert run._is_due() == due


@pytest.mark.parametrize("value", [1.1e12, -1.1e12, float("inf"), float("nan")])
def test_weights_that_ran_away_are_not_kept(value: float, run: StageRun) -> None:
    parameter = next(run.encoders.online.parameters())
    with torch.no_grad():
        parameter.view(-1)[-1] = -1e12
    run._refuse_insane(1.0)
    with torch.no_grad():
        parameter.view(-1)[-1] = value
    with pytest.raises(NonFiniteLoss, match=r"has run away to .* the checkpoint before is kept"):
        run._refuse_insane(1.0)


def test_inputs_are_the_batchs_own(run: StageRun) -> None:
    rows = torch.tensor([40, 3, 17])
    given = run.inputs(rows, run.images.fetch(rows), run.rng)
    assert torch.equal(given["index"], rows)
    assert torch.equal(given["label"], run.images.labels[rows])
    assert given["position"].tolist() == [0, 1, 2]
    assert given["views"]["w"].dtype == torch.float64


def test_patches_are_embedded_each_and_stand_where_they_stood(run: StageRun) -> None:
    x = run.images.fetch(torch.arange(6)).double()
    both = run.encoders.embed(x.view(3, 2, *x.shape[1:]), "online", "clean", frozenset({"h", "z"}), "eval")
    each = run.encoders.embed(x, "online", "clean", frozenset({"h", "z"}), "eval")
    assert torch.equal(both.h, each.h.view(3, 2, -1))
    assert torch.equal(both.z, each.z.view(3, 2, -1))


def test_a_frozen_encoder_judges_in_eval_mode_and_on_its_own_route(run: StageRun) -> None:
    x = run.images.fetch(torch.arange(6)).double()
    before = {name: value.clone() for name, value in run.encoders["teacher"].state_dict().items()}
    seen = run.encoders.embed(x, "teacher", "adv", frozenset({"h"}), "train").h
    again = run.encoders.embed(x, "teacher", run.encoders["teacher"].routes[0], frozenset({"h"}), "eval").h
    assert torch.equal(seen, again)
    assert all(torch.equal(value, before[name]) for name, value in run.encoders["teacher"].state_dict().items())


def test_only_the_online_encoder_has_a_graph(run: StageRun) -> None:
    for name, graph in (("online", True), ("slow", False), ("teacher", False)):
        with run.encoders.training_context(name):
            assert torch.is_grad_enabled() == graph
    x = run.images.fetch(torch.arange(2)).double()
    assert not run.encoders.embed_constant(x, "online", "clean", frozenset({"h"})).h.requires_grad


def test_half_precision_becomes_single_and_the_others_stay() -> None:
    found = {dtype: at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in
             (torch.float16, torch.bfloat16, torch.float32, torch.float64)}  # fmt: skip
    single = torch.float32
    assert list(found.values()) == [single, single, single, torch.float64]


def targets(every: float | None) -> TargetPlan:
    nothing: Any = None
    return TargetPlan(nothing, nothing, "online", "clean", "h", (3,), (), every)


CLUSTERS = Clustering((torch.eye(3),), torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4), (0.0,), {})


def test_clusters_are_due_at_first_and_then_at_their_cadence() -> None:
    assert ClusterState().is_due(targets(None), 0.0)
    state = ClusterState(clustering=CLUSTERS, epoch=1.0)
    assert [state.is_due(targets(0.5), epoch) for epoch in (1.0, 1.49, 1.5 - 1e-10, 1.5, 2.0)] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert not state.is_due(targets(None), 99.0)


def test_pairs_are_counted_by_side_where_they_weigh_anything() -> None:
    scene = make_scene({"v": Embedding(z=torch.eye(2))}).but(
        pairs=Pairs(
            positive=torch.tensor([[0.0, 0.25], [0.0, 0.0]]), negative=torch.tensor([[True, True], [False, True]])
        )
    )
    bare = make_scene({"v": Embedding(z=torch.eye(2))})
    terms: list[Any] = [(TermPlan("pull", cast("Any", None), (), None, {}), scene), (SimpleNamespace(name="ce"), bare)]
    assert counts(terms) == {"pairs/pull/positive": 0.5, "pairs/pull/negative": 1.5}
    assert counts(terms[1:]) == {}


def test_pairs_are_counted_by_view_where_there_are_several_and_the_columns_are_theirs() -> None:
    views = {role: Embedding(z=torch.eye(2)) for role in ("clean", "adversarial")}
    chosen = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    scene = make_scene(views).but(pairs=Pairs(positive=chosen, negative=~chosen))
    roles = (("clean", Ref("w", "online")), ("adversarial", Ref("w_adv", "slow")), ("teacher", Ref("w", "teacher")))
    term: Any = TermPlan("pull", cast("Any", None), roles, None, {})
    assert counts([(term, scene)], ["teacher"]) == {
        "pairs/pull/positive": 1.5, "pairs/pull/positive/w": 0.25, "pairs/pull/positive/w_adv@slow": 1.25,
        "pairs/pull/negative": 2.5, "pairs/pull/negative/w": 1.75, "pairs/pull/negative/w_adv@slow": 0.75,
    }  # fmt: skip
    bank = scene.but(pairs=Pairs(positive=chosen, negative=~chosen, columns=scene.columns))
    assert counts([(term, bank)], ["teacher"]) == {"pairs/pull/positive": 1.5, "pairs/pull/negative": 2.5}
    assert counts([(term, scene)], ["teacher", "slow"]) == {"pairs/pull/positive": 1.5, "pairs/pull/negative": 2.5}


def test_a_term_may_be_called_pairs() -> None:
    means = EpochMeans()
    means.add({"pairs/pairs/positive": 2.0})
    assert means.take() == {"pairs-of-epoch/pairs/positive": 2.0}


def test_no_negatives_are_no_reason_to_stop_and_few_positives_neither() -> None:
    refuse_without_positives({"pairs-of-epoch/a/positive": 1e-3, "pairs-of-epoch/a/negative": 0.0}, "it")
    with pytest.raises(UsageError, match=r"stage.it.term.b: no anchor had a positive"):
        refuse_without_positives({"pairs-of-epoch/a/positive": 1.0, "pairs-of-epoch/b/positive": 0.0}, "it")


def test_seconds_are_those_since_the_stage_began(tmp_path: Path) -> None:
    stage = tiny.tables()["stage"][0]
    started = time.monotonic()
    api.from_tables(tiny.tables(stage=[stage], evaluate=[]), "the test").train(
        tmp_path / "run", device="cpu", report=False
    )
    passed = time.monotonic() - started
    seconds = [line["seconds"] for line in tiny.lines(tmp_path / "run" / "metrics.jsonl")]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0.0
    assert seconds[-1] < passed
