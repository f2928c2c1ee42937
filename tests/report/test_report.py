"""The report: intervals, tables, escaping, missing and damaged parts, and what must not be touched."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from robustcl import report
from robustcl.cli import console
from robustcl.errors import DataError, UsageError
from robustcl.report import headline, images, picture, representation, tables
from robustcl.report.composition import panels
from tests.shared.finished_run import accuracy_row, results, write_run

HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a page consists of: start tags with attributes, the text, the JSON block, and what else is in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.block, self.script, self._inside = "", "", "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = "json" if dict(attrs).get("type") == "application/json" else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "json":
            self.block += data
        elif self._inside == "script":
            self.script += data
        elif self._inside != "style":
            self.text += data

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_run(tmp_path_factory.mktemp("report") / "run")
    report.write(path, projection="pca")
    return path


@pytest.fixture(scope="module")
def html(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


class TestWilson:
    def test_hand_numbers(self) -> None:
        # 8 of 10 with z = 2: centre (0.8 + 0.2) / 1.4 = 5/7, half width (2 / 1.4) * sqrt(0.016 + 0.01).
        low, high = report.wilson(8, 10, z=2.0)
        assert low == pytest.approx(5 / 7 - 2 / 1.4 * math.sqrt(0.026))
        assert high == pytest.approx(5 / 7 + 2 / 1.4 * math.sqrt(0.026))

    def test_published_value(self) -> None:
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 15 of 148.
        assert report.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
        assert report.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_agrees_with_scipy(self, counts: tuple[int, int]) -> None:
        theirs = binomtest(*counts).proportion_ci(0.95, method="wilson")
        assert report.wilson(*counts) == pytest.approx((theirs.low, theirs.high), abs=1e-12)

    def test_ends(self) -> None:
        assert report.wilson(0, 20)[0] == 0.0
        assert report.wilson(20, 20)[1] == 1.0
        assert report.wilson(0, 0) == (0.0, 1.0)

    @pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (1, 0)])
    def test_refuses_what_cannot_be(self, correct: int, n: int) -> None:
        with pytest.raises(ValueError, match="must lie between"):
            report.wilson(correct, n)


class TestTables:
    def test_frame_holds_the_rows(self) -> None:
        made = results()
        frame = report.frame(made)
        assert list(frame.columns) == list(tables.COLUMNS)
        assert frame["value"].tolist() == [row["value"] for row in made["rows"]]
        assert frame["correct"].tolist() == [row["correct"] for row in made["rows"]]
        assert frame["n"].dtype == "Int64"

    def test_frame_fills_a_missing_interval_only_where_counts_allow(self) -> None:
        bare = {"protocol": "slf", "metric": "clean_acc", "value": 0.5}
        frame = report.frame({"rows": [{**bare, "n": 10, "correct": 5}, bare]})
        assert (frame["low"][0], frame["high"][0]) == report.wilson(5, 10)
        assert pd.isna(frame["low"][1])
        assert pd.isna(frame["n"][1])

    def test_percent_has_two_decimals_and_never_shows_zero_for_missing(self) -> None:
        assert tables.percent(0.916666) == "91.67"
        assert tables.percent(0.0) == "0.00"
        assert tables.percent(None) == tables.percent(float("nan")) == "-"
        assert tables.interval(0.5, None) == "-"

    def test_rows_of_one_metric_under_two_settings_are_both_shown(self) -> None:
        part = accuracy_row("clean", "autoattack", 70, 100) | {"spec": {"attack": {"attacks_to_run": ["square"]}}}
        whole = accuracy_row("clean", "autoattack", 30, 100) | {"spec": {"attack": {"attacks_to_run": []}}}
        said = tables.markdown({"run": {"rows": [whole, part]}})
        assert "30.00" in said
        assert "70.00" in said
        assert "attacks_to_run = ['square']" in said.splitlines()[0]

    def test_table_of_frames(self) -> None:
        one = report.frame({"rows": [accuracy_row("clean", None, 90, 100), accuracy_row("clean", "pgd-20", 50, 100)]})
        two = report.frame({"rows": [accuracy_row("clean", None, 60, 100)]})
        lines = report.table({"one|a": one, "two": two}).splitlines()
        assert [cell.strip() for cell in lines[0].split(" | ")][-2:] == ["clean_acc", "pgd-20_acc |"]
        assert "one\\|a" in lines[2]
        assert "90.00 [82.56, 94.48]" in lines[2]
        assert lines[3].rstrip(" |").endswith("-")
        assert len({len(line) for line in lines[:4]}) == 1

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        paths = [write_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        text = report.table(paths)
        assert "ncp-deacl (seed 0)" in text
        assert "ncp-deacl (seed 1)" in text


class TestPage:
    def test_json_block_equals_results(self, run: Path, html: Page) -> None:
        rows = json.loads((run / "results.json").read_text())["rows"]
        block = json.loads(html.block)
        assert [{key: made[key] for key in row} for made, row in zip(block, rows, strict=True)] == rows

    def test_cells_hold_the_exact_numbers(self, run: Path, html: Page) -> None:
        rows = json.loads((run / "results.json").read_text())["rows"]
        for field in ("value", "correct", "n"):
            shown = [a["data-value"] for _, a in html.tags if a.get("data-field") == field]
            assert [json.loads(text or "null") for text in shown] == [row[field] for row in rows]
        assert [json.loads(text) for text in html.values("data-low")] == [row["low"] for row in rows]
        assert [json.loads(text) for text in html.values("data-high")] == [row["high"] for row in rows]

    def test_verdict_names_first_route_and_hardest_attack(self, html: Page) -> None:
        words = " ".join(html.text.split())
        assert "Of 360 test images, 94.72 % are classified correctly (95 % interval 91.90 to 96.60 %)" in words
        assert "57.50 % (52.34 to 62.50 %) remain so under autoattack (Linf, eps 8/255)" in words
        assert "as judged by slf, route clean" in words

    def test_one_file_and_valid_ids(self, run: Path, html: Page) -> None:
        text = (run / "report.html").read_text()
        assert not re.search(r'(?:src|href)="(?!#|data:)', text)
        assert not re.search(r"url\((?!#)|@import", text)
        ids = html.values("id")
        assert len(ids) == len(set(ids))
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
        assert used <= set(ids)
        assert [tag for tag, _ in html.tags].count("h1") == 1

    def test_every_picture_says_what_it_shows(self, html: Page) -> None:
        assert {"img", "svg"} <= {tag for tag, _ in html.tags}
        for tag, attrs in html.tags:
            if tag == "img":
                assert attrs["alt"]
                assert (attrs["src"] or "").startswith("data:image/png;base64,")
            if tag == "svg":
                assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"

    def test_names_from_the_run_are_escaped(self, tmp_path: Path) -> None:
        stage = {"name": HOSTILE, "views": {HOSTILE: HOSTILE}, "terms": [{"name": HOSTILE, "use": HOSTILE}]}
        classes = [HOSTILE, *(f"$x_{k}^" for k in range(1, 10))]
        made = results()
        curve = {**made["security"][0], "attack": HOSTILE, "protocol": HOSTILE}
        path = write_run(
            tmp_path / "run",
            name=HOSTILE,
            data={**made["data"], "classes": classes},
            composition={"stages": [stage]},
            rows=[
                {
                    **made["rows"][0],
                    "protocol": HOSTILE,
                    "attack": HOSTILE,
                    "metric": f"{HOSTILE}_acc",
                    "spec": {HOSTILE: HOSTILE},
                }
            ],
            security=[curve, {**curve, "attack": '"quoted" & <b>'}],
            silhouette=[{**made["silhouette"][0], "stage": HOSTILE}],
            environment={HOSTILE: HOSTILE},
        )
        (path / "recipe.lock.toml").write_text(f'name = "{HOSTILE}"')
        line = {"stage": HOSTILE, "step": 0, "epoch": 0.0, "loss": 1.0, f"term/{HOSTILE}": 2.0, "lr": 0.1}
        (path / "metrics.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "epoch": 1.0}))
        made_page = Page(report.write(path, projection="pca").read_text())
        assert [tag for tag, _ in made_page.tags].count("script") == 1
        assert [tag for tag, _ in made_page.tags].count("b") == 18  # the strip's own: two predictions an image
        assert HOSTILE in made_page.text
        assert json.loads(made_page.block)[0]["protocol"] == HOSTILE

    def test_missing_parts_are_left_out_with_a_reason(self, tmp_path: Path) -> None:
        changes: dict[str, Any] = {"silhouette": [], "security": [], "composition": {}, "environment": {}}
        path = write_run(tmp_path / "run", **changes)
        for name in ("metrics.jsonl", "recipe.lock.toml", "artifacts/strip.npz"):
            (path / name).unlink()
        (path / "artifacts" / "representation.npz").write_bytes(b"PK\x03\x04 cut off")
        text = " ".join(Page(report.write(path).read_text()).text.split())
        for reason in (
            "Left out: the run directory has no metrics.jsonl.",
            "Left out: the run directory has no artifacts/strip.npz.",
            "Left out: artifacts/representation.npz is damaged (",
            "Left out: the run directory has no recipe.lock.toml.",
            "Left out: no stage of this run chose a number of clusters",
            "Left out: this run was attacked with one budget only.",
            "Left out: results.json does not say how this run was composed.",
        ):
            assert reason in text

    def test_bare_results_are_enough(self, tmp_path: Path) -> None:
        row = {"metric": "clean_acc", "value": None}
        (tmp_path / "results.json").write_text(json.dumps({"schema": 1, "rows": [row]}))
        text = Page(report.write(tmp_path).read_text()).text
        assert "No accuracy was measured" in text

    def test_an_attack_that_helps_is_called_out(self, tmp_path: Path) -> None:
        rows = [accuracy_row("clean", None, 50, 100), accuracy_row("clean", "pgd-20", 51, 100)]
        path = write_run(tmp_path / "run", rows=rows)
        assert "do not quote this number" in report.write(path, projection="pca").read_text()

    def test_nothing_global_changes_and_the_page_repeats(self, run: Path, tmp_path: Path) -> None:
        before = (
            dict(matplotlib.rcParams),
            random.getstate(),
            _legacy(),
            torch.get_rng_state(),
        )
        with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "black"}):
            again = report.write(run, out=tmp_path / "again.html", projection="pca")
            assert matplotlib.rcParams["font.size"] == 31
        assert again.read_text() == (run / "report.html").read_text()
        assert dict(matplotlib.rcParams) == before[0]
        assert random.getstate() == before[1]
        assert _legacy() == before[2]
        assert torch.equal(torch.get_rng_state(), before[3])


def _legacy() -> list[int]:
    """The state of NumPy's global generator, which a report must leave alone."""
    return list(np.random.get_state()[1])  # noqa: NPY002


class TestDamage:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("{", "is damaged"),
            ("[]", "holds a list"),
            ('{"schema": 2, "rows": []}', "has schema 2"),
            ('{"schema": 1, "rows": []}', "no result rows"),
            ('{"schema": 1, "rows": [{"value": 1}]}', "names no metric"),
            ('{"schema": 1, "rows": [{"metric": "a", "value": "0.5"}]}', 'rows[0].value is "0.5", not a number'),
        ],
    )
    def test_results_in_a_sentence(self, tmp_path: Path, text: str, sentence: str) -> None:
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(DataError, match=re.escape(sentence)):
            report.write(tmp_path)

    def test_nan_is_a_missing_number(self, tmp_path: Path) -> None:
        (tmp_path / "results.json").write_text('{"schema": 1, "rows": [{"metric": "clean_acc", "value": NaN}]}')
        assert report.load(tmp_path).results["rows"][0]["value"] is None

    def test_half_a_line_of_metrics_is_skipped(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run")
        whole = (path / "metrics.jsonl").read_text()
        (path / "metrics.jsonl").write_text(whole + '{"stage": "rob')
        assert len(report.load(path).metrics) == len(whole.splitlines())

    def test_arrays_that_disagree_are_left_out(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run")
        ones = np.ones((4, 3), np.float32)
        np.savez(path / "artifacts" / "representation.npz", clean=ones, adversarial=ones[:3], label=np.zeros(4))
        np.savez(path / "artifacts" / "strip.npz", clean=ones * np.nan, adversarial=ones, label=np.zeros(4))
        absent = report.load(path).absent
        assert "differ in length" in absent["representation"]
        assert "infinite or undefined" in absent["strip"]

    def test_pickles_are_never_loaded(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run")
        np.savez(path / "artifacts" / "strip.npz", clean=np.array([object()]), adversarial=0, label=0)
        assert "damaged" in report.load(path).absent["strip"]


class TestParts:
    def test_strip_states_the_factor_and_shows_the_perturbation(self) -> None:
        clean = np.full((2, 1, 2, 2), 0.5)
        arrays = {"clean": clean, "adversarial": clean.copy(), "label": np.array([0, -1])}
        arrays["adversarial"][0, 0, 0, 0] += 8 / 255
        made = images.strip(arrays, ["zero"])
        assert isinstance(made, images.Strip)
        assert made.factor == 15  # 15 * 8/255 = 0.47 stays within one half, 16 times does not
        assert made.samples[0].change == pytest.approx(8 / 255)
        assert [sample.label for sample in made.samples] == ["zero", "unlabelled"]
        assert made.samples[0].clean_right is None

    def test_representations_of_few_points_are_drawn_by_pca(self, tmp_path: Path) -> None:
        few = report.load(write_run(tmp_path / "few", images=20)).representation
        many = report.load(write_run(tmp_path / "many", images=40)).representation
        assert few is not None
        assert many is not None
        assert representation.project(few["clean"])[1] == "pca"
        points = np.concatenate([many["clean"], many["adversarial"]])
        first, used = representation.project(points)
        assert used == "t-sne"
        assert np.array_equal(first, representation.project(points)[0])

    def test_collapsed_representations_say_so(self) -> None:
        same = {"clean": np.ones((60, 4)), "adversarial": np.ones((60, 4)), "label": np.zeros(60, int)}
        assert "collapsed" in str(representation.draw_representation(same, ["a"]))

    def test_picture_keeps_every_part_inside_and_apart(self) -> None:
        made = results()
        robust = made["composition"]["stages"][1]
        robust["views"] = {"w": "weak", "a": "strong", "o": "none"}
        robust["terms"].append({"name": "second", "use": "info-nce", "views": {"first": "a", "second": "w_adv"}})
        for columns in (4, 2, 1):
            drawn = picture.draw_picture(panels(made), columns)
            assert {"w", "w_adv", "online", "teacher", "deacl"} <= {box.lines[0][2] for box in drawn.boxes}
            for place, box in enumerate(drawn.boxes):
                assert 0 <= box.x <= drawn.width - box.width
                assert 0 <= box.y <= drawn.height - box.height
                for other in drawn.boxes[:place]:
                    apart_x = box.x >= other.x + other.width or other.x >= box.x + box.width
                    assert apart_x or box.y >= other.y + other.height or other.y >= box.y + box.height

    def test_verdict_does_not_pick_the_best(self) -> None:
        made = results(rows=[accuracy_row("clean", None, 1, 10), accuracy_row("adv", None, 9, 10)])
        assert (headline.verdict(made).clean or {})["value"] == 0.1


class TestCommand:
    def call(self, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["robustcl", "report", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            console.main()
        return int(left.value.code or 0)

    def test_one_run_writes_its_page(
        self, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (run / "report.html").unlink()
        assert self.call(monkeypatch, run, "--projection", "pca") == 0
        assert (run / "report.html").is_file()
        assert str(run / "report.html") in capsys.readouterr().out

    def test_several_runs_print_a_table_and_write_a_page(
        self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = write_run(tmp_path / "other", name="other")
        assert self.call(monkeypatch, run, other, "--out", tmp_path / "all.html") == 0
        assert "| other " in capsys.readouterr().out
        assert {row["method"] for row in json.loads(Page((tmp_path / "all.html").read_text()).block)} == {
            "other",
            "ncp-deacl",
        }

    def test_mistakes_are_sentences_with_code_2(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.call(monkeypatch, tmp_path / "nowhere") == 2
        assert "nowhere does not exist: name the directory of a finished run" in capsys.readouterr().err
        assert self.call(monkeypatch, tmp_path) == 2
        assert "has no results.json" in capsys.readouterr().err

    def test_a_page_that_cannot_be_written(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be written"):
            report.write(run, out=tmp_path / "no" / "page.html", projection="pca")
