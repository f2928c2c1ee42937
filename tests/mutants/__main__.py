"""``python -m tests.mutants --area selectors --sample 40``: mutate, and tell which mutants no test noticed."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from pathlib import Path

from tests.mutants import areas, reach, tree, trial
from tests.mutants.edits import Edit, edits
from tests.mutants.records import Reasons, Records, draw, report, state_of
from tests.mutants.warm import Collected, Unpatchable, collect


def main() -> int:
    """Run what is asked; the exit code is 1 where less than ``--minimum`` of the mutants were killed."""
    given = _arguments()
    tree.KEPT.mkdir(parents=True, exist_ok=True)
    chosen = given.area or areas.NINE
    drawn = {area: _drawn(area, given) for area in chosen}
    if given.list:
        print("\n".join(f"{edit.shown:4} {edit.key}" for edits in drawn.values() for edit in edits))
        return 0
    if not given.report:
        tree.warm_up()
        place = tree.copy("tried")
        if not given.known:
            reach.measure(tree.copy("measured"), given.reach)
        _try(drawn, given, place)
    lines = list(report(drawn, Records(), Reasons()))
    print("\n".join(lines))
    return int(float(lines[-1].split()[-1].rstrip("%")) < given.minimum)


def _arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    asked.add_argument("--area", "--package", action="append", choices=areas.AREAS, help="default: nine of them")
    asked.add_argument("--sample", type=int, default=40, help="mutants of each area (40)")
    asked.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    asked.add_argument("--match", help="only mutants whose key holds this regular expression, all of them")
    asked.add_argument("--again", action="store_true", help="try those that have survived again")
    asked.add_argument("--thorough", action="store_true", help="hold survivors against every test of each test file")
    asked.add_argument("--reach", nargs="*", default=[], help="measure these test files again, and no others")
    asked.add_argument("--tests", nargs="*", default=[], help="hold against these test files alone (patterns)")
    asked.add_argument("--known", action="store_true", help="measure no test file, take what is known")
    asked.add_argument("--list", action="store_true", help="print the mutants, try none")
    asked.add_argument("--report", action="store_true", help="print what is known, try none")
    asked.add_argument("--minimum", type=float, default=95.0, help="per cent of the non-equivalent to be killed (95)")
    return asked.parse_args()


def _drawn(area: str, given: argparse.Namespace) -> list[Edit]:
    texts = {file: (tree.ROOT / file).read_text() for file in areas.files(area, tree.ROOT)}
    found = [edit for file, text in texts.items() for edit in edits(file, text)]
    if given.match:
        return [edit for edit in found if re.search(given.match, edit.key) and edit.compiles(texts[edit.path])]
    return draw(found, given.sample, given.seed, texts)


def _try(drawn: dict[str, list[Edit]], given: argparse.Namespace, place: Path) -> None:
    """Try what is asked: first what can be put into functions that are there, then what must be imported."""
    records, reasons, reached = Records(), Reasons(), reach.Reach(place, given.tests)
    wanted = {"untried", "survived", "unreached"} if given.again else {"untried"}
    asked = [e for found in drawn.values() for e in found if state_of(e, records, reasons) in wanted]
    tell = functools.partial(_tell, records, reached, given.thorough)
    if asked:
        work = functools.partial(collect, place, reached.files, lambda collected: tell(collected, asked))
        tree.fork(work, 1e6, tree.KEPT / "collected.log", echo=True)
    done = Records().outcomes
    tell(None, [edit for edit in asked if edit.key not in done or done[edit.key] == records.outcomes.get(edit.key)])


def _tell(
    records: Records, reached: reach.Reach, thorough: bool, collected: Collected | None, asked: list[Edit]
) -> None:
    for number, edit in enumerate(asked, 1):
        try:
            outcome = trial.attempt(edit, reached, collected=collected)
            if outcome.state == "survived" and thorough:
                outcome = trial.attempt(edit, reached, collected=collected, thorough=True)
        except Unpatchable:
            continue
        if collected is not None and edit.imported and outcome.state == "survived":
            continue  # who had imported the value before still holds the old one
        records.add(edit, outcome)
        told = f"{number}/{len(asked)} {outcome.state} {outcome.seconds} s: {edit.key} | {outcome.by}"
        print(told, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
