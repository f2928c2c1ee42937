"""The runs that a study plans: every row, at every point of its axes, with every seed, as a checked composition."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustcl.api import Composition
from robustcl.composition.lock import digest
from robustcl.errors import UsageError
from robustcl.study.grammar import tuning
from robustcl.study.grammar.spots import Spot, points
from robustcl.study.grammar.study import Row, Study
from robustcl.study.grammar.tuning import Tried
from robustcl.study.plan import elsewhere
from robustcl.study.plan.elsewhere import Elsewhere
from robustcl.study.plan.equal import EqualTerms
from robustcl.study.plan.setting import Setting
from robustcl.study.plan.timings import Timings


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of the grid. ``label`` names row and point; ``folder`` its directory; equal digests are the same run.

    elsewhere: what the row's columns ask of the run on another data set. tried: the value of what is tuned.
    lacks: column, or "figure 1" by its number -> why the recipe cannot have it.
    """

    label: str
    row: Row
    point: Mapping[str, Any]
    seed: int
    composition: Composition
    digest: str
    folder: str
    elsewhere: Elsewhere | None = None
    tried: Tried | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)


def plan(name: str, study: Study, setting: Setting, timings: Timings) -> list[Planned]:
    """Compose every run; nothing is opened and nothing is trained. ``timings`` tell equal seconds.

    Raises:
        UsageError: a row that does not compose; the sentence names study and row.
    """
    if setting.seeds < 1:
        raise UsageError(f"--seeds {setting.seeds}: a study needs one seed at least")
    planned: list[Planned] = []
    folders: dict[str, str] = {}
    spots = [spot for spot in points(study) if spot.row.is_trained and not setting.models]
    names = _slugs([_name(spot, tried) for spot in spots for tried in tuning.values(study, spot.row)])
    terms = EqualTerms(name, study, setting, spots[0], timings) if spots else None
    for spot, seed in itertools.product(spots, range(setting.seeds)):
        for tried in tuning.values(study, spot.row):
            assert terms is not None
            composition = terms.compose(spot, seed, tried)
            if tried is not None and composition.recipe.data.validation == 0:
                raise UsageError(f"the study {study.name}, row {spot.label!r}: tuned: no validation images choose; set "
                                 "data.validation to the part that is held out, e.g. 0.1")  # fmt: skip
            key = digest(composition)
            folder = folders.setdefault(key, f"{names[_name(spot, tried)]}-seed{seed}")
            judged = _elsewhere(study, spot, composition, f"the study {study.name}, row {spot.label!r}")
            planned.append(Planned(spot.label, spot.row, spot.point, seed, composition, key, folder, judged, tried))
    return planned


def _name(spot: Spot, tried: Tried | None) -> str:
    """Return what a run is called: without the data sets that it does not look at, with what is tried."""
    name = spot.label if spot.row.on == "other" else spot.title
    return name if tried is None else f"{name}, {tried}"


def _elsewhere(study: Study, spot: Spot, composition: Composition, where: str) -> Elsewhere | None:
    if spot.other is None or spot.row.on == "other":
        return None
    return elsewhere.plan_elsewhere(spot.other, composition, study.columns_of(spot.row), where)


def _slugs(labels: Sequence[str]) -> dict[str, str]:
    """Return a folder's name for each label, never the same one for two."""
    found: dict[str, str] = {}
    for label in dict.fromkeys(labels):
        plain = re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.") or "row"
        while plain in found.values():
            plain += "-again"
        found[label] = plain
    return found
