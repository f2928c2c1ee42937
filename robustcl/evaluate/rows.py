"""From the outcomes of samples to one measured number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import Journal, Key, Outcome


def row(key: Key, outcomes: Sequence[Outcome], samples: int, **more: Any) -> dict[str, Any]:
    """Return a row of results.json: an accuracy with its 95 % interval.

    ``samples`` is how many were asked for. Where the time was up before all of them were judged, the row is marked
    ``partial``, its metric is named so, and ``upper`` bounds the accuracy on all of them: what was fooled stays fooled.
    """
    correct, n = sum(outcome.correct for outcome in outcomes), len(outcomes)
    low, high = wilson(correct, n)
    found: dict[str, Any] = {
        "protocol": key.protocol, "route": key.route, "split": key.split, "attack": key.attack,
        "metric": metric(key.attack), "n": n, "correct": correct, "value": correct / n if n else None,
        "low": low, "high": high,
    }  # fmt: skip
    if n < samples:
        found |= {
            "metric": metric(key.attack, partial=True), "partial": True, "samples": samples,
            "upper": upper(n, correct, samples),
        }  # fmt: skip
    return found | more


def metric(attack: str | None, *, partial: bool = False) -> str:
    """Return what an accuracy is called: that under ``attack``, or that of images which are left alone."""
    return f"{'partial ' if partial else ''}{'clean' if attack is None else attack}_acc"


def upper(n: int, correct: int, samples: int) -> float:
    """Return how many of ``samples`` may still be right at most, as a share, where ``correct`` of ``n`` are."""
    return 1.0 - (n - correct) / samples if samples else 1.0


def per_member(journal: Journal, key: Key, outcomes: Sequence[Outcome], members: Sequence[str]) -> Mapping[str, float]:
    """Return the share of the judged samples that still stood after each member of an attack, in their order."""
    known = journal.known(key)
    fallen = dict.fromkeys(members, 0)
    standing = 0
    for outcome in outcomes:
        last = known[outcome.index][-1]
        standing += 1
        if last.member in fallen and not last.correct:
            fallen[last.member] += 1
        elif not last.correct:
            standing -= 1
    shares = {}
    for name in members:
        standing -= fallen[name]
        shares[name] = standing / len(outcomes) if outcomes else 0.0
    return shares


def say_row(found: Mapping[str, Any]) -> str:
    """Return a row's number as a person reads it."""
    if not found["n"]:
        return f"none of {found['samples']} samples judged so far"
    told = ""
    if "reached" in found:
        told = f" classified rightly; class {found['target']} reached by {found['reached']} of {found['attacked']}"
    if "partial" not in found:
        return f"{found['value']:.2%}{told}"
    bounds = f"{found['low']:.2%} and {min(found['high'], found['upper']):.2%}"
    return f"between {bounds} (95 %), from {found['n']} of {found['samples']} samples{told}"
