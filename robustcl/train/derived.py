"""Views that are made of what a generator writes: by which of them a term sees it, and drawing them in the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from robustcl.data.draw import DrawnViews, ViewSpec, draw_views
from robustcl.rng import Rng
from robustcl.train.plan import GeneratorPlan, StagePlan


def line_of(of: Mapping[str, str | None], view: str) -> list[str]:
    """Return a view, the view it is made of, and so on down to one that is made of an image or by a generator.

    of: drawn view -> the view it is made of, ``None`` for the image.
    """
    line = [view]
    while (source := of.get(line[-1])) is not None and source not in line:
        line.append(source)
    return line


def looked_through(of: Mapping[str, str | None], writes: Iterable[str], reads: Iterable[str]) -> dict[str, str]:
    """Return, for each written view, the view by which it is seen by a term that ``reads`` some views.

    That is the written view itself, or the one derived from it. Raises ValueError with the names of all of them where
    there are several: candidates are embedded once.
    """
    seen: dict[str, str] = {}
    for name in writes:
        found = [view for view in dict.fromkeys(reads) if name in line_of(of, view)]
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)}, all of {name!r}")
        seen[name] = found[0] if found else name
    return seen


def resting_on(specs: Mapping[str, ViewSpec], names: Iterable[str]) -> dict[str, ViewSpec]:
    """Return the views that are made of some views, directly or through others."""
    of, names = {name: spec.of for name, spec in specs.items()}, set(names)
    return {name: spec for name, spec in specs.items() if name not in names and names & set(line_of(of, name))}


class Lenses:
    """Turns candidates into the views by which the maximised term sees them.

    The stream of a derived view is named by the view and the image alone: an attack looks through the very patches
    or crops that the training forward will draw.
    """

    def __init__(self, plan: StagePlan, generator: GeneratorPlan, rng: Rng) -> None:
        """``rng`` is the step's stream, of which all its views are drawn."""
        specs = plan.specs
        of = {name: spec.of for name, spec in specs.items()}
        reads = [ref.view for _, ref in generator.maximise.roles] if generator.maximise is not None else []
        self.seen = looked_through(of, generator.writes, reads)
        self._rng = rng
        self._specs = {
            name: {step: specs[step] for step in line_of(of, self.seen[name]) if step != name}
            for name in generator.writes
        }

    @property
    def clear(self) -> bool:
        """Whether every candidate is seen as it is."""
        return all(name == view for name, view in self.seen.items())

    def draw(self, name: str, x: Tensor, index: Tensor) -> DrawnViews:
        """Draw what is made of candidates x (R, *item) for the written view ``name``, with gradient toward them.

        index: (R,) int64, the images' positions in the data set.
        """
        return draw_views(x, index, self._specs[name], self._rng, given={name: x}, graph=True)

    def look(self, name: str, x: Tensor, index: Tensor) -> Tensor:
        """Return the view of candidates x (R, *item) by which the term sees them."""
        return x if self.seen[name] == name else self.draw(name, x, index).views[self.seen[name]]
