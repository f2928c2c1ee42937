"""Robustness-aware coreset selection, its recipes and what a sampler sees, against the paper's algorithm as loops."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustcl import compose
from robustcl.errors import OptionError, UsageError
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.testing import TinySurvey
from robustcl.train.plan import at
from robustcl_plugins.samplers.divergence import DISTANCES
from robustcl_plugins.samplers.rcs import RCS
from tests.shared.one_step import one_step

Vectors = Sequence[Sequence[float]]


def _scaled(z: Sequence[float]) -> list[float]:
    low, high = min(z), max(z)
    return [(value - low) / ((high - low) or 1.0) + 1e-8 for value in z]


def _softmax(z: Sequence[float]) -> list[float]:
    weights = [math.exp(value) for value in z]
    return [weight / sum(weights) for weight in weights]


def _kl(q: Sequence[float], p: Sequence[float]) -> float:
    return sum(b * math.log(b / a) for a, b in zip(p, q, strict=True)) / len(q)


def _js(q: Sequence[float], p: Sequence[float]) -> float:
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (_kl(q, middle) + _kl(p, middle)) / 2


ORACLES = {
    "kl": lambda adv, clean: _kl(_scaled(adv), _scaled(clean)),
    "softmax-kl": lambda adv, clean: _kl(_softmax(adv), _softmax(clean)),
    "js": lambda adv, clean: _js(_softmax(adv), _softmax(clean)),
}


@pytest.mark.parametrize("name", list(ORACLES))
def test_distances_are_the_loops_over_elements(name: str) -> None:
    adv, clean = (Rng(0, side).normal((5, 7), dtype=torch.float64) for side in ("adv", "clean"))
    expected = [ORACLES[name](a, c) for a, c in zip(adv.tolist(), clean.tolist(), strict=True)]
    torch.testing.assert_close(DISTANCES[name](adv, clean), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(DISTANCES[name](clean, clean), torch.zeros(5, dtype=torch.float64))


def test_the_scaled_distance_by_hand() -> None:
    # Scaled rows are (1, 1/2, 0) against (1, 0, 1/2); only the second and third element speak.
    found = DISTANCES["kl"](torch.tensor([[4.0, 3.0, 2.0]]).double(), torch.tensor([[5.0, 1.0, 3.0]]).double())
    assert float(found) == pytest.approx((0.5 * math.log(0.5 / 1e-8) + 1e-8 * math.log(1e-8 / 0.5)) / 3, rel=1e-6)


@pytest.mark.parametrize("name", list(ORACLES))
@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [200.0, -200.0, 0.0]])
def test_equal_and_far_entries_stay_finite(name: str, row: list[float]) -> None:
    adv = torch.tensor([row], requires_grad=True)
    value = DISTANCES[name](adv, torch.tensor([[0.3, 0.2, 0.1]])).sum()
    (gradient,) = torch.autograd.grad(value, adv)
    assert bool(value.isfinite())
    assert bool(gradient.isfinite().all())


def _rows_kl(adv: Tensor, clean: Tensor) -> Tensor:
    """The released distance of each row, in torch so that it has a gradient, and wide enough for its 1e-8."""
    values = []
    for a, c in zip(adv.double(), clean.double(), strict=True):
        q, p = ((z - z.min()) / (z - z.min()).max() + 1e-8 for z in (a, c))
        values.append((q * (q.log() - p.log())).mean())
    return torch.stack(values)


def greedy(survey: TinySurvey, sampler: RCS, size: int) -> list[int]:
    """The paper's greedy search, a network and a batch at a time."""
    order = survey.lasting.child("held out").permutation(survey.samples)
    held, rest = order[:6], order[6:].sort().values
    shuffled = rest[survey.rng.child("batches").permutation(len(rest))].tolist()
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled) - size + 1, size)]
    network, x = copy.deepcopy(survey.encoder), survey.images[held]
    moves = [survey.gradient(torch.tensor(batch), "projector", "eval") for batch in batches]
    chosen: list[int] = []
    for turn in range(int(sampler.fraction * len(rest)) // size):
        clean = network(x).z.detach()
        adv = survey.ball.sample(x, survey.rng.child("divergence", turn).for_rows(held))
        for _ in range(sampler.steps):
            leaf = adv.clone().requires_grad_()
            (slope,) = torch.autograd.grad(_rows_kl(network(leaf).z, clean).sum(), leaf)
            adv = adv + sampler.step_size * slope.sign()
            adv = torch.minimum(torch.maximum(adv, x - 8 / 255), x + 8 / 255).clamp(0, 1)
        weights = list(network.projector.parameters())
        toward = torch.autograd.grad(_rows_kl(network(adv).z, network(x).z).mean(), weights)
        best, largest = -1, -math.inf
        for number, move in enumerate(moves):
            gain = 0.0
            for mine, theirs in zip(move, toward, strict=True):
                pair = (mine.mean(0), theirs.mean(0)) if sampler.units == "averaged" else (mine, theirs)
                gain += sum(a * b for a, b in zip(pair[0].flatten().tolist(), pair[1].flatten().tolist(), strict=True))
            if number not in chosen and gain > largest:
                best, largest = number, gain
        chosen.append(best)
        with torch.no_grad():
            for weight, move in zip(weights, moves[best], strict=True):
                weight -= sampler.lr * move
    return [row for number in chosen for row in batches[number]]


def _survey() -> TinySurvey:
    """A survey whose head has two layers: averages over the units of a last one vanish, as distances ignore shifts."""
    survey = TinySurvey()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5))
    survey.encoder.projector = head  # type: ignore[assignment]
    return survey


@pytest.mark.golden("sampler", "rcs")
@pytest.mark.parametrize("units", ["each", "averaged"])
@pytest.mark.parametrize("lr", [0.01, 20.0])
def test_batches_are_taken_by_the_papers_greedy_search(units: str, lr: float) -> None:
    sampler = RCS(fraction=0.2, lr=lr, units=units, step_size=2 / 255, warmup=0)  # type: ignore[arg-type]
    found = sampler.select(_survey(), 0)
    assert len(found) == 3 * 32  # 20% of 634 images are 126, or three whole batches
    assert found.tolist() == greedy(_survey(), sampler, 32)


def test_a_greedy_step_changes_what_is_taken_next() -> None:
    calm, far = (RCS(fraction=0.3, lr=lr, warmup=0).select(_survey(), 0) for lr in (1e-9, 20.0))
    assert calm[:32].tolist() == far[:32].tolist()
    assert calm.tolist() != far.tolist()


@pytest.mark.golden("sampler", "rcs")
def test_samples_are_small_batches() -> None:
    sampler = RCS(fraction=0.03, granularity="samples", batch=4, warmup=0)
    found = sampler.select(_survey(), 0)
    assert len(found) == 4 * 4  # 3% of 634 images are 19, or four batches of 4
    assert found.tolist() == greedy(_survey(), sampler, 4)


def test_held_out_images_are_never_trained_on() -> None:
    kept = set(range(640)) - set(TinySurvey().lasting.child("held out").permutation(640)[:6].tolist())
    warm = RCS(warmup=3).select(TinySurvey(), 2)
    assert set(warm.tolist()) == kept
    assert len(warm) == 634
    for epoch in (3, 7):
        survey = TinySurvey()
        survey.rng = Rng(epoch, "another choice")
        found = RCS(warmup=3, fraction=1.0).select(survey, epoch)
        assert len(found) == len(set(found.tolist())) == 19 * 32
        assert set(found.tolist()) <= kept


def test_at_least_one_batch_is_taken() -> None:
    assert len(RCS(fraction=0.001, warmup=0).select(TinySurvey(), 0)) == 32


def test_too_large_batches_and_a_missing_head_are_refused() -> None:
    with pytest.raises(UsageError, match="among batches of 1000 images, but only 634"):
        RCS(granularity="samples", batch=1000, warmup=0).select(TinySurvey(), 0)
    survey = TinySurvey()
    survey.encoder.projector = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="this encoder has none"):
        RCS(warmup=0).select(survey, 0)


@pytest.mark.parametrize(("option", "value"), [("distance", "ot"), ("fraction", "0.0"), ("held_out", "1.0")])
def test_bad_options_are_refused(option: str, value: str) -> None:
    with pytest.raises(OptionError, match=option):
        compose(recipe="acl-rcs", overrides=[f"stage.pretrain.sampler.{option}={value}"])


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def nt_xent(first: Vectors, second: Vectors) -> float:
    """SimCLR, eq. 1, at temperature 0.5, averaged over the anchors of both views."""
    rows, count = [*first, *second], len(first)
    losses = []
    for i, row in enumerate(rows):
        top = math.exp(_cos(row, rows[(i + count) % len(rows)]) / 0.5)
        losses.append(-math.log(top / sum(math.exp(_cos(row, o) / 0.5) for k, o in enumerate(rows) if k != i)))
    return sum(losses) / len(losses)


@pytest.mark.golden("recipe", "acl-rcs")
@pytest.mark.golden("recipe", "dynacl-rcs")
@pytest.mark.parametrize(("recipe", "done", "weight"), [("acl-rcs", 0.5, 0.0), ("dynacl-rcs", 0.537, 1 / 3)])
def test_a_step_is_acls_loss_with_the_weights_of_its_epoch(recipe: str, done: float, weight: float) -> None:
    seen = one_step(recipe, progress=done)
    streams = {name: [view.z.tolist() for view in scene.views.values()] for name, scene in seen.scenes.items()}
    expected = ((1 - weight) * nt_xent(*streams["nat"]) + (1 + weight) * nt_xent(*streams["adv"])) / 2
    assert float(seen.losses["total"].detach()) == pytest.approx(expected, rel=1e-9)


def test_dynacl_rcs_schedules_at_known_epochs() -> None:
    (plan,) = compose(recipe="dynacl-rcs", budget="paper").stages
    nat, adv = (term.weights["contrast"] for term in plan.terms)
    for epoch, strength in {0: 1.0, 49: 1.0, 50: 0.95, 999: 0.05}.items():
        now = Progress(epoch * 10, 10_000, float(epoch), 1000.0)
        assert at(nat, now) == pytest.approx((1 - 2 / 3 * (1 - strength)) / 2)
        assert at(adv, now) == pytest.approx((1 + 2 / 3 * (1 - strength)) / 2)
        assert plan.views[0].part.schedules["strength"].at(now) == pytest.approx(strength)
    assert plan.sampler is not None
    assert (plan.sampler.after, plan.sampler.every, plan.sampler.part.plugin.warmup) == (0, 20, 100)


def test_a_run_trains_on_the_chosen_images_after_the_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    original = RCS.select

    def watched(self: RCS, survey: TinySurvey, epoch: int) -> Tensor:
        rows = original(self, survey, epoch)
        chosen.append(len(rows))
        return rows

    monkeypatch.setattr(RCS, "select", watched)
    settings = ["encoder.use=resnet-small", "encoder.width=2", "evaluate=[]", "stage.pretrain.epochs=4"]
    settings += ["stage.pretrain.sampler.every=2", "stage.pretrain.sampler.warmup=2", "stage.pretrain.batch=64"]
    settings += ["stage.pretrain.sampler.fraction=0.5", "data.validation=0.8"]
    run = compose(recipe="acl-rcs", budget="smoke", overrides=settings).train(
        tmp_path / "run", device="cpu", report=False
    )
    full, coreset = chosen
    assert coreset == int(0.5 * full) // 64 * 64
    last = json.loads((run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert last["step"] == 2 * (full // 64) + 2 * (coreset // 64)
