"""Whatever has happened to a file of a run: a sentence and the right exit code, nothing else touched, nothing worse.

``python -m tests.fuzz 50000 --seed 1`` does the same by hand, oftener.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import runs
from fuzz.call import call
from fuzz.check import Count, Fuzz
from fuzz.mutators import MUTATORS

from robustcl.composition import complete, folder

SEED, PARTS, EACH, COSTLY = 20261130, 4, 500, 0.008
"""2,000 mutations in all; eight of a thousand meet a command that takes a second."""


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    home = Path.cwd()
    try:
        yield Fuzz(runs.enter(tmp_path_factory.mktemp("fuzz")), COSTLY)
    finally:
        os.chdir(home)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_a_mutated_run_is_a_sentence_and_no_worse(fuzz: Fuzz, part: int) -> None:
    count = Count()
    found = [
        str(failure)
        for number in range(part * EACH, (part + 1) * EACH)
        for failure in fuzz.one(number, fuzz.stream(SEED, number), count)
    ]
    assert not found, "\n\n".join(found[:5]) + f"\n\nand {max(len(found) - 5, 0)} more"
    assert count.tried == EACH
    assert {0, 2} <= set(count.codes)  # some are read as if nothing were, others are refused
    assert count.costly


def test_the_fuzzer_sees_a_traceback(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl.evaluate import evidence

    def careless(path: Path) -> object:
        raise KeyError("rows")

    monkeypatch.setattr(evidence, "Journal", careless)
    count = Count()
    found = [str(each) for number in range(40) for each in fuzz.one(number, fuzz.stream(SEED, number), count)]
    assert any("KeyError" in each for each in found)


def test_a_run_whose_results_were_removed_lacks_nothing_after_a_resume(fuzz: Fuzz) -> None:
    """Its recipe's own numbers carry the recipe's hash, whoever was first to write the file anew."""
    run = fuzz.place / "a"
    composition, _ = folder.reopen(run)
    try:
        (run / "results.json").unlink()
        assert call(("evaluate", "a", "--route", "clean", "--no-audit")).code == 0
        assert complete.results(composition, run) is None
        assert call(("resume", "a")).code == 0
        assert complete.results(composition, run) is not None
    finally:
        fuzz.run.restore(fuzz.kept)


def test_every_mutation_can_be_drawn() -> None:
    assert min(MUTATORS.values()) > 0
