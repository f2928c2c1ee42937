"""From the name of a run to measures that are kept in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robustcl.analysis.measure import kept, numbers, pictures
from robustcl.analysis.measure.numbers import Measures
from robustcl.analysis.measure.opened import MeasuredSubject, MeasureQuestion, open_measured
from robustcl.analysis.measure.views import SampleViews, Told, embed_sample
from robustcl.errors import UsageError
from robustcl.measures.catalogue import choose_measures

MEASURES: Mapping[str, Callable[[MeasuredSubject, SampleViews], Measures]] = MappingProxyType({
    "r-div": numbers.divergence,
    "class-distances": numbers.class_distances,
    "alignment": numbers.alignment,
    "uniformity": numbers.uniformity,
    "silhouette": numbers.silhouette,
    "separability": numbers.separability,
    "rank": numbers.rank,
    "relative-drop": numbers.relative_drop,
    "entropy": numbers.entropy,
    "input-landscape": pictures.input_landscape,
    "weight-landscape": pictures.weight_landscape,
    "inversion": pictures.inversion,
    "t-sne": numbers.embedding,
})  # fmt: skip
"""Name in the catalogue -> how it is measured."""


def measure(
    folder: Path | str,
    what: Sequence[str] = (),
    asked: MeasureQuestion | None = None,
    *,
    told: Told = lambda what, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Measure a finished run's representation, keep it in its ``representation.json``, and return the entry.

    Nothing is kept before all is measured. A measure that these features do not allow is kept as the reason.

    Args:
        folder: of the run.
        what: names of ``catalogue.NUMBERS``; all where empty.
        asked: protocol, route, attack, split and sample.
        told: hears of progress. say: hears sentences.

    Raises:
        UsageError: no such measure, no finished run, or something asked for that it does not have.
    """
    names, folder = choose_measures(what), Path(folder)
    found: dict[str, Measures] = {}
    refused: dict[str, str] = {}
    with open_measured(folder, asked or MeasureQuestion(), say) as subject:
        views = embed_sample(subject, told)
        for number, name in enumerate(names, 1):
            try:
                found[name] = MEASURES[name](subject, views)
            except UsageError as error:  # one image in each class, features that have collapsed, no image right
                refused[name] = str(error)
            told("measure", number, len(names))
        return kept.keep(folder, subject.question, found, refused)
