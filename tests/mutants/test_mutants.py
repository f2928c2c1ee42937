"""The mutation run itself: what it changes, what it leaves alone, and how a change is put into a live function."""

from __future__ import annotations

import pytest

from tests.mutants.edits import Edit, edits
from tests.mutants.records import draw

SOURCE = '''
"""Words of 3 lines."""

LIMIT = 0.5


def scaled(x: float, factor: float = 2.0) -> float:
    """Say nothing of 7."""
    if x > LIMIT and factor != 0:
        raise ValueError(f"{x + 1} is above {LIMIT}")
    return min(x * factor, 1.0).clamp(0, 1)
'''


def _found() -> dict[str, list[str]]:
    held: dict[str, list[str]] = {}
    for edit in edits("file.py", SOURCE):
        held.setdefault(edit.operator, []).append(f"{edit.before} -> {edit.after}")
    return held


def test_each_kind_of_change_is_found() -> None:
    found = _found()
    assert "x > LIMIT -> (x >= LIMIT)" in found["boundary"]
    assert "x > LIMIT -> (x < LIMIT)" in found["comparison"]
    assert "0.5 -> 5.0" in found["tenfold"]
    assert "2.0 -> 20.0" in found["tenfold"]
    assert "x > LIMIT and factor != 0 -> (x > LIMIT)" in found["clause"]
    assert "min(x * factor, 1.0) -> max(x * factor, 1.0)" in found["twin"]
    assert "min(x * factor, 1.0).clamp(0, 1) -> (min(x * factor, 1.0))" in found["call"]


def test_words_are_left_alone() -> None:
    assert not any(x for kind in _found().values() for x in kind if x.startswith(("3", "7", "x + 1")))


def test_a_change_replaces_its_own_place_alone() -> None:
    one = next(edit for edit in edits("file.py", SOURCE) if edit.operator == "boundary")
    assert one.write(SOURCE) == SOURCE.replace("x > LIMIT and", "(x >= LIMIT) and")
    assert one.line == 9
    assert not one.imported


def test_what_acts_at_import_says_so() -> None:
    imported = {edit.before for edit in edits("file.py", SOURCE) if edit.imported}
    assert imported == {"0.5", "2.0"}


def test_what_does_not_compile_is_not_drawn() -> None:
    source = "def pair(x):\n    for y in x:\n        print(y + 1)\n    continue\n"
    assert edits("file.py", source)
    assert draw(edits("file.py", source), 50, 0, {"file.py": source}) == []


def test_keys_tell_all_changes_apart() -> None:
    keys = [edit.key for edit in edits("file.py", SOURCE + SOURCE)]
    assert len(keys) == len(set(keys))


def test_a_sample_takes_the_kinds_in_turn_and_another_seed_draws_others() -> None:
    found = edits("file.py", SOURCE)
    kinds, texts = {edit.operator for edit in found}, {"file.py": SOURCE}
    assert {edit.operator for edit in draw(found, len(kinds), 0, texts)} == kinds
    assert draw(found, 9, 0, texts) == draw(found, 9, 0, texts)
    assert draw(found, 9, 0, texts) != draw(found, 9, 1, texts)


@pytest.mark.parametrize(("line", "after"), [("lr = 0.5", "5.0"), ("steps = 20", "200"), ("a.b = 1e-4 # c", "0.001")])
def test_numbers_of_a_recipe_are_multiplied(line: str, after: str) -> None:
    (edit,) = edits("recipe.toml", f"{line}\n")
    assert isinstance(edit, Edit)
    assert edit.after == after
