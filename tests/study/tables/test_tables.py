"""Tables for papers: what is derived, what is bold, and what becomes of thirty columns and of odd names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from robustcl.errors import UsageError
from robustcl.report import latex
from robustcl.report.grid import Grid, Head, Text, fit, turn
from robustcl.study.numbers.reading import Reading, share
from robustcl.study.tables import derived, ranking
from tests.shared import given_study, strict_latex
from tests.shared.given_study import STRANGE, WIDE, lines, outcomes
from tests.shared.tiny_study import study

DERIVED = [
    {"name": "SA"}, {"name": "RA"},
    {"name": "drop", "use": "derived", "value": "relative-drop", "of": "RA", "against": "SA"},
    {"name": "gain", "use": "derived", "value": "gain", "of": "RA", "over": "low"},
    {"name": "closed", "use": "derived", "value": "gap-closed", "of": "RA", "over": "low", "toward": "high"},
]  # fmt: skip


def rows(*names: str, **papers: dict[str, float]) -> list[dict[str, Any]]:
    return [{"name": name, "recipe": "x", "paper": {"cifar10": papers.get(name, {})}} for name in names]


# Derived columns ------------------------------------------------------------------------------------------------------


def test_derived_numbers_by_hand_of_each_seed() -> None:
    one = study(row=rows("low", "mine", "high"), column=DERIVED)
    seeds = [[(0.5, 0.2), (0.5, 0.3)], [(0.8, 0.4), (0.6, 0.3)], [(0.9, 0.6), (0.9, 0.5)]]
    made = lines(one, [[[Reading(sa), Reading(ra)] for sa, ra in each] for each in seeds])
    drop, gain, closed = (made[1].cell(name) for name in ("drop", "gain", "closed"))
    assert (drop.mean, drop.std) == (pytest.approx(50.0), pytest.approx(0.0))
    assert (gain.mean, gain.std) == (pytest.approx(10.0), pytest.approx(np.std([20, 0], ddof=1)))
    assert (closed.mean, closed.std) == (pytest.approx(25.0), pytest.approx(np.std([50, 0], ddof=1)))
    assert made[0].cell("drop").mean == pytest.approx((60 + 40) / 2)
    assert [line.cell("gain").mean is None for line in made] == [True, False, False], "no row gains over itself"
    assert [line.cell("closed").mean is None for line in made] == [True, False, True]


def test_one_seed_has_the_interval_of_a_bootstrap_over_images() -> None:
    """An image that is fooled was right before: the drop is a share of the images that were right."""
    clean, attacked = "1" * 160 + "0" * 40, "1" * 100 + "0" * 100
    one = study(row=rows("low", "mine"), column=DERIVED[:4])
    made = lines(
        one, [[[outcomes("1" * 200), outcomes("1" * 60 + "0" * 140)]], [[outcomes(clean), outcomes(attacked)]]]
    )
    drop, gain = made[1].cell("drop"), made[1].cell("gain")
    assert drop.mean == pytest.approx(37.5)
    rng, found = np.random.default_rng(0), []
    images = np.array([[letter == "1" for letter in text] for text in (clean, attacked)])
    for _ in range(2000):
        sa, ra = images[:, rng.integers(0, 200, 200)].mean(1)
        found.append(100 * (1 - ra / sa))
    assert (drop.low, drop.high) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=0.8)
    assert gain.mean == pytest.approx(20.0)
    # 40 images alone are gained, none is lost: a binomial share.
    assert (gain.low, gain.high) == pytest.approx(tuple(100 * stats.binom.ppf([0.025, 0.975], 200, 0.2) / 200), abs=0.6)


def test_a_drop_is_of_the_images_that_both_numbers_share() -> None:
    """Of forty images thirty are right, and of the first twenty of them all, of which an attack leaves ten."""
    one = study(row=rows("low"), column=DERIVED[:3])
    many, few = outcomes("1" * 30 + "0" * 10), outcomes("1" * 10 + "0" * 10)
    (made,) = lines(one, [[[many, few]]])
    drop = made.cell("drop")
    assert (drop.mean, drop.n) == (pytest.approx(50.0), 20), "and not 1 - 0.5 / 0.75"
    assert drop.low is not None
    assert derived.describe_images(one, [made]) == ["drop: on the 20 images that RA and SA share"]
    (both,) = lines(one, [[[many, few], [many, few]]])
    assert (both.cell("drop").mean, both.cell("drop").std) == (pytest.approx(50.0), pytest.approx(0.0)), "of each seed"
    assert derived.describe_images(one, lines(one, [[[many, many]]])) == []


def test_a_drop_of_images_that_no_journal_tells_apart_says_so() -> None:
    one = study(row=rows("low"), column=DERIVED[:3])
    (made,) = lines(one, [[[share(30, 40), share(10, 20)]]])
    assert (made.cell("drop").mean, made.cell("drop").low) == (pytest.approx(100 / 3), None)
    assert derived.describe_images(one, [made]) == [
        "drop: its two numbers are of different images, RA of 20 and SA of 40; no journal has the outcome of each image"
    ]


def test_no_interval_where_the_gap_may_be_none() -> None:
    one = study(row=rows("low", "mine", "high"), column=DERIVED)
    short, text = outcomes("10" * 20), "10" * 50
    made = lines(one, [[[short, outcomes(text)]], [[short, outcomes(text)]], [[short, outcomes("1" * 100)]]])
    assert made[1].cell("closed").low == pytest.approx(0.0)
    ends = "10" * 200, "1" * 400, "01" * 198 + "1111"
    made = lines(one, [[[short, outcomes(end)]] for end in ends])
    closed = made[1].cell("closed")
    assert (closed.mean, closed.low) == (pytest.approx(10000.0), None), "a gap of two images may be none"


def test_the_papers_derived_number_is_made_of_the_papers() -> None:
    papers = {"low": {"SA": 80.0, "RA": 20.0}, "mine": {"SA": 80.0, "RA": 40.0, "drop": 51.0}, "high": {"RA": 60.0}}
    one = study(row=rows("low", "mine", "high", **papers), column=DERIVED, data="cifar10")
    made = lines(one, [[], [], []])
    assert [line.cell("drop").paper for line in made] == [75.0, 51.0, None]
    assert [made[1].cell(name).paper for name in ("gain", "closed")] == [20.0, 50.0]


def test_a_row_that_failed_leaves_empty_what_is_made_of_it() -> None:
    one = study(row=rows("low", "mine", "high"), column=DERIVED)
    made = lines(one, [[], [[Reading(0.8), Reading(0.4)]], [[Reading(0.9), Reading(0.6)]]], seeds=1)
    assert [made[1].cell(name).text() for name in ("drop", "gain", "closed")] == ["50.00", "–", "–"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"over": "low"}, "column.d.over: value = 'relative-drop' has of and against; leave it out"),
        ({"against": None}, "column.d.against: value = 'relative-drop' has of and against; name a column"),
        ({"of": "RAA"}, "column.d.of: there is no column 'RAA' above it, did you mean 'RA'"),
        (
            {"value": "gain", "against": None, "over": "hgh"},
            "column.d.over: there is no row 'hgh', did you mean 'high'",
        ),
        (
            {"value": "gap-closed", "against": None, "over": "low", "toward": "low"},
            "column.d: over and toward are both 'low'; name two rows",
        ),
    ],
)
def test_faults_of_derived_columns_are_sentences(changes: dict[str, Any], said: str) -> None:
    column = {"name": "d", "use": "derived", "value": "relative-drop", "of": "RA", "against": "SA"} | changes
    with pytest.raises(UsageError) as raised:
        study(row=rows("low", "high"), column=[*DERIVED[:2], {k: v for k, v in column.items() if v is not None}])
    assert said in str(raised.value)


# What is bold ---------------------------------------------------------------------------------------------------------


def bold(given: list[Any], **column: Any) -> tuple[list[bool], str]:
    one = study(row=rows(*"abcdef"[: len(given)]), column=[{"name": "SA"} | column])
    ranked = ranking.rank(one, lines(one, given))
    return [line.cells[0].best for line in ranked.lines], ranked.said


def test_ties_by_a_paired_test_over_seeds() -> None:
    best, near, far = [0.90, 0.91, 0.92], [0.93, 0.88, 0.90], [0.70, 0.72, 0.71]
    marked_, said = bold([[[Reading(value)] for value in each] for each in (far, best, near)])
    assert marked_ == [False, True, True]
    assert "Student's paired test over the seeds, p-values of a measure corrected by Holm's method" in said


def test_ties_by_mcnemar_with_one_seed() -> None:
    best, near, far = "1" * 60 + "0" * 40, "1" * 57 + "0" * 43, "1" * 40 + "0" * 60
    assert bold([[[outcomes(text)]] for text in (best, near, far)])[0] == [True, True, False]
    assert stats.binomtest(0, 20).pvalue < 0.05 < stats.binomtest(0, 3).pvalue
    marked_, said = bold([[[share(text.count("1"), 100)]] for text in (best, near, far)])
    assert marked_ == [True, True, False]
    assert "whether the 95 % intervals meet" in said


def test_the_lowest_is_best_where_it_is_asked_for() -> None:
    given = [[[Reading(0.5)]], [[Reading(0.4)]], []]
    assert bold(given)[0] == [True, False, False]
    assert bold(given, best="lowest")[0] == [False, True, False]
    assert bold(given, best="none") == ([False] * 3, "")
    assert bold([given[0], []]) == ([False, False], ""), "alone nothing is the best"
    assert bold([given[0], given[0]]) == ([False, False], ""), "nor among equals"


def test_lines_of_other_images_are_not_ranked_among_each_other() -> None:
    given = [[[share(20, 100)]], [[share(60, 100)]], [[share(190, 200)]], [[share(100, 200)]]]
    assert bold(given)[0] == [False, True, True, False]


# Strangers' tables ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty columns, names with every odd letter, one seed, and a row that failed."""
    figures = [{"kind": "bars", "columns": ["SA", "RA, 0.25 eps"]}, {"kind": "sweep", "columns": ["RA, {} eps"]}]
    papers = {STRANGE[0]: {"SA": 80.0, "RA, 0.25 eps": 70.0}}
    about = "Of 100 % & more_than {that}."
    one = study(row=rows(*STRANGE, **papers), column=WIDE, figure=figures, data="cifar10", about=about)
    given = [[[share(20 + 3 * row + place, 100) for place in range(30)]] for row in range(3)] + [[]]
    folder = tmp_path_factory.mktemp("strange") / "out"
    given_study.write(folder, one, given, own=False, seeds=1)
    return folder


def test_latex_of_a_stranger_compiles_and_is_no_wider_than_its_text(strange: Path) -> None:
    text = (strange / "study.tex").read_text(encoding="utf-8")
    tables = strict_latex.read(text)
    assert max(table.columns for table in tables) <= 4
    cells = [cell for table in tables for row in table.rows for cell in row]
    assert any("Müller \\& Söhne" in cell for cell in cells)
    assert any("$\\lambda$=0.5" in cell for cell in cells)
    assert sum(cell.startswith("RA, ") for cell in cells) == 29 * len(tables), "no line is lost"
    assert "% a note of 100 % & more" in text.splitlines()
    assert "\\caption{Of 100 \\% \\& more\\_than \\{that\\}." in text


def test_markdown_keeps_every_number(strange: Path) -> None:
    text = (strange / "study.md").read_text(encoding="utf-8")
    assert all(f"{20 + 3 * row + place}.00 [" in text for row in range(3) for place in range(30))
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(line) <= 170


def test_figures_are_files_that_publishers_take(strange: Path) -> None:
    for number in (1, 2):
        pdf = (strange / f"figure-{number}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf
        assert b"CreationDate" not in pdf
        png = (strange / f"figure-{number}.png").read_bytes()
        assert int.from_bytes(png[16:20], "big") <= 5.5 * 300, "no wider than a paper's text"
        svg = (strange / f"figure-{number}.svg").read_text(encoding="utf-8")
        assert "paper, cifar10" not in svg, "our numbers are of other data than the paper's"
        assert set(re.findall(r"font-size: ([\d.]+px)", svg)) == {"8px"}


def test_a_wide_table_is_turned_or_cut_and_loses_nothing() -> None:
    def measure(grid: Grid, place: int) -> float:
        return max(len(cell.whole) for cell in [Text(grid.head[place].whole), *grid.column(place)])

    head = (Head(""), *(Head(f"c{place}", "g" if place in (2, 3) else "") for place in range(8)))
    made = [tuple(Text(f"{row}{place:03}") for place in range(9)) for row in range(3)]
    grid = Grid("t", head, tuple(made))
    assert fit(grid, 50, measure) == [grid]
    assert fit(grid, 25, measure) == [turn(grid)]
    tall = Grid("t", head, tuple(made * 4))
    parts = fit(tall, 22, measure)
    assert len(parts) > 1
    shown = [part.head[place].title for part in parts for place in range(1, len(part.head))]
    assert sorted(shown) == sorted(one.title for one in head[1:]), "each column once"
    assert all(sum(measure(part, place) for place in range(len(part.head))) <= 22 for part in parts)
    assert not any([one.title for one in part.head][-1] == "c2" for part in parts), "a group stays together"


def test_cells_and_heads_of_a_page(strange: Path) -> None:
    page = (strange / "study.html").read_text(encoding="utf-8")
    assert "a|b\\c $x$ ^2 &lt;b&gt;" in page
    assert page.count("<svg") == 2
    assert latex.escape("ε → 8/255") == r"$\varepsilon$ $\rightarrow$ 8/255"
