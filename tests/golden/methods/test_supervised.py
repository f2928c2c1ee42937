"""AT, TRADES, MART, ADR and adversarial SupCon: losses as loops over plain floats, attacks as loops over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import compose, registry
from robustcl.api import from_tables
from robustcl.errors import UsageError
from robustcl.options.schedule import Progress, Schedule
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.train.stage_files import load, stage_folder
from robustcl.types import Embedding, Scene
from robustcl_plugins.objectives.adr import ADR
from robustcl_plugins.objectives.kl import KL
from robustcl_plugins.objectives.mart import MART
from robustcl_plugins.protocols.own import Own
from tests.shared import tiny
from tests.shared.one_step import Seen, one_step

Rows = Sequence[Sequence[float]]


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    exps = [math.exp(value - top) for value in logits]
    return [value / sum(exps) for value in exps]


def cross_entropy(logits: Rows, label: Sequence[int]) -> list[float]:
    return [-math.log(softmax(row)[y]) for row, y in zip(logits, label, strict=True)]


def divergence(clean: Rows, adversarial: Rows) -> list[float]:
    """TRADES, eq. 5: KL of the clean prediction to the adversarial one."""
    pairs = [(softmax(p), softmax(q)) for p, q in zip(clean, adversarial, strict=True)]
    return [sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)) for p, q in pairs]


def mart(clean: Rows, adversarial: Rows, label: Sequence[int], slack: float = 0.0) -> tuple[list[float], list[float]]:
    """MART, eq. 8 and 9: boosted cross-entropy, and the weighted divergence."""
    bce, robust = [], []
    for p, q, y, kl in zip(clean, adversarial, label, divergence(clean, adversarial), strict=True):
        there = softmax(q)
        rival = max(value for k, value in enumerate(there) if k != y)
        bce.append(-math.log(there[y]) - math.log(1.0 + slack - rival))
        robust.append(kl * (1.0 - softmax(p)[y]))
    return bce, robust


def adr(
    z: Rows, logits: Rows, z_adv: Rows, logits_adv: Rows, label: Sequence[int], scale: float = 0.99
) -> dict[str, list[float]]:
    """The terms of ADR, each row that of an adversarial image."""
    n, found = len(label), {name: [] for name in ("lc", "ls", "gc", "gs", "conf")}  # type: dict[str, list[float]]
    for i in range(n):
        q = softmax(logits_adv[i])

        def distance(j: int, i: int = i) -> float:
            return sum(abs(a - b) for a, b in zip(z[j], z_adv[i], strict=True)) / len(z[j])

        def smooth(j: int, q: Sequence[float] = q) -> float:
            return -sum(a * math.log(b) for a, b in zip(softmax(logits[j]), q, strict=True))

        weight = [1.0 if label[i] == label[j] else (scale - 1.0) / scale for j in range(n)]
        found["lc"].append(distance(i))
        found["ls"].append(smooth(i))
        found["gc"].append(sum(weight[j] * distance(j) for j in range(n)) / n)
        found["gs"].append(sum(weight[j] * smooth(j) for j in range(n)) / n)
        found["conf"].append(-sum(a * math.log(a) for a in q))
    return found


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def scene_of(seed: int = 0, label: Sequence[int] = (0, 1, 0, 3, 1), dtype: torch.dtype = torch.float64) -> Scene:
    def drawn(*key: str, width: int = 4) -> Tensor:
        return Rng(seed, *key).normal((len(label), width), dtype=dtype).requires_grad_()

    views = {
        role: Embedding(logits=drawn(role, "logits"), h=drawn(role, "h", width=6)) for role in ("clean", "adversarial")
    }
    return make_scene(views, label=torch.tensor(label))


def logits_of(scene: Scene) -> tuple[list[list[float]], list[list[float]]]:
    return scene.views["clean"].logits.tolist(), scene.views["adversarial"].logits.tolist()


def near(found: Tensor, expected: Sequence[float] | Tensor, tolerance: float = 1e-9) -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


def gradients(value: Tensor, scene: Scene, layer: str = "logits") -> tuple[Tensor, Tensor]:
    leaves = [getattr(scene.views[role], layer) for role in ("clean", "adversarial")]
    found = torch.autograd.grad(value, leaves, allow_unused=True, retain_graph=True)
    clean, adversarial = (torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True))
    return clean, adversarial


# --- the objectives


@pytest.mark.golden("objective", "kl")
def test_kl_is_the_loop_and_torchs_own_with_gradient_toward_both_sides() -> None:
    scene = scene_of()
    found = KL().per_sample(scene)["kl"]
    near(found, divergence(*logits_of(scene)))
    clean, adversarial = (scene.views[role].logits for role in ("clean", "adversarial"))
    expected = F.kl_div(adversarial.log_softmax(1), clean.softmax(1), reduction="none").sum(1)
    near(found, expected)
    for ours, theirs in zip(gradients(found.sum(), scene), gradients(expected.sum(), scene), strict=True):
        near(ours, theirs)
        assert bool(ours.any()), "TRADES does not stop the gradient on either side"


@pytest.mark.golden("objective", "kl")
def test_kl_by_hand_and_with_the_clean_side_held() -> None:
    """(1/2, 1/2) against (1/4, 3/4): half of log 2 plus half of log 2/3."""
    views = {
        "clean": Embedding(logits=torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)),
        "adversarial": Embedding(logits=torch.tensor([[0.0, math.log(3)]], dtype=torch.float64, requires_grad=True)),
    }
    scene = make_scene(views)
    held = KL(stop_gradient=True).per_sample(scene)["kl"]
    near(held, [0.5 * math.log(2) + 0.5 * math.log(2 / 3)])
    clean, adversarial = gradients(held.sum(), scene)
    assert not clean.any(), "VAT's target is a constant"
    near(adversarial, [[0.25 - 0.5, 0.75 - 0.5]])


@pytest.mark.golden("objective", "kl")
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_kl_of_sure_predictions_is_finite(size: float) -> None:
    logits = torch.tensor([[size, -size, 0.0]], requires_grad=True)
    scene = make_scene({"clean": Embedding(logits=logits), "adversarial": Embedding(logits=logits.detach().flip(1))})
    value = KL().per_sample(scene)["kl"].sum()
    assert math.isfinite(value.item())
    assert bool(torch.autograd.grad(value, logits)[0].isfinite().all())


@pytest.mark.golden("objective", "mart")
@pytest.mark.parametrize("slack", [0.0, 1e-4])
def test_mart_is_the_loop_and_its_gradient_goes_through_every_probability(slack: float) -> None:
    scene = scene_of()
    label = scene.batch.label
    found = MART(slack=slack).per_sample(scene)
    bce, robust = mart(*logits_of(scene), label.tolist(), slack)
    near(found["bce"], bce)
    near(found["robust"], robust)
    p, q = (scene.views[role].logits.softmax(1) for role in ("clean", "adversarial"))
    row = torch.arange(len(label))
    rival = q.masked_fill(F.one_hot(label, 4).bool(), 0.0).amax(1)
    expected = {
        "bce": -q[row, label].log() - (1 + slack - rival).log(),
        "robust": (p * (p.log() - q.log())).sum(1) * (1 - p[row, label]),
    }
    for name, value in expected.items():
        for ours, theirs in zip(gradients(found[name].sum(), scene), gradients(value.sum(), scene), strict=True):
            near(ours, theirs)


@pytest.mark.golden("objective", "mart")
def test_mart_by_hand() -> None:
    """p = (1/2, 1/4, 1/4) clean, (1/4, 1/2, 1/4) adversarial, label 0: the rival is class 1."""
    log = torch.tensor([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0]], dtype=torch.float64).log()
    scene = make_scene(
        {"clean": Embedding(logits=log[:1]), "adversarial": Embedding(logits=log[1:])}, label=torch.tensor([0])
    )
    found = MART().per_sample(scene)
    near(found["bce"], [math.log(4) + math.log(2)])
    near(found["robust"], [0.5 * 0.25 * math.log(2)])


@pytest.mark.golden("objective", "mart")
@pytest.mark.parametrize("wrong", [True, False])
def test_mart_of_sure_predictions_is_finite(wrong: bool) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    view = Embedding(logits=logits)
    scene = make_scene({"clean": view, "adversarial": view}, label=torch.tensor([1 if wrong else 0]))
    found = MART().per_sample(scene)
    value = found["bce"].sum() + found["robust"].sum()
    assert math.isfinite(value.item())
    assert (value.item() > 1e4) == wrong
    assert bool(torch.autograd.grad(value, logits)[0].isfinite().all())


@pytest.mark.golden("objective", "mart")
@pytest.mark.golden("objective", "adr")
@pytest.mark.parametrize("objective", [MART(), ADR()])
def test_rows_without_a_label_are_left_out(objective: MART | ADR) -> None:
    whole = objective.per_sample(scene_of(label=(0, -1, 0, 3, -1)))
    kept = torch.tensor([0, 2, 3])
    scene = scene_of(label=(0, -1, 0, 3, -1))
    part = make_scene({role: view.take(kept) for role, view in scene.views.items()}, label=torch.tensor([0, 0, 3]))
    for name, value in objective.per_sample(part).items():
        near(whole[name], value)
    nothing = objective.per_sample(scene_of(label=(-1, -1, -1, -1, -1)))
    assert all(len(value) == 0 for value in nothing.values())


@pytest.mark.golden("objective", "adr")
@pytest.mark.parametrize("scale", [0.99, 0.9])
def test_adr_is_the_loop(scale: float) -> None:
    scene = scene_of()
    clean, adversarial = (scene.views[role].h.tolist() for role in ("clean", "adversarial"))
    logits, logits_adv = logits_of(scene)
    expected = adr(clean, logits, adversarial, logits_adv, scene.batch.label.tolist(), scale)
    found = ADR(scale=scale).per_sample(scene)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        near(found[name], value)


@pytest.mark.golden("objective", "adr")
def test_the_clean_side_of_adr_stands_still() -> None:
    scene = scene_of()
    for name, value in ADR().per_sample(scene).items():
        for layer in ("h", "logits"):
            clean, adversarial = gradients(value.sum(), scene, layer)
            assert not clean.any(), name
            assert bool(adversarial.any()) == (layer == ("h" if name in ("lc", "gc") else "logits")), name


@pytest.mark.golden("objective", "adr")
def test_adr_by_hand_and_in_a_batch_of_one_class() -> None:
    """Latents 0 and 4 against 1 and 1; in one class all weights are 1, where the released code has 0 / 0."""
    z, z_adv = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [1.0]], requires_grad=True)
    flat = torch.zeros(2, 2)
    views = {"clean": Embedding(h=z, logits=flat), "adversarial": Embedding(h=z_adv, logits=flat)}
    one = ADR().per_sample(make_scene(views, label=torch.tensor([1, 1])))
    near(one["lc"], [1.0, 3.0])
    near(one["gc"], [2.0, 2.0])
    near(one["gs"], [math.log(2)] * 2, 1e-6)
    near(one["conf"], [math.log(2)] * 2, 1e-6)
    assert bool(torch.autograd.grad(one["gc"].sum(), z_adv)[0].isfinite().all())
    two = ADR(scale=0.5).per_sample(make_scene(views, label=torch.tensor([0, 1])))
    near(two["gc"], [(1.0 - 3.0) / 2, (3.0 - 1.0) / 2])


@pytest.mark.golden("objective", "adr")
def test_adr_with_a_frozen_clean_side_is_refused() -> None:
    views = scene_of().views
    with pytest.raises(UsageError, match="frozen"):
        ADR().per_sample(make_scene(views, apart=["clean"], label=torch.tensor([0, 1, 0, 3, 1])))


# --- the recipes


def attacked(
    seen: Seen,
    loss: Callable[[Tensor], Tensor],
    *,
    eps: float,
    step_size: float,
    steps: int = 10,
    gaussian: bool = False,
    mode: str = "eval",
    route: str = "clean",
    layer: str = "logits",
) -> Tensor:
    """Projected gradient ascent as a loop over pixels, from the same random start, on the encoder as it was."""
    online, x = seen.run.encoders.online, seen.batch.views["w"]
    for module in online.modules():
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    rng = Rng(0, "step").child("generator", "w_adv").for_rows(seen.batch.index)
    move = 0.001 * rng.normal(x.shape, dtype=x.dtype) if gaussian else eps * rng.uniform(x.shape, -1, 1, dtype=x.dtype)
    online.train(mode == "train")
    adv = (x + move.clamp(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        leaf = adv.detach().requires_grad_()
        value = loss(getattr(online(leaf, route, frozenset({layer})), layer))
        adv = adv + step_size * torch.autograd.grad(value, leaf)[0].sign()
        adv = torch.minimum(torch.maximum(adv, x - eps), x + eps).clamp(0, 1)
    return adv.detach()


def wrong(seen: Seen) -> Callable[[Tensor], Tensor]:
    return lambda logits: F.cross_entropy(logits, seen.batch.label, reduction="sum")


def clean_in_eval(seen: Seen, layer: str = "logits") -> Tensor:
    online = seen.run.encoders.online
    for module in online.modules():
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    with torch.no_grad():
        return getattr(online.eval()(seen.batch.views["w"], "clean", frozenset({layer})), layer)


def norm_updates(seen: Seen) -> set[int]:
    return {int(b) for n, b in seen.run.encoders.online.backbone.named_buffers() if n.endswith("num_batches_tracked")}


def embedded(seen: Seen, view: str, layer: str) -> list[list[float]]:
    """Embed one view by itself in training mode."""
    return getattr(
        seen.run.encoders.embed(seen.batch.views[view], "online", "clean", frozenset({layer}), "train"), layer
    ).tolist()


@pytest.mark.golden("recipe", "at")
def test_at_is_the_cross_entropy_of_what_pgd_makes_of_it() -> None:
    seen = one_step("at")
    label = seen.batch.label.tolist()
    expected = mean(cross_entropy(embedded(seen, "w_adv", "logits"), label))
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)
    near(seen.batch.views["w_adv"], attacked(seen, wrong(seen), eps=32 / 255, step_size=8 / 255))


@pytest.mark.golden("recipe", "at")
def test_at_as_published_moves_batch_statistics_in_the_attack_too() -> None:
    seen = one_step("at", overrides=["stage.train.generator.mode=train"])
    assert norm_updates(seen) == {10 + 1}
    assert norm_updates(one_step("at")) == {1}


@pytest.mark.golden("recipe", "trades")
def test_trades_is_equation_5_and_maximises_its_own_divergence() -> None:
    seen = one_step("trades")
    assert norm_updates(seen) == {2}, "a forward for the clean and one for the adversarial images"
    clean, adversarial = (embedded(seen, view, "logits") for view in ("w", "w_adv"))
    ce = mean(cross_entropy(clean, seen.batch.label.tolist()))
    kl = mean(divergence(clean, adversarial))
    assert seen.losses["ce/ce"].item() == pytest.approx(ce, rel=1e-9)
    assert seen.losses["robust/kl"].item() == pytest.approx(6 * kl, rel=1e-9)
    assert seen.losses["total"].item() == pytest.approx(ce + 6 * kl, rel=1e-9)
    fixed = clean_in_eval(seen).softmax(1)
    expected = attacked(
        seen,
        lambda logits: (fixed * (fixed.log() - logits.log_softmax(1))).sum(),
        eps=32 / 255, step_size=8 / 255, gaussian=True,
    )  # fmt: skip
    near(seen.batch.views["w_adv"], expected)


@pytest.mark.golden("recipe", "trades")
def test_trades_has_gradient_toward_the_clean_side() -> None:
    seen = one_step("trades")
    clean, adversarial = (seen.scenes["robust"].views[role].logits for role in ("clean", "adversarial"))
    toward = torch.autograd.grad(seen.losses["robust/kl"], [clean, adversarial])
    p, q = clean.detach().softmax(1), adversarial.detach().softmax(1)
    kl = (p * (p.log() - q.log())).sum(1, keepdim=True)
    near(toward[0], 6 * p * (p.log() - q.log() - kl) / len(p))
    near(toward[1], 6 * (q - p) / len(p))


@pytest.mark.golden("recipe", "mart")
def test_mart_is_equation_11_and_maximises_a_loss_that_is_no_term() -> None:
    seen = one_step("mart")
    assert {name for name in seen.losses if name != "total"} == {"mart/bce", "mart/robust"}
    clean, adversarial = (embedded(seen, view, "logits") for view in ("w", "w_adv"))
    bce, robust = mart(clean, adversarial, seen.batch.label.tolist())
    assert seen.losses["total"].item() == pytest.approx(mean(bce) + 5 * mean(robust), rel=1e-9)
    expected = attacked(seen, wrong(seen), eps=32 / 255, step_size=8 / 255, gaussian=True)
    near(seen.batch.views["w_adv"], expected)


@pytest.mark.golden("recipe", "adr")
def test_adr_is_the_sum_of_its_terms_on_what_pgd_finds_in_train_mode() -> None:
    seen = one_step("adr", images=16)
    assert norm_updates(seen) == {10 + 2}, "train-mode attack, then two forwards"
    z, z_adv = (embedded(seen, view, "h") for view in ("w", "w_adv"))
    logits, logits_adv = (embedded(seen, view, "logits") for view in ("w", "w_adv"))
    label = seen.batch.label.tolist()
    terms = {name: mean(value) for name, value in adr(z, logits, z_adv, logits_adv, label).items()}
    at = mean(cross_entropy(logits_adv, label))
    total = at + terms["lc"] + terms["ls"] + terms["gc"] + terms["conf"]
    assert seen.losses["total"].item() == pytest.approx(total, rel=1e-9)
    assert seen.losses["adr/gs"].item() == 0.0
    expected = attacked(seen, wrong(seen), eps=32 / 255, step_size=8 / 255, mode="train")
    near(seen.batch.views["w_adv"], expected)


@pytest.mark.golden("recipe", "adr")
def test_adr_on_top_of_trades_as_its_page_says() -> None:
    seen = one_step(
        "adr",
        overrides=[
            'stage.train.term.robust={use="kl", views={clean="w", adversarial="w_adv"}, weight=6.0}',
            "stage.train.generator.maximise=robust",
            "stage.train.generator.start=gaussian",
            "stage.train.term.at.views=[\"w\"]",
        ],
    )  # fmt: skip
    clean, adversarial = (embedded(seen, view, "logits") for view in ("w", "w_adv"))
    assert seen.losses["robust/kl"].item() == pytest.approx(6 * mean(divergence(clean, adversarial)), rel=1e-9)
    assert seen.losses["at/ce"].item() == pytest.approx(mean(cross_entropy(clean, seen.batch.label.tolist())), rel=1e-9)


@pytest.mark.golden("recipe", "supcon-adversarial")
def test_adversarial_supcon_is_l_out_over_both_copies_of_every_image() -> None:
    seen = one_step("supcon-adversarial", images=16)
    online, label = seen.run.encoders.online, seen.batch.label.tolist()
    assert len(set(label)) < 16, "some classes come twice"
    rows: list[Sequence[float]] = []
    for view, route in (("w", "clean"), ("w_adv", "adv")):
        z = seen.run.encoders.embed(seen.batch.views[view], "online", route, frozenset({"z"}), "train").z
        rows += (z / z.norm(dim=1, keepdim=True)).tolist()
    dots = [[math.exp(sum(a * b for a, b in zip(u, v, strict=True)) / 0.1) for v in rows] for u in rows]
    losses = []
    for i in range(len(rows)):
        others = [a for a in range(len(rows)) if a != i]
        positives = [p for p in others if label[p % len(label)] == label[i % len(label)]]
        bottom = sum(dots[i][a] for a in others)
        losses.append(-mean([math.log(dots[i][p] / bottom) for p in positives]))
    assert seen.losses["total"].item() == pytest.approx(mean(losses), rel=1e-9)

    fixed = F.normalize(clean_in_eval(seen, "z"))
    same = torch.tensor([[a == b for b in label * 2] for a in label * 2]) & ~torch.eye(len(rows)).bool()

    def supcon(z: Tensor) -> Tensor:
        both = torch.cat([fixed, F.normalize(z)])
        logits = (both @ both.T / 0.1).masked_fill(torch.eye(len(both)).bool(), -torch.inf)
        log = logits.log_softmax(1).masked_fill(~same, 0.0)
        return -(log.sum(1) / same.sum(1)).sum()

    expected = attacked(seen, supcon, eps=32 / 255, step_size=8 / 255, steps=5, route="adv", layer="z")
    near(seen.batch.views["w_adv"], expected)
    assert online.routes == ("clean", "adv")


@pytest.mark.golden("recipe", "trades")
@pytest.mark.golden("recipe", "mart")
@pytest.mark.golden("recipe", "adr")
@pytest.mark.parametrize(
    ("recipe", "eps", "epochs", "rates"),
    [
        ("at", 8 / 255, 120, {0: 0.1, 89.9: 0.1, 90: 0.01, 107.9: 0.01, 108: 0.001}),
        ("trades", 0.031, 76, {0: 0.1, 73.99: 0.1, 74: 0.01}),
        ("mart", 0.031, 120, {0: 0.01, 73.99: 0.01, 74: 0.001, 88.99: 0.001, 89: 1e-4, 98.99: 1e-4, 99: 1e-5}),
        ("adr", 0.031, 120, {0: 0.1, 99.99: 0.1, 100: 0.01, 104.99: 0.01, 105: 0.001, 109.99: 0.001, 110: 1e-4}),
    ],
)
def test_the_published_numbers(recipe: str, eps: float, epochs: int, rates: dict[float, float]) -> None:
    composition = compose(recipe=recipe, dataset="cifar10", data_dir=".", budget="paper")
    (plan,) = composition.stages
    assert isinstance(plan.lr, Schedule)
    assert plan.epochs == epochs
    steps = epochs * 351
    found = {e: plan.lr.at(Progress(round(e * 351), steps, e, float(epochs))) for e in rates}
    assert found == pytest.approx(rates)
    (generator,) = plan.generators
    assert float(generator.ball.eps) == pytest.approx(eps)
    options = generator.part.plugin
    assert (options.steps, options.step_size) == (10, pytest.approx(2 / 255 if recipe == "at" else 0.007))
    assert options.start == ("gaussian" if recipe in ("trades", "mart") else "uniform")
    assert [evaluation.table.use for evaluation in composition.evaluations] == ["own"]


# --- the classifier that a run trained itself


@pytest.mark.golden("protocol", "own")
def test_own_judges_the_very_classifier_that_was_trained(tmp_path: Path) -> None:
    overrides = ["stage.train.epochs=1", "evaluate.own.samples=32", 'evaluate.own.attacks=["fgsm"]']
    composition = compose(recipe="at", budget="smoke", encoder="resnet-small", overrides=overrides)
    run = composition.train(tmp_path / "run", device="cpu", report=False)
    assert sorted(path.name for path in (run.path / "stages").iterdir()) == ["train"], "nothing more is trained"
    classifier = load(stage_folder(run.path, "train")).eval()
    test = composition.dataset.plugin.open("test")
    x = test.fetch(torch.arange(32)).float() / (255 if test.fetch(torch.arange(1)).dtype == torch.uint8 else 1)
    with torch.no_grad():
        right = classifier(x, "clean", frozenset({"logits"})).logits.argmax(1) == test.labels[:32]
    rows = {(row["split"], row["attack"]): row for row in run.results.tables["rows"]}
    assert rows["test", None]["correct"] == int(right.sum())
    assert rows["test", "fgsm"]["correct"] <= rows["test", None]["correct"]


@pytest.mark.golden("protocol", "own")
def test_own_has_no_stage_on_any_route() -> None:
    assert [list(Own().stages(route)) for route in ("clean", "adv")] == [[], []]


def refused(tables: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        from_tables(tables, "test")
    return str(error.value)


CE = {"ce": {"use": "cross-entropy", "views": ["w"]}}


def supervised(**changes: Any) -> dict[str, Any]:
    plain = {"name": "train", "epochs": 1, "split": "train", "views": {"w": "none"}, "term": CE}
    return {**plain, "optimizer": {"use": "sgd", "lr": 0.1}, **changes}


def with_own(*stages: dict[str, Any], **evaluate: Any) -> dict[str, Any]:
    return {"name": "own", "stage": list(stages), "evaluate": [{"use": "own", **evaluate}]}


CONTRAST = {"views": {"a": "weak", "b": "weak"}, "term": {"c": {"use": "info-nce", "views": ["a", "b"]}}}


@pytest.mark.golden("protocol", "own")
def test_own_is_refused_where_nothing_trained_a_classifier() -> None:
    contrast = supervised(name="pretrain", **CONTRAST)
    said = refused(with_own(contrast))
    assert "evaluate.own: stage pretrain ends without a trained classifier" in said
    assert 'protocol = "slf"' in said
    reset = supervised(name="new", **CONTRAST, init="stage:train", classifier="zero")
    assert "stage new ends without" in refused(with_own(supervised(), reset))
    assert "stage pretrain" in refused(with_own(contrast, supervised(), stage="pretrain"))
    assert "ends without" in refused(with_own(supervised(trainable=["backbone"])))
    assert "nothing has trained the classifier before" in refused(with_own(supervised(freeze=["classifier"])))
    clusters = {"use": "spherical-kmeans", "clusters": 4}
    assert "clusters" in refused(with_own(supervised(labels="targets:0", targets=clusters)))


@pytest.mark.golden("protocol", "own")
def test_own_takes_a_classifier_from_an_earlier_stage() -> None:
    later = supervised(name="later", **CONTRAST, init="stage:train")
    for tables in (
        with_own(supervised()),
        with_own(supervised(), later),
        with_own(supervised(name="first", **CONTRAST), supervised(trainable=["classifier"], init="stage:first")),
    ):
        (evaluation,) = from_tables(tables, "test").evaluations
        assert evaluation.stages == {"clean": ()}


@pytest.mark.golden("protocol", "own")
def test_own_and_a_classifier_from_outside(tmp_path: Path) -> None:
    composition = from_tables({**tiny.tables(), "stage": [supervised()], "evaluate": []}, "tiny")
    folder = stage_folder(composition.train(tmp_path / "run", device="cpu", report=False).path, "train")
    taken = supervised(name="taken", **CONTRAST, init=f"file:{folder}")
    encoder = tiny.tables()["encoder"]
    run = from_tables({**with_own(taken, samples=16, attacks=["fgsm"]), "encoder": encoder}, "test")
    assert run.train(tmp_path / "again", device="cpu", report=False).results.tables["rows"]

    class Two:
        """Digits as even and odd."""

        needs = registry.get("dataset", "digits").needs
        citation = "no source"
        encoder = "resnet-small"

        def open(self, split: str) -> Any:
            source = registry.get("dataset", "digits")().open(split)
            return Relabelled(source, source.labels % 2)

        def classes(self) -> tuple[str, ...]:
            return ("even", "odd")

        def statistics(self) -> Any:
            return registry.get("dataset", "digits")().statistics()

    with registry.local("dataset", "parity", Two):
        tables = {**with_own(taken), "encoder": encoder, "data": {"use": "parity"}}
        with pytest.raises(UsageError, match=r"has 10 outputs, the data set 2 classes"):
            from_tables(tables, "test").train(tmp_path / "other", device="cpu", report=False)
    assert not (tmp_path / "other").exists()


class Relabelled:
    """The images of a source under other labels."""

    def __init__(self, source: Any, labels: Tensor) -> None:
        self.source, self.item, self.labels = source, source.item, labels

    def fetch(self, index: Tensor) -> Tensor:
        return self.source.fetch(index)


@pytest.mark.golden("recipe", "trades")
def test_trades_on_images_without_labels_is_one_sentence(tmp_path: Path) -> None:
    class Unlabelled:
        """Digits whose training images have lost their labels."""

        needs = registry.get("dataset", "digits").needs
        citation = "no source"
        encoder = "resnet-small"

        def open(self, split: str) -> Any:
            source = registry.get("dataset", "digits")().open(split)
            return source if split == "test" else Relabelled(source, torch.full_like(source.labels, -1))

        def classes(self) -> tuple[str, ...]:
            return tuple("0123456789")

        def statistics(self) -> Any:
            return registry.get("dataset", "digits")().statistics()

    with registry.local("dataset", "unlabelled", Unlabelled):
        composition = compose(recipe="trades", dataset="unlabelled", budget="smoke")
        with pytest.raises(UsageError, match=r"stage\.train: it needs labels, and the split 'train' has none"):
            composition.train(tmp_path / "run", device="cpu", report=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.golden("objective", "kl")
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stage.train.term.robust.stop_gradient=1", "stop_gradient"),
        ("stage.train.term.robust.stop_gradients=true", "did you mean"),
        ("stage.train.term.robust.views.clean=v", "no view 'v'"),
    ],
)
def test_bad_options_of_trades(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compose(recipe="trades", overrides=[override])


@pytest.mark.golden("objective", "mart")
@pytest.mark.golden("objective", "adr")
@pytest.mark.parametrize(
    ("recipe", "option", "value"),
    [("mart", "slack", "-1.0"), ("mart", "mix", "{kl=1.0}"), ("adr", "scale", "0.0"), ("adr", "layer", "logits")],
)
def test_bad_options_of_mart_and_adr(recipe: str, option: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"stage\.train\.term\.{recipe}\.{option}"):
        compose(recipe=recipe, overrides=[f"stage.train.term.{recipe}.{option}={value}"])
