"""The audit on the zoo of ``tests/audit/zoo``: how many masked models it catches, how many honest ones it blames.

``python benchmarks/audit.py --shifts 0 1 2`` takes each net with several seeds. Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import torch
from _bar import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from robustcl.audit import Audit, audit
from robustcl.evaluate.classifier import of_model
from robustcl.rng import Rng
from tests.audit.zoo import specimens

RECALL, SPARED = 1.0, 0.95
"""All masked models are caught, and at most one honest one in twenty is blamed."""


def main(shifts: list[int], samples: int, deep: bool) -> int:
    table: Counter[tuple[bool, str]] = Counter()
    caught: Counter[str] = Counter()
    doubtful: dict[str, str] = {}
    for shift in shifts:
        for specimen in specimens(shift):
            cage = specimen.open()
            classifier, index = of_model(cage.model, cage.mode), torch.arange(samples)
            found = audit(classifier, cage.images, index, cage.ball, Rng(shift), deep=deep)
            table[specimen.masked, found.verdict] += 1
            if specimen.masked:
                caught.update(codes(found, "fail"))
            if found.verdict != ("fail" if specimen.masked else "pass"):
                doubtful[f"{specimen.name} ({shift})"] = f"{found.verdict} {' '.join(codes(found, found.verdict))}"
            print(
                f"{found.verdict:5} {'masked' if specimen.masked else 'honest'} {specimen.name} ({shift})", flush=True
            )
    print(confusion(table))
    ratios = [
        ("masked models caught", share(table, True, "fail"), RECALL),
        ("honest models not blamed", 1.0 - share(table, False, "fail"), SPARED),
    ]
    counts = {f"{'masked' if masked else 'honest'}, {verdict}": n for (masked, verdict), n in sorted(table.items())}
    return report("audit", ratios, {**counts, "failed on masked models": dict(caught.most_common()),
        "honest but warned, or wrongly judged": doubtful, "samples": samples, "deep": deep, "shifts": shifts,
    })  # fmt: skip


def codes(found: Audit, verdict: str) -> list[str]:
    """Return the checks of a verdict."""
    return [each.code for each in found.findings if each.verdict == verdict]


def share(table: Counter[tuple[bool, str]], masked: bool, verdict: str) -> float:
    """Return how many of the masked or honest models got a verdict."""
    return table[masked, verdict] / max(sum(n for (kind, _), n in table.items() if kind == masked), 1)


def confusion(table: Counter[tuple[bool, str]]) -> str:
    """Return the table of truth and verdict."""
    rows = [f"{'':8}{'pass':>6}{'warn':>6}{'fail':>6}"]
    for masked in (False, True):
        cells = "".join(f"{table[masked, verdict]:>6}" for verdict in ("pass", "warn", "fail"))
        rows.append(f"{'masked' if masked else 'honest':8}{cells}")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shifts", type=int, nargs="+", default=[0, 1, 2], help="seeds of the nets")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--deep", action="store_true")
    given = parser.parse_args()
    sys.exit(main(given.shifts, given.samples, given.deep))
