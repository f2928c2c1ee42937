"""DynACL's schedules, averaged encoder and weights, and DynACL++'s four stages; Euclidean k-means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sklearn.cluster
import torch
from torch import Tensor

from robustcl import compose
from robustcl.errors import UsageError
from robustcl.options.schedule import Progress, Schedule
from robustcl.rng import Rng
from robustcl.train import stage_files
from robustcl_plugins.targets.kmeans import KMeans
from tests.shared.one_step import TINY, Seen, one_step

Vector = Sequence[float]


def nt_xent(first: Sequence[Vector], second: Sequence[Vector]) -> float:
    """Mean over 2N anchors of -log softmax at temperature 0.5."""
    rows, images = [*first, *second], len(first)
    unit = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in rows]
    losses = []
    for i, anchor in enumerate(unit):
        exps = [math.exp(sum(a * b for a, b in zip(anchor, row, strict=True)) / 0.5) for row in unit]
        losses.append(-math.log(exps[(i + images) % len(rows)] / (sum(exps) - exps[i])))
    return sum(losses) / len(losses)


def projections(seen: Seen, view: str, encoder: str, route: str) -> list[Vector]:
    """Embed one view alone, in training mode."""
    z = seen.run.encoders.embed(seen.batch.views[view], encoder, route, frozenset({"z"}), "train").z
    rows: list[Vector] = z.detach().tolist()
    return rows


def weight_of_the_adversarial_stream(epoch: int, epochs: int = 1000) -> float:
    return min(1 + (epoch // 50) * (50 / epochs) * 2 / 3, 2)


def strength(epoch: int, epochs: int = 1000) -> float:
    """The one in force: refreshed when the epoch, counted from 1, is 1 modulo 50."""
    last = epoch - (epoch - 1) % 50
    return 1 - (last - 1) / epochs


def close(found: Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-9)


# --- DynACL


@pytest.mark.golden("recipe", "dynacl")
def test_the_schedules_of_dynacl_epoch_by_epoch() -> None:
    assert (strength(1), strength(51), strength(1000)) == pytest.approx((1.0, 0.95, 0.05))
    known = [weight_of_the_adversarial_stream(epoch) for epoch in (49, 50, 1000)]
    assert known == pytest.approx([1.0, 1 + 0.05 * 2 / 3, 5 / 3])
    plan = compose(recipe="dynacl", budget="paper").stages[0]
    weights = {term.name: term.weights["contrast"] for term in plan.terms}
    assert isinstance(plan.lr, Schedule)
    for epoch in (1, 2, 9, 10, 11, 49, 50, 51, 100, 101, 500, 777, 999, 1000):
        for within in (0.0, 0.5):
            now = Progress(0, 100_000, epoch - 1 + within, 1000.0)
            w = weight_of_the_adversarial_stream(epoch)
            assert weights["nat"].at(now) == pytest.approx((2 - w) / 2), epoch
            assert weights["adv"].at(now) == pytest.approx(w / 2), epoch
            for view in plan.views:
                view.part.move_to(now)
                assert view.part.plugin.strength == pytest.approx(strength(epoch)), epoch
            if epoch <= 10:
                assert plan.lr.at(now) == pytest.approx(5 * epoch / 10)
            else:
                assert plan.lr.at(now) == pytest.approx(2.5 * (1 + math.cos(math.pi * (epoch - 11) / 990)), abs=0.01)
    assert {view.part.plugin.interpolation for view in plan.views} == {"bilinear"}


@pytest.mark.golden("recipe", "dynacl")
def test_the_crop_and_the_colours_fade_but_not_the_mirror() -> None:
    part = compose(recipe="dynacl", dataset="npz:none.npz", budget="paper").stages[0].views[0].part
    part.move_to(Progress(0, 100_000, 999.0, 1000.0))
    view = part.plugin
    boxes, mirrored = view.crops(torch.rand(4000, 3, 32, 32), Rng(0, "crop").for_rows(torch.arange(4000)))
    assert (boxes[:, 2] * boxes[:, 3]).min() / 32**2 > 1 - 0.9 * 0.05 - 0.05, "one pixel of rounding"
    assert 0.45 < mirrored.double().mean() < 0.55
    colours = view.colours(torch.rand(4000, 3, 32, 32), Rng(0, "colour").for_rows(torch.arange(4000)))
    assert 0.02 < colours.jittered.double().mean() < 0.06
    assert 0.002 < colours.greyed.double().mean() < 0.02
    assert float((colours.amount[:, :3] - 1).abs().max()) <= 0.4 * 0.05 + 1e-6


@pytest.mark.golden("recipe", "dynacl")
@pytest.mark.parametrize("epoch", [1, 501])
def test_dynacl_weighs_two_streams_of_mixed_encoders(epoch: int) -> None:
    seen = one_step("dynacl", progress=(epoch - 1) / 1000)
    with torch.no_grad():  # fresh averages equal the encoder: make them differ
        for parameter in seen.run.encoders.ema["ema"].parameters():
            parameter.mul_(0.9)
    again = step(seen)
    natural = nt_xent(projections(seen, "a", "online", "clean"), projections(seen, "b", "ema", "clean"))
    adversarial = nt_xent(projections(seen, "a_adv", "online", "adv"), projections(seen, "b_adv", "ema", "adv"))
    w = weight_of_the_adversarial_stream(epoch)
    close(again["nat/contrast"], (2 - w) * natural / 2)
    close(again["adv/contrast"], w * adversarial / 2)
    close(again["total"], ((2 - w) * natural + w * adversarial) / 2)


def step(seen: Seen) -> dict[str, Tensor]:
    """Take the step once more on the same images; ``seen`` then holds its scenes."""
    run = seen.run
    losses: dict[str, Tensor] = run.step(
        **run.inputs(seen.batch.index, run.images.fetch(seen.batch.index), run.step.moment.rng)
    )
    seen.scenes.update({term.name: scene for term, scene in run.step.scenes})
    return losses


@pytest.mark.golden("recipe", "dynacl")
def test_the_average_learns_nothing_by_gradient_and_keeps_its_own_statistics() -> None:
    seen = one_step("dynacl")
    for scene in seen.scenes.values():
        first, second = scene.views.values()
        assert first.z.requires_grad
        assert not second.z.requires_grad
    online, average = seen.run.encoders.online, seen.run.encoders.ema["ema"]
    assert not any(parameter.requires_grad for parameter in average.parameters())
    means = [dict(encoder.named_buffers())["backbone.bn1.running_mean"] for encoder in (online, average)]
    assert not torch.equal(*means), "each has seen its own view"


@pytest.mark.golden("recipe", "dynacl")
def test_the_average_follows_by_a_hundredth_before_the_optimiser() -> None:
    seen = one_step("dynacl")
    encoders = seen.run.encoders
    before = {name: p.clone() for name, p in encoders.ema["ema"].named_parameters()}
    buffers = {name: b.clone() for name, b in encoders.ema["ema"].named_buffers()}
    with torch.no_grad():
        for parameter in encoders.online.parameters():
            parameter.add_(1.0)
    encoders.follow(seen.run.step.moment.progress, before_optimiser=False)
    assert all(torch.equal(p, before[name]) for name, p in encoders.ema["ema"].named_parameters())
    encoders.follow(seen.run.step.moment.progress, before_optimiser=True)
    for name, parameter in encoders.ema["ema"].named_parameters():
        expected = 0.99 * before[name] + 0.01 * dict(encoders.online.named_parameters())[name]
        torch.testing.assert_close(parameter.detach(), expected.detach())
    assert all(torch.equal(b, buffers[name]) for name, b in encoders.ema["ema"].named_buffers())


@pytest.mark.golden("recipe", "dynacl")
def test_the_attack_of_dynacl_goes_through_both_encoders() -> None:
    chosen = ("stage.pretrain.generator.steps=1", "stage.pretrain.generator.start=none")
    seen = one_step("dynacl", overrides=chosen)
    encoders = seen.run.encoders
    with torch.no_grad():
        for parameter in encoders.ema["ema"].parameters():
            parameter.mul_(0.8)
    for encoder in (encoders.online, encoders.ema["ema"]):
        for module in encoder.modules():
            if hasattr(module, "reset_running_stats"):
                module.reset_running_stats()
    x = [seen.batch.views[name].clone().requires_grad_() for name in ("a", "b")]
    z = [encoders.embed(v, e, "adv", frozenset({"z"}), "eval").z for v, e in zip(x, ("online", "ema"), strict=True)]
    rows = torch.nn.functional.normalize(torch.cat(z))
    logits = (rows @ rows.T / 0.5).masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(rows)).roll(len(rows) // 2))
    gradients = torch.autograd.grad(loss, x)
    step(seen)
    for name, clean, gradient in zip("ab", x, gradients, strict=True):
        certain = gradient.abs() > 1e-12
        assert certain.double().mean() > 0.5
        expected = (clean.detach() + 8 / 255 * gradient.sign()).clamp(0, 1)
        torch.testing.assert_close(seen.batch.views[f"{name}_adv"][certain], expected[certain], rtol=0, atol=1e-12)


@pytest.mark.golden("recipe", "dynacl")
def test_dynacl_is_judged_by_its_average_and_composes_without_it() -> None:
    (plan,) = compose(recipe="dynacl", budget="paper").evaluations
    assert (plan.table.encoder, plan.table.route) == ("ema", ["adv"])
    without = ("stage.pretrain.encode={}", "stage.pretrain.encoders={}", "evaluate.slf.encoder=online")
    assert compose(recipe="dynacl", budget="paper", overrides=without).stages[0].ema == {}
    rate = {d: compose(recipe="dynacl", budget="paper", dataset=d) for d in ("cifar10", "cifar100", "stl10")}
    assert [c.recipe.evaluate[0].options["lr"] for c in rate.values()] == [0.01, 0.05, 0.1]


# --- DynACL++


@pytest.mark.golden("recipe", "dynacl++")
def test_the_last_stage_is_trades_on_clusters() -> None:
    seen = one_step("dynacl++", "aft")
    clustering = seen.run.clusters.clustering
    assert clustering is not None
    own = clustering.assignment[0][seen.batch.index].tolist()
    assert seen.batch.label.tolist() == own
    logits = [
        seen.run.encoders.embed(seen.batch.views[v], "online", "clean", frozenset({"logits"}), "train").logits.tolist()
        for v in ("w", "w_adv")
    ]
    cross, divergence = [], []
    for clean, adversarial, label in zip(*logits, own, strict=True):
        p, q = ([math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in (clean, adversarial))
        cross.append(-math.log(p[label]))
        divergence.append(sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)))
    close(seen.losses["ce/ce"], sum(cross) / len(cross))
    close(seen.losses["robust/kl"], 6 * sum(divergence) / len(divergence))
    assert seen.run.encoders.online.routes == ("clean",)


@pytest.mark.golden("recipe", "dynacl++")
def test_the_last_attack_leaves_the_clean_point_although_it_starts_there() -> None:
    """Its first gradient is rounding noise; what moves by it is then pushed along the divergence."""
    seen = one_step("dynacl++", "aft")
    (generator,) = seen.run.plan.generators
    plugin, term = generator.part.plugin, generator.maximise
    assert term is not None
    assert (plugin.start, plugin.steps, term.name) == ("none", 10, "robust")
    distance = (seen.batch.views["w_adv"] - seen.batch.views["w"]).abs().amax((1, 2, 3))
    assert (distance > 0).double().mean() > 0.5
    assert distance.max() <= 32 / 255 + 1e-7


@pytest.mark.golden("recipe", "dynacl++")
def test_the_four_stages_follow_each_other(tmp_path: Path) -> None:
    """The probe freezes the average's adversarial branch, and both later stages learn the clusters found once."""
    overrides = (*TINY, "evaluate.slf.samples=8", "evaluate.slf.epochs=1", "evaluate.slf.curve=[]")
    compose(recipe="dynacl++", budget="smoke", overrides=overrides).train(tmp_path / "run", device="cpu", report=False)
    run = tmp_path / "run"
    encoder = {
        name: stage_files.load(stage_files.resolve(f"stage:{name}", run)) for name in ("pretrain@ema", "probe", "aft")
    }
    branch = encoder["pretrain@ema"].rerouted({"clean": "adv"}).state_dict()
    probed, tuned = encoder["probe"].state_dict(), encoder["aft"].state_dict()
    assert encoder["probe"].routes == encoder["aft"].routes == ("clean",)
    for name, value in branch.items():
        assert torch.equal(probed[name], value), name
    assert probed["classifier.weight"].abs().max() > 0
    assert not torch.equal(tuned["backbone.conv1.weight"], probed["backbone.conv1.weight"])
    device = torch.device("cpu")
    found = [stage_files.clusters(run, f"stage:{name}", device).clustering for name in ("cluster", "probe", "aft")]
    assert all(f is not None and torch.equal(f.assignment, found[0].assignment) for f in found)


@pytest.mark.golden("recipe", "dynacl++")
def test_the_probe_trains_a_zero_classifier_alone() -> None:
    (plan,) = (p for p in compose(recipe="dynacl++", budget="paper").stages if p.name == "probe")
    table = compose(recipe="dynacl++", budget="paper").recipe.find("probe")
    assert (plan.trainable, plan.mode, plan.labels, plan.epochs) == (("classifier",), "eval", 0, 10)
    assert (table.classifier, table.init, table.init_route) == ("zero", "stage:pretrain@ema", "adv")
    hundred = compose(recipe="dynacl++", budget="paper", dataset="cifar100")
    assert {p.targets.clusters for p in hundred.stages if p.targets is not None} == {(100,)}


# --- k-means


def blobs(seed: int = 0) -> Tensor:
    rng = Rng(seed, "features")
    return rng.normal((5, 4)).repeat_interleave(20, dim=0) * 3 + 0.1 * rng.normal((100, 4))


@pytest.mark.golden("target", "kmeans")
def test_two_pairs_on_a_line_by_hand() -> None:
    """Means 1 and 11, two squares of 1 in each cluster; directions alone could not tell the two apart."""
    found = KMeans().fit(torch.tensor([[0.0, 2.0], [2.0, 2.0], [10.0, 2.0], [12.0, 2.0]]), (1, 2), Rng(0))
    assert found.centroids[1][found.assignment[1]].tolist() == [[1.0, 2.0], [1.0, 2.0], [11.0, 2.0], [11.0, 2.0]]
    assert found.inertia == pytest.approx((104.0, 4.0))
    first = (0 * 1 + 2 * 2) / (2 * math.sqrt(1 + 4))
    assert found.confidence[1, 0].item() == pytest.approx(first)
    assert found.assignment[0].tolist() == [0, 0, 0, 0]


@pytest.mark.golden("target", "kmeans")
@pytest.mark.parametrize("seeding", ["k-means++", "random"])
def test_each_row_is_nearest_to_its_own_centroid_which_is_the_mean_of_its_rows(seeding: Any) -> None:
    data = Rng(3).normal((60, 3), dtype=torch.float64)
    found = KMeans(seeding=seeding, tolerance=0.0).fit(data, (4,), Rng(0))
    centroids, own, total = found.centroids[0].tolist(), found.assignment[0].tolist(), 0.0
    for row, cluster in zip(data.tolist(), own, strict=True):
        squares = [sum((a - b) ** 2 for a, b in zip(row, centroid, strict=True)) for centroid in centroids]
        assert squares[cluster] == min(squares)
        total += squares[cluster]
    assert found.inertia[0] == pytest.approx(total)
    for cluster, centroid in enumerate(centroids):
        members = data[found.assignment[0] == cluster]
        assert centroid == pytest.approx(members.mean(0).tolist())


@pytest.mark.golden("target", "kmeans")
def test_planted_blobs_scikit_learn_agrees_and_the_best_restart_is_kept() -> None:
    found = KMeans(restarts=4).fit(blobs(), (5, 3), Rng(0))
    assert len({(int(a), i // 20) for i, a in enumerate(found.assignment[0])}) == 5
    theirs = sklearn.cluster.KMeans(5, n_init=10, random_state=1).fit(blobs().double().numpy())
    assert found.inertia[0] == pytest.approx(theirs.inertia_, rel=1e-6)
    noise = Rng(6).normal((200, 6))
    inertia = [KMeans(restarts=r, seeding="random").fit(noise, (9,), Rng(0)).inertia[0] for r in (1, 8)]
    assert inertia[1] < inertia[0]
    alone = KMeans(restarts=4).fit(blobs(), (3,), Rng(0))
    assert torch.equal(found.assignment[1], alone.assignment[0]), "each K has a stream of its own"


@pytest.mark.golden("target", "kmeans")
def test_what_cannot_be_clustered_is_said() -> None:
    with pytest.raises(UsageError, match="101 clusters cannot be made of 100 feature rows, 100 of them different"):
        KMeans().fit(blobs(), (101,), Rng(0))
    with pytest.raises(UsageError, match="3 clusters cannot be made of 6 feature rows, 2 of them different: ask for 1"):
        KMeans().fit(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(3, 1), (3,), Rng(0))
    with pytest.raises(UsageError, match="row 1"):
        KMeans().fit(torch.tensor([[0.0, 1.0], [math.nan, 0.0]]), (1,), Rng(0))
