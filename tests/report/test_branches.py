"""The judged branch of each run: in the recipe, in a comparison, in the headline and in the terminal's table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import robustcl
from robustcl import report
from robustcl.cli.compare import command
from robustcl.comparison import compare, render
from robustcl.comparison.grid import head_metric
from robustcl.composition.lock import digest
from robustcl.errors import UsageError
from robustcl.report import headline
from robustcl.report.load import load_results
from tests.shared.compared_runs import finished, first, unchecked

N = 40


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """NCP with two branches, of which none is said to be judged, and DeACL with one."""
    ncp = finished(tmp_path / "ncp", {None: first(20, N), "pgd-20": first(4, N)}, route="clean")
    other = finished(tmp_path / "aside", {None: first(30, N), "pgd-20": first(18, N)}, route="adv")
    tables = json.loads((ncp / "results.json").read_text())
    tables["rows"] += json.loads((other / "results.json").read_text())["rows"]
    (ncp / "results.json").write_text(json.dumps(tables))
    texts = [unchecked((run / "journal.jsonl").read_text()) for run in (ncp, other)]
    (ncp / "journal.jsonl").write_text("".join(texts))
    deacl = finished(tmp_path / "deacl", {None: first(28, N), "pgd-20": first(12, N)}, name="deacl", recipe="x = 1")
    return [ncp, deacl]


def say_branch(run: Path, branch: str) -> None:
    tables = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**tables, "branch": branch}))


def shown(runs: Sequence[Path | str], **choice: Any) -> list[tuple[str, str, list[float | None]]]:
    made = compare(runs, **choice)
    return [(column.metric, column.route, [line[place].mean for line in made.cells])
            for place, column in enumerate(made.columns)]  # fmt: skip


MEET = [("clean_acc", "judged", [0.75, 0.7]), ("pgd-20_acc", "judged", [0.45, 0.3])]


def test_a_named_branch_stands_beside_another_run_s_in_one_column(runs: list[Path]) -> None:
    assert shown(runs, branches=["ncp=adv"]) == MEET
    made = compare(runs, branches=["ncp=adv"])
    assert "The judged branch is shown: ncp adv, deacl clean; --route all shows every branch." in made.notes
    assert {d.test.first + d.test.second for d in made.differences if not isinstance(d.test, str)} == {2, 6}
    assert shown(runs, branches=[f"{runs[0]}=adv", "deacl=clean"]) == MEET


def test_what_the_recipe_says_is_judged_is_taken_unasked(runs: list[Path]) -> None:
    say_branch(runs[0], "adv")
    assert shown(runs) == MEET
    assert shown(runs, branches=["ncp=clean"])[0] == ("clean_acc", "clean", [0.5, 0.7])
    assert [route for _, route, _ in shown(runs, routes=["all"])] == ["clean", "clean", "adv", "adv"]
    assert {route for _, route, _ in shown(runs, routes=["clean"])} == {"clean"}


def test_where_nobody_says_it_every_branch_has_its_column_and_a_note(runs: list[Path]) -> None:
    assert [route for _, route, _ in shown(runs)] == ["clean", "clean", "adv", "adv"]
    [note] = [note for note in compare(runs).notes if "branch" in note]
    assert note == f"Which branch is judged is not said for {runs[0]}: name it with --branch LABEL=ROUTE."


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"branches": ["ncp"]}, "--branch ncp: write LABEL=ROUTE, e.g. ncp=adv"),
        ({"branches": ["ncq=adv"]}, "--branch ncq=adv: ncq is none of the runs, did you mean 'ncp'"),
        ({"branches": ["ncp=avd"]}, "has no numbers of the route 'avd', did you mean 'adv'"),
        ({"branches": ["deacl=adv"]}, "deacl has no numbers of the route 'adv'; it has clean"),
        ({"branches": ["ncp=adv", "ncp=clean"]}, "ncp was given the branch adv already"),
        ({"branches": ["deacl=clean"]}, "which branch of .*ncp is judged is not said: name it too"),
        ({"branches": ["ncp=adv"], "routes": ["adv"]}, "--branch ncp=adv and --route adv: show"),
    ],
)
def test_a_branch_that_is_none_is_one_sentence(runs: list[Path], choice: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(runs, **choice)


def test_labels_name_the_lines_and_the_baseline(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs[0].parent)
    words = ["Ours (β=1)=ncp", "DeACL=deacl", "--branch", "Ours (β=1)=adv", "--baseline", "DeACL", "--format", "latex"]
    # a label ends at the first sign
    with pytest.raises(UsageError, match=r"1\)=ncp"):
        CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)
    words[0], words[3] = "Ours=ncp", "Ours=adv"
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert "Ours & 1 &" in done.output
    assert r"method & seeds & SA & RA (PGD-20) \\" in done.output
    assert "Differences are against DeACL" in done.output
    with pytest.raises(UsageError, match="the label A stands for 2 methods"):
        compare(["A=ncp", "A=deacl"])
    with pytest.raises(UsageError, match="=ncp: write LABEL=RUN"):
        compare(["=ncp", "deacl"])
    twin = finished(Path("deacl=old"), {None: first(3, N)}, name="deacl", recipe="x = 2")
    assert compare(["A=ncp", twin], routes=["all"], metrics=["clean_acc"]).groups[0].label == "A"
    Path("A").symlink_to("deacl")
    with pytest.raises(UsageError, match="--baseline A is the label of one method and the folder of another"):
        compare(["A=ncp", "deacl"], baseline="A", routes=["all"])


def test_the_headline_and_the_terminal_s_table_show_the_judged_branch(runs: list[Path]) -> None:
    assert headline.verdict(load_results(runs[0])).attacked["value"] == 0.1  # type: ignore[index]
    assert "judged" not in report.table([runs[0]])
    say_branch(runs[0], "adv")
    found = headline.verdict(load_results(runs[0]))
    assert (found.clean["value"], found.attacked["value"]) == (0.75, 0.45)  # type: ignore[index]
    table = report.table([runs[0]])
    assert "| adv (judged) |" in table
    assert "(judged) the judged branch, whose numbers are the method's own." in table
    assert "judged" not in render(compare([runs[0], runs[1]], routes=["clean"]))


def test_the_headline_is_the_answer_on_most_images(runs: list[Path]) -> None:
    tables = json.loads((runs[1] / "results.json").read_text())
    few = {**tables["rows"][1], "n": 4, "correct": 0, "value": 0.0}
    found = headline.verdict({**tables, "rows": [*tables["rows"], few]})
    assert found.attacked["value"] == 0.3  # type: ignore[index]
    lines = report.table({"a": report.frame({"rows": [*tables["rows"], few]})}).splitlines()
    assert [line.split("|")[5].strip() for line in lines[2:4]] == ["40", "4"]


def test_a_recipe_names_its_branch_and_one_that_is_not_there_is_refused() -> None:
    ncp = robustcl.compose(recipe="ncp", dataset="digits", budget="smoke")
    assert ncp.recipe.judged == ncp.lock()["judged"] == "adv"
    assert digest(
        robustcl.compose(recipe="ncp", dataset="digits", budget="smoke", overrides=["judged=clean"])
    ) == digest(ncp)
    with pytest.raises(UsageError, match=r"judged: the encoder has no route 'avd', did you mean 'adv'.*clean, adv"):
        robustcl.compose(recipe="ncp", dataset="digits", budget="smoke", overrides=["judged=avd"])


@pytest.mark.parametrize(
    ("recipe", "branch"),
    [("acl-ds", "adv"), ("acl-a2a", "clean"), ("dynacl", "adv"), ("dynacl++", "clean"), ("ncp-away", "adv"),
     ("supcon-adversarial", "adv"), ("deacl", None)],
)  # fmt: skip
def test_shipped_recipes_name_the_branch_that_their_papers_judge(recipe: str, branch: str | None) -> None:
    assert robustcl.compose(recipe=recipe, budget="smoke").recipe.judged == branch


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("clean_acc", "SA"),
        ("pgd-20_acc", "RA (PGD-20)"),
        ("apgd-ce_acc", "RA (APGD-CE)"),
        ("square_acc", "RA (Square)"),
        ("autoattack_acc", "RA (AutoAttack)"),
        ("rays_acc", "RA (RayS)"),
        ("fab-t_acc", "RA (FAB-T)"),
        ("mt-pgd_acc", "RA (MT-PGD)"),
        ("multi-targeted-pgd_acc", "RA (Multi-Targeted-PGD)"),
        ("pgd-target-3_acc", "RA (PGD, target 3)"),
        ("their-own_acc", "RA (Their-OWN)"),
        ("torchattacks:PGDL2_acc", "RA (torchattacks:PGDL2)"),
        ("partial fgsm_acc", "partial RA (FGSM)"),
        ("silhouette", "silhouette"),
    ],
)
def test_metrics_are_headed_as_the_field_heads_them(metric: str, said: str) -> None:
    assert head_metric(metric) == said


def test_error_bars_of_shares_end_at_0_and_100() -> None:
    from robustcl.study.tables.table import StudyCell

    assert StudyCell("RA", 1.0, 3.0, None, None, 9, 2, None).reach() == (1.0, 3.0)
    assert StudyCell("SA", 98.5, 3.0, None, None, 9, 2, None).reach() == (3.0, 1.5)
    assert StudyCell("fall", -1.0, 3.0, None, None, 9, 2, None).reach() == (3.0, 3.0)
    assert StudyCell("K", 1.0, 3.0, None, None, None, 2, None, percent=False).reach() == (3.0, 3.0)


def test_a_study_s_page_names_attack_protocol_route_split_and_images() -> None:
    from robustcl.study import api
    from robustcl.study.plan.setting import Setting
    from robustcl.study.tables.asked import questions
    from robustcl.study.tables.table import StudyCell, StudyLine

    found = api.compose("ascl-li-table-8", Setting(budget="smoke"))
    cells = (StudyCell("RA", 40.0, None, 30.0, 50.0, 360, 1, None),)
    lines = [StudyLine("a", {}, cells, "cifar10")]
    said = questions(found.study, found.planned, lines)
    [robust] = [sentence for sentence in said if sentence.startswith("RA: ")]
    assert robust.startswith("RA: pgd-20, protocol slf, route clean or route adv, test split, n = 360")
