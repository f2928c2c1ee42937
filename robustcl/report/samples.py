"""The same images under every attack: which fell to which, as a picture and as a table to search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from robustcl.report import images
from robustcl.report.entries import place
from robustcl.report.headline import place as classifier
from robustcl.report.headline import rows
from robustcl.report.journal import Outcome, Outcomes, outcomes
from robustcl.report.load import FinishedRun
from robustcl.report.representation import class_name

SHOWN = 300
"""At most so many images are shown."""

STANDS, BROKEN, WRONG, UNKNOWN = "stands", "broken", "wrong", "unknown"
"""What becomes of an image: right, wrong under the attack only, wrong without any, or not judged."""


@dataclass(frozen=True, slots=True)
class AttackedSample:
    """One image under one attack: its state, the class that was predicted, and the member that broke it."""

    state: str
    prediction: str = ""
    member: str = ""


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """One image: its index, class, and clean prediction; what each attack made of it; ``fates`` are for the filter."""

    index: int
    label: str
    clean: AttackedSample
    seen: tuple[AttackedSample, ...]
    image: str | None
    fates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """One row of the picture: equal neighbours as (first column, columns, state), and its count in words."""

    name: str
    runs: tuple[tuple[int, int, str], ...]
    words: str


@dataclass(frozen=True, slots=True)
class Samples:
    """The view: images sorted by how many attacks break them; ``fates`` are the filters as (token, words, count)."""

    where: str
    attacks: tuple[str, ...]
    samples: tuple[JudgedSample, ...]
    judged: int
    bands: tuple[Band, ...]
    fates: tuple[tuple[str, str, int], ...]
    words: str

    @property
    def states(self) -> frozenset[str]:
        """The states that occur."""
        return frozenset(state for band in self.bands for _, _, state in band.runs)

    @property
    def pictured(self) -> bool:
        """Whether any image itself is at hand."""
        return any(sample.image for sample in self.samples)


def read_samples(run: FinishedRun, classes: Sequence[str]) -> Samples | None:
    """Return the view of the last judged test rows; ``None`` where the journal does not hold their outcomes."""
    tested = [row for row in rows(run.results) if row["split"] == "test"]
    group = [row for row in tested if classifier(row) == classifier(tested[-1])]
    known = outcomes(run.path / "journal.jsonl", group, run.evidence)
    attacked = [(row, seen) for row, seen in zip(group, known, strict=True) if row["attack"] is not None and seen]
    clean = next((seen for row, seen in zip(group, known, strict=True) if row["attack"] is None), {})
    if not attacked or not clean:
        return None
    lacking = Counter(index for _, seen in attacked for index in clean if index not in seen)
    chosen = sorted(sorted(clean, key=lambda index: (lacking[index], index))[:SHOWN])
    names = _names([row for row, _ in attacked])
    pictures = images.thumbnails(run.strip) if run.strip is not None else {}
    made = [_sample(index, clean[index][0], attacked, classes, pictures) for index in chosen]
    ordered = tuple(sorted(made, key=_order))
    states = [[sample.clean.state for sample in ordered]]
    states += [[sample.seen[number].state for sample in ordered] for number in range(len(names))]
    bands = tuple(_band(name, each) for name, each in zip(("no attack", *names), states, strict=True))
    where = place(group[0])
    fates = _fates(names, ordered)
    return Samples(where, names, ordered, len(clean), bands, fates, _words(where, ordered, len(clean), bands))


def _sample(
    index: int,
    clean: Outcome,
    attacked: Sequence[tuple[Mapping[str, Any], Outcomes]],
    classes: Sequence[str],
    pictures: Mapping[int, str],
) -> JudgedSample:
    right = clean.correct
    seen = tuple(
        _seen(found.get(index, ()), row, classes)
        if right
        else AttackedSample(WRONG, class_name(clean.prediction, classes))
        for row, found in attacked
    )
    first = AttackedSample(STANDS if right else WRONG, class_name(clean.prediction, classes))
    return JudgedSample(index, class_name(clean.label, classes), first, seen, pictures.get(index), _tokens(right, seen))


def _seen(found: Sequence[Outcome], row: Mapping[str, Any], classes: Sequence[str]) -> AttackedSample:
    """Return what an attack made of an image that was right before; one that has not met all members is not judged."""
    if not found:
        return AttackedSample(UNKNOWN)
    last, members = found[-1], list(row.get("members") or ())
    prediction = class_name(last.prediction, classes)
    if not last.correct and last.member == "clean":
        return AttackedSample(WRONG, prediction)
    if not last.correct:
        return AttackedSample(BROKEN, prediction, last.member if len(members) > 1 else "")
    finished = last.member == members[-1] if members else last.member != "clean"
    return AttackedSample(STANDS, prediction) if finished else AttackedSample(UNKNOWN)


def _tokens(right: bool, seen: Sequence[AttackedSample]) -> tuple[str, ...]:
    if not right:
        return (WRONG,)
    broken = [number for number, each in enumerate(seen) if each.state == BROKEN]
    tokens = [f"by-{number}" for number in broken]
    if all(each.state == STANDS for each in seen):
        tokens.append(STANDS)
    if len(broken) == 1 and len(seen) > 1:
        tokens.append(f"only-{broken[0]}")
    if any(each.state == UNKNOWN for each in seen):
        tokens.append(UNKNOWN)
    return tuple(tokens)


def _fates(names: Sequence[str], made: Sequence[JudgedSample]) -> tuple[tuple[str, str, int], ...]:
    """Return the filters that leave something."""
    words = {STANDS: "right under every attack", WRONG: "wrong without an attack"}
    words |= {f"by-{number}": f"broken by {name}" for number, name in enumerate(names)}
    words |= {f"only-{number}": f"broken by {name} alone" for number, name in enumerate(names)}
    words[UNKNOWN] = "not judged under some attack"
    counts = Counter(token for sample in made for token in sample.fates)
    return tuple((token, text, counts[token]) for token, text in words.items() if counts[token])


def _order(sample: JudgedSample) -> tuple[Any, ...]:
    """Put images that stand first, then those that more and more attacks break, and those wrong from the start last."""
    broken = sum(each.state == BROKEN for each in sample.seen)
    return (sample.clean.state == WRONG, broken, tuple(each.state for each in sample.seen), sample.index)


def _band(name: str, states: Sequence[str]) -> Band:
    runs, start = [], 0
    for state, group in groupby(states):
        length = len(list(group))
        runs.append((start, length, state))
        start += length
    counts = Counter(states)
    said = {STANDS: "right", BROKEN: "broken", WRONG: "wrong without an attack", UNKNOWN: "not judged"}
    return Band(
        name, tuple(runs), ", ".join(f"{counts[state]} {word}" for state, word in said.items() if counts[state])
    )


def _words(where: str, made: Sequence[JudgedSample], judged: int, bands: Sequence[Band]) -> str:
    """Return the picture as a text."""
    broken = Counter(
        sum(each.state == BROKEN for each in sample.seen) for sample in made if sample.clean.state == STANDS
    )
    by_count = ", ".join(f"{count} by {number}" for number, count in sorted(broken.items()) if number)
    parts = [
        f"{len(made)} of {judged} test images under {where}, sorted by how many attacks break them",
        f"broken by so many attacks: {by_count or 'none'}",
        *(f"{band.name}: {band.words}" for band in bands),
    ]
    return "; ".join(parts) + "."


def _names(group: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the attacks' names, numbered where one name stands for several."""
    seen: Counter[str] = Counter()
    names = []
    for row in group:
        name = str(row["attack"])
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(names)
