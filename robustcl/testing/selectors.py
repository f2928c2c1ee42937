"""What every sample selector must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustcl.errors import NeedNotMet
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing.builders import DIMS, make_clustering, make_embedding, make_scene, needed_layers
from robustcl.testing.subject import Check, PluginSubject, Skip, global_rng_untouched
from robustcl.types import UNLABELED, Pairs, Scene

_SIZE = 6


def chooses_pairs_of_the_right_shape(subject: PluginSubject) -> None:
    """Both masks are (N, M), bool or finite weights >= 0, without gradient."""
    for scene, pairs in _cases(subject):
        columns = pairs.columns if pairs.has("columns") else scene.columns
        shape = (len(scene.rows.sample), len(columns.sample))
        for name, mask in (("positive", pairs.positive), ("negative", pairs.negative)):
            assert mask.shape == shape, f"{name}: has the shape {tuple(mask.shape)} instead of {shape}"
            assert not mask.requires_grad, f"{name}: has a gradient"
            if mask.dtype != torch.bool:
                assert mask.is_floating_point(), f"{name}: is {mask.dtype}, neither bool nor weights"
                assert bool((mask.isfinite() & (mask >= 0)).all()), f"{name}: a weight is negative or not finite"


def leaves_the_own_column_out(subject: PluginSubject) -> None:
    """An anchor is neither positive nor negative to itself."""
    for scene, pairs in _cases(subject):
        if pairs.has("columns"):
            raise Skip("it brings columns of its own")
        for name, mask in (("positive", pairs.positive), ("negative", pairs.negative)):
            assert not bool(mask.gather(1, scene.own[:, None]).any()), f"{name}: holds an anchor's own column"


def masks_are_disjoint(subject: PluginSubject) -> None:
    """No column both attracts and repels an anchor; weights may divide a column between the two."""
    for _, pairs in _cases(subject):
        if pairs.positive.dtype == torch.bool and pairs.negative.dtype == torch.bool:
            assert not bool((pairs.positive & pairs.negative).any()), "a pair is positive and negative at once"


def needs_only_what_it_declares(subject: PluginSubject) -> None:
    """A scene that holds only the declared needs is enough."""
    plugin = subject.make()
    try:
        _select(plugin, _scene(plugin))
    except NeedNotMet as error:
        raise AssertionError(f"reads what it does not declare: {error}") from error


def repeats_itself(subject: PluginSubject) -> None:
    """``select`` is pure: same scene, same pairs; the scene and the global random state stay as they were."""
    plugin = subject.make()
    scene = _scene(plugin)
    before = {name: getattr(scene.rows, name).clone() for name in ("sample", "view", "label", "index")}
    with global_rng_untouched():
        first, second = _select(plugin, scene), _select(plugin, scene)
    for name in ("positive", "negative"):
        assert torch.equal(getattr(first, name), getattr(second, name)), f"{name}: two calls on the same scene differ"
    assert all(torch.equal(getattr(scene.rows, n), v) for n, v in before.items()), "changed the rows in place"


def follows_a_permutation(subject: PluginSubject) -> None:
    """Permuting the images permutes rows and columns of the masks."""
    plugin, order = subject.make(), torch.tensor([3, 1, 4, 0, 2, 5])
    straight, moved = _select(plugin, _scene(plugin)), _select(plugin, _scene(plugin, order))
    if straight.has("columns"):
        raise Skip("it brings columns of its own")
    rows = torch.cat([order, order + _SIZE])
    for name in ("positive", "negative"):
        expected = getattr(straight, name)[rows][:, rows]
        assert torch.equal(expected, getattr(moved, name)), f"{name}: depends on the order of the images"


CHECKS: tuple[Check, ...] = (
    chooses_pairs_of_the_right_shape,
    leaves_the_own_column_out,
    masks_are_disjoint,
    needs_only_what_it_declares,
    repeats_itself,
    follows_a_permutation,
)


def _cases(subject: PluginSubject) -> list[tuple[Scene, Pairs]]:
    """Return scenes of two views with their pairs: labelled, one image, one class, partly unlabelled."""
    plugin, one, partly = subject.make(), torch.zeros(_SIZE).long(), torch.arange(_SIZE) % 3 - 1
    single = torch.arange(1)
    scenes = [_scene(plugin), _scene(plugin, single), _scene(plugin, label=one), _scene(plugin, label=partly)]
    return [(scene, _select(plugin, scene)) for scene in scenes]


def _scene(plugin: Any, order: Tensor | None = None, *, label: Tensor | None = None) -> Scene:
    order = torch.arange(_SIZE) if order is None else order
    layers = needed_layers(plugin.needs) or ["z"]
    views = {role: make_embedding(_SIZE, layers, seed=i).take(order) for i, role in enumerate("ab")}
    label = Rng(0, "label").integers(DIMS.classes, (_SIZE,)) if label is None else label
    label = label if Need.LABELS in plugin.needs else torch.full((_SIZE,), UNLABELED)
    clusters = make_clustering(make_embedding(_SIZE, ["h"]).h) if Need.CLUSTERS in plugin.needs else None
    return make_scene(views, label=label[order], index=order, clusters=clusters)


def _select(plugin: Any, scene: Scene) -> Pairs:
    with torch.no_grad():
        pairs: Pairs = plugin.select(scene)
    return pairs
