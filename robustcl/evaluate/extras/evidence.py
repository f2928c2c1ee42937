"""What a journal says of the numbers in results.json: every reader of a run holds the one against the other here."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.errors import Contradiction
from robustcl.evaluate import aim, audits
from robustcl.evaluate.extras import EXTRAS
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome
from robustcl.evaluate.points import Outcomes, Point, entries, order, shares
from robustcl.evaluate.rows import metric, per_member, upper
from robustcl.evaluate.shards import WHOLE

_CLOSE = 1e-9


class Evidence:
    """The journal of a run or of a judged model, read without touching it; empty where there is none.

    Raises:
        DataError: the journal cannot be read, or one of its lines is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / WHOLE
        self.there = self.path.exists() or self.path.is_symlink()
        self._journal = Journal(self.path)

    def of(self, row: Mapping[str, Any]) -> Outcomes | str:
        """Return the outcomes of the very images that a row of results.json counts, or why there are none.

        Raises:
            Contradiction: the journal knows the row's question, and gives another number.
        """
        key = key_of(row)
        if not self.there:
            return f"there is no {self.path}"
        if row.get("question") not in (None, key.digest):
            raise self._contradiction(row, "is of other settings", "its question")
        known = self._journal.known(key)
        if not known and row.get("question") is not None and row.get("n"):
            raise self._contradiction(row, "holds none of them")
        if not known:
            return f"{self.path} holds no outcomes of it"
        if _uncounted(row):
            return known
        n = row.get("n")
        if not isinstance(n, int) or not 0 <= n <= len(known):
            raise self._contradiction(row, f"knows {len(known)} images")
        counted = order(known, row["samples"])[:n] if _in_haste(row) else range(n)
        if lacking := sum(index not in known for index in counted):
            raise self._contradiction(row, f"knows {n - lacking} of them")
        outcomes = {index: known[index] for index in counted}
        self._check(row, key, [each[-1] for each in outcomes.values()])
        return outcomes

    def known(self, key: Key) -> Outcomes:
        """Return what the journal holds under a question."""
        return self._journal.known(key)

    @property
    def questions(self) -> Collection[str]:
        """The digests of all questions that the journal holds."""
        return self._journal.questions.keys()

    def clean(self, split: str) -> dict[int, str]:
        """Return the hash of each unperturbed image of a split, as far as it is known."""
        found: dict[int, str] = {}
        for protocol, route, where, attack, digest in self._journal.places():
            spec = self._journal.questions[digest]
            if (where, attack) == (split, None) and "corruption" not in json.loads(spec or "{}"):
                known = self._journal.known(Key(protocol, route, where, attack, spec))
                found |= {index: outcomes[0].hash for index, outcomes in known.items()}
        return found

    def hold(self, results: Mapping[str, Any]) -> dict[int, str]:
        """Hold every number of results.json against the journal; return place of a row -> why it could not be held.

        Raises:
            Contradiction: a number is another one than the journal gives, or than those beside it.
        """
        reasons = {}
        for place, row in enumerate(results["rows"]):
            self._check_itself(row)
            found = self.of(row)
            if _uncounted(row) and not isinstance(found, str):
                reasons[place] = "it does not say of how many images it is"
            elif isinstance(found, str) and (row.get("correct") is not None or str(row["metric"]).endswith("_acc")):
                reasons[place] = found
        for _, check in self._beside(results):
            check()
        return reasons

    def sift(self, results: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return results without the entries that the journal or ``audits/`` contradict, and why each is left out."""
        wrong: list[object] = []
        told: list[str] = []

        def hold(entry: object, check: Callable[[], object]) -> None:
            try:
                check()
            except Contradiction as error:
                if entry not in wrong:
                    wrong.append(entry)
                    told.append(str(error).partition(f": {_ADVICE}")[0])

        for row in results["rows"]:
            hold(row, functools.partial(self._check_itself, row))
            hold(row, functools.partial(self.of, row))
        for entry, check in self._beside(results):
            hold(entry, check)
        lists = {name: found for name, found in results.items() if isinstance(found, list) and name != "silhouette"}
        return {**results, **{name: [e for e in found if e not in wrong] for name, found in lists.items()}}, told

    def _beside(self, results: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Callable[[], None]]]:
        """Yield each entry beside the rows, and what holds it or one number of it."""
        for point in list_points(results) if self.there else ():
            yield point.entry, functools.partial(self._check_point, point)
        for extra in EXTRAS:
            for entry in entries(results, extra.part):
                yield entry, functools.partial(self._check_mean, entry, extra.part)
        for entry in entries(results, "audit"):
            yield entry, functools.partial(audits.check, self.folder, entry, _ADVICE)

    def _check(self, row: Mapping[str, Any], key: Key, last: Sequence[Outcome]) -> None:
        correct, n = sum(outcome.correct for outcome in last), len(last)
        if row.get("correct") != correct or (n and not _close(row.get("value"), correct / n)):
            raise self._contradiction(row, f"{correct} of {n} images")
        low, high = wilson(correct, n)
        if not all(row.get(name) is None or _close(row[name], edge) for name, edge in (("low", low), ("high", high))):
            raise self._contradiction(row, f"an interval from {low:.2%} to {high:.2%}")
        if isinstance(target := row.get("target"), int):
            told = aim.counts(target, last)
            if any(row.get(name) != count for name, count in told.items()):
                raise self._contradiction(row, f"class {target} reached by {told['reached']} of {told['attacked']}")
        members = row.get("members")
        met = {outcome.member for outcome in last} - {CLEAN}
        if isinstance(members, Mapping) and met <= members.keys():
            shares = per_member(self._journal, key, last, list(members))
            if not all(_close(members[name], share) for name, share in shares.items()):
                raise self._contradiction(row, f"of its members {_said(shares)}")

    def _check_itself(self, row: Mapping[str, Any]) -> None:
        """Hold a row against itself: its share and bound against what it counts, its name against its attack."""
        n, correct, value = (row.get(name) for name in ("n", "correct", "value"))
        if not isinstance(n, int) or not isinstance(correct, int):
            return
        if not 0 <= correct <= n or (n and value is not None and not _close(value, correct / n)):
            raise self._contradiction(row, f"{correct} of {n} images", "its own count")
        partial, samples = bool(row.get("partial")), row.get("samples")
        if "attack" in row and row["metric"] != (named := metric(row["attack"], partial=partial)):
            raise self._contradiction(row, f"is of {named}", "its own attack")
        if partial and isinstance(samples, int) and not _close(row.get("upper"), most := upper(n, correct, samples)):
            raise self._contradiction(row, f"leaves {most:.2%} at most", "its own count")

    def _check_point(self, point: Point) -> None:
        """Hold one point of a curve, or one corruption, against whatever question of the journal it may answer."""
        given = list(shares(self._journal, point))
        if not given and point.question is not None and _is_number(point.value):
            raise Contradiction(
                f"{self.folder}/results.json says {_percent(point.value)} for {point}, and {self.path} holds no "
                f"outcomes of that question: {_ADVICE}"
            )
        if given and not any(_close(point.value, share) for share in given):
            told = sorted({f"{share:.2%}" for share in given})[:3]
            raise Contradiction(
                f"{self.folder}/results.json says {_percent(point.value)} for {point}, and {self.path} "
                f"{' or '.join(told)}: {_ADVICE}"
            )

    def _check_mean(self, entry: Mapping[str, Any], part: str) -> None:
        """Hold the mean of a table against the numbers beside it."""
        accuracy = entry.get("accuracy")
        lists = accuracy.values() if isinstance(accuracy, Mapping) else ()
        numbers: list[Any] = [value for found in lists for value in (found if isinstance(found, list) else [None])]
        if numbers and all(map(_is_number, numbers)) and entry.get("mean") is not None:
            mean = math.fsum(numbers) / len(numbers)
            if not _close(entry["mean"], mean):
                place = " ".join(str(entry[name]) for name in ("protocol", "route") if entry.get(name))
                raise Contradiction(
                    f"{self.folder}/results.json says {_percent(entry['mean'])} for the mean of {place} {part}, "
                    f"and the numbers beside it {mean:.2%}: {_ADVICE}"
                )

    def _contradiction(self, row: Mapping[str, Any], found: str, what: str | None = None) -> Contradiction:
        place = " ".join(str(row[name]) for name in ("protocol", "route", "split", "metric") if row.get(name))
        return Contradiction(
            f"{self.folder}/results.json says {_percent(row.get('value'))} for {place}, {row.get('correct')} of "
            f"{row.get('n')} images, and {what or self.path} {found}: {_ADVICE}"
        )


_ADVICE = "one of the two was changed; evaluate the run again as it was, which takes the number from the journal"


def list_points(results: Mapping[str, Any]) -> Iterator[Point]:
    """Yield every number beside the rows that a journal may hold the outcomes of."""
    for extra in EXTRAS:
        for entry in entries(results, extra.part):
            yield from extra.points(entry)


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the question that a row of results.json answers, as the evaluation wrote it into the journal."""
    spec = row.get("spec") or {}
    spec = dict(spec) if isinstance(spec, Mapping) else {"spec": spec}
    spec |= {} if row.get("model") is None else {"model": row["model"]}
    protocol, route, split = (str(row.get(name)) for name in ("protocol", "route", "split"))
    return Key(protocol, route, split, row.get("attack"), json.dumps(spec, sort_keys=True))


def _uncounted(row: Mapping[str, Any]) -> bool:
    return row.get("n") is None and row.get("correct") is None


def _in_haste(row: Mapping[str, Any]) -> bool:
    """Say whether the time was up before all images were judged, which are taken in an order of chance then."""
    return bool(row.get("partial")) and isinstance(row.get("samples"), int) and row["n"] < row["samples"] < MANY


MANY = 1 << 24
"""More images than a test set has; no order is drawn for a number out of a damaged file."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _close(one: object, other: object) -> bool:
    try:
        return _is_number(one) and _is_number(other) and math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)  # type: ignore[arg-type]
    except OverflowError:
        return False


def _percent(value: object) -> str:
    return f"{100 * value:.4g} %" if isinstance(value, float) else json.dumps(value)[:40]


def _said(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
