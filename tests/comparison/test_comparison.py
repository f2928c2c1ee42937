"""The comparison: statistics against hand numbers and scipy, groups, refusals, pairing, and every format."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics as stdlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robustcl import comparison
from robustcl.comparison import compare
from robustcl.comparison.data import records
from robustcl.comparison.outcomes import Outcomes, Verdicts
from robustcl.comparison.statistics import Bootstrap, McNemar, _resampled, bootstrap, deviation, holm, mcnemar
from robustcl.errors import DataError, UsageError
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.report.latex import escape
from robustcl.rng import Rng
from tests.shared import strict_latex
from tests.shared.compared_runs import CLEAN, PGD, digest, finished, first, unchecked

HOSTILE = "<script>alert(1)</script> & 100%_$x$ | ] # ~ ^ \\ {}"


def bits(*words: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([[letter == "1" for letter in word] for word in words])


class TestMcNemar:
    def test_hand_number(self) -> None:
        # One image only the first gets right, five only the second: 2 (C(6,0) + C(6,1)) / 2^6 = 14 / 64.
        first, second = bits("1000001111"), bits("0111111111")
        assert mcnemar(first[0], second[0]) == McNemar(1, 5, 14 / 64)
        assert mcnemar(second[0], first[0]) == McNemar(5, 1, 14 / 64)

    def test_nothing_differs(self) -> None:
        same = bits("1100")[0]
        assert mcnemar(same, same) == McNemar(0, 0, 1.0)
        assert mcnemar(bits("10")[0], bits("01")[0]).p == 1.0

    @settings(max_examples=40)
    @given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 20))
    def test_agrees_with_counted_coins(self, only_first: int, only_second: int, both: int) -> None:
        first = np.repeat([True, False, True], [only_first, only_second, both])
        second = np.repeat([False, True, True], [only_first, only_second, both])
        coins = only_first + only_second
        ways = sum(math.comb(coins, heads) for heads in range(min(only_first, only_second) + 1))
        assert mcnemar(first, second).p == pytest.approx(min(1.0, 2 * ways / 2**coins), rel=1e-9)

    def test_many_images(self) -> None:
        first = np.arange(10_000) < 5_300
        ways = sum(math.comb(10_000, heads) for heads in range(4_701))
        assert mcnemar(first, ~first).p == pytest.approx(2 * ways / 2**10_000, rel=1e-9)


class TestBootstrap:
    def test_agrees_with_scipy_on_the_mean_of_differences(self) -> None:
        draw = np.random.default_rng(3)
        first, second = draw.random((3, 400)) < 0.6, draw.random((2, 400)) < 0.55
        difference = first.mean(0) - second.mean(0)
        theirs = stats.bootstrap(
            (difference,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        ours = bootstrap(first, second, Rng(0, "t"))
        # Both quantiles are of 10,000 draws: their own error is about 0.02 of a standard deviation each.
        spread = difference.std() / math.sqrt(400)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.12 * spread)
        normal = 2 * stats.norm.sf(abs(difference.mean()) / spread)
        assert ours.p == pytest.approx(normal, abs=0.02)

    def test_resamples_are_multinomial(self) -> None:
        counts = np.array([3, 10, 7])
        drawn = _resampled(counts, Rng(1, "m"), 20_000)
        assert drawn.min() >= 0
        assert (drawn.sum(1) == 20).all()
        assert drawn.mean(0) == pytest.approx(counts, abs=0.06)
        share = counts / 20
        expected = 20 * (np.diag(share) - np.outer(share, share))
        assert np.cov(drawn.T) == pytest.approx(expected, abs=0.2)

    def test_one_image_of_each_kind_by_hand(self) -> None:
        # Two images, differences +1 and 0: the sum of two draws is 0, 1, 2 with 1/4, 1/2, 1/4; never below 0.
        made = bootstrap(bits("11"), bits("01"), Rng(0, "h"))
        assert (made.low, made.high) == (0.0, 1.0)
        assert made.p == pytest.approx(0.5, abs=0.03)

    def test_the_same_outcomes_do_not_differ(self) -> None:
        same = bits("1101", "0111")
        assert bootstrap(same, same, Rng(0, "s")) == Bootstrap(0.0, 0.0, 1.0)
        # 1/3 + 1/3 + 1/3 against 1: a tie is exactly one, whatever floats say.
        assert bootstrap(bits("100", "010", "001"), bits("100"), Rng(0, "u")).low < 0

    def test_p_is_never_zero(self) -> None:
        made = bootstrap(bits("1" * 50), bits("0" * 50), Rng(0, "p"))
        assert made == Bootstrap(1.0, 1.0, 2 / 10_001)

    def test_is_keyed(self) -> None:
        draw = np.random.default_rng(5)
        first, second = draw.random((2, 100)) < 0.6, draw.random((2, 100)) < 0.5
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        assert bootstrap(first, second, Rng(0, "a")) == bootstrap(first, second, Rng(0, "a"))
        assert bootstrap(first, second, Rng(0, "a")) != bootstrap(first, second, Rng(0, "b"))
        assert (before == np.random.get_state()[1]).all()  # noqa: NPY002


class TestHolm:
    def test_hand_numbers(self) -> None:
        # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04; none below the one before it.
        assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
        assert holm([0.7, 0.6]) == [1.0, 1.0]
        assert holm([0.03]) == [0.03]
        assert holm([]) == []

    @settings(max_examples=30)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_rejects_what_the_step_down_procedure_rejects(self, p: list[float]) -> None:
        order = sorted(range(len(p)), key=lambda place: p[place])
        rejected = set()
        for rank, place in enumerate(order):
            if (len(p) - rank) * p[place] >= 0.05:
                break
            rejected.add(place)
        assert {place for place, value in enumerate(holm(p)) if value < 0.05} == rejected


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
@settings(max_examples=25)
def test_deviation_is_of_the_sample(values: list[float]) -> None:
    assert deviation(values) == pytest.approx(stdlib.stdev(values), abs=1e-12)
    assert deviation(values[:1]) is None


class TestGroups:
    def test_seeds_of_one_recipe_are_one_line(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / f"a{s}", {None: first(60 + 10 * s, 100)}, seed=s) for s in range(3)]
        paths.append(finished(tmp_path / "b", {None: first(50, 100)}, name="other"))
        made = compare(paths)
        assert [(group.label, group.seeds) for group in made.groups] == [("ncp", (0, 1, 2)), ("other", (0,))]
        cell, alone = made.cells[0][0], made.cells[1][0]
        assert cell.mean == pytest.approx(0.7)
        assert cell.std == pytest.approx(0.1)
        assert (cell.low, alone.std) == (None, None)
        assert alone.low == pytest.approx(0.4038, abs=1e-4)  # Wilson, 50 of 100

    def test_another_option_is_another_line(self, tmp_path: Path) -> None:
        paths = [
            finished(tmp_path / "a", {None: first(6, 9)}),
            finished(tmp_path / "b", {None: first(5, 9)}, seed=1, recipe="lr = 0.2"),
        ]
        assert [group.label for group in compare(paths).groups] == [f"ncp ({paths[0]})", f"ncp ({paths[1]})"]
        by_name = compare(paths, by="name")
        assert [group.label for group in by_name.groups] == ["ncp"]
        assert by_name.cells[0][0].values == (6 / 9, 5 / 9)

    def test_each_run_for_itself(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / f"a{s}", {None: first(6, 9)}, seed=s) for s in range(2)]
        assert [group.label for group in compare(paths, by="run").groups] == ["ncp (seed 0)", "ncp (seed 1)"]

    def test_without_a_lock_results_decide(self, tmp_path: Path) -> None:
        stages = [{"stages": [{"name": "one", "epochs": epochs}]} for epochs in (5, 5, 6)]
        paths = []
        for seed, composition in enumerate(stages):
            paths.append(finished(tmp_path / str(seed), {None: [1, 0]}, seed=seed, composition=composition))
            (paths[-1] / "recipe.lock.toml").unlink()
        assert [len(group.runs) for group in compare(paths).groups] == [2, 1]

    def test_a_seed_twice_is_refused(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / name, {None: [1, 0]}) for name in "ab"]
        with pytest.raises(UsageError, match=r"a and .*b are runs of 'ncp' and both have seed 0: leave one out"):
            compare(paths)

    def test_too_few(self, tmp_path: Path) -> None:
        one = finished(tmp_path / "one", {None: [1, 0]})
        with pytest.raises(UsageError, match=r"needs two runs or more, and only .*one was named"):
            compare([one])
        with pytest.raises(UsageError, match="is named twice"):
            compare([one, tmp_path / "." / "one"])


class TestRefusal:
    def runs(self, tmp_path: Path, **changes: Any) -> list[Path]:
        right = {None: first(80, 100), "pgd-20": first(50, 100)}
        other = {None: first(10, 100), "pgd-20": first(5, 100)}
        return [finished(tmp_path / "a", right), finished(tmp_path / "b", other, name="other", **changes)]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"spec": {"protocol": {"epochs": 10}}}, "specification protocol.epochs differs: 25 ({a}), 10 ({b})"),
            (
                {"threat": {"norm": "L2", "eps": "8/255", "eps_value": 8 / 255}},
                "threat norm differs: Linf ({a}), L2 ({b})",
            ),
            ({"threat": {"norm": "Linf", "eps": "0.1", "eps_value": 0.1}}, "threat eps differs: 0.03137254901960784"),
            ({"data": {"use": "npz", "classes": ["0", "1", "2"], "item": [1, 8, 8]}}, "data set differs: digits ({a})"),
            (
                {"data": {"use": "digits", "classes": ["0"], "item": [1, 8, 8]}},
                "classes differs: 0, 1, 2 ({a}), 0 ({b})",
            ),
            ({"images": "others"}, "content of the images differs: digest "),
        ],
    )
    def test_what_differs_is_said(self, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        paths = self.runs(tmp_path, **changes)
        with pytest.raises(UsageError) as refused:
            compare(paths)
        assert said.format(a=paths[0], b=paths[1]) in str(refused.value)
        assert "--allow-mixed" in str(refused.value)
        made = compare(paths, allow_mixed=True)
        assert not made.differences
        assert not any(cell.best for line in made.cells for cell in line)
        text = comparison.render(made)
        assert "SA (mixed)" in text
        assert f"clean_acc is mixed, neither ranked nor tested: {said.format(a=paths[0], b=paths[1])}" in text

    def test_protocol_hashes(self, tmp_path: Path) -> None:
        paths = self.runs(tmp_path)
        for path, told in zip(paths, ("abc", "abd"), strict=True):
            stated = json.loads((path / "results.json").read_text())
            for row in stated["rows"]:
                row |= {"protocol_hash": told, "protocol_version": 1}
            (path / "results.json").write_text(json.dumps(stated))
        with pytest.raises(
            UsageError, match=r"protocol hash differs: abc \(.*a\), abd \(.*b\) \[in clean_acc .* 1 more"
        ):
            compare(paths)

    def test_other_counts_of_images(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(n), {None: first(5, n)}, name=str(n)) for n in (10, 20)]
        with pytest.raises(UsageError, match=r"number of images differs: 10 \(.*\), 20 \("):
            compare(paths)

    def test_a_filter_may_leave_what_is_alike(self, tmp_path: Path) -> None:
        paths = self.runs(tmp_path)
        stated = json.loads((paths[1] / "results.json").read_text())
        stated["rows"][1]["spec"]["attack"]["steps"] = 10
        (paths[1] / "results.json").write_text(json.dumps(stated))
        with pytest.raises(UsageError, match=r"attack\.steps differs"):
            compare(paths)
        assert [column.metric for column in compare(paths, metrics=["clean_acc"]).columns] == ["clean_acc"]
        with pytest.raises(UsageError, match="no run has a number for --metric nothing"):
            compare(paths, metrics=["nothing"])

    def test_the_judged_model_is_no_difference(self, tmp_path: Path) -> None:
        right = {None: first(9, 10)}
        paths = [finished(tmp_path / n, right, name=n, spec={"model": n}) for n in "ab"]
        for path in paths:  # as the evaluation writes it: in the journal's question, beside the row's specification
            stated = json.loads((path / "results.json").read_text())
            for row in stated["rows"]:
                row["model"] = row["spec"].pop("model")
            (path / "results.json").write_text(json.dumps(stated))
        assert isinstance(compare(paths).differences[0].test, McNemar)

    def test_one_attack_under_two_settings_is_two_columns(self, tmp_path: Path) -> None:
        paths = self.runs(tmp_path)
        for path in paths:
            stated = json.loads((path / "results.json").read_text())
            more = {**stated["rows"][1], "spec": {**PGD, "attack": {"steps": 40, "step_size": "2/255"}}}
            (path / "results.json").write_text(json.dumps({**stated, "rows": [*stated["rows"], more]}))
        made = compare(paths)
        assert [column.settings for column in made.columns] == ["", "attack.steps 20", "attack.steps 40"]
        assert "| RA (PGD-20), attack.steps 40 |" in comparison.render(made)
        stated["rows"].append(stated["rows"][-1])
        (paths[1] / "results.json").write_text(json.dumps(stated | {"rows": [*stated["rows"], more, more]}))
        with pytest.raises(DataError, match="states pgd-20_acc twice"):
            compare(paths)


class TestDifferences:
    def test_one_seed_each_is_mcnemar_against_the_best(self, tmp_path: Path) -> None:
        # 90 right against 80, all of the 80 among them: 10 : 0, p = 2 / 2^10; and 79: 11 : 0, p = 2 / 2^11.
        paths = [finished(tmp_path / str(k), {None: first(k, 100)}, name=f"m{k}") for k in (80, 90, 79)]
        made = compare(paths)
        tests = {made.groups[d.line].label: d for d in made.differences}
        assert {d.against for d in made.differences} == {1}
        assert tests["m80"].test == McNemar(0, 10, 2 / 2**10)
        assert tests["m79"].test == McNemar(0, 11, 2 / 2**11)
        assert tests["m79"].corrected == 4 / 2**11
        assert tests["m80"].corrected == 4 / 2**11  # the step before it
        assert tests["m80"].value == pytest.approx(-0.1)
        assert tests["m80"].verdict == "significantly worse"
        assert [line[0].best for line in made.cells] == [False, True, False]

    def test_the_best_is_bold_only_if_significant_against_the_second(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 100)}, name=f"m{k}") for k in (85, 90, 20)]
        made = compare(paths)  # 5 : 0, p = 2 / 32 = 0.0625
        assert not any(line[0].best for line in made.cells)
        text = comparison.render(made)
        assert re.search(r"m85 +\| m90 +\| not significant +\| McNemar, 0 : 5 +\| +-5\.00 \| +0\.0625 \|", text)
        assert "**9" not in text

    def test_several_seeds_are_a_bootstrap(self, tmp_path: Path) -> None:
        draw = np.random.default_rng(0)
        outcomes = {name: draw.random((2, 200)) < share for name, share in (("good", 0.8), ("bad", 0.5))}
        paths = [
            finished(tmp_path / f"{name}{seed}", {None: list(right[seed])}, name=name, seed=seed)
            for name, right in outcomes.items()
            for seed in range(2)
        ]
        made = compare(paths)
        (difference,) = made.differences
        key = ("clean_acc", "slf", "route clean", "test", "", "bad", "good")
        assert difference.test == bootstrap(outcomes["bad"], outcomes["good"], Rng(0, "compare", *key))
        assert isinstance(difference.test, Bootstrap)
        assert difference.test.low < difference.value < difference.test.high < 0
        assert made.cells[0][0].best
        assert "covers the choice of images, not the choice of seeds" in comparison.render(made)

    def test_a_baseline(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 100)}, name=f"m{k}") for k in (80, 90, 95)]
        for baseline in ("m80", str(paths[0])):
            made = compare(paths, baseline=baseline)
            assert [(d.line, d.against) for d in made.differences] == [(1, 0), (2, 0)]
            assert [d.verdict for d in made.differences] == ["significantly better"] * 2
            # Best against second, 5 : 0, is tested too, and counts for the correction.
            assert not any(line[0].best for line in made.cells)
            assert "for the 3 tests made" in comparison.render(made)
        with pytest.raises(UsageError, match="--baseline m81 is none of the runs, did you mean 'm80'"):
            compare(paths, baseline="m81")

    def test_a_missing_number_is_no_zero(self, tmp_path: Path) -> None:
        paths = [
            finished(tmp_path / "a", {None: first(9, 10), "pgd-20": first(5, 10)}, name="a"),
            finished(tmp_path / "b", {None: first(8, 10)}, name="b"),
            finished(tmp_path / "c0", {None: first(7, 10), "pgd-20": first(4, 10)}, name="c"),
            finished(tmp_path / "c1", {None: first(7, 10)}, name="c", seed=1),
        ]
        made = compare(paths)
        assert made.cells[1][1].mean is None
        lines = comparison.render(made).splitlines()
        assert [line.split("|")[-2].strip() for line in lines[4:7]] == [
            "50.00 [23.66, 76.34]",
            "–",
            "40.00 [16.82, 68.73] (1 of 2 seeds)",
        ]
        assert not any(d.line == 1 and d.column == 1 for d in made.differences)
        found = {(row["method"], row["metric"]): row for row in records(made)}
        assert found["b", "pgd-20_acc"]["mean"] is None
        assert (found["b", "pgd-20_acc"]["seeds"], found["c", "pgd-20_acc"]["seeds"]) == (0, 1)

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda file: file.unlink(), "there is no .*journal.jsonl"),
            (lambda file: file.write_text(""), "holds no outcomes of it"),
        ],
    )
    def test_without_outcomes_nothing_is_tested_or_bold(self, tmp_path: Path, damage: Any, reason: str) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 100)}, name=f"m{k}") for k in (10, 90)]
        damage(paths[0] / "journal.jsonl")
        made = compare(paths)
        assert re.fullmatch(f"not tested: .*{reason}", made.differences[0].verdict)
        assert not any(line[0].best for line in made.cells)
        assert "Nothing could be tested, so nothing is bold." in made.notes

    def test_the_splits(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / n, {None: first(9, 10), "pgd-20": first(5, 10)}, name=n) for n in "ab"]
        for path in paths:
            stated = json.loads((path / "results.json").read_text())
            stated["rows"][1] |= {"split": "validation"}
            (path / "results.json").write_text(json.dumps(stated))
        made = compare(paths)
        assert [column.split for column in made.columns] == ["test"]
        assert "The test split alone is shown, validation left out." in made.notes
        assert [column.split for column in compare(paths, splits=["all"]).columns] == ["test", "validation"]
        assert [column.split for column in compare(paths, splits=["validation"]).columns] == ["validation"]

    def test_held_out_images_may_differ_and_are_not_tested_then(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / n, {None: first(9, 10)}, name=n, images=n) for n in "ab"]
        for path in paths:
            for file in (path / "results.json", path / "journal.jsonl"):
                file.write_text(unchecked(file.read_text()).replace('"split": "test"', '"split": "validation"'))
        (difference,) = compare(paths).differences
        assert difference.verdict == "not tested: the images are not the same"

    def test_other_measures_are_shown_but_not_ranked(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / n, {None: first(9, 10)}, name=n) for n in "ab"]
        for path, value in zip(paths, (0.75, 12.3456), strict=True):
            stated = json.loads((path / "results.json").read_text())
            row = {"metric": "corruptions_mce", "value": value, "protocol": "slf", "route": "clean", "split": "test"}
            (path / "results.json").write_text(json.dumps({**stated, "rows": [row]}))
        made = compare(paths)
        assert not made.differences
        assert re.search(r"\| +12\.35 \|", comparison.render(made))

    def test_partial_numbers_are_not_ranked(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 100)}, name=f"m{k}") for k in (10, 90)]
        for path in paths:
            stated = json.loads((path / "results.json").read_text())
            row = stated["rows"][0]
            upper = 1 - (row["n"] - row["correct"]) / 1000
            row |= {"partial": True, "samples": 1000, "upper": upper, "metric": "partial clean_acc"}
            (path / "results.json").write_text(json.dumps(stated))
            (path / "journal.jsonl").unlink()
        made = compare(paths)
        assert not made.differences
        assert any("cut off by a time limit" in note for note in made.notes)

    def test_an_unlike_environment_is_noted(self, tmp_path: Path) -> None:
        paths = [
            finished(tmp_path / n, {None: first(9, 10)}, name=n, environment={"torch": version, "device": "cpu"})
            for n, version in (("a", "2.14"), ("b", "2.15"))
        ]
        assert f"The runs differ in torch: 2.14 ({paths[0]}), 2.15 ({paths[1]})." in compare(paths).notes


class TestJournal:
    def test_the_last_line_of_a_sample_counts_and_the_file_is_not_touched(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {"pgd-20": first(k, 20)}, name=f"m{k}") for k in (10, 18)]
        file = paths[0] / "journal.jsonl"
        lines = [json.loads(line) for line in unchecked(file.read_text()).splitlines()]
        samples = [line for line in lines if "index" in line]
        # A first member that leaves all standing, then the lines as they are, then half a line.
        before = [{**line, "prediction": line["label"], "correct": True, "member": "clean"} for line in samples]
        samples = [{**line, "member": "pgd"} for line in samples]
        kept = [line for line in lines if "index" not in line]
        text = "".join(json.dumps(line) + "\n" for line in [*kept, *before, *samples]) + '{"protocol": "sl'
        file.write_text(text)
        assert compare(paths).differences[0].test == McNemar(0, 8, 2 / 2**8)
        assert file.read_text() == text

    def test_lines_without_a_member(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 20)}, name=f"m{k}") for k in (10, 18)]
        for path in paths:
            lines = [json.loads(line) for line in unchecked((path / "journal.jsonl").read_text()).splitlines()]
            old = [{k: v for k, v in line.items() if k != "member"} for line in lines]
            (path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
        assert compare(paths).differences[0].test == McNemar(0, 8, 2 / 2**8)

    def test_hashes_of_corrupted_images_are_not_those_of_the_clean_ones(self, tmp_path: Path) -> None:
        run = finished(tmp_path / "a", {None: [True, False]})
        foggy = Key("slf", "clean", "test", None, json.dumps(CLEAN | {"corruption": {"name": "fog"}}))
        Journal(run / "journal.jsonl").append(foggy, [Outcome(i, i, i, True, 0, f"foggy-{i}") for i in range(2)])
        found = Outcomes(run).of(json.loads((run / "results.json").read_text())["rows"][0])
        assert isinstance(found, Verdicts)
        assert found.clean == (digest("image-0-"), digest("image-1-"))

    def test_a_row_of_the_first_images(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / str(k), {None: first(k, 20)}, name=f"m{k}") for k in (4, 9)]
        for path, correct in zip(paths, (4, 8), strict=True):
            stated = json.loads((path / "results.json").read_text())
            low, high = wilson(correct, 8)
            stated["rows"][0] |= {"n": 8, "correct": correct, "value": correct / 8, "low": low, "high": high}
            (path / "results.json").write_text(json.dumps(stated))
        assert compare(paths).differences[0].test == McNemar(0, 4, 2 / 2**4)

    @pytest.mark.parametrize("line", ["[]", "{}", '{"protocol": 1}', "no json"])
    def test_a_damaged_line(self, tmp_path: Path, line: str) -> None:
        paths = [finished(tmp_path / n, {None: [1, 0]}, name=n) for n in "ab"]
        file = paths[0] / "journal.jsonl"
        file.write_text(f"{line}\n" + file.read_text())
        with pytest.raises(DataError, match=r"journal.jsonl: line 1 is damaged: "):
            compare(paths)

    def test_images_in_another_order_are_refused(self, tmp_path: Path) -> None:
        paths = [finished(tmp_path / n, {None: [1, 0, 1]}, name=n) for n in "ab"]
        file = paths[0] / "journal.jsonl"
        file.write_text(
            unchecked(file.read_text()).replace('"label": 2, "prediction": 2', '"label": 1, "prediction": 1')
        )
        with pytest.raises(UsageError, match="choice of images differs: digest"):
            compare(paths)


class _Tables(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.block = ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.block += data
        elif "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data
            if "strong" in self._open:
                self.bold.append(data)


class TestFormats:
    @pytest.fixture
    def made(self, tmp_path: Path) -> comparison.Comparison:
        return compare([
            finished(tmp_path / "a", {None: first(90, 100), "pgd-20": first(50, 100)}, name=HOSTILE),
            finished(tmp_path / "b0", {None: first(60, 100)}, name="b"),
            finished(tmp_path / "b1", {None: first(50, 100)}, name="b", seed=1),
        ])  # fmt: skip

    def test_markdown(self, made: comparison.Comparison) -> None:
        lines = comparison.render(made).splitlines()
        assert lines[0] == "**slf, route clean, test**"
        assert [cell.strip() for cell in lines[2].strip("|").split("|")] == ["method", "seeds", "SA", "RA (PGD-20)"]
        assert "**90.00 [82.56, 94.48]**" in lines[4]
        assert lines[4].startswith("| \\<script>alert(1)\\</script> & 100%_$x$ \\| ]")
        assert lines[5].split("|")[1:-1] == [" b".ljust(len(lines[5].split("|")[1])), "     2 ", lines[5].split("|")[3],
                                             "                    – "]  # fmt: skip
        assert lines[5].split("|")[3].strip() == "55.00 ± 7.07"
        assert len({len(line) for line in lines[2:6]}) == 1

    def test_csv(self, made: comparison.Comparison) -> None:
        rows = list(csv.DictReader(io.StringIO(comparison.render(made, "csv"))))
        assert [(row["method"], row["metric"]) for row in rows] == [
            (name, metric) for name in (HOSTILE, "b") for metric in ("clean_acc", "pgd-20_acc")
        ]
        one = rows[2]
        assert float(one["mean"]) == pytest.approx(0.55)
        assert float(one["std"]) == pytest.approx(0.0707106781)
        assert (one["seeds"], one["images"], one["test"], one["against"]) == ("2", "100", "bootstrap", HOSTILE)
        assert (rows[3]["mean"], rows[3]["seeds"]) == ("", "0")
        assert rows[0]["best"] == "True"

    def test_json(self, made: comparison.Comparison) -> None:
        read = json.loads(comparison.render(made, "json"))
        assert read["groups"][1]["seeds"] == [0, 1]
        row = read["rows"][2]
        assert row["by_seed"] == [{"seed": 0, "value": 0.6}, {"seed": 1, "value": 0.5}]
        assert row["verdict"] == "significantly worse"
        assert row["difference"] == pytest.approx(-0.35)
        assert read["rows"][3]["mean"] is None
        assert read["notes"] == list(made.notes)

    def test_html(self, made: comparison.Comparison) -> None:
        text = comparison.render(made, "html")
        page = _Tables(text)
        assert page.rows[0] == ["method", "seeds", "SA", "RA (PGD-20)"]
        assert page.rows[1] == [HOSTILE, "1", "90.00 [82.56, 94.48]", "50.00 [40.38, 59.62]"]
        assert page.rows[2] == ["b", "2", "55.00 ± 7.07", "–"]
        assert page.bold == ["90.00 [82.56, 94.48]"]
        assert page.tags.count("script") == 1
        assert json.loads(page.block)[0]["method"] == HOSTILE
        assert 'name="viewport"' in text
        assert "A cell with – was not measured." in text
        assert not re.search(r'(?:src|href)="(?!#|data:)', text)

    def test_latex(self, made: comparison.Comparison) -> None:
        text = comparison.render(made, "latex")
        numbers, *differences = strict_latex.read(text)
        assert text.count("\\end{table}") == 2
        assert numbers.rows[1][0].startswith("\\shortstack[l]{$<$script"), "a long name stands in lines"
        assert numbers.rows[0] == ["method", "seeds", "SA", "RA (PGD-20)"]
        assert numbers.rows[2] == ["b", "2", "55.00 $\\pm$ 7.07", "--"]
        assert numbers.rows[1][2] == "\\textbf{\\boldmath 90.00 {[}82.56, 94.48{]}}"
        # The table of differences is wider than a page: each part says which difference it is about.
        assert [table.rows[1][:2] for table in differences] == [["SA", "b"]] * len(differences)
        cells = [cell for table in differences for cell in table.rows[1]]
        assert "significantly worse" in cells
        assert "paired bootstrap" in cells
        assert any(cell.startswith("$-$35.00 {[}$-$") for cell in cells)

    def test_latex_escapes(self) -> None:
        assert escape("a_b 5% {x} \\ [1] *\n–") == r"a\_b 5\% \{x\} \textbackslash{} {[}1{]} {*} --"

    def test_the_format_follows_the_file(self, made: comparison.Comparison, tmp_path: Path) -> None:
        starts = {
            "t.tex": "% needs",
            "t.csv": "method,",
            "t.html": "<!DOCTYPE",
            "t.json": "{",
            "t.md": "**slf",
            "t": "**",
        }
        for name, start in starts.items():
            assert comparison.write(made, tmp_path / name).read_text(encoding="utf-8").startswith(start)
        with pytest.raises(UsageError, match=r"t\.md exists already: name another file, or replace it with --force"):
            comparison.write(made, tmp_path / "t.md")
        assert comparison.write(made, tmp_path / "t.md", "json", force=True).read_text().startswith("{")
        with pytest.raises(UsageError, match="cannot be written"):
            comparison.write(made, tmp_path / "no" / "t.md")


def test_headers_say_what_differs_between_columns(tmp_path: Path) -> None:
    paths = []
    for name in "ab":
        path = finished(tmp_path / name, {None: first(9, 10)}, name=name)
        stated = json.loads((path / "results.json").read_text())
        second = {**stated["rows"][0], "route": "adv", "spec": {**CLEAN, "encoder": "ema"}}
        (path / "results.json").write_text(json.dumps({**stated, "rows": [*stated["rows"], second]}))
        paths.append(path)
    made = compare(paths)
    text = comparison.render(made)
    assert "**slf, test**" in text
    assert "SA, online, clean" in text
    assert "SA, ema, adv" in text
    assert [column.route for column in compare(paths, routes=["adv"]).columns] == ["adv"]
