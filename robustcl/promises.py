"""Every call of a plugin goes through here: what it promised is checked once, in production, for every batch.

A broken promise raises ``PluginMisbehaved``, which names the plugin, the promise and the worst row. The
checks cost little beside a forward pass: version counters, flags and a few reductions over the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from robustcl import hooks
from robustcl.errors import DataError, NeedNotMet, PluginMisbehaved
from robustcl.hooks import ViewHooks
from robustcl.nn.traces import Traces
from robustcl.protocols import (
    ClusterTarget,
    ContrastiveObjective,
    PerturbationGenerator,
    SampleSelector,
    View,
)
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import UNPROVIDED, Attack, Clustering, Pairs, Rows, Scene


def perturb(
    generator: PerturbationGenerator,
    name: str,
    x: Tensor,
    attack: Attack,
    *,
    modules: Sequence[nn.Module],
    statistics_may_change: bool = False,
) -> Tensor:
    """Return what the generator makes of x (R, *item): alike in shape, detached, finite, in ball and range.

    ``modules`` are what it can reach through ``attack``: no parameter, buffer, ``.grad`` or training flag may
    have changed, nor the global random state. ``statistics_may_change`` excuses buffers and randomness, for
    the attack mode "train", in which batch norm keeps statistics and dropout draws. Raises ``DataError`` if x
    itself lies outside the range.
    """
    who = f"the generator {name!r}"
    _check_inputs(x, attack.ball, name)
    watched = not statistics_may_change
    written, traces = x._version, Traces(modules, buffers=watched, randomness=watched)
    with _declared(who):
        adv = generator.perturb(x, attack)
    _require_clean(who, traces, x._version == written)
    _require(isinstance(adv, Tensor), who, "return a tensor", f"it returned {type(adv).__name__}")
    _require(adv.shape == x.shape, who, "keep the shape", f"{tuple(x.shape)} became {tuple(adv.shape)}")
    _require(adv.dtype == x.dtype, who, "keep the dtype", f"{x.dtype} became {adv.dtype}")
    _require(not adv.requires_grad, who, "detach its result", "it carries a graph; call detach()")
    inside = attack.ball.contains(adv, x)
    if not bool(inside.all()):
        _explain_outside(who, adv, x, attack.ball, inside)
    return adv


def per_sample(objective: ContrastiveObjective, name: str, scene: Scene) -> dict[str, Tensor]:
    """Return the objective's unreduced terms in the declared order: (rows,) or () each, at least float32.

    Whether they are finite is the training loop's business, which keeps the last good checkpoint.
    """
    who = f"the objective {name!r}"
    with _declared(who):
        values = objective.per_sample(scene)
    _require(isinstance(values, Mapping), who, "return a mapping", f"it returned {type(values).__name__}")
    given = ", ".join(sorted(values)) or "none"
    promise = f"return its terms {', '.join(objective.terms)}"
    _require(set(values) == set(objective.terms), who, promise, f"it returned {given}")
    return {term: _term(who, term, values[term]) for term in objective.terms}


def select(selector: SampleSelector, name: str, scene: Scene) -> Pairs:
    """Return the selector's pairs, chosen without gradient: (N, M) masks or weights, none with itself."""
    who = f"the selector {name!r}"
    with torch.no_grad(), _declared(who):
        pairs = selector.select(scene)
    _require(isinstance(pairs, Pairs), who, "return Pairs", f"it returned {type(pairs).__name__}")
    columns = pairs.columns if pairs.has("columns") else scene.columns
    own = scene.own if _begin_with(columns, scene.columns) else None
    for side, weights in (("positive", pairs.positive), ("negative", pairs.negative)):
        _check_weights(who, side, weights, (len(scene.rows.sample), len(columns.sample)))
        if own is not None:
            alone = weights.gather(1, own[:, None])[:, 0] == 0
            _require_rows(alone, who, "never pair an anchor with itself", f"is {side} to itself")
    return pairs


def fit(target: ClusterTarget, name: str, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
    """Return the target's clusters of features (n, F), one solution for each number of clusters."""
    who = f"the target {name!r}"
    with torch.no_grad():
        found = target.fit(features, clusters, rng)
    _require(isinstance(found, Clustering), who, "return a Clustering", f"it returned {type(found).__name__}")
    sizes = tuple(len(centroids) for centroids in found.centroids)
    _require(sizes == tuple(clusters), who, f"find {tuple(clusters)} clusters", f"it found {sizes}")
    table, sums = (len(clusters), len(features)), len(found.inertia)
    for what, value in (("assignment", found.assignment), ("confidence", found.confidence)):
        promise = f"return {what} of shape {table}, solutions by images"
        _require(value.shape == table, who, promise, f"its shape is {tuple(value.shape)}")
    _require(sums == len(clusters), who, "return one inertia for each solution", f"it returned {sums}")
    _require(found.assignment.dtype == torch.int64, who, "assign int64", f"it is {found.assignment.dtype}")
    _require(bool(found.confidence.isfinite().all()), who, "return finite confidence", "some is not")
    for count, centroids, assignment in zip(clusters, found.centroids, found.assignment, strict=True):
        width, expected = tuple(centroids.shape[1:]), tuple(features.shape[1:])
        _require(width == expected, who, f"return centroids of {expected} features", f"they have {width}")
        finite = centroids.isfinite().all(dim=1)
        _require_rows(finite, who, f"return finite centroids for {count} clusters", "holds NaN or infinity")
        known = (assignment >= 0) & (assignment < count)
        _require_rows(known, who, f"assign clusters 0 to {count - 1}", "has another")
    return found


def draw(view: View, name: str, x: Tensor, rng: Rng, *, graph: bool = False) -> tuple[Tensor, Tensor | None]:
    """Return the view of images x (B, *item), clamped to its ``range``, and its pretext target or ``None``.

    The view may change the shape of an item, not the number of rows, and never draws from a global generator.
    ``graph``: keep the gradient toward x, for attacks that look through the view and terms that read gradients.
    """
    who = f"the view {name!r}"
    written, traces = x._version, Traces(())
    wanted = graph and x.requires_grad and torch.is_grad_enabled()
    with torch.set_grad_enabled(wanted):
        drawn = view.draw(x, rng)
    _require_clean(who, traces, x._version == written)
    image, target = drawn if isinstance(drawn, tuple) else (drawn, None)
    _require(isinstance(image, Tensor), who, "return a tensor", f"it returned {type(image).__name__}")
    _require(image.is_floating_point(), who, "return floating-point images", f"they are {image.dtype}")
    _require(len(image) == len(x), who, f"return {len(x)} images", f"there are {len(image)}")
    if wanted:
        _require(image.requires_grad, who, "be differentiable where a gradient is asked through it", "it is not")
    if target is not None:
        _require(len(target) == len(x), who, f"return {len(x)} targets", f"there are {len(target)}")
        target = target.detach()
    _require_rows(image.isfinite().flatten(1).all(1), who, "return finite values", "holds NaN or infinity")
    bounds = hooks.of(view, ViewHooks).range
    return (image if bounds is None else _clamped(image, *bounds)), target


@contextlib.contextmanager
def _declared(who: str) -> Iterator[None]:
    """Name the plugin that reads what nothing brings, since it did not declare the need."""
    try:
        yield
    except NeedNotMet as error:
        if not str(error).startswith(UNPROVIDED):  # told by whoever knows more, or of an objective in an attack
            raise
        raise NeedNotMet(f"{who} reads what it did not declare: {error}") from None


def _clamped(image: Tensor, low: float, high: float) -> Tensor:
    """Clamp; unlike torch's own clamp, a pixel that lies on the border keeps its gradient: black ones are many."""
    if not image.requires_grad:
        return image.clamp(low, high)
    return torch.where((image < low) | (image > high), image.clamp(low, high), image)


def _check_inputs(x: Tensor, ball: Ball, name: str) -> None:
    inside = ball.contains(x, x)
    if bool(inside.all()):
        return
    row = int((~inside).nonzero()[0])
    valid = "finite" if ball.range is None else f"within {ball.range[0]:g} .. {ball.range[1]:g}"
    raise DataError(
        f"the input of the generator {name!r} must be {valid}, but row {row} spans {_span(x[row])}: give"
        " images in the threat's range; normalisation belongs inside the model"
    )


def _explain_outside(who: str, adv: Tensor, x: Tensor, ball: Ball, inside: Tensor) -> None:
    """Raise with the promise that was broken: finite, range or ball."""
    _require_rows(adv.isfinite().flatten(1).all(1), who, "return finite values", "holds NaN or infinity")
    if ball.range is not None:
        low, high = ball.range
        excess = torch.maximum(low - adv, adv - high).flatten(1).amax(1)
        row = int(excess.argmax())
        promise = f"stay in the range {low:g} .. {high:g}"
        _require_rows(excess <= 0, who, promise, f"spans {_span(adv[row])}", row)
    distance, eps = ball.distance(adv, x), torch.as_tensor(ball.eps, device=x.device).expand(len(x))
    row = int(torch.where(inside, -torch.inf, distance - eps).argmax())
    detail = f"is {float(distance[row]):.6g} away where eps is {float(eps[row]):.6g}"
    _require_rows(inside, who, f"stay in the {ball.norm} ball", detail, row)


def _term(who: str, term: str, value: Tensor) -> Tensor:
    promise = f"return {term!r} as rows or a scalar in floating point"
    _require(isinstance(value, Tensor), who, promise, f"it is {type(value).__name__}")
    _require(value.dim() <= 1, who, promise, f"its shape is {tuple(value.shape)}")
    _require(value.is_floating_point(), who, promise, f"it is {value.dtype}")
    return value.float() if value.itemsize < 4 else value


def _check_weights(who: str, side: str, weights: Tensor, shape: tuple[int, int]) -> None:
    promise = f"return {side} weights of shape {shape}, anchors by columns"
    _require(weights.shape == shape, who, promise, f"their shape is {tuple(weights.shape)}")
    if weights.dtype != torch.bool:
        valid = (weights.isfinite() & (weights >= 0)).all(1)
        _require_rows(valid, who, f"return {side} weights that are finite and not negative", "has others")


def _begin_with(columns: Rows, scene: Rows) -> bool:
    """Say whether columns are the scene's, perhaps with more behind: only then is each own column known."""
    count = len(scene.sample)
    return columns is scene or (
        torch.equal(columns.sample[:count], scene.sample) and torch.equal(columns.view[:count], scene.view)
    )


def _require_clean(who: str, traces: Traces, input_untouched: bool) -> None:
    _require(input_untouched, who, "leave its input alone", "it wrote into it")
    for trace in traces.found():
        _require(False, who, "leave no traces", trace)


def _require(kept: bool, who: str, promise: str, instead: str) -> None:
    if not kept:
        raise PluginMisbehaved(f"{who} must {promise}, but {instead}: a mistake in the plugin")


def _require_rows(kept: Tensor, who: str, promise: str, instead: str, worst: int | None = None) -> None:
    """Fail if an entry of (R,) bool is false; names the worst row, or else the first."""
    if not bool(kept.all()):
        broken = (~kept).nonzero()[:, 0]
        row = int(broken[0]) if worst is None else worst
        _require(False, who, promise, f"row {row} {instead} ({len(broken)} of {len(kept)} rows break it)")


def _span(row: Tensor) -> str:
    return f"{float(row.min()):.6g} .. {float(row.max()):.6g}"
