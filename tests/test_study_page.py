"""What the page of a study says of its table: the paper's numbers where there are some, percent of shares alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from robustcl.report.rendering import environment, flags
from robustcl.study.table import Cell, Line

PAPERS = "those that the paper reports for digits"


def page(paper: float | None, percent: bool) -> str:
    cell = Cell("SA", 90.0, None, 82.6, 94.5, 100, 1, paper, percent)
    study = SimpleNamespace(name="mine", about="A study.", cite="", column=["SA"])
    lines = [Line("ncp", {}, (cell,))]
    return environment().get_template("study.html.j2").render(
        study=study, lines=lines, data="digits", notes=[], drawings=[], rows=[],
        reported={cell.column} if paper is not None else set(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("paper", "percent", "said"),
    [
        (
            91.0,
            True,
            f"Our numbers, and beside them {PAPERS}. Accuracies are in percent.",
        ),
        (None, True, "Our numbers. Accuracies are in percent."),
        (None, False, "Our numbers."),
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
