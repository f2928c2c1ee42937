"""Columns of corrupted images: what is refused before anything is trained, and what leaves a cell empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import UsageError
from robustcl.study import corrupted
from robustcl.study.grammar import COLUMN, Corrupted
from robustcl.study.reading import Reading
from tests.study.test_columns import composed

ASKED = {"set": {"evaluate.slf.corruptions": {"names": ["fog", "contrast"], "severities": [1, 5]}}}
ALL = {"set": {"evaluate.slf.corruptions": True}}
PLACE = ("slf", "clean")
CE = {"value": "corruption-error"}


def column(**keys: Any) -> Corrupted:
    found = COLUMN.validate_python({"name": "x", "use": "corrupted", **keys})
    assert isinstance(found, Corrupted)
    return found


@pytest.mark.parametrize(
    ("study", "keys", "said"),
    [
        (ASKED, {"value": "relative-drop", "baseline": "near"}, 'value = "corruption-error" and no other is divided'),
        (ASKED, CE, "give both, baseline ="),
        (ASKED, CE | {"baseline": "nar"}, "no row 'nar' is trained, did you mean 'near'?"),
        (ASKED, CE | {"baseline": {"fog": 50.0, "contrast": 50.0}}, "given errors are means over five severities"),
        (ALL, CE | {"baseline": {"fog": 50.0}}, "it has no error on 'gaussian_noise'; give one, in percent"),
        (ALL, CE | {"corruption": "fog", "baseline": {"fog": 0.0}}, "fog = 0.0 is not accepted; give an error above 0"),
        (ALL, CE | {"corruption": "fog", "baseline": {"fog": 5.0, "fgo": 1.0}}, "no corruption 'fgo', did you mean"),
        (ASKED, {"corruption": "frost"}, "the recipe is not judged on 'frost'"),
        ({}, {"corruption": "fog"}, "the recipe is not judged on 'fog'; set evaluate.PROTOCOL.corruptions"),
        (
            {"row": [{"name": "near", "recipe": "tiny.toml", "set": ASKED["set"]},
                     {"name": "far", "recipe": "tiny.toml", "set": ALL["set"]}]},
            CE | {"corruption": "fog", "baseline": "far"},
            "the row 'far' is not judged on the same corruptions and severities",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, study: Any, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, column=[{"name": "x", "use": "corrupted", **keys}], **study)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_frost_without_photographs_leaves_an_empty_cell(tmp_path: Path) -> None:
    assert composed(tmp_path, column=[{"name": "x", "use": "corrupted", "corruption": "frost"}], **ALL).planned
    told = {"corruptions": [{"protocol": "slf", "route": "clean", "accuracy": {"fog": [0.5] * 5}}]}
    assert corrupted.read(column(corruption="frost"), PLACE, told, None, None) is None
    given = column(value="corruption-error", corruption="fog", baseline={"fog": 80.0, "snow": 10.0})
    assert corrupted.read(given, PLACE, told, None, None) == Reading(pytest.approx(0.5 / 0.8))
    row = column(value="corruption-error", corruption="fog", baseline="near")
    assert corrupted.read(row, PLACE, told, None, {"corruptions": []}) is None
    lost = column(value="relative-drop", corruption="fog")
    assert corrupted.read(lost, PLACE, told, Reading(0.8), None) == Reading(pytest.approx(1 - 0.5 / 0.8))
    assert corrupted.read(lost, PLACE, told, Reading(0.0), None) is None
