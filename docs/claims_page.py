"""docs/claims.md: every claim of the built-in studies, and what the stored studies have shown of it.

The page is committed; ``python docs/claims_page.py`` writes it anew from benchmarks/results/claims, which holds the
claims.json of studies that were run.
"""

from __future__ import annotations

from pathlib import Path

from robustcl.study.ledger import wording
from robustcl.study.ledger.entries import open_ledger

PAGE = Path(__file__).parent / "claims.md"
STORED = Path(__file__).parents[1] / "benchmarks" / "results" / "claims"

HEAD = """# Claims

What the papers claim whose tables and figures are made anew, each claim as a test over a study's own numbers, and what
came out where the study was run. `robustcl claims` prints the same, `robustcl claims STUDY-DIR` with what your own runs
have shown; [Studies](studies.md#claim) says how a claim is written and decided.

What is seen here is seen at the size, on the data and under the terms that stand beside it: small encoders and short
trainings, on digits for the most part. A claim that is not seen at this size may well hold at the paper's, and one that
is `contradicted` contradicts what was run, not what the paper ran.

Holm's correction runs over the claims of one study, so that of many studies some claims come out wrong by chance.
Seeds that are added after a look at the outcome are optional stopping: choose their number first. With one seed a
claim speaks of the two trained networks and not of the methods. A row that failed in one seed drops that seed for all
rows of a claim, and what was measured names it.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """Return the page as the stored outcomes and the installed studies make it."""
    found = open_ledger(sorted(STORED.glob("*.json")), "robustcl")
    return f"{HEAD}\n{wording.markdown(found)}"


if __name__ == "__main__":
    main()
