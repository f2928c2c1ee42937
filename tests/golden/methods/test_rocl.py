"""RoCL's three-view loss and its regulariser, and A-RoCL's filter, as loops over plain floats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import compose
from robustcl.options.schedule import Progress, Schedule
from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]


def cosine(u: Vector, v: Vector) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def contrast(views: Sequence[Sequence[Vector]], rho: float = 2.0) -> float:
    """Sum over an anchor's positives of -log softmax at temperature 0.5 over all other rows, mean over anchors.

    Negatives whose cosine exceeds rho are left out.
    """
    rows = [(image, row) for view in views for image, row in enumerate(view)]
    total = 0.0
    for i, (image, anchor) in enumerate(rows):
        others = [(other == image, cosine(anchor, row)) for k, (other, row) in enumerate(rows) if k != i]
        bottom = sum(math.exp(c / 0.5) for own, c in others if own or c <= rho)
        total += sum(-math.log(math.exp(c / 0.5) / bottom) for own, c in others if own)
    return total / len(rows)


def projections(seen: Seen, *names: str) -> list[list[Vector]]:
    """Embed views in one forward in training mode, through the only branch."""
    stacked = torch.cat([seen.batch.views[name] for name in names])
    z = seen.run.encoders.embed(stacked, "online", "clean", frozenset({"z"}), "train").z
    return [part.tolist() for part in z.detach().chunk(len(names))]


def close(found: Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("recipe", "rocl")
def test_rocl_is_a_mixed_batch_of_three_views_and_a_pair_apart() -> None:
    seen = one_step("rocl")
    three, two = contrast(projections(seen, "a", "b", "a_adv")), contrast(projections(seen, "a_adv", "b"))
    close(seen.losses["contrast/contrast"], three)
    close(seen.losses["regulariser/contrast"], two / 256)
    close(seen.losses["total"], three + two / 256)
    assert seen.run.encoders.online.routes == ("clean",)
    # The pair has a forward of its own: with the statistics of the mixed batch it would be another number.
    mixed = [seen.scenes["contrast"].views[name].z.tolist() for name in ("a_adv", "b")]
    assert abs(contrast(mixed) - two) > 1e-6


@pytest.mark.golden("recipe", "rocl")
def test_each_step_moves_the_statistics_twice() -> None:
    seen = one_step("rocl")
    counts = {int(b) for name, b in seen.run.encoders.online.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {2}


@pytest.mark.golden("recipe", "rocl")
@pytest.mark.parametrize("start", ["none", "uniform"])
def test_the_attack_of_rocl_confuses_the_first_view_with_other_instances(start: str) -> None:
    """It maximises NT-Xent between a + d and b; b is a constant, and the three-view loss plays no part."""
    steps = 1 if start == "none" else 7
    chosen = (f"stage.pretrain.generator.steps={steps}", f"stage.pretrain.generator.start={start}")
    seen = one_step("rocl", overrides=chosen)
    for module in seen.run.encoders.online.modules():
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    assert "b_adv" not in seen.batch.views
    b = embedded(seen, seen.batch.views["b"]).detach()
    x = seen.batch.views["a"].clone().requires_grad_()
    found = seen.batch.views["a_adv"]
    if start == "uniform":
        assert nt_xent(embedded(seen, found), b) > nt_xent(embedded(seen, x), b)
        assert 0 < (found - x).abs().max() <= 32 / 255 + 1e-7
        return
    (gradient,) = torch.autograd.grad(nt_xent(embedded(seen, x), b), x)
    certain = gradient.abs() > 1e-12
    assert certain.double().mean() > 0.5
    expected = (x.detach() + 0.028 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(found[certain], expected[certain], rtol=0, atol=1e-12)


def embedded(seen: Seen, x: Tensor) -> Tensor:
    return seen.run.encoders.embed(x, "online", "clean", frozenset({"z"}), "eval").z


def nt_xent(first: Tensor, second: Tensor) -> Tensor:
    z = F.normalize(torch.cat([first, second]))
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


@pytest.mark.golden("recipe", "rocl")
def test_one_sided_as_released_keeps_the_loss_and_halves_the_gradient() -> None:
    full, half = one_step("rocl"), one_step("rocl", overrides=("stage.pretrain.term.contrast.one_sided=true",))
    close(half.losses["total"], full.losses["total"].item())
    length = []
    for seen in (full, half):
        rows = [view.z for view in seen.scenes["contrast"].views.values()]
        gradients = torch.autograd.grad(seen.losses["contrast/contrast"], rows)
        length.append(float(torch.cat(gradients).norm()))
    assert 0.4 < length[1] / length[0] < 0.6
    # In the attack only the rows of a + d pull then, not those of b: it arrives elsewhere.
    both = one_step("rocl", overrides=("stage.pretrain.term.regulariser.one_sided=true",))
    assert not torch.equal(both.batch.views["a_adv"], full.batch.views["a_adv"])


@pytest.mark.golden("recipe", "rocl")
def test_rocl_as_published_on_other_data() -> None:
    """Without digits' adaptation: 8/255, seven steps of 0.007, colour before the crop, and the released rates."""
    plan = compose(recipe="rocl", dataset="npz:none.npz", budget="paper").stages[0]
    generator = plan.generators[0]
    assert (generator.part.plugin.steps, generator.part.plugin.step_size) == (7, 0.007)
    assert generator.ball.eps == pytest.approx(8 / 255)
    for view in plan.views:
        assert (view.part.plugin.order, view.part.plugin.scale) == ("colour-first", 0.08)
        assert (view.part.plugin.jitter, view.part.plugin.grey, view.part.plugin.flip) == (0.8, 0.2, 0.5)
    assert isinstance(plan.lr, Schedule)
    for epoch, rate in (
        (0, 0.1),
        (5, 0.8),
        (5.5, 0.8),
        (10, 1.5),
        (510, 0.75),
        (999, 0.5 * 1.5 * (1 + math.cos(math.pi * 0.989))),
    ):
        assert plan.lr.at(Progress(0, 97000, epoch, 1000.0)) == pytest.approx(rate), epoch


@pytest.mark.golden("recipe", "a-rocl")
@pytest.mark.parametrize(("progress", "rho"), [(0.0, 0.99), (0.5, 0.845)])
def test_a_rocl_leaves_out_negatives_above_the_falling_threshold(progress: float, rho: float) -> None:
    seen = one_step("a-rocl", progress=progress, images=16)
    three, two = projections(seen, "a", "b", "a_adv"), projections(seen, "a_adv", "b")
    close(seen.losses["contrast/contrast"], contrast(three, rho))
    close(seen.losses["regulariser/contrast"], contrast(two, rho) / 256)
    if progress:
        assert contrast(three, rho) < contrast(three), "nothing was left out, so nothing was compared"


@pytest.mark.golden("recipe", "a-rocl")
def test_the_attack_of_a_rocl_may_ignore_the_filter() -> None:
    found = []
    for chosen in ((), ("stage.pretrain.generator.selector=all",)):
        term = compose(recipe="a-rocl", budget="paper", overrides=chosen).stages[0].generators[0].maximise
        assert term is not None
        assert term.selector is not None
        found.append((term.objective.name, term.selector.name))
    assert found == [("info-nce", "adaptive-fnc"), ("info-nce", "all")]
