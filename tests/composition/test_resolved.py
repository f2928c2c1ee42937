"""What an attack's options came to stands in every row, and equal attacks are equal however they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustcl import Ball
from robustcl.comparison import compare
from robustcl.composition.asked import attack_of, attack_table
from robustcl.composition.parts import Parts
from robustcl.composition.settled import resolve_row
from robustcl.errors import UsageError
from robustcl.evaluate import resolved, scaled
from robustcl.report import tables
from tests.shared.compared_runs import CLEAN, finished, first

LINF = Ball("Linf", 8 / 255)


def ran(given: Any, classes: int = 10, ball: Ball = LINF) -> dict[str, Any]:
    parts, table = Parts(), attack_table(given, "--attack")
    attack = attack_of(table, parts, "--attack")
    return resolved.options(attack.plugin, parts.resolved(table), classes, ball)


def asked(given: Any) -> dict[str, Any]:
    """What the key of an evaluation holds of an attack's options."""
    parts, table = Parts(), attack_table(given, "--attack")
    attack_of(table, parts, "--attack")
    return parts.resolved(table)


@pytest.mark.parametrize(
    ("given", "classes", "ball", "said"),
    [
        ("pgd-20", 10, LINF, {"step_size": 2 / 255, "restarts": 1}),
        ("pgd-20", 10, Ball("L2", 0.5), {"step_size": 0.125}),
        ({"use": "pgd-20", "step_size": "1/255"}, 10, LINF, {"step_size": 1 / 255}),
        ({"use": "pgd", "steps": 7}, 10, Ball("L1", 12.0), {"steps": 7, "step_size": 3.0, "start": "uniform"}),
        ("mt-pgd", 10, LINF, {"step_size": 2 / 255, "targets": 9}),
        ({"use": "multi-targeted-pgd", "targets": 3}, 10, LINF, {"step_size": 2 / 255, "targets": 3}),
        ("apgd", 10, LINF, {"largereps": False}),
        ("apgd-ce", 10, Ball("L1", 12.0), {"largereps": True}),
        ("apgd-t", 100, LINF, {"targets": 9, "largereps": False}),
        ("apgd-targeted", 4, LINF, {"targets": 3}),
        ("fab-t", 4, LINF, {"targets": 3, "steps": 100}),
        ({"use": "fab", "targets": 2}, 4, LINF, {"targets": 2}),
        ("autoattack", 10, LINF, {"attacks_to_run": ["apgd-ce", "apgd-t", "fab-t", "square"], "version": "standard"}),
        ({"use": "autoattack", "attacks_to_run": ["square"]}, 10, LINF, {"attacks_to_run": ["square"]}),
        ("square", 10, LINF, {"queries": 5000}),
    ],
)
def test_what_is_left_out_is_filled_in(given: Any, classes: int, ball: Ball, said: dict[str, Any]) -> None:
    found = ran(given, classes, ball)
    assert {name: found.get(name) for name in said} == said


def test_a_target_takes_the_place_of_a_number_of_them() -> None:
    assert "targets" not in ran({"use": "fab", "target": 3})
    assert ran({"use": "fab", "target": 3})["target"] == 3


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("pgd-20", {"restarts": 1}),
        ("fgsm", {}),
        ("fab-t", {"restarts": 1, "steps": 100}),
        ("autoattack", {"version": "standard"}),
        ({"use": "pgd", "steps": 5}, {"deviation": 0.001, "restarts": 1, "start": "uniform", "steps": 5}),
        ("apgd-ce", {"eot": 1, "restarts": 1}),
    ],
)
def test_the_keys_of_stored_journals_stay_what_they_were(given: Any, key: dict[str, Any]) -> None:
    assert json.dumps(asked(given), sort_keys=True) == json.dumps(key, sort_keys=True)


def test_an_older_row_says_what_its_attack_came_to() -> None:
    row = {"attack": "pgd-20", "spec": {"attack": {"restarts": 1}, "norm": "Linf", "eps": 8 / 255}}
    assert resolve_row(row, 10) == ran("pgd-20")
    assert resolve_row({**row, "resolved": {"steps": 1}}, 10) == {"steps": 1}
    aimed = {**row, "attack": "pgd-target-3", "spec": {**row["spec"], "attack": {"steps": 5, "target": 3}}}
    assert resolve_row(aimed, 10) == ran({"use": "pgd", "steps": 5, "target": 3})
    gone = {**row, "attack": "their-own", "spec": {**row["spec"], "attack": {"depth": 3}}}
    assert resolve_row(gone, 10) == {"depth": 3}, "of an attack that is not installed nothing is guessed"
    assert resolve_row({"attack": None, "spec": {}}, 10) == {}


def judged(path: Path, options: dict[str, Any], **more: Any) -> Path:
    spec = {"attack": {"restarts": 1, **options}, "norm": "Linf", "eps": 8 / 255}
    return finished(path, {"pgd-20": first(5, 10)}, name=path.name, spec={**CLEAN, **spec}, **more)


def test_equal_attacks_are_compared_however_their_step_is_written(tmp_path: Path) -> None:
    written: list[dict[str, Any]] = [{}, {"step_size": "2/255"}, {"step_size": 2 / 255}, {"step_size": "4/510"}]
    paths = [judged(tmp_path / f"m{place}", options) for place, options in enumerate(written)]
    (column,) = compare(paths).columns
    assert column.ranked
    assert column.mixed == ()
    other = judged(tmp_path / "other", {"step_size": "1/255"})
    with pytest.raises(UsageError, match=r"attack\.step_size differs: 0\.00784\d+ \(.*m0.*\), 0\.0039\d+ \(.*other"):
        compare([*paths, other])


def test_one_attack_of_a_run_under_two_spellings_is_one_number(tmp_path: Path) -> None:
    paths = [judged(tmp_path / name, {}) for name in "ab"]
    stated = json.loads((paths[0] / "results.json").read_text(encoding="utf-8"))
    again = judged(tmp_path / "c", {"step_size": "2/255"})
    stated["rows"] += json.loads((again / "results.json").read_text(encoding="utf-8"))["rows"]
    (paths[0] / "results.json").write_text(json.dumps(stated), encoding="utf-8")
    lines = [(run / "journal.jsonl") for run in (paths[0], again)]
    lines[0].unlink()
    (column,) = compare(paths).columns
    assert (len(column.entries), column.mixed) == (2, ())


@pytest.mark.parametrize(
    ("name", "options", "grown"),
    [
        ("PGD", None, {"alpha": 2 / 255 * 4}),
        ("PGD", {"alpha": "1/255", "steps": 3}, {"alpha": 1 / 255 * 4, "steps": 3}),
        ("PGDL2", {"alpha": 0.1}, {"alpha": 0.1 * 4}),
        ("FGSM", None, None),  # takes no step
        ("CW", {"lr": 0.1}, None),  # looks for the smallest move
    ],
)
def test_the_steps_of_another_library_grow_with_the_ball(
    name: str, options: dict[str, Any] | None, grown: dict[str, Any] | None
) -> None:
    pytest.importorskip("torchattacks")
    table = {"use": f"torchattacks:{name}", **({} if options is None else {"options": options})}
    attack = attack_of(attack_table(table, "--attack"), Parts(), "--attack")
    said = scaled.grow(attack.plugin, 4.0)
    assert said == ({} if grown is None else {"options": pytest.approx(grown)})
    assert scaled.grow(attack.plugin, 1.0) == {}, "the point of a curve at the threat itself is asked as it always was"
    ((_, generator),) = scaled.members(attack.plugin, 10, LINF, 4.0)
    assert generator.options == (options if grown is None else pytest.approx(grown))  # type: ignore[attr-defined]
    assert attack.plugin.generator.options == options, "the attack itself stays as it was"


def test_a_setting_that_is_left_out_is_shown_as_what_it_came_to() -> None:
    row = {"protocol": "slf", "route": "clean", "split": "test", "metric": "pgd-20_acc"}
    given = {**row, "spec": {"attack": {"restarts": 1, "step_size": "2/255"}}, "resolved": {"step_size": 2 / 255}}
    left = {**row, "spec": {"attack": {"restarts": 1}}, "resolved": {"restarts": 1, "step_size": 2 / 255}}
    older = {**row, "spec": {"attack": {"restarts": 2}}}
    assert tables.told_apart([given, left, older]) == [
        "pgd-20_acc (restarts = 1, step_size = 2/255)",
        "pgd-20_acc (restarts = 1, step_size = 0.007843, left out)",
        "pgd-20_acc (restarts = 2, step_size = -)",
    ]
