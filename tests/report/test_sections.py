"""The report's sections on how far a number can be trusted: each is there with its data, and absent without."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from robustcl import report
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.report import samples as view
from robustcl.report.audits import badge, read_audits
from robustcl.report.corruptions import draw_grids
from robustcl.report.curves import draw_convergence
from robustcl.report.headline import bounds, verdict
from robustcl.report.heat import cell
from robustcl.report.journal import outcomes
from robustcl.report.standing import list_standing
from tests.report.test_report import HOSTILE, Page
from tests.shared.finished_run import accuracy_row, results, write_run
from tests.shared.judged_run import BUDGETS, MODEL, N, audit, judged, sections, write_judged, write_outside

SECTIONS = {"audit", "steps", "corruptions", "samples", "transfer"}


def written(path: Path) -> tuple[str, Page]:
    text = report.write(path, projection="pca").read_text(encoding="utf-8")
    return text, Page(text)


def plain(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    path = write_judged(tmp_path_factory.mktemp("full") / "run", reached=70)
    return path, *written(path)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    return written(write_run(tmp_path_factory.mktemp("bare") / "run", images=20))


class TestPresence:
    def test_every_section_stands_where_its_data_are(self, full: tuple[Path, str, Page]) -> None:
        _, text, page = full
        ids = page.values("id")
        assert set(ids) >= SECTIONS
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)', text)) <= set(ids)
        assert "What each attack of autoattack left standing" in page.text

    def test_none_stands_without(self, bare: tuple[str, Page]) -> None:
        text, page = bare
        assert not SECTIONS & set(page.values("id"))
        assert "left standing" not in page.text
        assert "Version" not in page.text
        assert "script-src" not in text
        assert page.script == ""

    def test_what_is_missing_stands_in_one_place_with_its_command(self, bare: tuple[str, Page]) -> None:
        said = plain(bare[1])
        for line in (
            "wrong reason: robustcl audit RUN",
            "robustcl evaluate RUN --attack autoattack",
            "robustcl evaluate RUN --corruptions made",
            "Which image falls to which attack: robustcl evaluate RUN",
        ):
            assert line in said

    def test_only_what_is_missing_stands_there(self, full: tuple[Path, str, Page]) -> None:
        rest = plain(full[2]).split("Not measured")[-1]
        assert "--budget" in rest  # the ensemble on the route adv was cut off
        assert "robustcl audit" not in rest
        assert "corrupted" not in rest

    def test_loads_nothing_and_runs_its_own_script_alone(self, full: tuple[Path, str, Page]) -> None:
        _, text, page = full
        assert not re.search(r'(?:src|href)="(?!#|data:)', text)
        digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
        assert f"script-src &#39;sha256-{digest}&#39;" in text or f"script-src 'sha256-{digest}'" in text
        for tag, attrs in page.tags:
            assert not any(name.startswith("on") for name in attrs)
            if tag == "svg":
                assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"

    def test_damaged_parts_are_passed_over(self, tmp_path: Path) -> None:
        broken: dict[str, Any] = {
            "audit": 3,
            "corruptions": [{"accuracy": 1}, 7],
            "convergence": [{"steps": [1], "accuracy": ["a"]}],
            "transfer": {"runs": ["a"], "accuracy": [[1.0, 2.0]]},
        }
        path = write_run(tmp_path / "run", images=20, **broken)
        assert not SECTIONS & set(written(path)[1].values("id"))

    def test_names_are_escaped_everywhere(self, tmp_path: Path) -> None:
        path = write_run(tmp_path / "run", images=20)
        rows = judged(Journal(path / "journal.jsonl"), "adv")
        rows[-1]["members"] = {HOSTILE: 0.5, "square": 0.4}
        rows = [{**row, "protocol_version": HOSTILE, "protocol_hash": f'"{HOSTILE}'} for row in rows]
        finding = {"verdict": HOSTILE, "code": HOSTILE, "title": HOSTILE, "evidence": HOSTILE, "samples": [HOSTILE]}
        parts = sections(
            audit=[audit(findings=[finding | {"attack": {HOSTILE: {HOSTILE: HOSTILE}}}], questions=[HOSTILE])],
            transfer={"runs": [HOSTILE], "attack": HOSTILE, "accuracy": [[0.5]]},
        )
        noisy = {"accuracy": {HOSTILE: [0.5] * 5}, "mean": 0.5, "source": HOSTILE, "severities": [HOSTILE] * 5}
        parts["corruptions"][0] |= noisy
        parts["convergence"][0] |= {"attack": HOSTILE}
        parts["data"] = results()["data"] | {"classes": [f'">{HOSTILE}'] * 10}
        (path / "results.json").write_text(json.dumps(results(rows=rows, **parts)), encoding="utf-8")
        text, page = written(path)
        assert [tag for tag, _ in page.tags].count("script") == 2  # the numbers, and the filter
        assert "<script>alert" not in text
        assert str(escape(HOSTILE)) in text
        assert set(page.values("id")) >= SECTIONS


class TestAudit:
    def of(self, made: object, **changes: Any) -> tuple[str, str]:
        tables = {**results(), "audit": made, **changes}
        attacked = verdict(tables).attacked
        assert attacked is not None
        found = badge(attacked, read_audits(tables), tables)
        return found.kind, found.text

    def test_an_unaudited_number_says_so_beside_itself(self, bare: tuple[str, Page]) -> None:
        assert "⚠ not audited: robustcl audit RUN" in plain(bare[1])

    @pytest.mark.parametrize("said", ["pass", "warn", "fail"])
    def test_the_badge_is_the_verdict_of_the_headline_route(self, said: str) -> None:
        other = "pass" if said != "pass" else "fail"
        assert self.of([audit("adv", other), audit("clean", said)]) == (said, f"audit: {said.upper()}")

    def test_an_audit_of_another_route_or_threat_does_not_count(self) -> None:
        assert self.of([audit("adv", "pass")])[0] == "none"
        small = {"norm": "Linf", "eps": 1 / 255, "range": None}
        assert self.of([audit(verdict="pass", threat=small)]) == (
            "none", "audited under another threat only: robustcl audit RUN",
        )  # fmt: skip
        assert self.of([audit(verdict="pass", threat=small | {"norm": "L2", "eps": 8 / 255})])[0] == "none"
        assert self.of([audit(verdict="fail", threat=small), audit(verdict="warn")])[0] == "warn"

    def test_an_audit_names_the_attacks_whose_rows_it_doubts(self) -> None:
        tables = results()
        for number, row in enumerate(tables["rows"]):
            row["question"] = f"q{number}"
        attacked = [(row["question"], row["attack"]) for row in tables["rows"] if row["attack"]]
        digest, name = attacked[-1]
        made = [{**audit(), "rows": [digest]}, {**audit(), "rows": ["elsewhere"]}, audit()]
        assert [found.against for found in read_audits({**tables, "audit": made})] == [(name,), (), ()]

    def test_audits_by_name_and_a_single_one(self) -> None:
        unnamed = {key: value for key, value in audit(verdict="fail").items() if key not in ("protocol", "route")}
        assert self.of({"slf clean": unnamed})[0] == "fail"
        assert self.of({"slf adv": unnamed})[0] == "none"
        assert self.of(unnamed)[0] == "none"  # two routes were judged: it does not say which one it is of
        one = [row for row in results()["rows"] if row["route"] == "clean"]
        assert self.of(unnamed, rows=one)[0] == "fail"

    def test_of_several_audits_the_worst_counts(self) -> None:
        assert self.of([audit(verdict="pass"), audit(verdict="fail")])[0] == "fail"

    def test_findings_are_listed_the_worst_first(self, full: tuple[Path, str, Page]) -> None:
        found = read_audits({"audit": [audit()]})[0]
        assert [finding.verdict for finding in found.findings] == ["warn", "pass", "not run"]
        said = plain(full[2])
        assert "WARN C2 enough steps" in said
        assert "40 steps break 3 more of 200 samples" in said
        assert "4, 17, 120" in said
        assert "pgd-20: steps = 20, restarts = 1" in said
        assert "56.50 % withstand every attack of the audit" in said


def write_threat(run: Path, norm: str, eps: str, size: float, right: int, **changes: Any) -> Path:
    """Write numbers of a run under another threat, below it: 90 of 100 are right, under pgd-20 fewer."""
    folder = run / f"threat-{norm.lower()}-{eps.replace('/', '-')}"
    folder.mkdir()
    rows = [accuracy_row("clean", None, 90, 100), accuracy_row("clean", "pgd-20", right, 100)]
    threat = {"norm": norm, "eps": eps, "eps_value": size}
    made = results(rows=rows, threat=threat, judged=str(run)) | changes
    (folder / "results.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


class TestThreats:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        return write_run(tmp_path / "run", images=20)

    def test_a_run_s_page_links_each_with_its_headline(self, run: Path) -> None:
        large = {"norm": "Linf", "eps": 0.125, "range": [0.0, 1.0]}
        write_threat(run, "Linf", "0.125", 0.125, 41, audit=[audit(verdict="fail", threat=large)])
        write_threat(run, "Linf", "4/255", 4 / 255, 77)
        report.write(run / "threat-linf-4-255", projection="pca")
        write_threat(run, "L2", "0.5", 0.5, 60)
        for name, text in (("threat-broken", "{"), ("threat-stranger", json.dumps(results()))):
            (run / name).mkdir()
            (run / name / "results.json").write_text(text)
        _, page = written(run)
        said = plain(page).split("Under other threats")[1].split("What exactly was measured")[0]
        order = [said.index(words) for words in ("L2, eps 0.5", "Linf, eps 4/255", "Linf, eps 0.125")]
        assert order == sorted(order)
        assert [href for href in page.values("href") if href.startswith("threat")] == ["threat-linf-4-255/report.html"]
        assert "Linf, eps 4/255 slf, route cleanpgd-2077.00[67.85, 84.16]100 not audited" in said
        assert re.search(r"Linf, eps 0.125 slf, route cleanpgd-2041.00\S+ \S+ FAIL", said)
        assert "stranger" not in said

    def test_none_are_listed_where_none_were_judged(self, bare: tuple[str, Page]) -> None:
        assert "other threats" not in bare[1].text

    def test_its_own_page_gives_commands_of_its_own_threat(self, run: Path) -> None:
        said = plain(written(write_threat(run, "Linf", "4/255", 4 / 255, 77))[1])
        assert "⚠ not audited: robustcl audit RUN --norm Linf --eps 4/255" in said
        rest = said.split("Not measured")[-1]
        assert "wrong reason: robustcl audit RUN --norm Linf --eps 4/255" in rest
        assert "robustcl evaluate RUN --norm Linf --eps 4/255 --attack autoattack" in rest
        assert "corrupted" not in rest, "they are of no threat"
        assert "robustcl measure" not in rest
        assert f"run whose classifiers are judged{run}" in said

    def test_elsewhere_an_evaluation_makes_the_audit(self, run: Path, tmp_path: Path) -> None:
        folder = write_threat(run, "L2", "0.5", 0.5, 60).rename(tmp_path / "elsewhere")
        said = plain(written(folder)[1])
        assert "⚠ not audited: robustcl evaluate RUN --norm L2 --eps 0.5 --out FOLDER" in said
        assert not (tmp_path / "report.html").exists()

    def test_its_page_is_written_with_that_of_its_run(self, run: Path, tmp_path: Path) -> None:
        folder = write_threat(run, "L2", "0.5", 0.5, 60)
        report.write(folder, projection="pca", out=tmp_path / "alone.html")
        assert not (run / "report.html").exists()
        assert report.write(folder, projection="pca") == folder / "report.html"
        assert 'href="threat-l2-0.5/report.html"' in (run / "report.html").read_text(encoding="utf-8")
        (run / "results.json").unlink()
        (run / "report.html").unlink()
        report.write(folder, projection="pca")
        assert not (run / "report.html").exists(), "a run that was never evaluated has no page"


class TestHeat:
    @settings(max_examples=60, deadline=None)
    @given(st.floats(0, 1))
    def test_text_is_readable_on_every_colour(self, share: float) -> None:
        assert (_light(cell(share).colour) + 0.05) / (_light("#1f2933") + 0.05) >= 4.5

    def test_ends_and_missing(self) -> None:
        assert cell(0.0).colour == "#ffffff"
        assert cell(1.0).colour == "#86b0d6"
        assert [cell(value).text for value in (0.5, None, float("nan"), True, "a")] == ["50.00", "-", "-", "-", "-"]

    def test_matrix_names_rows_and_columns_and_marks_the_diagonal(self) -> None:
        page = Page(str(report.matrix(["a", "<b>"], [[0.5, 0.25], [None, 1.0]], "of pgd")))
        assert [json.loads(value or "null") for value in page.values("data-value")] == [0.5, 0.25, None, 1.0]
        assert [tag for tag, _ in page.tags].count("strong") == 2
        assert [tag for tag, _ in page.tags].count("b") == 0
        assert page.values("scope") == ["col", "col", "col", "row", "row"]
        assert "of pgd" in page.text

    @pytest.mark.parametrize("values", [[[1.0]], [[1.0, 0.5], [1.0]]])
    def test_matrix_refuses_other_shapes(self, values: list[list[float]]) -> None:
        with pytest.raises(ValueError, match="2 rows"):
            report.matrix(["a", "b"], values)


def _light(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class TestCorruptions:
    def test_means_by_corruption_and_severity(self) -> None:
        entry = {
            "protocol": "slf", "route": "adv", "severities": [1, 5], "mean": 0.55, "source": "stored copies",
            "accuracy": {"fog": [0.9, 0.5], "snow": [0.6, 0.2]}, "complete": False,
        }  # fmt: skip
        (made,) = draw_grids({"corruptions": [entry]})
        page = Page(str(made))
        shown = [float(value or "nan") for value in page.values("data-value")]
        assert shown == pytest.approx([0.7, 0.9, 0.5, 0.4, 0.6, 0.2, 0.55, 0.75, 0.35])
        assert "slf, route adv: percent right on 2 corruptions at severities 1, 5; images: stored copies." in page.text
        assert "not the whole benchmark" in page.text
        (whole,) = draw_grids({"corruptions": [entry | {"complete": True}]})
        assert "the fifteen corruptions and five severities" in whole

    def test_nothing_without(self) -> None:
        assert (
            draw_grids({}) == draw_grids({"corruptions": []}) == draw_grids({"corruptions": [{"accuracy": {}}]}) == []
        )


class TestConvergence:
    def test_curve_in_words_and_its_end(self) -> None:
        drawn = draw_convergence(sections())
        assert drawn is not None
        assert "slf, route clean, pgd-20: 94.0 % after 0, 80.0 % after 1" in drawn.svg
        assert "from 20 to 50 steps it falls by 1.00 points (n = 360)" in drawn.caption
        assert [key.label for key in drawn.legend] == ["slf, route clean, pgd-20"]

    def test_nothing_without_two_points(self) -> None:
        assert draw_convergence({}) is None
        assert draw_convergence({"convergence": [{"steps": [0, 1], "accuracy": [0.5, None]}]}) is None


class TestStanding:
    def test_each_member_breaks_a_part_of_what_was_left(self) -> None:
        rows = [
            {**accuracy_row("clean", None, 90, 100), "model": MODEL},
            {**accuracy_row("adv", None, 50, 100), "model": MODEL},
            {**accuracy_row("clean", "ours", 60, 100), "model": MODEL, "members": {"first": 0.8, "second": 0.6}},
        ]
        (made,) = list_standing(rows)
        assert made.clean == 0.9
        assert [(step.member, step.standing) for step in made.steps] == [("first", 0.8), ("second", 0.6)]
        assert [step.fell for step in made.steps] == pytest.approx([0.1, 0.2])

    def test_of_other_images_or_a_part_of_them_nothing_is_subtracted(self) -> None:
        ensemble = {**accuracy_row("clean", "ours", 60, 100), "members": {"first": 0.8}}
        assert list_standing([accuracy_row("clean", None, 90, 99), ensemble])[0].steps[0].fell is None
        assert list_standing([accuracy_row("clean", None, 90, 100), ensemble | {"partial": True}])[0].clean is None
        assert list_standing([accuracy_row("clean", None, 90, 100)]) == []


class TestPartial:
    def row(self, **changes: Any) -> dict[str, Any]:
        more = {"partial": True, "samples": 80, "upper": 0.75, "metric": "partial autoattack_acc"}
        return accuracy_row("clean", "autoattack", 40, 60, **more, **changes)

    def test_a_finished_attack_makes_the_headline_and_the_other_is_named(self) -> None:
        rows = [accuracy_row("clean", None, 90, 100), accuracy_row("clean", "pgd-20", 80, 100), self.row()]
        found = verdict({"rows": rows})
        assert (found.attacked or {})["attack"] == "pgd-20"
        assert [row["attack"] for row in found.begun] == ["autoattack"]

    def test_bounds_end_where_the_rest_cannot_reach(self) -> None:
        low, high = bounds(self.row())
        assert low == report.wilson(40, 60)[0]
        assert high == 0.75 < report.wilson(40, 60)[1]

    def test_the_page_gives_bounds_in_words_and_no_number(self, tmp_path: Path) -> None:
        rows = [accuracy_row("clean", None, 341, 360), self.row()]
        text, page = written(write_run(tmp_path / "run", images=20, rows=rows))
        said = plain(page)
        assert "54.06 to 75.00 %" in said
        assert "between 54.06 and 75.00 % (95 % interval) remain so under autoattack" in said
        assert "cut off after 60 of 80 images; of all of them at most 75.00 % are right" in said
        assert "66.67" not in page.text
        cells = [attrs["data-value"] for _, attrs in page.tags if attrs.get("data-field") == "value"]
        assert cells == [json.dumps(341 / 360), ""]
        assert 'class="number bounds adversarial" data-value=""' in text

    def test_versions_stand_in_the_table_and_hashes_behind_them(self, full: tuple[Path, str, Page]) -> None:
        _, text, page = full
        assert text.count('title="settings aaaabbbbcccc">slf-v1</td>') == 6
        assert "protocol version = slf-v1, hash of its settings = aaaabbbbcccc" in plain(page)


class TestJournal:
    def test_only_the_very_question_of_a_row_is_read(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.jsonl")
        row = {**accuracy_row("clean", "pgd-20", 1, 1), "spec": {"eps": 0.1}, "model": "m"}
        for eps, model, split in ((0.1, "m", "test"), (0.2, "m", "test"), (0.1, "n", "test"), (0.1, "m", "validation")):
            key = Key("slf", "clean", split, "pgd-20", json.dumps({"eps": eps, "model": model}, sort_keys=True))
            journal.append(key, [Outcome(len(journal.places()), 1, 1, True, 0, "", "pgd")])
        file = tmp_path / "journal.jsonl"
        with file.open("a") as more:
            more.write('{"protocol": "slf"')
        before = file.read_bytes()
        (found,) = outcomes(file, [row])
        assert list(found) == [0]
        assert [(each.member, each.correct) for each in found[0]] == [("pgd", True)]
        assert file.read_bytes() == before  # reading never mends it
        assert outcomes(tmp_path / "nothing" / "journal.jsonl", [row]) == [{}]


class TestSamples:
    def made(self, path: Path) -> view.Samples:
        found = view.read_samples(report.load(path), [str(digit) for digit in range(10)])
        assert found is not None
        return found

    def test_states_agree_with_the_journal_and_the_rows(self, full: tuple[Path, str, Page]) -> None:
        path, _, _ = full
        made = self.made(path)
        assert made.where == "slf, route adv"  # the last judged one
        assert made.attacks == tuple(BUDGETS)
        assert len(made.samples) == made.judged == N
        rows = json.loads((path / "results.json").read_text())["rows"][3:]
        assert sum(sample.clean.state == "stands" for sample in made.samples) == rows[0]["correct"]
        for number, row in enumerate(rows[1:]):
            assert sum(sample.seen[number].state == "stands" for sample in made.samples) == row["correct"]
        unknown = [sample.index for sample in made.samples if sample.seen[1].state == "unknown"]
        assert len(unknown) <= N - 70
        broken = {sample.index: sample.seen[1].member for sample in made.samples if sample.seen[1].state == "broken"}
        assert set(broken.values()) == {"apgd-ce", "apgd-t", "square"}
        lines = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines() if '"index"' in line]
        for index, member in broken.items():
            (line,) = [
                line
                for line in lines
                if [line[key] for key in ("route", "attack", "index")] == ["adv", "autoattack", index]
                and not line["correct"]
            ]
            assert line["member"] == member

    def test_images_are_sorted_by_how_many_attacks_break_them(self, full: tuple[Path, str, Page]) -> None:
        made = self.made(full[0])
        counts = [
            99 if sample.clean.state == "wrong" else sum(each.state == "broken" for each in sample.seen)
            for sample in made.samples
        ]
        assert counts == sorted(counts)
        assert len(set(counts)) == 4
        for band in made.bands:
            assert sum(length for _, length, _ in band.runs) == N
            assert [start for start, _, _ in band.runs] == [
                sum(length for _, length, _ in band.runs[:place]) for place in range(len(band.runs))
            ]

    def test_picture_table_and_words_agree(self, full: tuple[Path, str, Page]) -> None:
        path, _, page = full
        made = self.made(path)
        assert made.words in page.values("aria-label")
        assert "120 of 120 test images under slf, route adv" in made.words
        numbers = [int(value) for value in page.values("data-number")]
        assert numbers == [sample.index for sample in made.samples]
        assert len([1 for tag, attrs in page.tags if tag == "img" and attrs.get("class") == "small"]) == 9
        fates = [set(value.split()) for value in page.values("data-fates")]
        for token, words, count in made.fates:
            assert sum(token in each for each in fates) == count > 0
            assert words in page.text

    def test_without_a_script_the_whole_table_is_there(self, full: tuple[Path, str, Page]) -> None:
        _, _, page = full
        hidden = [tag for tag, attrs in page.tags if "hidden" in attrs]
        assert hidden == ["form"]
        assert len(page.values("data-number")) == N

    def test_of_many_images_those_that_all_attacks_judged_come_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(view, "SHOWN", 10)
        path = tmp_path / "run"
        path.mkdir()
        journal = Journal(path / "journal.jsonl")
        journal.append(_key(None), [Outcome(i, 0, 0, True, 0, "") for i in range(40)])
        journal.append(_key("x"), [Outcome(i, 0, 1, False, 0, "", "x") for i in range(30, 40)])
        (path / "results.json").write_text(json.dumps({"schema": 1, "rows": _rows("x")}))
        made = self.made(path)
        assert [sample.index for sample in made.samples] == list(range(30, 40))
        assert made.judged == 40
        assert made.fates == (("by-0", "broken by x", 10),)

    @pytest.mark.parametrize(
        ("members", "state"), [(["first"], "unknown"), (["first", "second"], "stands"), ([], "unknown")]
    )
    def test_an_image_stands_only_after_all_members(self, tmp_path: Path, members: list[str], state: str) -> None:
        rows = _rows("x")
        rows[1]["members"] = {"first": 1.0, "second": 1.0}
        (tmp_path / "results.json").write_text(json.dumps({"schema": 1, "rows": rows}))
        journal = Journal(tmp_path / "journal.jsonl")
        journal.append(_key(None), [Outcome(0, 0, 0, True, 0, "")])
        journal.append(_key("x"), [Outcome(0, 0, 0, True, 0, "", member) for member in ["clean", *members]])
        assert [each.state for each in self.made(tmp_path).samples[0].seen] == [state]

    def test_nothing_without_outcomes_of_an_attack(self, tmp_path: Path) -> None:
        assert view.read_samples(report.load(write_run(tmp_path / "run", images=20)), []) is None


def _key(attack: str | None) -> Key:
    return Key("p", "r", "test", attack, json.dumps({"a": attack}))


def _rows(*attacks: str) -> list[dict[str, Any]]:
    row = {"protocol": "p", "route": "r", "split": "test", "metric": "m_acc", "value": 1.0}
    return [{**row, "attack": attack, "spec": {"a": attack}} for attack in (None, *attacks)]


class TestOutside:
    def test_the_page_of_a_model_from_elsewhere_speaks_of_no_training(self, tmp_path: Path) -> None:
        text, page = written(write_outside(tmp_path / "run"))
        said = plain(page)
        ids = page.values("id")
        assert "their_models:build" in said
        assert "as judged by as-is." in said
        assert "robustcl report of a model that was trained elsewhere" in said
        assert not {"composition", "training", "clusters", "budget", "map", "lock"} & set(ids)
        assert set(re.findall(r'href="#([^"]+)', text)) <= set(ids)
        assert "not audited: robustcl audit --model MODEL --dataset DATA" in said
        assert "images (test)" in said
        assert "train seconds" not in said
        assert "Left out" not in said
        assert MODEL in said


def test_the_page_of_a_black_box_matrix(tmp_path: Path) -> None:
    from robustcl.report import blackbox

    tables = {
        "runs": [{"name": "<b>one</b>"}, {"name": "<b>one</b>"}], "attack": {"name": "pgd-20"}, "norm": "Linf",
        "eps": 8 / 255, "n": 48, "clean": [0.9, 0.8], "accuracy": [[0.1, 0.6], [0.7, 0.05]],
    }  # fmt: skip
    page = blackbox.write(tables, tmp_path).read_text(encoding="utf-8")
    assert "<b>one" not in page
    assert "&lt;b&gt;one&lt;/b&gt; (2): 80.00" in page
    assert all(f">{cell}<" in page for cell in ("10.00", "60.00", "70.00", "5.00"))
    assert "pgd-20, Linf eps 0.03137, 48 images" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
