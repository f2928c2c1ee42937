"""An evaluation that is shared out, killed and joined adds its rows to those that stood there before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

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
