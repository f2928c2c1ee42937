"""Claims of a study that was run: what is decided of one seed, of a swept column and of a run that failed; mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustcl.claims import outcome
from robustcl.comparison.pairing import align
from robustcl.comparison.statistics import mcnemar
from robustcl.errors import NonFiniteLoss, UsageError
from robustcl.study import api, columns
from robustcl.study import run as running
from robustcl.study.grid import Setting
from tests.study.test_study import CLAIMS, composed, finished

finished = finished


def test_one_seed_is_decided_on_its_images(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, done = finished
    near, seeds, large = done.claims
    runs = [(run, done.path / "runs" / run.folder) for run in made.planned]
    column = next(one for one in made.study.columns_of(made.study.row[0]) if one.name == "RA")
    right = align([columns.verdicts(column, run, folder) for run, folder in runs])
    assert not isinstance(right, str)
    assert near.p == pytest.approx(mcnemar(*right).p)
    assert (near.method, near.images, near.unit) == ("McNemar over images", 200, "points")
    cells = [line.cells[1].mean for line in done.lines]
    assert near.contrasts[0].value == pytest.approx(cells[0] - cells[1])
    assert seeds.status == large.status == "not run at this size"
    assert "of K one number is kept, and not the outcome of each image; give two seeds or more" in seeds.why
    assert large.why == "it is meant from the budget small on, and this is smoke"


def test_what_claims_came_to_stands_in_every_file(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    _, done = finished
    text = (done.path / "study.md").read_text(encoding="utf-8")
    assert "| The nearer is \\| better. |" in text
    assert "after Holm's correction over the claims of the study" in text
    page = (done.path / "study.html").read_text(encoding="utf-8")
    assert '<h2 id="claims-title">Claims of the paper</h2>' in page
    assert '<th scope="row">In the end it is.</th><td>not run at this size</td><td>table 3</td>' in page
    kept = outcome.read(done.path)
    assert kept.claims == list(done.claims)
    assert (kept.study, kept.data, kept.budget, kept.seeds) == ("tiny-study", "digits", "smoke", 1)
    assert kept.threat == "Linf 16/255"
    assert set(kept.versions) == {"robustcl", "torch", "device", "precision"}
    assert kept.claims[0].asked == {"least": {"budget": "smoke"}, "above": CLAIMS[0]["above"] | {
        "row": ["near"], "than": ["far"], "column": ["RA"]}}  # fmt: skip


def test_a_study_without_claims_says_nothing_of_them(finished: tuple[api.Composed, api.FinishedStudy]) -> None:
    made, done = finished
    silent = api.Composed(made.study.model_copy(update={"claim": []}), made.setting, made.planned)
    (done.path / "claims.json").unlink()
    api.run(silent, done.path, device="cpu")
    assert "claims" not in (done.path / "study.html").read_text(encoding="utf-8").lower()
    assert not (done.path / "claims.json").exists()
    again = api.run(made, done.path, device="cpu")
    assert again.claims == done.claims, "numbers that are read again decide the same"


def test_a_swept_column_over_two_seeds_beside_a_row_whose_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = {"name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": {"use": "fgsm"},
             "sweep": {"key": "times", "values": [0.5, 2]}}  # fmt: skip
    small = {"least": {"budget": "smoke"}, "place": "figure 1"}
    claims = [
        {"name": "falls", "says": "More eps, less accuracy.",
         "trend": {"row": "near", "column": "RA, {} eps", "direction": "down"}, **small},
        {"name": "better", "says": "Near is better.", "above": {"row": "near", "column": "RA, 2 eps"}, **small},
    ]  # fmt: skip
    made = composed(tmp_path, Setting(budget="smoke", seeds=2), column=[moved], claim=claims)
    real = running.resume

    def resume(folder: Path, **rest: Any) -> Any:
        if folder.name.startswith("far"):
            raise NonFiniteLoss("the term robust became nan")
        return real(folder, **rest)

    monkeypatch.setattr(running, "resume", resume)
    done = api.run(made, tmp_path / "out", device="cpu")
    falls, better = done.claims
    by_seed = [falls.numbers[place].values for place in (0, 1)]
    assert [cell.column for cell in falls.numbers] == ["RA, 0.5 eps", "RA, 2 eps"]
    fall = sum(by_seed[0][seed] - by_seed[1][seed] for seed in ("0", "1")) / 2
    assert falls.contrasts[0].value == pytest.approx(fall)
    assert (falls.method, falls.seeds) == ("t over seeds", 2)
    assert (better.status, better.why) == ("not run at this size", "far has no number in RA, 2 eps")
    told = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    assert [claim["status"] for claim in told["claims"]] == [falls.status, better.status]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"above": {"row": "nea", "column": "SA"}}, "claim.it.above: there is no row 'nea', did you mean 'near'?"),
        ({"above": {"row": "near", "than": "x", "column": "SA"}}, "claim.it.above: there is no row 'x'; there is near"),
        ({"above": {"row": "near", "column": "RA"}}, "claim.it.above: there is no column 'RA'; there is SA"),
        ({"above": {"row": "near", "column": "SA", "at": {"K": 5}}}, "claim.it.above: there is no axis 'K'; there is"),
        ({"trend": {"column": "SA", "direction": "up"}}, "claim.it.trend: a trend runs along an axis, or along the"),
        ({"trend": {"column": "SA", "axis": "n", "direction": "up"}}, "claim.it.trend: there is no axis 'n'; there is"),
        ({}, "claim.it: it has no test; give one of above, alike, ratio, gains, trend"),
        ({"above": {"row": "near", "column": "SA"}, "alike": {"row": "near", "column": "SA", "within": 1}},
         "claim.it: it has above and alike; give one of"),
        ({"ratio": {"row": "near", "column": "SA"}}, "claim.it.ratio: give either at_least or at_most"),
        ({"above": {"row": "near", "colum": "SA"}}, "unknown key 'claim.it.above.colum'"),
        ({"above": {"row": ["near", "far"], "column": "SA"}}, "claim.it: there is nothing to compare it with; correct"),
        ({"name": "It is", "above": {"row": "near", "column": "SA"}}, "claim.It is.name = 'It is' is not accepted"),
        ({"least": {"budget": "tiny"}, "above": {"row": "near", "column": "SA"}}, "claim.it.least.budget = 'tiny'"),
        ({"trend": {"column": "SA", "axis": "n", "direction": "up", "peak": 3}}, 'is for direction = "peak"'),
    ],
)  # fmt: skip
def test_a_claim_on_what_is_not_there_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        composed(tmp_path, claim=[{"name": "it", "says": "So.", "place": "table 1", **changes}])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_value_that_a_budget_leaves_out_is_no_mistake(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 3, 4]}]
    claim = {"name": "it", "says": "So.", "place": "table 1",
             "above": {"row": "near", "than": "far", "column": "SA", "at": {"n": 4}}}  # fmt: skip
    made = composed(tmp_path, axis=axis, claim=[claim], budget={"smoke": {"axis.n.values": [2, 3]}})
    assert "claims: it" in made.explain()
    with pytest.raises(UsageError, match=r"claim.it: n = 9 is not among its values here: 2, 3, 4; correct the claim"):
        composed(tmp_path, axis=axis, claim=[claim | {"above": claim["above"] | {"at": {"n": 9}}}])
    twice = [claim, claim | {"says": "Again."}]
    with pytest.raises(UsageError, match="two claim tables are named 'it'; rename one"):
        composed(tmp_path, axis=axis, claim=twice)
