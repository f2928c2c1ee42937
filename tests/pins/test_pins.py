"""A run, a judged model and a study that are stored beside this file: the code still reads them, and still makes them.

Of the stored weights every machine must give the same questions and verdicts. What is made from nothing, weights and
images to the bit, can only be compared on a machine that sums as the one did that made it. ``make.py`` says how.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.pins import make

STORED = make.HERE / "stored"
_PASSING = {"timing", "environment", "finished", "made", "seconds"}
"""What differs between two runs of one recipe: when and where it ran."""


SAME = json.loads((STORED / "machine.json").read_text()) == make.machine()
"""Whether this machine sums as the one that made what is stored."""
OTHER = "what is stored was made by another processor or torch, which rounds otherwise"


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything made by today's code, from the recipe."""
    if not SAME:
        pytest.skip(OTHER)
    place = tmp_path_factory.mktemp("pins") / "anew"
    make.main(place)
    return place


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is stored."""
    place = tmp_path_factory.mktemp("pins") / "stored"
    shutil.copytree(make.INPUTS, place)
    shutil.copytree(STORED, place, dirs_exist_ok=True)
    return place


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stated(path: Path) -> Any:
    """Return a JSON file without what differs between two runs."""
    return _without(json.loads(path.read_text(encoding="utf-8")))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner) for key, inner in value.items() if key not in _PASSING}
    return [_without(inner) for inner in value] if isinstance(value, list) else value


def floats(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Go through the numbers of nested tables, by place."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from floats(inner, f"{place}.{key}")
    else:
        yield place, value


@pytest.mark.parametrize("folder", ["run", "run/threat-linf-4-255", "model", "study/runs/near-seed0"])
def test_the_same_questions_images_and_verdicts(anew: Path, folder: str) -> None:
    assert lines(anew / folder / "journal.jsonl") == lines(STORED / folder / "journal.jsonl")


@pytest.mark.parametrize("folder", ["run", "run/threat-linf-4-255", "model", "study/runs/near-seed0"])
def test_the_same_results(anew: Path, folder: str) -> None:
    assert stated(anew / folder / "results.json") == stated(STORED / folder / "results.json")


def test_the_same_lock(anew: Path) -> None:
    here, there = (
        (place / "run" / "recipe.lock.toml").read_text().split("[lock.versions]") for place in (anew, STORED)
    )
    assert here[0] == there[0]


def test_the_same_weights(anew: Path) -> None:
    held = sorted(path.relative_to(STORED) for path in STORED.rglob("run/stages/**/*.safetensors"))
    assert len(held) >= 4
    for path in held:
        here, there = load_file(anew / path), load_file(STORED / path)
        assert here.keys() == there.keys()
        for name, tensor in there.items():
            assert here[name].numpy() == pytest.approx(tensor.numpy(), rel=1e-6, abs=1e-9), f"{path}: {name}"


def test_the_same_audits(anew: Path) -> None:
    held = sorted(path.relative_to(STORED) for path in STORED.rglob("audits/*.json"))
    assert held == sorted(path.relative_to(anew) for path in anew.rglob("audits/*.json"))
    for path in held:
        assert stated(anew / path) == stated(STORED / path)


@pytest.mark.parametrize("path", ["run/representation.json", "study/runs/near-seed0/representation.json"])
def test_the_same_measures(anew: Path, path: str) -> None:
    here, there = (dict(floats(stated(place / path))) for place in (anew, STORED))
    assert here.keys() == there.keys()
    for name, value in there.items():
        assert here[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


def test_the_same_table_of_a_study(anew: Path) -> None:
    assert (anew / "study" / "study.csv").read_text() == (STORED / "study" / "study.csv").read_text()


def test_a_stored_run_is_read_and_not_computed_again(stored: Path) -> None:
    for line in make.ASKED[:3] if SAME else [make.ALF]:
        assert make.call(line, stored)[0] == 0
    assert (stored / "run" / "journal.jsonl").read_bytes() == (STORED / "run" / "journal.jsonl").read_bytes()
    assert stated(stored / "run" / "results.json") == stated(STORED / "run" / "results.json")


@pytest.fixture(scope="module")
def judged_again(stored: Path) -> Path:
    """What is stored, judged anew by the stored weights: of journal, results, audits and measures nothing was left."""
    run = stored / "run"
    shutil.rmtree(run / "audits")
    shutil.rmtree(run / "threat-linf-4-255")
    for name in ("journal.jsonl", "results.json", "representation.json"):
        (run / name).unlink()
    for line in make.ASKED if SAME else [make.ALF]:
        assert make.call(line, stored)[0] in (0, 3)
    return stored


def test_stored_weights_get_the_same_verdicts(judged_again: Path) -> None:
    here, there = (outcomes(place / "run" / "journal.jsonl") for place in (judged_again, STORED))
    assert len(here) > (200 if SAME else 10)
    assert here <= there


@pytest.mark.skipif(not SAME, reason=OTHER)
def test_stored_weights_get_the_same_verdicts_at_another_radius(judged_again: Path) -> None:
    here, there = (outcomes(place / "run" / "threat-linf-4-255" / "journal.jsonl") for place in (judged_again, STORED))
    assert here == there


@pytest.mark.skipif(not SAME, reason=OTHER)
def test_stored_weights_get_the_same_audits_and_measures(judged_again: Path) -> None:
    run = judged_again / "run"
    assert list(run.glob("audits/*"))
    assert {path.name for path in run.glob("audits/*")} <= {path.name for path in STORED.glob("run/audits/*")}
    numbers, held = (dict(floats(stated(place / "run" / "representation.json"))) for place in (judged_again, STORED))
    assert numbers.keys() == held.keys()
    for name, value in held.items():
        assert numbers[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


def outcomes(path: Path) -> set[str]:
    """Return the outcomes of a journal, each with its question; without its image's hash where machines differ."""
    without = {"check"} if SAME else {"check", "hash"}
    found = [{key: value for key, value in line.items() if key not in without} for line in lines(path)]
    return {json.dumps(line, sort_keys=True) for line in found if "question" not in line}
