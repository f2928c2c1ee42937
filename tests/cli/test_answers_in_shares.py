"""An evaluation that is shared out, killed and joined adds its rows to those that stood there before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from robustcl.analysis.again import evaluate_again
from robustcl.errors import UsageError
from tests.shared import tiny


def rows(run: Path) -> dict[tuple[str, str, str | None], dict[str, Any]]:
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))["rows"]
    return {(row["route"], row["split"], row["attack"]): row for row in found}


def test_shares_that_were_killed_add_their_rows(whole_run: Path, tmp_path: Path) -> None:
    for name in ("shared", "alone"):
        shutil.copytree(whole_run, tmp_path / name)
    before = rows(tmp_path / "shared")
    more = ["--attack", "pgd-20", "--samples", "16", "--no-audit", "--route", "clean"]
    first = ["evaluate", "shared", *more, "--shard", "1/2"]
    killed, again, second, joined, whole, alone = tiny.run_legs(
        tmp_path,
        [
            tiny.Leg(first, "within the journal", 2),
            tiny.Leg(first),
            tiny.Leg(["evaluate", "shared", *more, "--shard", "2/2"]),
            tiny.Leg(["merge", "shared"]),
            tiny.Leg(["evaluate", "shared", *more]),
            tiny.Leg(["evaluate", "alone", *more]),
        ],
    )
    assert killed.code == -9, killed.said
    for leg in (again, second, joined, whole, alone):
        assert leg.code == 0, leg.said
    after = rows(tmp_path / "shared")
    assert before == {key: row for key, row in after.items() if key in before}, "what stood there stands there"
    assert set(after) - set(before) == {("clean", split, "pgd-20") for split in ("test", "validation")}
    assert after == rows(tmp_path / "alone"), "as one process has it"
    told = {row["attack"]: (row["seed"], row["precision"]) for row in after.values()}
    assert told == dict.fromkeys((None, "fgsm", "pgd-20"), (0, "32-true"))


@pytest.mark.parametrize(("device", "words"), [("gpu", "--device 'gpu' is not known"), ("cuda:99", "torch sees ")])
def test_a_run_is_judged_on_a_device_that_there_is(whole_run: Path, device: str, words: str) -> None:
    """It was trained on a CPU, which says so in its run.json; the flag alone decides where it is judged."""
    before = (whole_run / "results.json").read_bytes(), (whole_run / "run.json").read_bytes()
    with pytest.raises(UsageError, match=words):
        evaluate_again(whole_run, device=device)
    assert ((whole_run / "results.json").read_bytes(), (whole_run / "run.json").read_bytes()) == before
