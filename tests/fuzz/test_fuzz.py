"""Whatever has happened to a file of a run: a sentence and the right exit code, nothing else touched, nothing worse.

``python -m tests.fuzz 50000 --seed 1`` does the same by hand, oftener.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from robustcl.processes import signals
from robustcl.run import complete, folder
from tests.fuzz import runs, spoilt
from tests.fuzz.call import Ended, call
from tests.fuzz.check import Count, Fuzz
from tests.fuzz.mutators import MUTATORS

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
    from robustcl.evaluate.extras import evidence

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


FULL = {
    "report": ("report", "a", "--projection", "pca"),
    "evaluate": ("evaluate", "a", "--route", "clean", "--attack", "pgd-20", "--no-audit", "--curve", "2/255"),
    "measure": ("measure", "a", "--what", "uniformity", "--samples", "20"),
    "train": ("resume", "a"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", FULL)
@pytest.mark.parametrize("how", ["a small disk", "a limit"])
def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(
    fuzz: Fuzz, how: str, command: str, tmp_path: Path
) -> None:
    """What is there stays readable, whichever file it was that found no room."""
    home = Path.cwd()
    with spoilt.small_disk(tmp_path / "disk", "8m") if how == "a small disk" else nullcontext(tmp_path) as disk:
        if disk is None:
            pytest.skip("no file system can be mounted here")
        shutil.copytree(fuzz.place / "a", disk / "a", symlinks=True)
        try:
            os.chdir(disk)
            if command == "train":
                shutil.rmtree("a/stages/robust")
                Path("a/results.json").unlink()
            filler = spoilt.fill(disk, 4096) if how == "a small disk" else None
            with nullcontext() if filler else spoilt.limited(4096):
                ended = call(FULL[command])
            assert (ended.fault, ended.code) == (None, 1), ended
            assert ended.sentence is not None
            assert "disk is full" in ended.sentence or "largest file that is allowed" in ended.sentence
            assert not list(Path("a").rglob(".*.????????????????")), "nothing half-written lies about"
            if filler is not None:
                filler.unlink()
            if command != "train":
                assert call(("compare", "a", str(fuzz.place / "b"), "--allow-mixed")).code == 0
        finally:
            os.chdir(home)


def interrupt(fuzz: Fuzz, asked: tuple[str, ...], number: int, moment: float) -> Ended:
    """Run a command on the runs as they were, and send a signal after so many seconds of the processor's time."""
    fuzz.run.restore(fuzz.kept)
    fuzz.around.restore(fuzz.kept_around)
    with signals.handle(signals.stop):
        before = signal.signal(signal.SIGVTALRM, lambda *_: os.kill(os.getpid(), number))
        signal.setitimer(signal.ITIMER_VIRTUAL, moment)
        try:
            return call(asked)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", ["audit", "measure", "transfer"])
def test_a_signal_at_any_moment_leaves_what_the_same_command_makes_whole(fuzz: Fuzz, command: str) -> None:
    asked = {
        "audit": ("audit", "a", "--samples", "3", "--route", "clean"),
        "measure": ("measure", "a", "--what", "uniformity", "--samples", "30"),
        "transfer": ("transfer", "a", "b", "--samples", "9", "--out", "t"),
    }[command]
    draw = random.Random(command)

    def outcome() -> list[tuple[str, bytes]]:
        told = [("results.json", "audit"), ("representation.json", "entries")]
        read = [(name, json.loads((fuzz.place / "a" / name).read_text())[key]) for name, key in told]
        read.append(("t", json.loads((fuzz.place / "t/transfer.json").read_text())["accuracy"]))
        return [(name, json.dumps(found).encode()) for name, found in read]

    try:
        assert call(asked).code in (0, 3)
        whole = outcome()
        number, moment = draw.choice((signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)), draw.uniform(0.05, 0.4)
        ended = interrupt(fuzz, asked, number, moment)
        while ended.code in (0, 3) and moment > 0.01:  # it was done before
            moment /= 2
            ended = interrupt(fuzz, asked, number, moment)
        assert (ended.fault, ended.code) == (None, 130), ended
        assert call(asked).code in (0, 3)
        assert outcome() == whole
    finally:
        fuzz.run.restore(fuzz.kept)
        fuzz.around.restore(fuzz.kept_around)
