"""Figures of the numbers of a study: bars, lines, sweeps, scatters and silhouettes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from robustcl.study.figures import figure
from robustcl.study.grammar import spots
from robustcl.study.grammar.study import Study
from robustcl.study.numbers.reading import Reading
from robustcl.study.plan.planned import Planned
from robustcl.study.tables import table
from tests.shared.tiny_study import RA, compose_smoke, study


def drawn(one: Study, runs: Sequence[tuple[Planned, Path]] = ()) -> str:
    lines = [
        table.line(one, spot, [[Reading(0.1 * place, 0.0, 1.0, 10)]], "cifar10")
        for place, spot in enumerate(spots.points(one), 1)
    ]
    (drawing,) = figure.draw_all(one, lines, runs, "cifar10")
    assert drawing.caption in ("Said.", "Said. Error bars: the 95 % interval over images.")
    return str(drawing.svg)


def test_lines_along_an_axis_are_one_for_each_row() -> None:
    axis = [{"name": "K", "path": "p", "values": [5, 10, 20]}]
    svg = drawn(study(axis=axis, figure=[{"kind": "lines", "axis": "K", "columns": ["SA"], "caption": "Said."}]))
    # near: 10, 20, 30 percent; far: 40, 50, 60.
    assert "near from 10 to 30, far from 40 to 60" in svg
    assert all(f">{text}<" in svg for text in ("near", "far", "K", "SA (%)"))


def test_bars_show_what_the_paper_reports() -> None:
    rows = [{"name": "a", "recipe": "x", "paper": {"cifar10": {"SA": 80.0}}}, {"name": "b", "recipe": "x"}]
    svg = drawn(study(row=rows, figure=[{"kind": "bars", "columns": ["SA"], "caption": "Said."}]))
    assert "a: SA 10.00 [0.00, 100.00]; b: SA 20.00" in svg
    assert all(f">{text}<" in svg for text in ("a", "b", "SA (%)", "paper, cifar10"))


def test_the_silhouette_marks_the_chosen_number(tmp_path: Path) -> None:
    entry = {"stage": "robust", "grid": [5, 10], "score": [0.2, 0.3], "chosen": 10}
    (tmp_path / "results.json").write_text(
        json.dumps({"schema": 1, "rows": [], "silhouette": [entry]}), encoding="utf-8"
    )
    one = study(figure=[{"kind": "silhouette", "caption": "Said."}])
    svg = drawn(one, [(compose_smoke(tmp_path).planned[0], tmp_path)])
    assert ">K = 10<" in svg
    assert "robust from 0.2 to 0.3" in svg


def drawn_in_order(one: Study) -> str:
    """Draw the first figure; the lines' cells are 1, 2, 3, ... percent, row after row."""
    lines, count = [], 0
    for spot in spots.points(one):
        readings: list[Reading | None] = []
        for _ in one.columns_of(spot.row):
            count += 1
            readings.append(Reading(0.01 * count))
        lines.append(table.line(one, spot, [readings], "cifar10"))
    (drawing,) = figure.draw_all(one, lines, [], "cifar10")
    return str(drawing.svg)


def test_a_sweep_is_drawn_along_its_values() -> None:
    svg = drawn_in_order(study(column=[{"name": "SA"}, RA], figure=[{"kind": "sweep", "columns": ["RA, {} eps"]}]))
    # near: SA 1, RA 2, 3, 4; far: SA 5, RA 6, 7, 8.
    assert "RA (%): near from 2 to 4, far from 6 to 8" in svg
    assert all(f">{text}<" in svg for text in ("near", "far", "RA (%)", "eps"))


def test_a_sweep_over_names_shows_the_names() -> None:
    column = {"name": "{}", "use": "corrupted", "sweep": {"key": "corruption", "values": ["fog", "snow"]}}
    svg = drawn_in_order(study(column=[column], figure=[{"kind": "sweep", "columns": ["{}"]}]))
    assert all(f">{text}<" in svg for text in ("fog", "snow"))


def test_a_scatter_pairs_equal_values_of_two_sweeps() -> None:
    other = RA | {"name": "drop, {} eps", "value": "drop"}
    one = study(column=[RA, other], figure=[{"kind": "scatter", "x": "RA, {} eps", "y": "drop, {} eps"}])
    lines = []
    for spot in spots.points(one):
        cells = [Reading(0.01 * place) for place in range(1, 7)]
        lines.append(table.line(one, spot, [cells], ""))
    (panel,) = [figure._against(one, one.figure[0], lines)]  # type: ignore[arg-type]
    # RA is in percent (1, 2, 3), drop as well (4, 5, 6).
    assert [(curve.x, curve.y) for curve in panel.curves] == [((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))] * 2
    assert (panel.x, panel.y) == ("RA (%)", "drop (%)")
