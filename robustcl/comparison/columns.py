"""What may stand in one column: numbers of the same metric, protocol, threat, attack and images, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robustcl.comparison.outcomes import Verdicts
from robustcl.comparison.runs import ComparedRun
from robustcl.composition.settled import resolve_row
from robustcl.errors import DataError, UsageError
from robustcl.report import tables

TEST = "test"
"""The split that is the same for every run of a data set."""

JUDGED = "judged"
"""What stands for the route where each run has a judged branch of its own."""

_IDENTITY = ("stage", "encoder", "seed")
"""Entries of a specification that are the column's own, or a run's; the others must be the same for all runs."""


@dataclass(frozen=True, slots=True)
class RunNumber:
    """One run's number in a column: its row of results.json, and the outcomes behind it or why there are none."""

    run: ComparedRun
    row: Mapping[str, Any]
    verdicts: Verdicts | str


@dataclass(frozen=True, slots=True)
class Column:
    """One question that was put to several runs.

    settings: what tells it from its neighbours of the same metric, empty where there are none. mixed: what differs
    between its runs in more than the method, as sentences; empty in a column whose numbers may be compared.
    """

    metric: str
    protocol: str
    route: str
    split: str
    stage: str
    encoder: str
    settings: str = ""
    mixed: tuple[str, ...] = ()
    entries: tuple[RunNumber, ...] = field(default=(), repr=False)

    @property
    def ranked(self) -> bool:
        """Whether a higher number is better: a share of images that are right, and all of them judged."""
        partial = any(entry.row.get("partial") for entry in self.entries)
        return self.share and not partial and not self.mixed

    @property
    def share(self) -> bool:
        """Whether the numbers are shares of images, shown as percent."""
        counted = all(entry.row.get("correct") is not None for entry in self.entries)
        return counted or self.metric.endswith("_acc")

    @property
    def images(self) -> tuple[int, ...]:
        """How many images were judged; several numbers only where the column is mixed."""
        counts = (entry.row.get("n") for entry in self.entries)
        return tuple(dict.fromkeys(int(count) for count in counts if count is not None))

    @property
    def where(self) -> tuple[str, ...]:
        """Protocol, stage, encoder, route and split, as far as they are stated."""
        named = (f"stage {self.stage}" if self.stage else "", "" if self.encoder == "online" else self.encoder)
        route = f"route {self.route}" if self.route else ""
        return tuple(part for part in (self.protocol, *named, route, self.split) if part)

    def entry(self, run: ComparedRun) -> RunNumber | None:
        """Return a run's number, ``None`` where it was not measured."""
        return next((entry for entry in self.entries if entry.run is run), None)


def list_columns(
    runs: Sequence[ComparedRun], wanted: Mapping[str, Sequence[str]], branches: Mapping[Path, str] | None = None
) -> tuple[Column, ...]:
    """Gather the columns of all runs in the order of their rows.

    ``wanted``: metric, protocol, route or split -> the only ones to show; none named shows all. ``branches``: the
    judged branch of each run, by its path; it alone is shown, and other branches of one metric share a column.
    Raises ``UsageError`` where nothing is left, ``DataError`` where a run answers one question twice.
    """
    asked: dict[Column, list[RunNumber]] = {}
    for run in runs:
        for row in run.results["rows"]:
            if branches is not None and row.get("route") != branches[run.path]:
                continue
            if all(not values or row.get(name) in values for name, values in wanted.items()):
                question = _question(row)
                if branches is not None and len(set(branches.values())) > 1:
                    question = replace(question, route=JUDGED)
                asked.setdefault(question, []).append(RunNumber(run, row, run.outcomes.of(row)))
    if not asked:
        chosen = ", ".join(f"--{name} {value}" for name, values in wanted.items() for value in values)
        metrics = dict.fromkeys(_text(row) for run in runs for row in run.results["rows"])
        raise UsageError(f"no run has a number for {chosen}; there are {', '.join(metrics)}")
    return tuple(column for question, entries in asked.items() for column in _columns(question, entries))


def refusal(columns: Sequence[Column]) -> str | None:
    """Return the sentence that refuses mixed columns, ``None`` where there are none."""
    said: dict[str, list[str]] = {}
    for column in columns:
        for difference in column.mixed:
            said.setdefault(difference, []).append(f"{column.metric} under {', '.join(column.where)}")
    if not said:
        return None
    parts = [
        f"{difference} [in {places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}]"
        for difference, places in said.items()
    ]
    return (
        f"these runs were not measured alike: {'; '.join(parts)}; compare like with like, "
        "choose columns with --metric, --protocol, --route or --split, or show them unranked with --allow-mixed"
    )


def _columns(question: Column, entries: Sequence[RunNumber]) -> list[Column]:
    """Make one column of a question; several where one run answers it under several settings."""
    if len({id(entry.run) for entry in entries}) == len(entries):
        return [replace(question, mixed=_differences(entries), entries=tuple(entries))]
    split: dict[str, list[RunNumber]] = {}
    for entry in entries:
        split.setdefault(json.dumps(_apart(entry), sort_keys=True), []).append(entry)
    split = {said: _written_twice(own) for said, own in split.items()}
    if len(split) == 1 and len(own := next(iter(split.values()))) == len({id(entry.run) for entry in own}):
        return [replace(question, mixed=_differences(own), entries=tuple(own))]
    found = []
    for said, own in split.items():
        if len({id(entry.run) for entry in own}) < len(own):
            raise DataError(f"{own[0].run.path}/results.json states {question.metric} twice: evaluate the run again")
        others = [json.loads(other) for other in split if other != said]
        special = {n: v for n, v in json.loads(said).items() if any(other.get(n) != v for other in others)}
        text = ", ".join(f"{name} {value}" for name, value in special.items()) or "without options"
        found.append(replace(question, settings=text, mixed=_differences(own), entries=tuple(own)))
    return found


def _written_twice(entries: Sequence[RunNumber]) -> list[RunNumber]:
    """Return the entries without one attack of a run under two spellings, a step left out and the same step given."""
    kept: list[RunNumber] = []
    for entry in entries:
        if not any(other.run is entry.run and _is_respelt(other.row, entry.row) for other in kept):
            kept.append(entry)
    return kept


def _is_respelt(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    alike = all(one.get(key) == other.get(key) for key in ("attack", "n", "correct"))
    return alike and tables.spec(one) != tables.spec(other)


def _differences(entries: Sequence[RunNumber]) -> tuple[str, ...]:
    """Say in what the runs of a column differ besides the method."""
    facts = [_facts(entry) for entry in entries]
    found = []
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values: dict[str, list[str]] = {}
        for entry, fact in zip(entries, facts, strict=True):
            if fact.get(name, "") is not None:  # what a missing journal cannot tell is no difference
                values.setdefault(fact.get(name, "") or "not stated", []).append(str(entry.run.path))
        if len(values) > 1:
            found.append(f"{name} differs: " + ", ".join(f"{v} ({_paths(runs)})" for v, runs in values.items()))
    return tuple(found)


def _paths(runs: Sequence[str]) -> str:
    shown = list(runs[:3])
    return ", ".join(shown) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


def _facts(entry: RunNumber) -> dict[str, str | None]:
    """Return what must be the same for all runs of a column; ``None`` for what this run cannot tell."""
    row, results = entry.row, entry.run.results
    threat, data = results.get("threat") or {}, results.get("data") or {}
    facts: dict[str, Any] = {
        f"specification {name}": value for name, value in _settings(row, _classes(entry.run)).items()
    }
    facts |= {name.replace("_", " "): row.get(name) for name in ("protocol_version", "protocol_hash") if name in row}
    facts["threat norm"] = threat.get("norm")
    facts["threat eps"] = threat.get("eps_value", threat.get("eps"))
    facts["data set"] = data.get("use")
    facts["shape of an image"] = data.get("item")
    facts["classes"] = ", ".join(map(str, data.get("classes") or ())) or None
    facts["number of images"] = row.get("n")
    if row.get("partial"):
        facts["number of images asked for"] = row.get("samples")
    said: dict[str, str | None] = {name: "" if value is None else _say(value) for name, value in facts.items()}
    # The held-out part of the training images is drawn by the seed: those may differ, and are not tested then.
    return said | (_images(entry.verdicts) if row.get("split") == TEST else {})


def _images(verdicts: Verdicts | str) -> dict[str, str | None]:
    if isinstance(verdicts, str):
        return {"choice of images": None, "content of the images": None}
    places = hashlib.blake2b(verdicts.index.tobytes() + verdicts.label.tobytes(), digest_size=4).hexdigest()
    clean = verdicts.clean
    content = None if clean is None else hashlib.blake2b("".join(clean).encode(), digest_size=4).hexdigest()
    return {"choice of images": f"digest {places}", "content of the images": content and f"digest {content}"}


def _settings(row: Mapping[str, Any], classes: int) -> dict[str, str]:
    """Return the specification of a row, flat, its attack as it ran, without what is the column's own."""
    spec = dict(tables.spec(row))
    if isinstance(spec.get("attack"), Mapping):
        spec["attack"] = resolve_row(row, classes)
    return {name: _say(value) for name, value in tables.flat(spec).items() if name not in _IDENTITY}


def _classes(run: ComparedRun) -> int:
    """Return how many classes the data set of a run has; 2 where it does not say."""
    return max(len((run.results.get("data") or {}).get("classes") or ()), 2)


def _apart(entry: RunNumber) -> dict[str, str]:
    """Return what tells the answers of one run apart: its settings, the seed, and how many images were asked for."""
    row = entry.row
    seed = {"seed": _say(tables.spec(row)["seed"])} if "seed" in tables.spec(row) else {}
    return {**_settings(row, _classes(entry.run)), **seed, "images": str(row.get("samples") or row.get("n"))}


def _question(row: Mapping[str, Any]) -> Column:
    """Return the column that a row belongs to, still empty."""
    spec = tables.spec(row)
    metric, protocol, route, split = (str(row.get(name) or "") for name in ("metric", "protocol", "route", "split"))
    return Column(metric, protocol, route, split, str(spec.get("stage") or ""), str(spec.get("encoder") or "online"))


def _text(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in ("metric", "protocol", "route", "split") if row.get(name))


def _say(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
