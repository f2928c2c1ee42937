"""What the page of a study says of its table: the paper's numbers where there are some, percent of shares alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustcl.report.canvas import Sketch
from robustcl.report.rendering import environment, flags
from robustcl.study.figures.figure import DrawnFigure
from robustcl.study.tables import layout
from robustcl.study.tables.asked import questions
from robustcl.study.tables.table import StudyCell, StudyLine
from tests.shared import tiny_study
from tests.shared.tiny_study import compose_smoke

SKETCH = Sketch("figure-1", "bars", (5.3, 3.4), lambda canvas: None)
DRAWING = DrawnFigure(SKETCH, "bars", SKETCH.svg())
BRACKETS = "The 95 % interval over images in brackets."
PAPERS = "those that the paper reports for digits"


def page(paper: float | None, percent: bool) -> str:
    cell = StudyCell("SA", 90.0, None, 82.6, 94.5, 100, 1, paper, percent)
    study = tiny_study.study(name="mine")
    made = layout.make_grid(study, [StudyLine("ncp", {}, (cell,))], "digits")
    return environment().get_template("study.html.j2").render(
        study=study, grids=[made], notes=["--protocol linear fits it"], drawings=[DRAWING], rows=[], claims=()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("paper", "percent", "said"),
    [
        (
            91.0,
            True,
            f"Our numbers, and beside them {PAPERS}. Accuracies are in percent. {BRACKETS}",
        ),
        (None, True, f"Our numbers. Accuracies are in percent. {BRACKETS}"),
        (None, False, f"Our numbers. {BRACKETS}"),
    ],
)
def test_a_caption_names_what_is_there(paper: float | None, percent: bool, said: str) -> None:
    assert f"<caption><span>{said}</span></caption>" in page(paper, percent)


def test_flags_in_a_sentence_stand_in_one_piece() -> None:
    said = str(flags("too short; --protocol linear fits it, --audit-samples 3 & --out FILE; a<b, well--known"))
    assert "<code>--protocol linear</code>" in said
    assert "<code>--out FILE</code>; a&lt;b" in said
    assert "&amp; <code>--out" in said
    assert "well--known" in said


def test_every_kind_of_column_says_what_it_asks(tmp_path: Path) -> None:
    """Attack with its options, radius, protocol and route; the values of a swept one in one line."""
    pgd = {"use": "pgd", "steps": 3, "step_size": "1/255"}
    columns = [
        {"name": "SA"},
        {"name": "RA, {} eps", "use": "perturbed", "value": "accuracy", "attack": pgd,
         "sweep": {"key": "times", "values": [0.5, 1, 2]}},
        {"name": "div", "use": "representation", "value": "relative-divergence", "attack": pgd, "route": "adv",
         "threat": {"norm": "L2", "eps": 0.5}},
        {"name": "even", "use": "representation", "value": "uniformity"},
        {"name": "black", "use": "transferred", "source": "far", "attack": {"use": "fgsm"}, "times": 2},
        {"name": "loss", "use": "metric", "metric": "loss", "stage": "robust"},
        {"name": "K", "use": "clusters", "stage": "robust"},
    ]  # fmt: skip
    made = compose_smoke(tmp_path, column=columns)
    lines = [StudyLine("near", {}, (StudyCell("RA, 0.5 eps", 1.0, None, 0.0, 2.0, 16, 1, None, True),))]
    assert questions(made.study, made.planned, lines) == [
        "SA: clean images, protocol slf, route clean, test split",
        "RA, ... eps: accuracy, pgd (steps 3, step_size 1/255), 0.5 eps or 1 eps or 2 eps, protocol slf, route clean, "
        "n = 16",
        "div: relative divergence, pgd (steps 3, step_size 1/255), L2 0.5, 1 eps, protocol slf, route adv",
        "even: uniformity, clean images, protocol slf, route clean",
        "black: fgsm against far, 2 eps, protocol slf, route clean",
        "loss: loss of metrics.jsonl, stage robust, last epoch",
    ]


def test_a_drawing_is_no_larger_than_its_letters_ask_for() -> None:
    assert DRAWING.width == pytest.approx(381.6)
    html = page(None, True)
    assert 'style="--wide: 382px"><svg' in html
    assert "<li><code>--protocol linear</code> fits it</li>" in html
