"""At the threshold itself: what counts on which side, and how shares become whole numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from robustcl.audit import gradients, hygiene
from robustcl.audit.arms import CHEAP
from robustcl.audit.bench import Bench
from robustcl.audit.slopes import Slopes
from robustcl.data.labelled import choose_labelled
from robustcl.data.split import holdout
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.soundness import probabilities
from robustcl.evaluate.work import Work
from robustcl.options import Whole
from robustcl.options.schedule import Progress, parse
from robustcl.rng import Rng
from robustcl.search import ascend, pursue
from robustcl.testing import TinySurvey, make_attack, make_scene
from robustcl.threat import Ball
from robustcl.train.plan import Part, TargetPlan
from robustcl.train.refresh import ClusterState
from robustcl.types import Clustering, Dims, Embedding, Scene
from robustcl_plugins.generators.auto_step import checkpoints, schedule
from robustcl_plugins.generators.verdicts import claimed
from robustcl_plugins.samplers.rcs import RCS
from robustcl_plugins.selectors.adaptive import AdaptiveFNC
from robustcl_plugins.selectors.fnc import FNC
from robustcl_plugins.selectors.glofnd import GloFND
from robustcl_plugins.selectors.ifnd import pseudo_labels

# --- schedules


@pytest.mark.parametrize(
    ("table", "epoch", "number"),
    [
        ({"piecewise": [0.1, 0.01], "at": [15]}, 15.0, 0.01),
        ({"piecewise": [0.1, 0.01], "at": [15]}, math.nextafter(15.0, 0) - 1e-6, 0.1),
        ({"piecewise": [0.1, 0.01], "at": ["75%"]}, 75.0, 0.01),
        ({"cosine": [1.0, 0.0], "warmup": "10 epochs"}, 10.0, 1.0),
        ({"cosine": [1.0, 0.0], "warmup": "10 epochs", "warmup_from": 0.5}, 0.0, 0.5),
        ({"cosine": [1.0, 0.0], "until": "50 epochs"}, 50.0, 0.0),
        ({"linear": [1.0, 0.0], "until": "50 epochs"}, 51.0, 0.0),
        ({"stepped": [1.0, 0.0], "every": "50 epochs"}, 50.0, 0.5),
        ({"stepped": [1.0, 0.0], "every": "50 epochs"}, 49.99, 1.0),
        ({"stepped": [1.0, 0.0], "every": "50 epochs", "offset": "1 epoch"}, 49.0, 0.5),
        ({"stepped": [1.0, 0.0], "every": "50 epochs", "offset": "1 epoch"}, 48.99, 1.0),
        ({"stepped": [1.0, 0.0], "every": "10%"}, 29.99, 0.8),
        ({"stepped": [1.0, 0.0], "every": "10%"}, 30.0, 0.7),
    ],
)
def test_a_schedule_at_its_own_boundaries(table: dict[str, object], epoch: float, number: float) -> None:
    found = parse(table, "lr")
    assert not isinstance(found, float)
    assert found.at(Progress(round(epoch * 10), 1000, epoch, 100.0)) == pytest.approx(number)


def test_a_scheduled_whole_number_is_the_nearest_one() -> None:
    ramp = parse({"linear": [0.0, 10.0]}, "steps")
    assert not isinstance(ramp, float)
    numbers = [Whole(ramp).at(Progress(0, 100, epoch, 100.0)) for epoch in (0.0, 4.9, 5.1, 14.9, 15.1, 99.0)]
    assert numbers == [0, 0, 1, 1, 2, 10]


@pytest.mark.parametrize(("every", "epoch", "due"), [(2.0, 4.999, False), (2.0, 5.0, True), (None, 99.0, False)])
def test_clusters_are_due_when_their_time_is_over(every: float | None, epoch: float, due: bool) -> None:
    plan = TargetPlan(Part("t", None), Part("v", None), "online", "clean", "h", (2,), (), every)
    assert ClusterState().is_due(plan, 0.0), "there are none yet"
    assert ClusterState(clustering(2), epoch=3.0).is_due(plan, epoch) is due


# --- shares


@pytest.mark.parametrize(
    ("n", "share", "held"), [(70, 0.1, 7), (71, 0.1, 8), (79, 0.1, 8), (10, 0.29, 3), (100, 0.29, 29), (100, 0.07, 7)]
)
def test_the_held_out_part_is_rounded_up_and_floats_add_none(n: int, share: float, held: int) -> None:
    assert len(holdout(torch.zeros(n, dtype=torch.int64), share, Rng(0))[1]) == held


@pytest.mark.parametrize(("amount", "kept"), [(0.1, 3), (0.096, 2), (0.01, 1), (1.0, 25), (7, 7), (0.5, 13)])
def test_a_share_of_labels_is_rounded_and_at_least_one(amount: float, kept: int) -> None:
    labels = torch.cat([torch.arange(25) % 5, torch.full((9,), -1)])
    assert len(choose_labelled(labels, amount, Rng(0))) == kept


@pytest.mark.parametrize(("accept", "taken"), [(0.0, 0), (0.29, 29), (0.3, 30), (1.0, 100), (0.004, 0), (0.006, 1)])
def test_the_accepted_share_of_pseudo_labels_is_rounded(accept: float, taken: int) -> None:
    assert int((pseudo_labels(clustering(100), accept) >= 0).sum()) == taken


def test_of_equally_sure_labels_the_first_are_accepted() -> None:
    sure = Clustering(
        (torch.eye(2),), torch.zeros(1, 4, dtype=torch.int64), torch.tensor([[0.5, 0.9, 0.5, 0.5]]), (0.0,), {}
    )
    assert pseudo_labels(sure, 0.5).tolist() == [[0, 0, -1, -1]]


@pytest.mark.parametrize(("fraction", "batches"), [(0.1, 1), (0.2, 3), (0.29, 5), (0.5, 9), (1.0, 19), (0.001, 1)])
def test_a_coreset_has_the_whole_batches_of_its_share(fraction: float, batches: int) -> None:
    """Of 640 images 6 are held out, 634 left: 63.4, 126.8, 183.9, 317, 634 and 0.6 images in batches of 32."""
    taken = RCS(fraction=fraction, warmup=0, steps=1).select(TinySurvey(), 0)
    assert len(taken) == 32 * batches


def test_a_share_that_is_a_whole_number_of_images_keeps_all_of_them() -> None:
    """0.29 of 100 images are 29, though 0.29 * 100 is 28.999999999999996."""

    class Hundred(TinySurvey):
        def __init__(self) -> None:
            super().__init__()
            self.samples = 101

    taken = RCS(fraction=0.29, warmup=0, steps=1, granularity="images", batch=1, held_out=0.01).select(Hundred(), 0)
    assert len(taken) == 29


@pytest.mark.parametrize(("n", "block", "count"), [(23, 5, 2), (20, 5, 4), (20, 5, 3), (3, 5, 2), (1, 1, 1)])
def test_shares_of_an_evaluation_hold_every_sample_once(n: int, block: int, count: int) -> None:
    shares = [Work(block=block, shard=(number, count)).blocks(torch.arange(n)) for number in range(count)]
    assert sorted(int(i) for share in shares for part in share for i in part) == list(range(n))
    assert all(len(part) == block for share in shares for part in share if int(part[-1]) != n - 1)


# --- selectors


def scene_of(z: Tensor) -> Scene:
    """One view of each image."""
    return make_scene({"a": Embedding(z=z)})


RIGHT = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
"""Cosines of exactly 0 and 1."""


@pytest.mark.parametrize(("rho", "left"), [(0.0, 4), (1.0, 6), (-0.001, 0), (0.999, 4)])
def test_a_cosine_of_exactly_rho_is_still_a_negative(rho: float, left: int) -> None:
    pairs = AdaptiveFNC(rho=rho).select(scene_of(RIGHT))
    assert int(pairs.negative.sum()) == left


@pytest.mark.parametrize(("threshold", "found"), [(0.0, 2), (1.0, 0), (-0.001, 6), (0.999, 2)])
def test_a_score_of_exactly_the_threshold_is_not_detected(threshold: float, found: int) -> None:
    pairs = FNC(threshold=threshold, rule="threshold", detected="eliminate")
    pairs.build(DIMS_OF_THREE)
    assert 6 - int(pairs.select(scene_of(RIGHT)).negative.sum()) == found


def test_a_cosine_of_exactly_lambda_is_kept_and_counts_as_below() -> None:
    selector = GloFND(alpha=0.5, lr=0.1, learning=0, rescale=False)
    selector.build(DIMS_OF_THREE)
    assert int(selector.select(scene_of(RIGHT)).negative.sum()) == 6, "thresholds start at 1"
    selector.threshold.fill_(0.0)
    assert int(selector.select(scene_of(RIGHT)).negative.sum()) == 4
    selector.learning = 1
    learnt = selector._learnt(scene_of(RIGHT).rows, scene_of(RIGHT).columns)
    assert learnt.mean.tolist() == pytest.approx([0.0, 0.05, 0.0]), "half of the others above 0, none, half"


# --- balls and verdicts


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_border_belongs_to_the_ball_and_to_the_range(norm: str) -> None:
    x, ball = torch.full((1, 4), 0.5, dtype=torch.float64), Ball(norm, 0.25)
    for length, inside in ((0.25, True), (0.25 * (1 + 1e-7), True), (0.25 * (1 + 1e-5), False)):
        adv = x.clone()
        adv[0, 0] += length
        assert bool(ball.contains(adv, x)) is inside
    low, high = torch.zeros(1, 4), torch.ones(1, 4)
    whole = Ball(norm, 9.0)
    assert bool(whole.contains(high, low))
    assert not bool(whole.contains(torch.nextafter(high, 2 * high), low))
    assert not bool(whole.contains(torch.nextafter(low, -high), high))


def test_a_tie_of_logits_is_no_negative_margin() -> None:
    x = torch.zeros(3, 2)
    attack = make_attack(x, label=torch.tensor([0, 0, 0])).but(fooled=None)
    logits = torch.tensor([[1.0, 1.0], [1.0, 0.999], [1.0, 1.001]])
    assert claimed(Embedding(logits=logits), attack).tolist() == [False, False, True]


def test_of_equal_restarts_the_first_stays() -> None:
    x = torch.full((4, 3), 0.5)
    flat = {"steps": 1, "step_size": 1e-6, "start": "uniform"}
    once = ascend(x, lambda v: 0 * v.sum(1), Ball("Linf", 0.1), rng=Rng(0), restarts=1, **flat)  # type: ignore[arg-type]
    more = ascend(x, lambda v: 0 * v.sum(1), Ball("Linf", 0.1), rng=Rng(0), restarts=3, **flat)  # type: ignore[arg-type]
    assert torch.equal(once, more)
    attack = make_attack(x).but(objective=lambda e, places: 0 * e.logits.sum(1), fooled=lambda e, places: places < 0)
    first, third = (pursue(x, attack, restarts=count, **flat) for count in (1, 3))  # type: ignore[arg-type]
    assert torch.equal(first, third)


@pytest.mark.parametrize(("rises", "halved"), [(11, False), (10, True), (12, False)])
def test_a_step_is_halved_where_fewer_than_rho_of_the_steps_rose(rises: int, halved: bool) -> None:
    """Half of the 22 steps to the first checkpoint are 11."""
    assert checkpoints(100)[0] == 22
    x = torch.full((1, 4), 0.5)
    moves = schedule(x, Ball("Linf", 0.1), steps=100, rho=0.5)
    value = best = 0.0
    back = moves.adapt(0, torch.tensor([value]), x, torch.tensor([best]))
    for step in range(1, 23):
        value = value + 1.0 if step <= rises else value - 1e-3
        best = max(best, value)
        back = moves.adapt(step, torch.tensor([value]), x, torch.tensor([best]))
    assert back is not None
    assert bool(back) is halved


@pytest.mark.parametrize(("off", "are"), [(0.0, True), (0.9e-4, True), (1.1e-4, False)])
def test_rows_that_nearly_sum_to_one_are_probabilities(off: float, are: bool) -> None:
    logits = torch.tensor([[0.25, 0.75 + off], [0.0, 1.0]], dtype=torch.float64)
    assert probabilities(logits) is are
    assert not probabilities(torch.tensor([[1.5, -0.5]]))


# --- the audit


def bench_of(x: Tensor, ball: Ball) -> Bench:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 2)).eval()
    label, index = torch.zeros(len(x), dtype=torch.int64), torch.arange(len(x))
    return Bench(of_model(net), x, label, index, ball, Rng(0), CHEAP, 50)


@pytest.mark.parametrize(
    ("span", "eps", "verdict"),
    [
        ((0.0, 1.0), 0.1, "pass"),
        ((0.0, 0.5), 0.1, "pass"),
        ((0.0, 0.499), 0.1, "warn"),
        ((0.0, 1.0 + 1e-6), 0.1, "fail"),
        ((-1e-6, 1.0), 0.1, "fail"),
        ((0.0, 1.0), 0.25 / 255, "pass"),
        ((0.0, 1.0), 0.249 / 255, "warn"),
    ],
)
def test_units_at_their_thresholds(span: tuple[float, float], eps: float, verdict: str) -> None:
    x = torch.linspace(*span, 40).view(10, 4)
    assert hygiene.units(bench_of(x, Ball("Linf", eps))).verdict == verdict


@pytest.mark.parametrize(("dead", "verdict"), [(0, None), (1, "warn"), (2, "warn"), (3, "fail")])
def test_a_twentieth_of_dead_gradients_is_an_accident(dead: int, verdict: str | None) -> None:
    fault = gradients._alive(bench_of(torch.rand(4, 4), Ball("Linf", 0.1)), slopes(dead=dead))
    assert (fault and fault[0]) == verdict


@pytest.mark.parametrize(("saturated", "warns"), [(20, False), (21, True)])
def test_half_of_the_samples_may_saturate(saturated: int, warns: bool) -> None:
    fault = gradients._unsaturated(bench_of(torch.rand(4, 4), Ball("Linf", 0.1)), slopes(saturated=saturated))
    assert (fault is not None) is warns


def slopes(dead: int = 0, saturated: int = 0) -> Slopes:
    """Return the slopes of forty samples, of which some are dead or saturated."""
    rows = torch.arange(40)
    gradient = torch.ones(40, 4) * (rows >= dead)[:, None]
    return Slopes(rows, gradient, gradient, torch.ones(40), torch.ones(40, dtype=torch.int64), rows < saturated)


def clustering(n: int) -> Clustering:
    """Return one cluster of n images, the last the surest."""
    return Clustering((torch.eye(2),), torch.zeros(1, n, dtype=torch.int64), torch.linspace(0, 1, n)[None], (0.0,), {})


DIMS_OF_THREE = Dims(features=2, projection=2, classes=2, clusters=(), item=(2,), samples=3)
