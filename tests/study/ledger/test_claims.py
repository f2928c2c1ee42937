"""Claims of a study that was run: what is decided of one seed, of a swept column and of a run that failed; mistakes."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from robustcl.claims import outcome
from robustcl.comparison.outcomes import Outcomes
from robustcl.comparison.pairing import align
from robustcl.comparison.statistics import mcnemar
from robustcl.errors import NonFiniteLoss, UsageError
from robustcl.study import api, page
from robustcl.study.ledger import claimed
from robustcl.study.plan.setting import Setting
from robustcl.study.runs import execution as running
from tests.shared.tiny_study import compose_smoke

MOVED = {"name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": {"use": "fgsm"},
         "sweep": {"key": "times", "values": [0.5, 2]}}  # fmt: skip
COLUMNS = [{"name": "SA"}, {"name": "RA", "attack": "first"}, MOVED]
SMALL = {"least": {"budget": "smoke", "steps": 0}, "place": "figure 1"}
CLAIMS = [
    {"name": "attacked", "says": "Images that are attacked | are harder.", **SMALL,
     "above": {"row": "near", "column": "SA", "than_column": "RA"}},
    {"name": "falls", "says": "More eps, less accuracy.", **SMALL,
     "trend": {"row": "near", "column": "RA, {} eps", "direction": "down"}},
    {"name": "better", "says": "Near is better.", "above": {"row": "near", "column": "RA, 2 eps"}, **SMALL},
    {"name": "large", "says": "In the end it is.", "place": "table 3",
     "above": {"row": "near", "column": "SA", "than_column": "RA"}},
]  # fmt: skip


@dataclass(frozen=True)
class Two:
    """A study with two seeds, one of whose rows failed, and the same with the first seed alone, in one directory."""

    made: api.Composed
    seeds: api.FinishedStudy
    one: api.FinishedStudy


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder, real = tmp_path_factory.mktemp("claims"), running.resume

    def resume(place: Path, **rest: Any) -> Any:
        if place.name.startswith("far"):
            raise NonFiniteLoss("the term robust became nan")
        return real(place, **rest)

    given: dict[str, Any] = {"column": COLUMNS, "claim": CLAIMS, "set": {"evaluate.slf.samples": 200}}
    made = [compose_smoke(folder, Setting(budget="smoke", seeds=seeds), **given) for seeds in (2, 1)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(running, "resume", resume)
        both, one = (api.run(each, folder / "out", device="cpu") for each in made)
    return Two(made[1], both, one)


def test_one_seed_is_decided_on_its_images(two: Two) -> None:
    attacked, falls, _, large = two.one.claims
    folder = two.one.path / "runs" / two.made.planned[0].folder
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    rows = [row for row in results["rows"] if (row["route"], row["split"]) == ("clean", "test")]
    right = align([Outcomes(folder).of(row) for row in rows])
    assert not isinstance(right, str)
    assert attacked.p == pytest.approx(mcnemar(*right).p)
    assert (attacked.method, attacked.images, attacked.unit) == ("McNemar over images", 200, "points")
    clean, moved = (cell.mean for cell in two.one.lines[0].cells[:2])
    assert attacked.contrasts[0].value == pytest.approx(clean - moved)
    assert falls.status == large.status == "not run at this size"
    assert "of near in RA, 0.5 eps the outcome of each image is not kept; give two seeds or more" in falls.why
    assert large.why == "it is meant from the budget small on, and this is smoke"


def test_a_swept_column_over_two_seeds_beside_a_row_whose_run_failed(two: Two) -> None:
    _, falls, better, _ = two.seeds.claims
    by_seed = [falls.numbers[place].values for place in (0, 1)]
    assert [cell.column for cell in falls.numbers] == ["RA, 0.5 eps", "RA, 2 eps"]
    fall = sum(by_seed[0][seed] - by_seed[1][seed] for seed in ("0", "1")) / 2
    assert falls.contrasts[0].value == pytest.approx(fall)
    assert (falls.method, falls.seeds) == ("t over seeds", 2)
    assert (better.status, better.why) == ("not run at this size", "far has no number in RA, 2 eps")


def test_what_claims_came_to_stands_in_every_file(two: Two) -> None:
    folder = two.one.path
    text = (folder / "study.md").read_text(encoding="utf-8")
    assert "| Images that are attacked \\| are harder. |" in text
    assert "after Holm's correction over the claims of the study" in text
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert '<h2 id="claims-title">Claims of the paper</h2>' in page
    assert '<th scope="row">In the end it is.</th><td>not run at this size</td><td>table 3</td>' in page
    kept = outcome.read(folder)
    assert kept.claims == list(two.one.claims)
    assert (kept.study, kept.data, kept.budget, kept.seeds) == ("tiny-study", "digits", "smoke", 1)
    assert kept.threat == "Linf 16/255"
    assert [one["label"] for one in kept.terms] == ["near"]
    assert set(kept.versions) == {"robustcl", "torch", "device", "precision"}
    wanted = {"row": ["near"], "column": ["SA"], "than_column": "RA"}
    assert kept.claims[0].asked == {"least": {"budget": "smoke", "steps": 0}, "above": wanted}


def test_a_study_without_claims_says_nothing_of_them(two: Two, tmp_path: Path) -> None:
    silent = two.made.study.model_copy(update={"claim": []})
    page.write(dataclasses.replace(two.one, path=tmp_path, study=silent, claims=()), ())
    claimed.keep(silent, two.made.setting, two.made.dataset, "", (), (), (), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["study.csv", "study.html", "study.md", "study.tex"]
    assert "laims" not in (tmp_path / "study.html").read_text(encoding="utf-8")


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
        ({"above": {"row": "near", "colum": "SA"}}, "unknown key 'claim.it.above.colum', did you mean 'column'?"),
        ({"least": {"seed": 3}, "above": {"row": "near", "column": "SA"}},
         "unknown key 'claim.it.least.seed', did you mean 'seeds'?"),
        ({"say": "So."}, "unknown key 'claim.it.say', did you mean 'says'?"),
        ({"above": {"row": ["near", "far"], "column": "SA"}}, "claim.it: there is nothing to compare it with; correct"),
        ({"name": "It is", "above": {"row": "near", "column": "SA"}}, "claim.It is.name = 'It is' is not accepted"),
        ({"least": {"budget": "tiny"}, "above": {"row": "near", "column": "SA"}}, "claim.it.least.budget = 'tiny'"),
        ({"trend": {"column": "SA", "axis": "n", "direction": "up", "peak": 3}}, 'is for direction = "peak"'),
    ],
)  # fmt: skip
def test_a_claim_on_what_is_not_there_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        compose_smoke(tmp_path, claim=[{"name": "it", "says": "So.", "place": "table 1", **changes}])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_value_that_a_budget_leaves_out_is_no_mistake(tmp_path: Path) -> None:
    axis = [{"name": "n", "path": "stage.robust.generator.neighbour", "values": [2, 3, 4]}]
    claim = {"name": "it", "says": "So.", "place": "table 1",
             "above": {"row": "near", "than": "far", "column": "SA", "at": {"n": 4}}}  # fmt: skip
    made = compose_smoke(tmp_path, axis=axis, claim=[claim], budget={"smoke": {"axis.n.values": [2, 3]}})
    assert "claims: it" in made.explain()
    with pytest.raises(UsageError, match=r"claim.it: n = 9 is not among its values here: 2, 3, 4; correct the claim"):
        compose_smoke(tmp_path, axis=axis, claim=[claim | {"above": claim["above"] | {"at": {"n": 9}}}])
    twice = [claim, claim | {"says": "Again."}]
    with pytest.raises(UsageError, match="two claim tables are named 'it'; rename one"):
        compose_smoke(tmp_path, axis=axis, claim=twice)
