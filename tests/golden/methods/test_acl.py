"""ACL's three losses, and A-ACL's filter, as loops over plain floats, against one step of the recipes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.shared.one_step import Seen, one_step

Vector = Sequence[float]


def cosine(u: Vector, v: Vector) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def nt_xent(first: Sequence[Vector], second: Sequence[Vector], rho: float = 2.0) -> float:
    """Mean over 2N anchors of -log softmax at temperature 0.5; negatives above the cosine rho are left out."""
    rows, images = [*first, *second], len(first)
    losses = []
    for i, anchor in enumerate(rows):
        partner = (i + images) % len(rows)
        own = math.exp(cosine(anchor, rows[partner]) / 0.5)
        others = [cosine(anchor, rows[k]) for k in range(len(rows)) if k not in (i, partner)]
        losses.append(-math.log(own / (own + sum(math.exp(c / 0.5) for c in others if c <= rho))))
    return sum(losses) / len(losses)


def projections(seen: Seen, *paths: tuple[str, str]) -> list[list[Vector]]:
    """Embed (view, route) pairs in training mode; those of one route share a forward, in the order given."""
    found = {}
    for route in dict.fromkeys(route for _, route in paths):
        names = [name for name, way in paths if way == route]
        stacked = torch.cat([seen.batch.views[name] for name in names])
        z = seen.run.encoders.embed(stacked, "online", route, frozenset({"z"}), "train").z
        found |= {name: part.tolist() for name, part in zip(names, z.detach().chunk(len(names)), strict=True)}
    return [found[name] for name, _ in paths]


def in_rows(*views: Sequence[Vector]) -> Tensor:
    """NT-Xent of two views as torch's cross-entropy, for gradients."""
    z = F.normalize(torch.cat([torch.as_tensor(view) for view in views]))
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z) // 2))


def as_before_the_step(seen: Seen) -> Seen:
    """Undo what the training forward did to the running statistics: attacks look at those of before."""
    for module in seen.run.encoders.online.modules():
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    return seen


def stepped_along(gradient: Tensor, x: Tensor, found: Tensor) -> None:
    """Compare one signed step of 8/255, wherever the gradient's sign is not that of rounding."""
    certain = gradient.abs() > 1e-12
    assert certain.double().mean() > 0.5
    expected = (x + 8 / 255 * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(found[certain], expected[certain], rtol=0, atol=1e-12)


def close(found: Tensor, expected: float) -> None:
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.golden("recipe", "acl-ds")
def test_acl_ds_is_half_of_each_stream() -> None:
    seen = one_step("acl-ds")
    a, b, a_adv, b_adv = projections(seen, ("a", "clean"), ("b", "clean"), ("a_adv", "adv"), ("b_adv", "adv"))
    close(seen.losses["nat/contrast"], 0.5 * nt_xent(a, b))
    close(seen.losses["adv/contrast"], 0.5 * nt_xent(a_adv, b_adv))
    close(seen.losses["total"], 0.5 * nt_xent(a, b) + 0.5 * nt_xent(a_adv, b_adv))


@pytest.mark.golden("recipe", "acl-ds")
def test_the_streams_of_acl_ds_share_weights_but_neither_softmax_nor_batch_norm() -> None:
    seen = one_step("acl-ds")
    named = {name: p for name, p in seen.run.encoders.online.named_parameters() if p.requires_grad}
    adversarial = {name for name in named if ".others.adv." in name}
    clean = {name.replace(".others.adv", "") for name in adversarial}
    assert clean < set(named)
    assert any(name.startswith("projector.") for name in clean)
    for stream, other, kept, foreign in (("nat", "adv", clean, adversarial), ("adv", "nat", adversarial, clean)):
        rows = [view.z for view in seen.scenes[other].views.values()]
        loss = seen.losses[f"{stream}/contrast"]
        gradients = torch.autograd.grad(loss, [*rows, *named.values()], retain_graph=True, allow_unused=True)
        assert all(gradient is None for gradient in gradients[: len(rows)])
        reached = {name for name, g in zip(named, gradients[len(rows) :], strict=True) if g is not None}
        assert kept | {"backbone.conv1.weight"} <= reached
        assert not foreign & reached


@pytest.mark.golden("recipe", "acl-ds")
def test_acl_ds_perturbs_both_views_together() -> None:
    """One step of length alpha from the clean views goes along the sign of the joint gradient, in eval mode."""
    seen = as_before_the_step(
        one_step("acl-ds", overrides=("stage.pretrain.generator.steps=1", "stage.pretrain.generator.start=none"))
    )
    moved = [seen.batch.views[name].clone().requires_grad_() for name in ("a", "b")]
    z = seen.run.encoders.embed(torch.cat(moved), "online", "adv", frozenset({"z"}), "eval").z
    for name, x, gradient in zip("ab", moved, torch.autograd.grad(in_rows(z), moved), strict=True):
        stepped_along(gradient, x.detach(), seen.batch.views[f"{name}_adv"])


@pytest.mark.golden("recipe", "acl-ds")
def test_the_attack_of_acl_ds_has_five_steps_inside_the_ball_and_finds_more() -> None:
    seen = as_before_the_step(one_step("acl-ds"))
    generator = seen.run.plan.generators[0].part.plugin
    assert (generator.steps, generator.start, seen.run.plan.generators[0].mode) == (5, "uniform", "eval")
    loss = {}
    for names in (("a", "b"), ("a_adv", "b_adv")):
        stacked = torch.cat([seen.batch.views[name] for name in names])
        z = seen.run.encoders.embed_constant(stacked, "online", "adv", frozenset({"z"})).z
        loss[names] = in_rows(z).item()
    assert loss["a_adv", "b_adv"] > loss["a", "b"]
    for name in "ab":
        distance = (seen.batch.views[f"{name}_adv"] - seen.batch.views[name]).abs()
        assert 0 < distance.max() <= 32 / 255 + 1e-7


@pytest.mark.golden("recipe", "acl-a2a")
def test_acl_a2a_sees_adversarial_pairs_through_one_batch_norm() -> None:
    seen = one_step("acl-a2a")
    a_adv, b_adv = projections(seen, ("a_adv", "clean"), ("b_adv", "clean"))
    close(seen.losses["total"], nt_xent(a_adv, b_adv))
    assert set(seen.scenes) == {"adv"}
    assert seen.run.encoders.online.routes == ("clean",)
    assert not torch.equal(seen.batch.views["a_adv"], seen.batch.views["a"])
    assert not torch.equal(seen.batch.views["b_adv"], seen.batch.views["b"])


@pytest.mark.golden("recipe", "acl-a2s")
def test_acl_a2s_holds_an_adversarial_view_against_a_clean_one() -> None:
    seen = one_step("acl-a2s")
    a_adv, b = projections(seen, ("a_adv", "adv"), ("b", "clean"))
    close(seen.losses["total"], nt_xent(a_adv, b))
    assert set(seen.batch.views) == {"a", "b", "a_adv"}
    z = [view.z for view in seen.scenes["adv"].views.values()]
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(seen.losses["total"], z)), "both sides learn"


@pytest.mark.golden("recipe", "acl-a2s")
def test_the_attack_of_acl_a2s_looks_at_the_clean_view_through_its_own_branch() -> None:
    seen = as_before_the_step(
        one_step("acl-a2s", overrides=("stage.pretrain.generator.steps=1", "stage.pretrain.generator.start=none"))
    )
    x = seen.batch.views["a"].clone().requires_grad_()
    embed = seen.run.encoders.embed
    z = embed(x, "online", "adv", frozenset({"z"}), "eval").z
    constant = embed(seen.batch.views["b"], "online", "clean", frozenset({"z"}), "eval").z.detach()
    (gradient,) = torch.autograd.grad(in_rows(z, constant), x)
    stepped_along(gradient, x.detach(), seen.batch.views["a_adv"])


@pytest.mark.golden("recipe", "a-acl")
@pytest.mark.parametrize(("progress", "rho"), [(0.0, 0.99), (0.5, 0.845)])
def test_a_acl_leaves_out_negatives_above_the_falling_threshold(progress: float, rho: float) -> None:
    seen = one_step("a-acl", progress=progress, images=16)
    a, b, a_adv, b_adv = projections(seen, ("a", "clean"), ("b", "clean"), ("a_adv", "adv"), ("b_adv", "adv"))
    close(seen.losses["nat/contrast"], 0.5 * nt_xent(a, b, rho))
    close(seen.losses["adv/contrast"], 0.5 * nt_xent(a_adv, b_adv, rho))
    if progress:
        assert nt_xent(a, b, rho) < nt_xent(a, b), "nothing was left out, so nothing was compared"


@pytest.mark.golden("recipe", "a-acl")
def test_the_attack_of_a_acl_may_ignore_the_filter() -> None:
    own, plain = (
        one_step("a-acl", progress=0.9, overrides=chosen).run.plan.generators[0].maximise
        for chosen in ((), ("stage.pretrain.generator.selector=all",))
    )
    assert own is not None
    assert plain is not None
    assert own.selector is not None
    assert plain.selector is not None
    assert (own.selector.name, plain.selector.name) == ("adaptive-fnc", "all")
