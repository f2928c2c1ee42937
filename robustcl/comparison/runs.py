"""The runs that are compared, and the groups they form: one method, several seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robustcl.comparison.outcomes import Outcomes
from robustcl.disk import read_toml
from robustcl.errors import UsageError, near
from robustcl.report.load import load_held

By = Literal["recipe", "name", "run"]
"""What makes one group: the recipe without its seed, the name alone, or each run for itself."""

_NOT_LEARNT = ("run", "lock", "deviations", "cite", "about", "made", "seed", "evaluate", "judged")
"""What of a recipe decides nothing of what is learnt; how a run was judged is the columns' matter."""


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """A finished run: its results, its journal, and a digest of what was trained, whatever the seed."""

    path: Path
    results: Mapping[str, Any]
    outcomes: Outcomes
    recipe: str
    label: str | None = None

    @property
    def name(self) -> str:
        """The label that it was given, else the run's name in its recipe, or else its directory's."""
        if self.label is not None:
            return self.label
        return str(self.results.get("name") or self.path.resolve().name)

    @property
    def seed(self) -> int | None:
        """The seed, ``None`` where results.json does not say."""
        seed = self.results.get("seed")
        return seed if isinstance(seed, int) else None


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One line of the table: runs that differ in their seed alone."""

    label: str
    runs: tuple[ComparedRun, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds, in the order of the runs."""
        return tuple(run.seed for run in self.runs)


def read(runs: Sequence[Path | str]) -> tuple[ComparedRun, ...]:
    """Read runs, each a folder or LABEL=FOLDER.

    Raises ``DataError`` for a folder that is no finished run, ``UsageError`` for fewer than two.
    """
    places: dict[Path, Path] = {}
    named = [_labelled(run) for run in runs]
    paths = [path for _, path in named]
    for path in paths:
        if path.resolve() in places:
            raise UsageError(f"the run {path} is named twice: name it once")
        places[path.resolve()] = path
    if len(places) < 2:
        said = f"only {paths[0]} was named" if paths else "none was named"
        raise UsageError(f"a comparison needs two runs or more, and {said}: robustcl report shows a single run")
    found = []
    for label, path in named:
        results, evidence, _ = load_held(path)
        found.append(ComparedRun(path, results, Outcomes(path, evidence), _recipe(path, results), label))
    return tuple(found)


def _labelled(run: Path | str) -> tuple[str | None, Path]:
    """Return label and folder of LABEL=FOLDER; a folder whose own name has an equals sign is taken as it is."""
    label, sign, folder = str(run).partition("=")
    if not sign or "/" in label or Path(run).exists():
        return None, Path(run)
    if not label.strip() or not folder:
        raise UsageError(f"{run}: write LABEL=RUN, e.g. NCP=runs/ncp-seed0")
    return label.strip(), Path(folder)


def groups(runs: Sequence[ComparedRun], by: By = "recipe") -> tuple[Group, ...]:
    """Put runs together that differ in their seed alone, in the order in which they are named.

    Raises ``UsageError`` where a group has one seed twice: its spread would be too small.
    """
    members: dict[tuple[str, ...], list[ComparedRun]] = {}
    for run in runs:
        key = {"recipe": (run.name, run.recipe), "name": (run.name,), "run": (str(run.path),)}[by]
        members.setdefault(key, []).append(run)
    for group in members.values():
        _refuse_twins(group)
    labels = _labels(list(members.values()))
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"the label {label} stands for {labels.count(label)} methods: give each one its own")
    return tuple(Group(label, tuple(group)) for label, group in zip(labels, members.values(), strict=True))


def find_group(groups: Sequence[Group], baseline: str) -> int:
    """Return the place of the group that a run's path, a label or a name means. Raises ``UsageError``."""
    path = Path(baseline).resolve()
    by_path = [place for place, group in enumerate(groups) if any(run.path.resolve() == path for run in group.runs)]
    by_label = [place for place, group in enumerate(groups) if group.label == baseline]
    by_name = [place for place, group in enumerate(groups) if any(run.name == baseline for run in group.runs)]
    found = by_label or by_path or by_name
    if by_label and by_path and by_label != by_path:
        raise UsageError(
            f"--baseline {baseline} is the label of one method and the folder of another: write ./{baseline} for the "
            "folder, or give the methods labels, LABEL=RUN"
        )
    known = [group.label for group in groups]
    if not found:
        raise UsageError(
            f"--baseline {baseline} is none of the runs{near(baseline, known)}: "
            f"name one of {', '.join(known)}, or its folder"
        )
    if len(found) > 1:
        raise UsageError(
            f"--baseline {baseline} names {len(found)} methods: name the folder of a run instead, "
            "or give each a label, LABEL=RUN"
        )
    return found[0]


def _refuse_twins(group: Sequence[ComparedRun]) -> None:
    first: dict[int | None, ComparedRun] = {}
    for run in group:
        twin = first.setdefault(run.seed, run)
        if twin is not run:
            seed = "do not state their seed" if run.seed is None else f"both have seed {run.seed}"
            raise UsageError(
                f"{twin.path} and {run.path} are runs of {run.name!r} and {seed}: leave one out, "
                "or see each run by itself with robustcl compare --by run"
            )


def _labels(members: Sequence[Sequence[ComparedRun]]) -> list[str]:
    """Return the names of groups; where names repeat, with the seed if that tells them apart, else with the folder."""
    labels = []
    for group in members:
        head, same = group[0], [other[0] for other in members if other[0].name == group[0].name]
        if len(same) == 1 or head.label is not None:
            labels.append(head.name)
        elif len({run.recipe for run in same}) == 1 and len({run.seed for run in same}) == len(same):
            labels.append(f"{head.name} (seed {head.seed})")
        else:
            labels.append(f"{head.name} ({head.path})")
    return labels


def _recipe(path: Path, results: Mapping[str, Any]) -> str:
    """Return a digest of the resolved recipe without its seed; of what results.json says where there is no lock."""
    file = path / "recipe.lock.toml"
    if file.is_file():
        tables = read_toml(file, remedy="restore the run's lock")
    else:
        tables = {key: results.get(key) for key in ("threat", "data", "composition")}
    kept = {key: value for key, value in tables.items() if key not in _NOT_LEARNT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]
