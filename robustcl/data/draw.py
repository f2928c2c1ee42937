"""Draw the named views of one batch, each from a stream of its own for every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from robustcl import promises
from robustcl.errors import UsageError
from robustcl.protocols import View
from robustcl.rng import Rng


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """One named view: its plugin, the view it is made ``of`` (None: the image), how often it is drawn.

    Drawn once, the view has the recipe's name; drawn ``count`` > 1 times, the name is followed by 1 .. count.
    """

    view: View
    of: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class DrawnViews:
    """views: name -> (B, *item), in its plugin's range; target: name -> (B, ...), of pretext views."""

    views: dict[str, Tensor] = field(default_factory=dict)
    target: dict[str, Tensor] = field(default_factory=dict)


def draw_views(
    images: Tensor,
    index: Tensor,
    specs: Mapping[str, ViewSpec],
    rng: Rng,
    *,
    given: Mapping[str, Tensor] | None = None,
    graph: bool = False,
) -> DrawnViews:
    """Draw every view of ``specs`` for images (B, *item) in [0, 1], on the device of the images.

    index: (B,) int64, the images' positions in the data set: an image's view depends on ``rng``, the view's
    name and this number alone, whichever images stand beside it. rng: the step's stream. given: views that
    are there already, such as perturbed ones, which ``of`` may name as well as any view of ``specs``.
    graph: keep the gradient toward ``images`` and ``given``.

    Raises UsageError if ``of`` names no view, or the views rest on each other in a circle.
    """
    index = index.to(images.device)
    drawn = DrawnViews()
    available = dict(given or {})
    for name in _ordered(specs, frozenset(available)):
        spec = specs[name]
        source = images if spec.of is None else available[spec.of]
        for repeat, output in enumerate(_names(name, spec)):
            stream = rng.child("view", name, repeat).for_rows(index)
            value, target = promises.draw(spec.view, name, source, stream, graph=graph)
            drawn.views[output] = available[output] = value
            if target is not None:
                drawn.target[output] = target
    return drawn


def drawable(specs: Mapping[str, ViewSpec]) -> tuple[dict[str, ViewSpec], dict[str, ViewSpec]]:
    """Part the views into those that rest on the image, directly or through others, and the rest.

    The first can be drawn when the batch arrives, the second once the generators have written what they are
    made of.
    """
    early: dict[str, ViewSpec] = {}
    names: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name, spec in specs.items():
            if name not in early and (spec.of is None or spec.of in names):
                early[name] = spec
                names.update(_names(name, spec))
                grown = True
    return early, {name: spec for name, spec in specs.items() if name not in early}


def _names(name: str, spec: ViewSpec) -> list[str]:
    return [name] if spec.count == 1 else [f"{name}{repeat}" for repeat in range(1, spec.count + 1)]


def _ordered(specs: Mapping[str, ViewSpec], given: frozenset[str]) -> list[str]:
    """Return the names such that every view comes after the one it is made of."""
    known, order = set(given), []
    outputs = given.union(*(_names(name, spec) for name, spec in specs.items()))
    waiting = dict(specs)
    while waiting:
        ready = [name for name, spec in waiting.items() if spec.of is None or spec.of in known]
        if not ready:
            name, spec = next(iter(waiting.items()))
            if spec.of not in outputs:
                there = ", ".join(sorted(outputs)) or "none"
                raise UsageError(f"the view {name!r} is made of {spec.of!r}, which is no view here: there are {there}")
            raise UsageError(
                f"the views {', '.join(waiting)} are made of each other: let one of them rest on the image"
            )
        for name in ready:
            known.update(_names(name, waiting.pop(name)))
            order.append(name)
    return order
