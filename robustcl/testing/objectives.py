"""What every objective must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from robustcl import hooks
from robustcl.errors import NeedNotMet
from robustcl.hooks import ObjectiveHooks
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing.builders import (
    DIMS,
    make_clustering,
    make_embedding,
    make_pairs,
    make_scene,
    needed_layers,
)
from robustcl.testing.subject import Check, PluginSubject, Skip, global_rng_untouched
from robustcl.types import Batch, Embedding, Scene

_SIZE = 5
Views = Mapping[str, Embedding]


def scene_for(
    plugin: Any,
    *,
    size: int = _SIZE,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    order: Tensor | None = None,
    change: Callable[[Views], Views] = lambda views: views,
) -> tuple[Scene, list[Tensor]]:
    """Return a scene of what the plugin declares and nothing else, and its leaf tensors (with gradients).

    ``order`` permutes the images; ``change`` replaces the embeddings before anything is derived from them.
    """
    needs, order = plugin.needs, torch.arange(size) if order is None else order
    roles = ("a", "b") if plugin.views == ("*",) else plugin.views
    apart = [role for role in roles if "teacher" in role] if Need.TEACHER in needs else []
    layers = needed_layers(needs) or ["h"]
    patches = hooks.of(plugin, ObjectiveHooks).patches
    drawn = {r: _embedding(size, patches, layers, seed + i, dtype).take(order) for i, r in enumerate(roles)}
    changed = {role: value.apply(_in_patches(patches)) for role, value in change(drawn).items()}
    views = {role: value.apply(_constant if role in apart else _leaf) for role, value in changed.items()}
    leaves = [getattr(views[role], n) for role in roles if role not in apart for n in layers]
    label = Rng(seed, "label").integers(DIMS.classes, (size,))[order] if Need.LABELS in needs else None
    features = make_embedding(size, ["h"], seed=seed, dtype=dtype).h
    scene = make_scene(
        views,
        apart=apart,
        label=label,
        index=order,
        clusters=make_clustering(features) if Need.CLUSTERS in needs else None,
        target={role: _target(size, patches, seed)[order] for role in roles} if Need.TARGET in needs else None,
    )
    if Need.VALUES in needs:
        scene = _with_values(scene, order)
    if Need.PAIRS in needs:
        scene = scene.but(pairs=make_pairs(scene))
    elif not hooks.of(plugin, ObjectiveHooks).rows:
        scene = scene.but(rows=None, columns=None, own=None)
    return scene, leaves


def returns_its_terms(subject: PluginSubject) -> None:
    """The keys are ``terms``; each value is finite, of rows (R,) or a scalar, floating, with a graph."""
    plugin = subject.make()
    values = _values(plugin, scene_for(plugin)[0])
    assert set(values) == set(plugin.terms), f"returned {sorted(values)} instead of the terms {sorted(plugin.terms)}"
    for name, value in values.items():
        assert value.dim() <= 1, f"{name}: has the shape {tuple(value.shape)} instead of (R,) or ()"
        assert value.is_floating_point(), f"{name}: is {value.dtype}"
        assert bool(value.isfinite().all()), f"{name}: is not finite"
    assert any(value.requires_grad for value in values.values()), "no term has a gradient"


def needs_only_what_it_declares(subject: PluginSubject) -> None:
    """A scene that holds only the declared needs is enough."""
    plugin = subject.make()
    try:
        plugin.per_sample(scene_for(plugin)[0])
    except NeedNotMet as error:
        raise AssertionError(f"reads what it does not declare: {error}") from error


def is_finite_at_the_edges(subject: PluginSubject) -> None:
    """One image, equal rows, zero vectors, huge vectors: values and gradients stay finite."""
    edges: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
        "one image": (1, lambda x: x),
        "equal rows": (_SIZE, lambda x: x[:1].expand_as(x)),
        "zero vectors": (_SIZE, torch.zeros_like),
        "huge vectors": (_SIZE, lambda x: 1e3 * x),
        "one zero vector": (_SIZE, lambda x: x * (torch.arange(len(x)) > 0)[:, None]),
    }
    for plugin in _variants(subject):
        for name, (size, edge) in edges.items():
            _finite(plugin, name, *scene_for(plugin, size=size, change=_each(edge)))


def an_anchor_without_pairs_is_harmless(subject: PluginSubject) -> None:
    """With all pairs ignored, and with all positives ignored, every row is exactly 0 with gradient 0."""
    for plugin in _variants(subject):
        if Need.PAIRS not in plugin.needs:
            raise Skip("it has no pairs")
        for negatives in (True, False):
            scene, leaves = scene_for(plugin)
            nothing = torch.zeros_like(scene.pairs.positive)
            scene = scene.but(pairs=scene.pairs.but(positive=nothing, negative=~nothing if negatives else nothing))
            for name, value in _values(plugin, scene).items():
                assert bool((value == 0).all()), f"{name}: an anchor without positives contributes {value.tolist()}"
            _finite(plugin, "no positives", scene, leaves)


def follows_a_permutation(subject: PluginSubject) -> None:
    """Permuting the images permutes the values."""
    plugin, order = subject.make(), torch.tensor([3, 1, 4, 0, 2])
    straight = _values(plugin, scene_for(plugin, dtype=torch.float64)[0])
    moved = _values(plugin, scene_for(plugin, dtype=torch.float64, order=order)[0])
    for name, value in straight.items():
        same = torch.allclose(value.reshape(-1).sort().values, moved[name].reshape(-1).sort().values, atol=1e-9)
        assert same, f"{name}: depends on the order of the images"


def computes_in_float64(subject: PluginSubject) -> None:
    """float64 in, float64 out, close to float32; bfloat16 in, float32 out."""
    plugin = subject.make()
    narrow = _values(plugin, scene_for(plugin)[0])
    # The same numbers in float64: what is drawn in float64 would differ in its bits.
    wide = _values(plugin, _cast(plugin, torch.float64))
    half = _values(plugin, _cast(plugin, torch.bfloat16))
    for name, value in wide.items():
        assert value.dtype == torch.float64, f"{name}: float64 embeddings gave {value.dtype}"
        assert torch.allclose(value.float(), narrow[name], rtol=1e-3, atol=1e-4), (
            f"{name}: float32 and float64 disagree"
        )
        assert half[name].dtype == torch.float32, f"{name}: bfloat16 embeddings gave {half[name].dtype}"


def repeats_itself(subject: PluginSubject) -> None:
    """``per_sample`` is pure: the same scene gives the same values, and the global random state stays."""
    plugin = subject.make()
    scene, leaves = scene_for(plugin)
    before = [leaf.detach().clone() for leaf in leaves]
    with global_rng_untouched():
        first, second = _values(plugin, scene), _values(plugin, scene)
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name}: two calls on the same scene differ"
    assert all(torch.equal(a, b) for a, b in zip(before, leaves, strict=True)), "changed the embeddings in place"


def separable_rows_stand_alone(subject: PluginSubject) -> None:
    """Where ``separable`` is claimed, terms are (B,) and changing image j leaves all other rows."""
    plugin = subject.make()
    if not hooks.of(plugin, ObjectiveHooks).separable:
        raise Skip("it does not claim to be separable")
    straight = _values(plugin, scene_for(plugin, dtype=torch.float64)[0])
    for j in range(_SIZE):
        others = torch.arange(_SIZE) != j
        flip = functools.partial(_flip, keep=others)
        scene, _ = scene_for(plugin, dtype=torch.float64, change=_each(flip))
        for name, value in _values(plugin, scene).items():
            assert value.shape == (_SIZE,), f"{name}: has the shape {tuple(value.shape)} instead of ({_SIZE},)"
            assert torch.allclose(value[others], straight[name][others]), f"{name}: row {j} moves other rows"


CHECKS: tuple[Check, ...] = (
    returns_its_terms,
    needs_only_what_it_declares,
    is_finite_at_the_edges,
    an_anchor_without_pairs_is_harmless,
    follows_a_permutation,
    computes_in_float64,
    repeats_itself,
    separable_rows_stand_alone,
)


def _variants(subject: PluginSubject) -> Iterator[Any]:
    """Build the plugin from its defaults, and where it has a temperature also at extreme ones."""
    yield subject.make()
    if "temperature" in subject.options():
        yield from (subject.make(temperature=value) for value in (0.01, 0.07, 10.0))


def _values(plugin: Any, scene: Scene) -> Mapping[str, Tensor]:
    values: Mapping[str, Tensor] = plugin.per_sample(scene)
    return values


def _finite(plugin: Any, edge: str, scene: Scene, leaves: list[Tensor]) -> None:
    values = _values(plugin, scene)
    for name, value in values.items():
        assert bool(value.isfinite().all()), f"{name}: is not finite with {edge}"
    total = torch.stack([value.sum() for value in values.values()]).sum()
    if total.requires_grad:
        for gradient in torch.autograd.grad(total, leaves, allow_unused=True):
            assert gradient is None or bool(gradient.isfinite().all()), f"the gradient is not finite with {edge}"


def _leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def _constant(x: Tensor) -> Tensor:
    return x.detach().clone()


def _flip(x: Tensor, *, keep: Tensor) -> Tensor:
    return torch.where(keep[:, None], x, -2 * x)


def _embedding(size: int, patches: int | None, layers: list[str], seed: int, dtype: torch.dtype) -> Embedding:
    """Return an embedding of ``size`` rows; the patches of an image lie side by side in its row."""
    whole = make_embedding(size * (patches or 1), layers, seed=seed, dtype=dtype)
    return whole.apply(lambda x: x.reshape(size, -1))


def _in_patches(patches: int | None) -> Callable[[Tensor], Tensor]:
    return lambda x: x if patches is None else x.reshape(len(x), patches, -1)


def _target(size: int, patches: int | None, seed: int) -> Tensor:
    return Rng(seed, "target").integers(4, (size,) if patches is None else (size, patches))


def _with_values(scene: Scene, order: Tensor) -> Scene:
    """Let images be leaves, and give the scene the values of a term that reads images and embeddings."""
    batch, values = scene.batch, []
    images = {}
    for role, embedding in scene.views.items():
        x = batch.views[role][order].to(embedding.h.dtype).requires_grad_()
        images[role] = x
        values.append((x.flatten(1).sin().cumsum(1)[:, : embedding.h.shape[1]] * embedding.h.flatten(1)).sum(1))
    batch = Batch(views=images, index=batch.index, label=batch.label, target=batch.target, position=batch.position)
    return scene.but(batch=batch, values={"it/ce": torch.stack(values).sum(0)})


def _each(function: Callable[[Tensor], Tensor]) -> Callable[[Views], Views]:
    return lambda views: {role: value.apply(function) for role, value in views.items()}


def _cast(plugin: Any, dtype: torch.dtype) -> Scene:
    return scene_for(plugin, change=_each(lambda x: x.to(dtype)))[0]
