"""Claims by hand: which contrasts a test is, how they are decided over seeds and images, and what is not decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from robustcl.claims.cells import Cell, Contrast, Line, Shape
from robustcl.claims.contrasts import expand
from robustcl.claims.deciding import decide
from robustcl.claims.grammar import Claim
from robustcl.claims.outcome import ClaimOutcome
from robustcl.claims.sampling import Numbers
from robustcl.comparison.outcomes import Verdicts

SHAPE = Shape(
    tuple(Line(f"{row}, n = {n}", row, {"n": n}) for row in ("ncp", "deacl", "at") for n in (2, 3, 5)),
    ("SA", "RA", "RA, 1 eps", "RA, 2 eps"),
    {"RA, {} eps": {1: "RA, 1 eps", 2: "RA, 2 eps"}},
)
PLAIN = Shape(tuple(Line(row, row, {}) for row in ("ncp", "deacl", "at")), ("SA", "RA"), {})


def claim(**test: Any) -> Claim:
    return Claim.model_validate({"name": "it", "says": "So it is.", "place": "table 1", **test})


def contrasts(shape: Shape, **test: Any) -> list[Contrast]:
    found = expand(claim(**test), shape)
    assert not isinstance(found, str), found
    return [contrast for ways in found for way in ways for contrast in way]


def by_seed(**rows: list[float]) -> dict[Cell, dict[int, float]]:
    return {Cell(row, "RA"): dict(enumerate(values)) for row, values in rows.items()}


def decided(numbers: dict[Cell, dict[int, float]], *claims: Claim, shape: Shape = PLAIN, **rest: Any) -> Any:
    given = {"verdicts": lambda cell, seed: "there is no journal", "budget": "small", "dataset": "digits", **rest}
    found = decide([one.model_copy(update={"name": f"it-{n}"}) for n, one in enumerate(claims)], shape,
                   Numbers(numbers, **given))  # fmt: skip
    return found[0] if len(found) == 1 else found


# What a test comes to -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"row": "ncp", "than": "at", "column": "RA"}, ["RA: ncp - at"]),
        ({"row": "ncp", "column": "RA"}, ["RA: ncp - deacl", "RA: ncp - at"]),
        ({"row": ["ncp", "deacl"], "than": "at", "column": ["SA", "RA"]},
         ["SA: ncp - at", "SA: deacl - at", "RA: ncp - at", "RA: deacl - at"]),
        ({"row": "at", "column": "SA", "than_column": "RA"}, ["at, SA - at, RA"]),
    ],
)  # fmt: skip
def test_rows_and_columns_are_compared_each_with_each(test: dict[str, Any], said: list[str]) -> None:
    assert [one.said for one in contrasts(PLAIN, above=test)] == said


def test_both_sides_are_at_the_same_point_unless_another_is_named() -> None:
    same = contrasts(SHAPE, above={"row": "ncp", "than": "at", "column": "RA"})
    assert [one.said for one in same] == [f"RA: ncp, n = {n} - at, n = {n}" for n in (2, 3, 5)]
    some = contrasts(SHAPE, above={"row": "ncp", "than": "at", "column": "RA", "at": {"n": [3, 5]}})
    assert [one.said for one in some] == [f"RA: ncp, n = {n} - at, n = {n}" for n in (3, 5)]
    other = contrasts(SHAPE, above={"row": "ncp", "column": "RA", "at": {"n": 2}, "than_at": {"n": [3, 5]}})
    assert [one.said for one in other] == [f"RA: ncp, n = 2 - ncp, n = {n}" for n in (3, 5)]
    swept = contrasts(SHAPE, above={"row": "ncp", "than": "at", "column": "RA, {} eps", "at": {"n": 2}})
    assert [one.terms[0][1].column for one in swept] == ["RA, 1 eps", "RA, 2 eps"]


def test_a_ratio_is_a_difference_that_lies_above_nothing() -> None:
    (least,) = contrasts(PLAIN, ratio={"row": "ncp", "than": "at", "column": "RA", "at_least": 1.5})
    (most,) = contrasts(PLAIN, ratio={"row": "ncp", "than": "at", "column": "RA", "at_most": 1.5})
    assert least.terms == ((1.0, Cell("ncp", "RA")), (-1.5, Cell("at", "RA")))
    assert most.terms == ((1.5, Cell("at", "RA")), (-1.0, Cell("ncp", "RA")))
    assert (least.margin, most.margin) == (0.0, 0.0)


def test_alike_is_two_tests() -> None:
    one, other = contrasts(PLAIN, alike={"row": "ncp", "than": "at", "column": "RA", "within": 2})
    assert (one.margin, other.margin) == (-2, -2)
    assert one.terms == ((1.0, Cell("ncp", "RA")), (-1.0, Cell("at", "RA")))
    assert other.terms == ((1.0, Cell("at", "RA")), (-1.0, Cell("ncp", "RA")))


def test_a_gain_is_a_difference_of_differences() -> None:
    four = Shape(tuple(Line(row, row, {}) for row in "abcd"), ("RA",), {})
    (one,) = contrasts(four, gains={"row": "a", "over": "b", "than": "c", "than_over": "d", "column": "RA", "by": 1})
    assert [(weight, cell.line) for weight, cell in one.terms] == [(1, "a"), (-1, "b"), (-1, "c"), (1, "d")]
    assert one.margin == 1


def test_a_trend_is_the_slope_of_the_line_through_the_values() -> None:
    """From the first value to the last, with the values at equal distances: least squares, by numpy."""
    (one,) = contrasts(SHAPE, trend={"row": "at", "column": "RA", "axis": "n", "direction": "up"})
    y = [10.0, 17.0, 12.0]
    values = {Cell(f"at, n = {n}", "RA"): there for n, there in zip((2, 3, 5), y, strict=True)}
    found = sum(weight * values[cell] for weight, cell in one.terms)
    assert found == pytest.approx(2 * np.polyfit([0, 1, 2], y, 1)[0])
    (down,) = contrasts(SHAPE, trend={"row": "at", "column": "RA", "axis": "n", "direction": "down"})
    assert sum(weight * values[cell] for weight, cell in down.terms) == pytest.approx(-found)


def test_a_trend_runs_along_a_swept_column_too_and_less_another_row() -> None:
    (one,) = contrasts(
        SHAPE, trend={"row": "ncp", "minus": "at", "column": "RA, {} eps", "at": {"n": 2}, "direction": "up"}
    )
    assert one.terms == (
        (-1.0, Cell("ncp, n = 2", "RA, 1 eps")), (1.0, Cell("at, n = 2", "RA, 1 eps")),
        (1.0, Cell("ncp, n = 2", "RA, 2 eps")), (-1.0, Cell("at, n = 2", "RA, 2 eps")),
    )  # fmt: skip


def test_numbers_ascend_and_are_not_mixed_with_names() -> None:
    values = [50, 10, "silhouette", 20]
    shape = Shape(tuple(Line(f"K = {K}", "ncp", {"K": K}) for K in values), ("SA",), {})
    found = expand(claim(trend={"column": "SA", "axis": "K", "direction": "up"}), shape)
    assert found == "the axis K has numbers and names, 50, 10, silhouette, 20; choose some by values"
    shape = Shape(tuple(line for line in shape.lines if line.label != "K = silhouette"), ("SA",), {})
    (one,) = contrasts(shape, trend={"column": "SA", "axis": "K", "direction": "up"})
    assert [cell.line for _, cell in one.terms] == ["K = 10", "K = 50"], "in the middle the slope has no weight"


def test_a_peak_lies_above_both_ends() -> None:
    found = contrasts(SHAPE, trend={"row": "at", "column": "RA", "axis": "n", "direction": "peak", "peak": 3})
    assert [one.said for one in found] == [
        "RA: at, n = 2 to at, n = 5, 3 - 2", "RA: at, n = 2 to at, n = 5, 3 - 5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"above": {"row": "ncp", "than": "at", "column": "RA", "at": {"n": 9}}}, "n = 9 is not among its values here"),
        ({"above": {"row": "ncp", "than": "at", "column": "RA, 4 eps"}}, "there is no column 'RA, 4 eps' here"),
        ({"above": {"row": ["ncp", "deacl", "at"], "column": "RA"}}, "there is nothing to compare it with"),
        ({"trend": {"column": "RA", "axis": "n", "direction": "up", "values": [2, 4]}}, "4 is not among the values of"),
        ({"trend": {"column": "RA", "axis": "n", "direction": "peak", "peak": 2}}, "a peak lies between two other"),
        ({"trend": {"column": "RA, {} eps", "direction": "peak"}}, "a peak lies between two other values"),
    ],
)
def test_what_a_size_leaves_out_is_said(test: dict[str, Any], said: str) -> None:
    found = expand(claim(**test), SHAPE)
    assert isinstance(found, str)
    assert said in found


# Several seeds --------------------------------------------------------------------------------------------------------

ABOVE = claim(above={"row": "ncp", "than": "at", "column": "RA"})
BELOW = claim(above={"row": "at", "than": "ncp", "column": "RA"})
NUMBERS = by_seed(ncp=[54.0, 55.5, 54.2, 56.0, 53.0], at=[50.0, 52.5, 51.0, 50.5, 49.5])


def test_seeds_are_paired_and_held_against_scipy() -> None:
    one = decided(NUMBERS, ABOVE)
    theirs = stats.ttest_rel([54.0, 55.5, 54.2, 56.0, 53.0], [50.0, 52.5, 51.0, 50.5, 49.5])
    assert one.status == "seen"
    assert one.p == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval()
    assert (one.contrasts[0].low, one.contrasts[0].high) == pytest.approx((interval.low, interval.high))
    assert (one.method, one.seeds, one.images) == ("t over seeds", 5, None)
    assert decided(NUMBERS, BELOW).status == "contradicted"


def test_a_least_difference_is_part_of_the_claim() -> None:
    mine = {"row": "ncp", "than": "at", "column": "RA"}
    far = decided(NUMBERS, claim(above={**mine, "by": 3.5}))
    theirs = stats.ttest_1samp(np.subtract([54.0, 55.5, 54.2, 56.0, 53.0], [50.0, 52.5, 51.0, 50.5, 49.5]), 3.5)
    assert (far.status, far.p) == ("not seen", pytest.approx(theirs.pvalue))
    assert far.contrasts[0].value == pytest.approx(3.84), "what was measured, and not what is left of it"
    assert decided(NUMBERS, claim(above={**mine, "by": 9})).status == "contradicted"


def test_holm_is_over_the_claims_that_were_tested() -> None:
    lost = claim(above={"row": "deacl", "than": "at", "column": "RA"})
    alone, pair = decided(NUMBERS, ABOVE), decided(NUMBERS, ABOVE, lost, BELOW)
    assert pair[0].p == alone.p == alone.adjusted
    assert pair[0].adjusted == pytest.approx(2 * alone.p)
    assert (pair[1].status, pair[1].adjusted) == ("not run at this size", None)
    assert pair[1].why == "deacl has no number in RA"


def test_a_claim_on_several_rows_is_as_certain_as_the_least_certain() -> None:
    numbers = NUMBERS | by_seed(deacl=[53.9, 54.9, 54.5, 55.0, 53.1])
    whole = decided(numbers, claim(above={"row": "ncp", "column": "RA"}))
    worst = stats.ttest_rel([54.0, 55.5, 54.2, 56.0, 53.0], [53.9, 54.9, 54.5, 55.0, 53.1], alternative="greater")
    assert whole.p == pytest.approx(2 * worst.pvalue)
    assert whole.status == "not seen"
    assert whole.contrasts[0].said == "RA: ncp - deacl", "the weakest stands first"
    best = decided(numbers, claim(above={"row": "at", "than": ["ncp", "deacl"], "column": "RA"}))
    each = min(stats.ttest_rel([50.0, 52.5, 51.0, 50.5, 49.5], other, alternative="less").pvalue
               for other in ([54.0, 55.5, 54.2, 56.0, 53.0], [53.9, 54.9, 54.5, 55.0, 53.1]))  # fmt: skip
    assert (best.status, best.p) == ("contradicted", pytest.approx(2 * 2 * each))


def test_any_inner_value_may_be_the_peak_and_that_is_paid_for() -> None:
    shape = Shape(tuple(Line(f"n = {n}", "at", {"n": n}) for n in range(4)), ("RA",), {})
    rows = {"n = 0": [1.0, 1.2, 0.9], "n = 1": [5.0, 5.3, 5.1], "n = 2": [1.1, 1.4, 0.8], "n = 3": [1.3, 1.0, 1.2]}
    one = decided(by_seed(**rows), claim(trend={"column": "RA", "axis": "n", "direction": "peak"}), shape=shape)
    ends = [stats.ttest_rel(rows["n = 1"], rows[end], alternative="greater").pvalue for end in ("n = 0", "n = 3")]
    assert one.p == pytest.approx(2 * 2 * max(ends))
    assert one.status == "seen"


def test_seeds_that_all_agree_are_counted_and_not_measured() -> None:
    """Without any spread t has no bound: the sign test, which five seeds cannot pass, six can."""
    five = decided(by_seed(ncp=[2.0] * 5, at=[1.0] * 5), ABOVE)
    six = decided(by_seed(ncp=[2.0] * 6, at=[1.0] * 6), ABOVE)
    none = decided(by_seed(ncp=[1.0] * 6, at=[1.0] * 6), ABOVE)
    assert (five.p, six.p, none.p) == (2 * 0.5**5, 2 * 0.5**6, 1.0)
    assert (five.status, six.status, none.status) == ("not seen", "seen", "not seen")


def test_only_seeds_that_all_rows_have_are_looked_at() -> None:
    numbers = by_seed(ncp=[54.0, 55.5, 54.2], at=[50.0, 52.5, 51.0])
    del numbers[Cell("at", "RA")][1]
    two = decided(numbers, ABOVE)
    assert (two.seeds, two.why) == (2, "the seed 1 is left out: at has no number in RA")
    assert two.measured().endswith("; the seed 1 is left out: at has no number in RA")
    assert two.tested_over() == "t over seeds, n = 2"
    three = decided(numbers, ABOVE.model_copy(update={"least": claim(least={"seeds": 3}).least}))
    assert three.why == (
        "it is meant from 3 seeds on, and all of its numbers have 2; the seed 1 is left out: at has no number in RA"
    )
    del numbers[Cell("ncp", "RA")][0], numbers[Cell("ncp", "RA")][2]
    assert decided(numbers, ABOVE).why == "no seed has all of its numbers: ncp, at"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_missing(value: float) -> None:
    one = decided(by_seed(ncp=[54.0, value, 54.2, 55.0], at=[50.0, 52.5, 51.0, 49.0]), ABOVE)
    assert (one.seeds, list(one.numbers[0].values)) == (3, ["0", "2", "3"])
    assert decided(by_seed(ncp=[value], at=[50.0]), ABOVE).why == "ncp has no number in RA"


# One seed -------------------------------------------------------------------------------------------------------------


def outcomes(right: dict[str, list[int]]) -> Any:
    def verdicts(cell: Cell, seed: int) -> Verdicts | str:
        if cell.line not in right:
            return f"there is no journal of {cell.line}"
        there = np.array(right[cell.line], dtype=bool)
        return Verdicts(np.arange(len(there)), np.zeros(len(there), dtype=int), there, None)

    return verdicts


RIGHT = {"ncp": [1] * 14 + [0] * 6, "at": [0] * 10 + [1] * 4 + [0] * 5 + [1]}
ONE = by_seed(ncp=[70.0], at=[25.0])


def test_one_seed_is_tested_by_mcnemar_on_the_same_images() -> None:
    one = decided(ONE, ABOVE, verdicts=outcomes(RIGHT))
    assert one.p == pytest.approx(stats.binomtest(10, 11, 0.5).pvalue), "ten images that ncp alone gets right, one at"
    assert (one.status, one.method, one.seeds, one.images) == ("seen", "McNemar over images", 1, 20)
    assert one.contrasts[0].value == pytest.approx(45.0)
    assert one.tested_over() == "McNemar over images, n = 20, 1 seed"


def test_one_seed_and_more_than_a_plain_difference_is_tested_by_t_over_images() -> None:
    one = decided(ONE, claim(ratio={"row": "ncp", "than": "at", "column": "RA", "at_least": 1.5}),
                  verdicts=outcomes(RIGHT))  # fmt: skip
    images = [100 * ours - 150 * theirs for ours, theirs in zip(RIGHT["ncp"], RIGHT["at"], strict=True)]
    assert one.p == pytest.approx(stats.ttest_1samp(images, 0).pvalue)
    assert one.method == "t over images"


def test_one_seed_without_a_journal_decides_nothing() -> None:
    one = decided(ONE, ABOVE, verdicts=outcomes({"ncp": [1, 0]}))
    assert one.status == "not run at this size"
    assert "there is no journal of at; give two seeds or more" in one.why


# Other images -----------------------------------------------------------------------------------------------------

TWO = {
    Cell("ncp", "RA"): {0: 62.5},
    Cell("ncp", "AA"): {0: 50.0},
    Cell("at", "RA"): {0: 25.0},
    Cell("at", "AA"): {0: 0.0},
}
"""Of each row eight images under one attack, the first two of them under another."""
PAIRED = Shape(tuple(Line(row, row, {}) for row in ("ncp", "at")), ("RA", "AA"), {})
EIGHT = {"ncp": [1, 1, 0, 1, 1, 1, 0, 0], "at": [0, 0, 0, 1, 1, 0, 0, 0]}
FIRST = {"ncp": [1, 0], "at": [0, 0]}
SIZES = {cell: 8 if cell.column == "RA" else 2 for cell in TWO}


def unequal(*, start: int = 0, label: int = 0) -> Any:
    def verdicts(cell: Cell, seed: int) -> Verdicts | str:
        right = np.array((EIGHT if cell.column == "RA" else FIRST)[cell.line], dtype=bool)
        first = start if cell.column == "AA" else 0
        labels = np.full(len(right), label if cell.column == "AA" else 0)
        return Verdicts(np.arange(first, first + len(right)), labels, right, None)

    return verdicts


def test_each_contrast_is_tested_on_its_own_images() -> None:
    both = claim(above={"row": "ncp", "than": "at", "column": ["RA", "AA"]})
    one = decided(TWO, both, shape=PAIRED, verdicts=unequal(), images=SIZES)
    assert one.p is not None
    assert {found.said: found.value for found in one.contrasts} == {"RA: ncp - at": 37.5, "AA: ncp - at": 50.0}
    assert one.images == 2, "of the weakest contrast, under AutoAttack"


FALLS = claim(above={"row": "ncp", "column": "RA", "than_column": "AA"})


def test_two_columns_of_one_run_are_compared_on_the_images_that_both_share() -> None:
    one = decided(TWO, FALLS, shape=PAIRED, verdicts=unequal(), images=SIZES)
    assert one.contrasts[0].value == 50.0, "two of the first two against one of them, and not 62.5 - 50"
    assert (one.contrasts[0].said, one.images) == ("ncp, RA - ncp, AA, on the 2 images that they share", 2)
    enough = decided(TWO, FALLS.model_copy(update={"least": claim(least={"images": 3}).least}), shape=PAIRED,
                     verdicts=unequal())  # fmt: skip
    assert enough.why == "it is meant from 3 images on, and 2 are shared by all that it has"


@pytest.mark.parametrize(("where", "said"), [({"start": 8}, "no image is in all of them"),
                                             ({"label": 3}, "the images are not the same")])  # fmt: skip
def test_images_that_are_not_the_same_decide_nothing(where: dict[str, int], said: str) -> None:
    one = decided(TWO, FALLS, shape=PAIRED, verdicts=unequal(**where), images=SIZES)
    assert (one.status, said in one.why) == ("not run at this size", True)


SEEDS = {cell: {seed: value + seed for seed in range(3)} for cell, (value,) in
         ((cell, by.values()) for cell, by in TWO.items())}  # fmt: skip


def test_over_seeds_too_the_means_are_those_of_the_images_that_both_share() -> None:
    """An offset of the images is the same with every seed, so that no test over seeds sees it."""
    one = decided(SEEDS, FALLS, shape=PAIRED, verdicts=unequal(), images=SIZES)
    assert (one.contrasts[0].value, one.method, one.images) == (50.0, "t over seeds", None)
    assert one.contrasts[0].said == "ncp, RA - ncp, AA, on the 2 images that they share"
    rows = decided(SEEDS, ABOVE, shape=PAIRED, verdicts=unequal(), images=SIZES)
    assert (rows.contrasts[0].said, rows.contrasts[0].value) == ("RA: ncp - at", 37.5)


def test_over_seeds_without_a_journal_means_of_other_images_decide_nothing() -> None:
    one = decided(SEEDS, FALLS, shape=PAIRED, images=SIZES)
    assert (one.status, one.p) == ("not run at this size", None)
    assert one.why == (
        "ncp has 2 images in AA and ncp has 8 in RA, whose means cannot be held against each other, "
        "and those that both share are not known: there is no journal"
    )
    own = decided(SEEDS, FALLS, shape=PAIRED, images=SIZES, apart=frozenset({Cell("ncp", "AA")}))
    assert own.method == "t over seeds", "a number of the images that were fooled is of other images by its nature"


# From which size on ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "rest", "said"),
    [
        ({}, {"budget": "smoke"}, "it is meant from the budget small on, and this is smoke"),
        ({"budget": "paper"}, {}, "it is meant from the budget paper on, and this is small"),
        ({"seeds": 6}, {}, "it is meant from 6 seeds on, and all of its numbers have 5"),
        ({"dataset": ["cifar10", "stl10"]}, {}, "it is meant of cifar10 or stl10, and this is digits"),
        ({"images": 500}, {"images": {Cell("at", "RA"): 360}}, "it is meant from 500 images on, and 360 were judged"),
        ({"steps": 90}, {"steps": {"ncp": 500, "at": 89}}, "it is meant from 90 optimiser steps on, and at had 89"),
        ({}, {"steps": {"ncp": 400, "at": 399}}, "it is meant from 400 optimiser steps on, and at had 399"),
        ({"above": 51}, {}, "it is meant of numbers above 51, and at has 50.7 in RA"),
    ],
)
def test_below_its_size_a_claim_is_not_run(least: dict[str, Any], rest: dict[str, Any], said: str) -> None:
    one = decided(NUMBERS, ABOVE.model_copy(update={"least": claim(least=least).least}), **rest)
    assert (one.status, one.why, one.p) == ("not run at this size", said, None)


def test_rows_that_the_study_does_not_train_have_no_least_length() -> None:
    assert decided(NUMBERS, ABOVE, steps={"ncp": 400}).status == "seen", "at is a model of others"


def test_along_an_axis_of_lengths_the_longest_counts() -> None:
    short = {(2, "at"): 5, (3, "at"): 100, (5, "at"): 400}
    numbers = by_seed(**{f"at, n = {n}": [n + 0.1, n + 0.3, n + 0.2] for n, _ in short})
    rises = claim(trend={"row": "at", "column": "RA", "axis": "n", "direction": "up"})
    steps = {f"at, n = {n}": taken for (n, _), taken in short.items()}
    assert decided(numbers, rises, shape=SHAPE, steps=steps).p is not None
    less = {label: taken // 2 for label, taken in steps.items()}
    assert decided(numbers, rises, shape=SHAPE, steps=less).why == (
        "it is meant from 400 optimiser steps on, and at, n = 5 had 200"
    )
    pair = claim(above={"row": "at", "column": "RA", "at": {"n": 5}, "than_at": {"n": 3}})
    assert decided(numbers, pair, shape=SHAPE, steps=steps).why.endswith("and at, n = 3 had 100")


def test_collapsed_models_are_alike_and_decide_nothing() -> None:
    numbers = by_seed(ncp=[0.0, 0.0, 0.1, 0.0, 0.0, 0.1], at=[0.0, 0.1, 0.0, 0.0, 0.1, 0.0])
    alike = claim(alike={"row": "ncp", "than": "at", "column": "RA", "within": 2})
    assert decided(numbers, alike).status == "seen"
    floor = alike.model_copy(update={"least": claim(least={"above": 15}).least})
    assert decided(numbers, floor).why == "it is meant of numbers above 15, and ncp has 0.03333 in RA"


def test_a_budget_of_another_name_is_no_glance() -> None:
    assert decided(NUMBERS, ABOVE, budget="mine").status == "seen"


def test_the_papers_own_difference_stands_beside_ours() -> None:
    paper = {Cell("ncp", "RA"): 54.06, Cell("at", "RA"): 48.33}
    one: ClaimOutcome = decided(NUMBERS, ABOVE, paper=paper, percent=frozenset(paper))
    assert one.contrasts[0].paper == pytest.approx(5.73)
    assert one.measured() == "RA: ncp - at: +3.84 [+2.596, +5.084] points; the paper +5.73"
