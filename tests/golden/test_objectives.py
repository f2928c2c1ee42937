"""The objectives against the papers' formulas as loops over plain floats, hand numbers, and a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.types import Embedding, Pairs, Rows, Scene
from robustcl_plugins.objectives.cross_entropy import CrossEntropy
from robustcl_plugins.objectives.deacl import DeACL
from robustcl_plugins.objectives.info_nce import InfoNCE
from robustcl_plugins.objectives.supcon import SupCon
from robustcl_plugins.selectors.all import All
from robustcl_plugins.selectors.by_label import Global


def _views(
    count: int, images: int, *, seed: int = 0, width: int = 6, dtype: torch.dtype = torch.float64
) -> dict[str, Embedding]:
    drawn = [Rng(seed, "view", i).normal((images, width), dtype=dtype).requires_grad_() for i in range(count)]
    return {chr(ord("a") + i): Embedding(z=z, h=2 * z + 1) for i, z in enumerate(drawn)}


def _leaves(views: Mapping[str, Embedding]) -> list[Tensor]:
    return [view.z for view in views.values()]


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def nt_xent(rows: Sequence[Sequence[float]], partner: Sequence[int], temperature: float) -> list[float]:
    """SimCLR, eq. 1 and algorithm 1, with indices from 0."""
    losses = []
    for i in range(len(rows)):
        top = math.exp(_cos(rows[i], rows[partner[i]]) / temperature)
        bottom = sum(math.exp(_cos(rows[i], rows[k]) / temperature) for k in range(len(rows)) if k != i)
        losses.append(-math.log(top / bottom))
    return losses


def supcon_out(rows: Sequence[Sequence[float]], classes: Sequence[int], temperature: float) -> list[float]:
    """SupCon, eq. 2; an anchor without positives contributes 0."""
    losses = []
    for i in range(len(rows)):
        others = [a for a in range(len(rows)) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        bottom = sum(math.exp(_cos(rows[i], rows[a]) / temperature) for a in others)
        logs = [math.log(math.exp(_cos(rows[i], rows[p]) / temperature) / bottom) for p in positives]
        losses.append(-sum(logs) / len(positives) if positives else 0.0)
    return losses


def _close(found: Tensor, expected: Sequence[float] | Tensor, tolerance: float = 1e-9) -> None:
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("layer", ["z", "h"])
def test_info_nce_is_equation_1_of_simclr(temperature: float, layer: str) -> None:
    views = _views(2, 5)
    scene = make_scene(views, selector=All())
    found = InfoNCE(temperature=temperature, layer=layer).per_sample(scene)["contrast"]
    rows = [row.tolist() for view in views.values() for row in getattr(view, layer).detach()]
    _close(found, nt_xent(rows, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4], temperature))


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.parametrize("images", [1, 2, 4, 33])
def test_info_nce_of_equal_rows_is_the_log_of_the_number_of_candidates(images: int) -> None:
    same = Embedding(z=torch.ones(images, 3))
    found = InfoNCE().per_sample(make_scene({"a": same, "b": same}, selector=All()))["contrast"]
    _close(found, [math.log(2 * images - 1)] * (2 * images), 1e-6)


@pytest.mark.golden("objective", "info-nce")
def test_info_nce_of_two_orthogonal_images_by_hand() -> None:
    """Own view at cosine 1, both views of the other image at 0: -log e^2 / (e^2 + 2) at temperature 0.5."""
    z = Embedding(z=torch.tensor([[3.0, 0.0], [0.0, 0.5]]))
    found = InfoNCE(temperature=0.5).per_sample(make_scene({"a": z, "b": z}, selector=All()))["contrast"]
    _close(found, [math.log(1 + 2 * math.exp(-2))] * 4, 1e-6)


@pytest.mark.golden("objective", "info-nce")
def test_info_nce_is_cross_entropy_with_the_diagonal_masked() -> None:
    views = _views(2, 8)
    z = F.normalize(torch.cat(_leaves(views)))
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(16, dtype=torch.bool), -torch.inf)
    expected = F.cross_entropy(logits, torch.arange(16).roll(8), reduction="none")
    found = InfoNCE(temperature=0.5).per_sample(make_scene(views, selector=All()))["contrast"]
    _close(found, expected)
    for ours, theirs in zip(*[torch.autograd.grad(x.sum(), _leaves(views)) for x in (found, expected)], strict=True):
        _close(ours, theirs)


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.parametrize("positives", ["outside", "inside"])
def test_three_views_put_the_positives_outside_or_inside_the_logarithm(positives: str) -> None:
    views = _views(3, 4)
    found = InfoNCE(temperature=0.3, positives=positives).per_sample(make_scene(views, selector=All()))["contrast"]
    rows = [row.tolist() for view in views.values() for row in view.z.detach()]
    image = list(range(4)) * 3
    expected = []
    for i in range(12):
        exps = [math.exp(_cos(rows[i], rows[k]) / 0.3) for k in range(12)]
        bottom = sum(exps) - exps[i]
        own = [exps[p] for p in range(12) if p != i and image[p] == image[i]]
        mean_of_logs = sum(math.log(e / bottom) for e in own) / 2
        expected.append(-mean_of_logs if positives == "outside" else -math.log(sum(own) / bottom))
    _close(found, expected)


@pytest.mark.golden("objective", "info-nce")
def test_one_sided_keeps_the_value_and_halves_the_gradient() -> None:
    """RoCL with the second operand detached: about half the length, about the same direction."""
    views = {"a": Embedding(z=Rng(0, "a").normal((64, 16), dtype=torch.float64).requires_grad_())}
    views["b"] = Embedding(
        z=(views["a"].z.detach() + Rng(0, "b").normal((64, 16), dtype=torch.float64)).requires_grad_()
    )
    scene = make_scene(views, selector=All())
    both, one = (InfoNCE(one_sided=flag).per_sample(scene)["contrast"] for flag in (False, True))
    _close(one, both)
    full, half = (torch.cat(torch.autograd.grad(x.mean(), _leaves(views))).flatten() for x in (both, one))
    assert 0.45 < float(half.norm() / full.norm()) < 0.55
    assert float(F.cosine_similarity(half, full, dim=0)) > 0.98


@pytest.mark.golden("objective", "info-nce")
def test_columns_of_other_ranks_count_as_candidates() -> None:
    """The anchors of one of two ranks, against all columns, give that rank's part of the whole."""
    views = _views(2, 6)
    whole = InfoNCE().per_sample(make_scene(views, selector=All()))["contrast"]
    here = torch.tensor([3, 4, 5, 9, 10, 11])
    full = make_scene(views)
    rows = Rows(**{name: getattr(full.rows, name)[here] for name in ("sample", "view", "label", "index", "z")})
    scene = full.but(rows=rows, own=here)
    part = InfoNCE().per_sample(scene.but(pairs=All().select(scene)))["contrast"]
    _close(part, whole[here])


@pytest.mark.golden("objective", "info-nce")
def test_ignored_pairs_leave_the_denominator_and_weights_multiply_it() -> None:
    scene = make_scene(_views(2, 4), selector=All())
    z = torch.cat(_leaves(scene.views)).detach().tolist()
    weight = Rng(0, "weight").uniform((8, 8), dtype=torch.float64)
    weight = torch.where(weight < 0.3, 0.0, weight) * scene.pairs.negative
    positive = 0.7 * scene.pairs.positive.double()
    found = InfoNCE(temperature=0.5).per_sample(scene.but(pairs=Pairs(positive=positive, negative=weight)))["contrast"]
    expected = []
    for i in range(8):
        own = math.exp(_cos(z[i], z[(i + 4) % 8]) / 0.5)
        rest = sum(float(weight[i, k]) * math.exp(_cos(z[i], z[k]) / 0.5) for k in range(8) if k != i)
        expected.append(-math.log(own / (0.7 * own + rest)))
    _close(found, expected)


@pytest.mark.golden("objective", "info-nce")
def test_columns_of_the_selector_replace_the_scenes() -> None:
    scene = make_scene(_views(1, 3))
    bank = Rows(sample=torch.arange(4), view=torch.zeros(4), label=torch.zeros(4), index=torch.arange(4),
                z=Rng(1).normal((4, 6), dtype=torch.float64))  # fmt: skip
    positive = torch.eye(3, 4, dtype=torch.bool)
    found = InfoNCE().per_sample(scene.but(pairs=Pairs(positive=positive, negative=~positive, columns=bank)))[
        "contrast"
    ]
    logits = F.normalize(scene.rows.z) @ F.normalize(bank.z).T / 0.5
    _close(found, F.cross_entropy(logits, torch.arange(3), reduction="none"))


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize("make", [InfoNCE, SupCon, lambda **o: InfoNCE(positives="inside", **o)])
def test_anchors_without_positives_or_negatives_contribute_nothing(make: type[InfoNCE]) -> None:
    scene = make_scene(_views(2, 3, dtype=torch.float32), selector=All())
    nothing = torch.zeros_like(scene.pairs.positive)
    for positive, negative in (
        (nothing, scene.pairs.negative),
        (nothing, nothing),
        (scene.pairs.positive, nothing),
    ):
        loss = make(temperature=0.01).per_sample(scene.but(pairs=Pairs(positive=positive, negative=negative)))[
            "contrast"
        ]
        assert loss.tolist() == [0.0] * 6
        for gradient in torch.autograd.grad(loss.sum(), _leaves(scene.views)):
            assert float(gradient.abs().max()) < 1e-6


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
def test_one_anchor_without_positives_leaves_the_others_alone() -> None:
    scene = make_scene(_views(2, 3), selector=All())
    positive = scene.pairs.positive.clone()
    positive[1] = False
    for plugin in (InfoNCE(), SupCon()):
        whole = plugin.per_sample(scene)["contrast"]
        part = plugin.per_sample(scene.but(pairs=scene.pairs.but(positive=positive)))["contrast"]
        # What is no longer positive is ignored for row 1, whose row is 0; the other rows do not see it.
        _close(part, torch.where(torch.arange(6) == 1, 0.0, whole))


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize("make", [InfoNCE, SupCon])
def test_a_small_temperature_stays_finite_and_exact(make: type[InfoNCE]) -> None:
    """exp(1 / 0.01) is beyond float32; with the maximum taken out, float32 follows float64."""
    narrow = _views(2, 16, dtype=torch.float32)
    wide = {role: Embedding(z=view.z.detach().double().requires_grad_()) for role, view in narrow.items()}
    losses = [make(temperature=0.01).per_sample(make_scene(v, selector=All()))["contrast"] for v in (narrow, wide)]
    torch.testing.assert_close(losses[0].double(), losses[1], rtol=1e-4, atol=1e-4)
    for gradient in torch.autograd.grad(losses[0].sum(), _leaves(narrow)):
        assert bool(gradient.isfinite().all())


@pytest.mark.golden("objective", "info-nce")
def test_autocast_does_not_reach_the_similarities() -> None:
    scene = make_scene(_views(2, 8, dtype=torch.float32), selector=All())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = InfoNCE(temperature=0.05).per_sample(scene)["contrast"]
    assert torch.equal(inside, InfoNCE(temperature=0.05).per_sample(scene)["contrast"])


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize(
    "plugin",
    [
        InfoNCE(),
        InfoNCE(positives="inside", layer="h"),
        SupCon(temperature=0.2),
        SupCon(base_temperature=0.07),
    ],
)
def test_the_gradient_is_that_of_finite_differences(plugin: InfoNCE | SupCon) -> None:
    def loss(*z: Tensor) -> Tensor:
        views = {str(i): Embedding(z=x, h=x.exp()) for i, x in enumerate(z)}
        return plugin.per_sample(make_scene(views, label=torch.tensor([0, 1, 0]), selector=Global()))["contrast"]

    assert torch.autograd.gradcheck(loss, _leaves(_views(2, 3, width=3)))


@pytest.mark.golden("objective", "supcon")
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supcon_is_equation_2(temperature: float) -> None:
    views, label = _views(2, 6), torch.tensor([0, 1, 0, 2, 1, 0])
    found = SupCon(temperature=temperature).per_sample(make_scene(views, label=label, selector=Global()))["contrast"]
    rows = [row.tolist() for view in views.values() for row in view.z.detach()]
    _close(found, supcon_out(rows, label.tolist() * 2, temperature))


@pytest.mark.golden("objective", "supcon")
def test_supcon_with_a_single_view_gives_zero_to_lonely_classes() -> None:
    views, label = _views(1, 5), torch.tensor([0, 1, 0, 2, 2])
    found = SupCon().per_sample(make_scene(views, label=label, selector=Global()))["contrast"]
    _close(found, supcon_out([row.tolist() for row in views["a"].z.detach()], label.tolist(), 0.1))
    assert found[1].item() == 0.0


@pytest.mark.golden("objective", "supcon")
def test_supcon_of_instances_is_nt_xent_times_the_ratio_of_temperatures() -> None:
    scene = make_scene(_views(2, 6), selector=All())
    plain = InfoNCE(temperature=0.5).per_sample(scene)["contrast"]
    _close(SupCon(temperature=0.5).per_sample(scene)["contrast"], plain)
    _close(SupCon(temperature=0.5, base_temperature=0.07).per_sample(scene)["contrast"], plain * 0.5 / 0.07)


@pytest.mark.golden("objective", "supcon")
def test_unlabelled_images_behave_as_instances() -> None:
    scene = make_scene(_views(2, 5), selector=All())
    _close(
        SupCon().per_sample(scene.but(pairs=Global().select(scene)))["contrast"],
        SupCon().per_sample(scene)["contrast"],
    )


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
def test_pytorch_metric_learning_agrees() -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    views, label = _views(2, 7, dtype=torch.float32), torch.tensor([0, 1, 0, 2, 1, 0, 2])
    rows = torch.cat(_leaves(views)).detach()
    image = torch.arange(7).repeat(2)
    ours = InfoNCE(temperature=0.5).per_sample(make_scene(views, selector=All()))["contrast"].mean()
    _close(ours, losses.NTXentLoss(temperature=0.5)(rows, image), 1e-5)
    ours = SupCon(temperature=0.1).per_sample(make_scene(views, label=label, selector=Global()))["contrast"].mean()
    _close(ours, losses.SupConLoss(temperature=0.1)(rows, label.repeat(2)), 1e-5)


@pytest.mark.golden("objective", "info-nce")
@pytest.mark.golden("objective", "supcon")
def test_the_layer_decides_what_is_needed() -> None:
    for cls in (InfoNCE, SupCon):
        assert cls.needs == cls().needs == {Need.PAIRS, Need.PROJECTION}
        assert cls(layer="h").needs == {Need.PAIRS, Need.FEATURES}


def _logits_scene(logits: Tensor, label: Tensor) -> Scene:
    return make_scene({"input": Embedding(logits=logits)}, label=label)


@pytest.mark.golden("objective", "cross-entropy")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_leaves_unlabelled_images_out(smoothing: float) -> None:
    logits = Rng(0).normal((5, 4), dtype=torch.float64).requires_grad_()
    label = torch.tensor([2, -1, 0, 3, -1])
    found = CrossEntropy(label_smoothing=smoothing).per_sample(_logits_scene(logits, label))["ce"]
    expected = []
    for row, y in zip(logits.tolist(), label.tolist(), strict=True):
        if y >= 0:
            logs = [v - math.log(sum(math.exp(w) for w in row)) for v in row]
            target = [(1 - smoothing) * (k == y) + smoothing / 4 for k in range(4)]
            expected.append(-sum(t * v for t, v in zip(target, logs, strict=True)))
    _close(found, expected)
    gradient = torch.autograd.grad(found.sum(), logits)[0]
    assert gradient[label < 0].abs().sum() == 0


@pytest.mark.golden("objective", "cross-entropy")
def test_cross_entropy_by_hand() -> None:
    found = CrossEntropy().per_sample(
        _logits_scene(torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([1, 0]))
    )
    _close(found["ce"], [math.log(2), math.log(4 / 3)], 1e-6)


@pytest.mark.golden("objective", "cross-entropy")
def test_cross_entropy_without_any_label_has_no_rows_but_a_graph() -> None:
    logits = torch.ones(3, 4, requires_grad=True)
    found = CrossEntropy().per_sample(_logits_scene(logits, torch.full((3,), -1)))["ce"]
    assert found.shape == (0,)
    assert torch.autograd.grad(found.sum(), logits)[0].abs().sum() == 0


@pytest.mark.golden("objective", "deacl")
def test_deacl_is_two_negative_cosines() -> None:
    drawn = {role: Rng(0, role).normal((4, 6), dtype=torch.float64) for role in DeACL.views}
    clean, adversarial = drawn["clean"].requires_grad_(), drawn["adversarial"].requires_grad_()
    scene = make_scene({role: Embedding(h=h) for role, h in drawn.items()}, apart=["teacher"])
    found = DeACL().per_sample(scene)
    pairs = {"distil": ("clean", "teacher"), "robust": ("adversarial", "clean")}
    for term, (left, right) in pairs.items():
        rows = zip(drawn[left].tolist(), drawn[right].tolist(), strict=True)
        _close(found[term], [-_cos(u, v) for u, v in rows])
    for side in torch.autograd.grad(found["robust"].sum(), [clean, adversarial]):
        assert float(side.abs().max()) > 0, "both sides of the second term carry gradient"


@pytest.mark.golden("objective", "deacl")
def test_deacl_by_hand() -> None:
    scene = make_scene(
        {
            "clean": Embedding(h=torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])),
            "adversarial": Embedding(h=torch.tensor([[-3.0, 0.0], [5.0, 0.0], [1.0, 0.0]])),
            "teacher": Embedding(h=torch.tensor([[0.0, 4.0], [1.0, 1.0], [1.0, 1.0]])),
        },
        apart=["teacher"],
    )
    found = DeACL().per_sample(scene)
    _close(found["distil"], [0.0, -1.0, 0.0], 1e-6)
    _close(found["robust"], [1.0, -math.sqrt(0.5), 0.0], 1e-6)
