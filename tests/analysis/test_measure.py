"""``robustcl measure``: numbers against the encoder itself, what is kept, mistakes, and the report's section."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

from robustcl import api, measures, report
from robustcl.analysis.measure import kept, run
from robustcl.analysis.measure.numbers import Measures
from robustcl.analysis.measure.run import MEASURES, MeasureQuestion, measure
from robustcl.data.held import keep, open_source
from robustcl.errors import UsageError
from robustcl.measures.catalogue import NUMBERS, choose_measures
from robustcl.report.drops import list_drops
from robustcl.report.load import load
from robustcl.report.measured import MeasuredSample, read_measured
from robustcl.report.unmeasured import list_missing
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train import stage_files
from tests.report.test_report import HOSTILE, Page
from tests.report.test_report_browser import FLAGS
from tests.shared import tiny, two_seeds
from tests.shared.finished_run import results, write_run
from tests.shared.forks import fork

SAMPLES, EPS, STEP, STEPS = 40, 32 / 255, 12 / 255, 3
KNOWN = {"samples": 4, "model": "m"}
STORED = Path(__file__).parents[1] / "pins" / "stored"
Typed = Callable[..., tuple[int, str, str]]


def recipe(**changes: Any) -> dict[str, Any]:
    pgd = {"use": "pgd", "steps": STEPS, "step_size": STEP}
    judged = {**two_seeds.recipe()["evaluate"][0], "attacks": [pgd], "samples": 16, "audit": 0}
    return two_seeds.recipe(3, evaluate=[judged], **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    api.from_tables(recipe(), "the test").train(folder, device="cpu", report=False)
    return folder


@pytest.fixture(scope="module")
def told(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that a process has measured, and what the process said."""
    folder = tmp_path_factory.mktemp("told") / "run"
    shutil.copytree(trained, folder)
    done = fork(["measure", str(folder), "--samples", str(SAMPLES)], folder.parent, tiny.environment())
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def fresh(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def robustcl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return the command line, run here: exit code, standard output, standard error."""
    from robustcl.cli.console import main

    def typed(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcl", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return typed


def entries_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / kept.FILE).read_text(encoding="utf-8"))["entries"]
    return found


def entry(folder: Path, place: int = 0) -> dict[str, Any]:
    return entries_of(folder)[place]


def arrays(folder: Path) -> dict[str, NDArray[Any]]:
    with np.load(folder / entry(folder)["arrays"]) as archive:
        return {key: archive[key] for key in archive.files}


class Oracle:
    """The sample, the encoder and PGD, each by itself and in loops."""

    def __init__(self, folder: Path) -> None:
        made = api.from_tables(recipe(), "the test")
        self.images = keep(open_source(made.dataset.plugin, "test"))
        order = Rng(3, "measure", "test").permutation(self.images.samples)
        self.index = order[:SAMPLES].sort().values
        self.x, self.y = self.images.fetch(self.index), self.images.labels[self.index]
        self.encoder = stage_files.load(stage_files.stage_folder(folder, "evaluate-slf-clean-pretrain")).eval()
        self.iterates = self._iterates()

    def see(self, x: Tensor, layer: str) -> Tensor:
        found: Tensor = getattr(self.encoder(x, "clean", frozenset({layer})), layer)
        return found

    def features(self, x: Tensor) -> Tensor:
        return self.see(x, "h").detach()

    def logits(self, x: Tensor) -> Tensor:
        return self.see(x, "logits").detach()

    def right(self, x: Tensor) -> Tensor:
        return self.see(x, "logits").argmax(1) == self.y

    def _iterates(self) -> list[Tensor]:
        rng = Rng(3, "evaluate", "slf", "clean").child("attack", "pgd", "pgd").for_rows(self.index)
        found = [Ball.checked("Linf", EPS).sample(self.x, rng)]
        for _ in range(STEPS):
            leaf = found[-1].clone().requires_grad_()
            loss = nn.functional.cross_entropy(self.see(leaf, "logits"), self.y, reduction="sum")
            moved = found[-1] + STEP * torch.autograd.grad(loss, leaf)[0].sign()
            found.append(torch.minimum(torch.maximum(moved, self.x - EPS), self.x + EPS).clamp(0, 1))
        return found


@pytest.fixture(scope="module")
def oracle(trained: Path) -> Oracle:
    return Oracle(trained)


def near(value: float) -> Any:
    return pytest.approx(value, rel=2e-3, abs=2e-4)


class TestNumbers:
    def test_everything_is_measured_and_nothing_refused(self, told: tuple[Path, str]) -> None:
        found = entry(told[0])
        assert list(found["values"]) == list(NUMBERS) == list(MEASURES)
        assert found["refused"] == {}
        for name, numbers in NUMBERS.items():
            assert list(found["values"][name]) == [number.key for number in numbers]

    def test_of_the_features(self, told: tuple[Path, str], oracle: Oracle) -> None:
        values, y = entry(told[0])["values"], oracle.y
        clean, moved = oracle.features(oracle.x), oracle.features(oracle.iterates[-1])
        for name, key, value in (
            ("r-div", "relative", measures.relative_divergence(clean, moved, y).relative),
            ("r-div", "intra", measures.relative_divergence(clean, moved, y).intra),
            ("r-div", "inter", measures.relative_divergence(clean, moved, y).inter),
            ("r-div", "moved", float((1 - nn.functional.cosine_similarity(clean, moved)).mean())),
            ("alignment", "pairs", measures.alignment(clean, moved)),
        ):
            assert values[name][key] == near(value)
        for kind, h in (("clean", clean), ("attacked", moved)):
            assert values["class-distances"]["ratio"][kind] == near(measures.class_distances(h, y).ratio)
            assert values["uniformity"]["features"][kind] == near(measures.uniformity(h))
            assert values["silhouette"]["classes"][kind] == near(silhouette_score(h, y, metric="cosine"))
            assert values["rank"]["effective"][kind] == near(measures.effective_rank(h))

    def test_of_the_predictions(self, told: tuple[Path, str], oracle: Oracle) -> None:
        values = entry(told[0])["values"]
        right = oracle.right(oracle.x)
        stands = torch.stack([right, *(oracle.right(x) for x in oracle.iterates)]).all(0)
        ends = oracle.right(oracle.iterates[-1])
        clean, kept_right = float(right.double().mean()), float(stands.double().mean())
        assert values["relative-drop"]["accuracy"] == {"clean": near(clean), "attacked": near(kept_right)}
        assert 0 < kept_right < clean  # so that the attack is seen in all of this
        assert values["relative-drop"]["relative"] == near((clean - kept_right) / clean)
        assert values["fooled"]["fooled"] == near(float((right & ~ends).sum() / right.sum()))
        share = oracle.logits(oracle.iterates[-1]).softmax(1)
        assert values["entropy"]["prediction"]["attacked"] == near(float(-(share * share.log()).sum(1).mean()))

    def test_of_landscapes_and_inversions(self, told: tuple[Path, str], oracle: Oracle) -> None:
        values, found = entry(told[0])["values"], arrays(told[0])
        each = nn.functional.cross_entropy(oracle.logits(oracle.x), oracle.y, reduction="none")
        after = nn.functional.cross_entropy(oracle.logits(oracle.iterates[-1]), oracle.y)
        assert values["input-landscape"]["centre"] == near(float(each[:25].mean()))
        assert found["input-landscape/axis"][-1] == near(EPS)
        assert values["weight-landscape"]["centre"] == {
            "clean": near(float(each.mean())),
            "attacked": near(float(after)),
        }
        image, target = (torch.as_tensor(found[f"inversion/{key}"]) for key in ("inverted", "image"))
        h, wanted = oracle.features(image), oracle.features(target)
        assert found["inversion/reached"] == near((h - wanted).norm(dim=1).numpy() / wanted.norm(dim=1).numpy())
        assert (found["inversion/reached"] < found["inversion/start"]).all()
        assert sorted(found["inversion/label"]) == list(range(8))  # one of each class first
        assert torch.equal(target, oracle.images.fetch(torch.as_tensor(found["inversion/index"])))
        assert set(found["inversion/index"].tolist()) <= set(oracle.index.tolist())

    def test_another_radius_for_another_norm(self, fresh: Path) -> None:
        from robustcl.analysis.measure.pictures import _step_along_signs

        x = torch.rand(2, 1, 8, 8)
        for norm, eps in (("Linf", 0.1), ("L2", 0.5), ("L1", 3.0)):
            ball = Ball.checked(norm, eps)
            end = x + _step_along_signs(ball, x) * torch.sign(torch.randn_like(x))
            assert float(ball.distance(end, x)[0]) == pytest.approx(eps, rel=1e-5)


class TestKept:
    def test_said_as_it_is_kept(self, told: tuple[Path, str]) -> None:
        folder, said = told
        assert f"{SAMPLES} test images, slf on route clean, pgd within Linf 0.1255" in said
        value = entry(folder)["values"]["r-div"]["relative"]
        assert f"R-DIV {value:.4g}" in " ".join(said.split())
        assert str(folder / "report.html") in said

    def test_again_gives_the_same_and_json_is_one_document(self, robustcl: Typed, told: tuple[Path, str]) -> None:
        before, old = entry(told[0])["values"], arrays(told[0])
        what = ("--what", "rank", "--what", "weight-landscape")
        code, out, _ = robustcl("measure", str(told[0]), "--samples", str(SAMPLES), *what, "--json")
        assert code == 0
        assert json.loads(out)["values"] == before
        new = arrays(told[0])
        assert new.keys() == old.keys()
        assert all(np.array_equal(new[key], old[key]) for key in old)
        assert len(list((told[0] / "artifacts").glob("measures-*.npz"))) == 1

    def test_same_question_adds_and_another_stands_beside_it(self, fresh: Path) -> None:
        measure(fresh, ["rank"], MeasureQuestion(samples=30))
        both = measure(fresh, ["r-div"], MeasureQuestion(samples=30))
        assert set(both["values"]) == {"rank", "r-div"}
        one = measure(fresh, ["alignment"], MeasureQuestion(samples=31))
        assert set(one["values"]) == {"alignment"}
        assert one["arrays"] is None
        assert len(list((fresh / "artifacts").glob("measures-*.npz"))) == 1
        other = measure(fresh, ["alignment"], MeasureQuestion(samples=31, split="test", attack="fgsm", protocol="slf"))
        assert other["question"]["attack"]["use"] == "fgsm"
        assert [set(each["values"]) for each in json.loads((fresh / kept.FILE).read_text())["entries"]] == [
            {"rank", "r-div"}, {"alignment"}, {"alignment"},
        ]  # fmt: skip

    def test_places_stand_beside_each_other_and_other_weights_are_put_away(self, tmp_path: Path) -> None:
        def told() -> list[str]:
            return [str(each["question"].get("name", "earlier")) for each in entries_of(tmp_path)]

        place = {"protocol": "slf", "route": "clean", "split": "test"}
        earlier = {"question": place | KNOWN, "values": {}, "settings": {}, "refused": {}, "arrays": None}
        (tmp_path / kept.FILE).write_text(json.dumps({"schema": 1, "entries": [earlier]}))
        there = place | {"split": "validation", "sample": "all", "name": "there"}
        kept.keep(tmp_path, there, KNOWN, {}, {"rank": "why"})
        assert told() == ["earlier", "there"]
        asked = place | {"sample": "all", "weights": {"folder": "stages/b", "sha256": "1"}}
        earlier["question"]["weights"] = {"folder": "stages/b", "sha256": "0"}
        (tmp_path / kept.FILE).write_text(json.dumps({"schema": 1, "entries": [earlier, *entries_of(tmp_path)[1:]]}))
        kept.keep(tmp_path, asked | {"name": "one"}, KNOWN, {"rank": Measures({"effective": 1.0})}, {})
        assert told() == ["there", "one"]
        kept.keep(tmp_path, asked | {"name": "two"}, KNOWN, {}, {"rank": "why"})
        assert told() == ["there", "one", "two"]
        kept.keep(tmp_path, asked | {"name": "new"}, KNOWN | {"model": "other"}, {}, {"rank": "why"})
        assert told() == ["there", "new"]
        other = asked | {"weights": {"folder": "stages/a", "sha256": "2"}, "name": "another stage"}
        kept.keep(tmp_path, other, KNOWN, {}, {"rank": "why"})
        assert told() == ["there", "new", "another stage"]
        assert kept.find(tmp_path, asked | {"name": "one"}) is None
        assert (kept.find(tmp_path, asked | {"name": "new"}) or {})["refused"] == {"rank": "why"}

    @pytest.mark.parametrize(
        "change",
        [
            {"values": [1]}, {"values": {"rank": 1}}, {"values": {"rank": {"effective": "a"}}}, {"settings": None},
            {"values": {"rank": {"effective": {"attacked": [1]}}}}, {"settings": {"fooled": {"judged": 0.5}}},
            {"refused": 3}, {"question": {"sample": "all", "samples": "4"}}, {"question": 3},
        ],
    )  # fmt: skip
    def test_a_damaged_answer_is_none(self, tmp_path: Path, change: dict[str, Any]) -> None:
        whole = kept.keep(tmp_path, {"sample": "all"}, KNOWN, {"rank": Measures({"effective": 1.0})}, {})
        assert kept.find(tmp_path, {"sample": "all"}) == whole
        (tmp_path / kept.FILE).write_text(json.dumps({"schema": 1, "entries": [whole | change]}))
        assert kept.find(tmp_path, {"sample": "all"}) is None

    @pytest.mark.parametrize("wrong", [{}, 3, None, {"question": {}}, {"question": {}, "values": {}, "settings": {}}])
    def test_a_damaged_answer_takes_no_other_with_it(self, tmp_path: Path, wrong: object) -> None:
        for asked in ("one", "two"):
            kept.keep(tmp_path, {"sample": asked}, KNOWN, {"rank": Measures({"effective": 1.0}, {"a": np.ones(2)})}, {})
        file = tmp_path / kept.FILE
        whole = json.loads(file.read_text())
        file.write_text(json.dumps(whole | {"entries": [wrong, *whole["entries"]]}))
        assert kept.find(tmp_path, {"sample": "two"}) == whole["entries"][1]
        kept.keep(tmp_path, {"sample": "three"}, KNOWN, {"rank": Measures({"effective": 1.0})}, {})
        assert json.loads(file.read_text())["entries"][:2] == whole["entries"]
        found = kept.find(tmp_path, {"sample": "one"})
        assert found is not None
        assert np.array_equal(kept.find_arrays(tmp_path, found, "rank")["a"], np.ones(2))

    def test_undefined_numbers_are_none(self, tmp_path: Path) -> None:
        found = {
            "r-div": Measures({"relative": float("nan")}),
            "x": Measures({"y": {"clean": float("inf"), "attacked": 1.0}}),
        }
        values = kept.keep(tmp_path, {}, KNOWN, found, {})["values"]
        assert values == {"r-div": {"relative": None}, "x": {"y": {"clean": None, "attacked": 1.0}}}
        assert "NaN" not in (tmp_path / kept.FILE).read_text()

    def test_what_fails_while_writing_leaves_the_old_answers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError("no space left")

        kept.keep(tmp_path, {}, KNOWN, {"rank": Measures({"effective": 1.0}, {"a": np.ones(2)})}, {})
        before = (tmp_path / kept.FILE).read_bytes()
        monkeypatch.setattr(kept, "write_atomically", full)
        with pytest.raises(OSError, match="no space"):
            kept.keep(tmp_path, {}, KNOWN, {"rank": Measures({"effective": 2.0}, {"a": np.zeros(2)})}, {})
        assert (tmp_path / kept.FILE).read_bytes() == before
        assert np.array_equal(arrays(tmp_path)["rank/a"], np.ones(2))

    def test_a_measure_that_cannot_be_taken_is_a_reason(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> Measures:
            raise UsageError("all rows are the same point")

        monkeypatch.setattr(run, "MEASURES", {**MEASURES, "r-div": refuse})
        found = measure(fresh, ["r-div", "rank"], MeasureQuestion(samples=20))
        assert found["refused"] == {"r-div": "all rows are the same point"}
        assert set(found["values"]) == {"rank"}
        monkeypatch.undo()
        assert measure(fresh, ["r-div"], MeasureQuestion(samples=20))["refused"] == {}


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--what", "silhuette"), "did you mean 'silhouette'"),
            (("--samples", "0"), "--samples 0: measure 1 image or more"),
            (("--samples", "100000"), "has 360 labelled images; ask for fewer"),
            (("--samples", "1"), "all 1 sampled images of the test split are of class"),
            (("--split", "train"), "--split train: write one of test, validation"),
            (("--attack", "pgdd"), "pgd"),
            (("--attack", "ncp"), "--attack: ncp reads cluster targets, which no test image has"),
            (("--route", "adv"), "the encoder has no route 'adv'"),
            (("--protocol", "slff"), "slf"),
        ],
    )
    def test_are_one_sentence_and_leave_nothing(
        self, robustcl: Typed, fresh: Path, words: tuple[str, ...], said: str
    ) -> None:
        before = sorted(fresh.rglob("*"))
        code, out, err = robustcl("measure", str(fresh), *words)
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert sorted(fresh.rglob("*")) == before

    def test_no_run_no_finished_stage_no_protocol(self, robustcl: Typed, fresh: Path, tmp_path: Path) -> None:
        lock = fresh / "recipe.lock.toml"
        for folder, said in ((tmp_path / "nothing", "there is no run directory"), (tmp_path, "holds no run")):
            code, _, err = robustcl("measure", str(folder))
            assert code == 2
            assert said in err
        text = lock.read_text()
        start, end = text.index("[[evaluate]]"), text.index("\n[run]")
        lock.write_text(text[:start] + text[end:])
        code, _, err = robustcl("measure", str(fresh))
        assert code == 2
        assert "say by which --protocol it is judged" in err
        lock.write_text(text)
        (fresh / "stages" / "pretrain" / "finished.json").unlink()
        code, _, err = robustcl("measure", str(fresh))
        assert code == 2
        assert "stage pretrain is not finished" in err
        assert not (fresh / kept.FILE).exists()

    def test_names_are_taken_once_and_in_order(self) -> None:
        assert choose_measures(["t-sne", "r-div", "t-sne"]) == ("r-div", "t-sne")
        assert choose_measures([]) == tuple(NUMBERS)


def page_of(folder: Path) -> Page:
    return Page(report.write(folder, projection="pca").read_text(encoding="utf-8"))


def section(folder: Path) -> list[MeasuredSample]:
    found = read_measured(load(folder), [])
    assert isinstance(found, list)
    return found


def plain(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.fixture
def shown(told: tuple[Path, str], tmp_path: Path) -> Path:
    shutil.copytree(told[0], tmp_path / "shown")
    return tmp_path / "shown"


class TestSection:
    def test_every_number_and_figure_is_there(self, told: tuple[Path, str]) -> None:
        page = Page((told[0] / "report.html").read_text(encoding="utf-8"))
        found, said = entry(told[0])["values"], plain(page)
        cells = [value for value in page.values("data-value") if value]
        for numbers in found.values():
            for value in numbers.values():
                for one in value.values() if isinstance(value, dict) else [value]:
                    assert json.dumps(one) in cells
        for name, numbers in NUMBERS.items():
            assert all(number.label in said and number.source in said for number in numbers), name
        labels = " ".join(page.values("aria-label"))
        for words in ("Histograms of 40", "Loss around images", "Loss over the weights", "t-SNE map of 40 clean",
                      "t-SNE map of 40 attacked", "Relative drop in accuracy"):  # fmt: skip
            assert words in labels
        assert "Mean cosine distance of two attacked images" in said
        assert sum("found from noise" in alt for alt in page.values("alt")) == 8
        assert "weights have changed" not in said
        assert "robustcl measure RUN" not in said
        assert len(page.values("id")) == len(set(page.values("id")))

    def test_other_weights_are_noticed(self, shown: Path) -> None:
        def stale() -> str:
            (found,) = section(shown)
            return found.stale or ""

        whole = json.loads((shown / kept.FILE).read_text())
        whole["entries"][0] |= {"arrays": None, "values": {}}
        (shown / kept.FILE).write_text(json.dumps(whole))
        assert stale() == ""
        tables = json.loads((shown / "results.json").read_text())
        changed = {**tables, "rows": [{**row, "model": "feedfeedfeedfeed", "question": None} for row in tables["rows"]]}
        (shown / "results.json").write_text(json.dumps(changed))
        assert "These measures are of other weights" in stale()
        assert stale() in plain(page_of(shown))
        (shown / "results.json").write_text(json.dumps(tables))
        assert stale() == ""
        config = shown / "stages" / "pretrain" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"sha256": "0" * 64}))
        assert "The weights in stages/pretrain have changed" in stale()
        config.unlink()
        assert "The weights in stages/pretrain have changed" in stale()
        shutil.rmtree(shown / "stages")  # a page that was moved without its weights says nothing of them
        assert stale() == ""

    def test_of_a_part_names_the_rest(self, fresh: Path) -> None:
        assert ("What the representation is like, clean and attacked", "robustcl measure RUN") in list_missing(
            load(fresh), []
        )
        measure(fresh, ["rank", "alignment"], MeasureQuestion(samples=20))
        said = plain(page_of(fresh))
        assert "Not measured: robustcl measure RUN --what r-div --what class-distances" in said
        assert "--what rank" not in said

    def test_what_no_question_has_is_named_once(self, fresh: Path) -> None:
        measure(fresh, ["rank"], MeasureQuestion(samples=20))
        measure(fresh, ["alignment"], MeasureQuestion(samples=30))
        (first, last) = section(fresh)
        assert first.absent == ()
        assert last.absent[0].startswith("Not measured: robustcl measure RUN --what r-div --what class-distances")
        assert not any(f"--what {name} " in last.absent[0] for name in ("rank", "alignment"))
        assert ("drawn by the run's seed" in last.about, "the first ones" in last.about) == (True, False)
        judged = measure(fresh, ["rank"], MeasureQuestion(attack="fgsm"))
        assert (judged["question"]["sample"], judged["question"]["samples"]) == ("first 16", 16)
        assert "16 test images, the first ones" in section(fresh)[-1].about

    def test_what_is_of_an_earlier_version_is_shown_as_older(self, shown: Path) -> None:
        whole = json.loads((shown / kept.FILE).read_text())
        del whole["entries"][0]["question"]["sample"]
        (shown / kept.FILE).write_text(json.dumps(whole))
        shutil.copy(STORED / "study" / "runs" / "near-seed0" / "measures.json", shown)
        first, older = section(shown)
        assert "by an earlier version of robustcl, on a sample of its own" in (first.stale or "")
        assert "by an earlier version of robustcl, for a study" in (older.stale or "")
        assert [(row.label, row.attacked) for row in older.rows] == [
            ("R-DIV", 0.8478409581250991), ("fooled", 0.625), ("drop in probability", 0.48836473375558853),
        ]  # fmt: skip
        assert first.stale in plain(page := page_of(shown))
        assert older.stale in plain(page)
        assert page.values("data-value").count("0.8478409581250991") == 1
        (shown / kept.FILE).unlink()
        assert section(shown) == [older]
        for damaged in ("{", "3", '{"a": 3, "b": {"fooled": 3}, "c": {"fooled": {"value": "x"}, "question": 1}}'):
            (shown / "measures.json").write_text(damaged)
            found = read_measured(load(shown), [])
            assert found is None or all(row.attacked is None for each in found for row in each.rows)  # type: ignore[union-attr]

    @pytest.mark.parametrize("text", ["{", "3", '{"schema": 99, "entries": []}'])
    def test_damaged_file_is_one_sentence(self, shown: Path, text: str) -> None:
        (shown / kept.FILE).write_text(text)
        assert str(read_measured(load(shown), [])).startswith("representation.json is")

    def test_damaged_parts_are_passed_over(self, shown: Path) -> None:
        whole = json.loads((shown / kept.FILE).read_text())
        file = shown / whole["entries"][0]["arrays"]
        with np.load(file) as archive:
            found = {key: archive[key] for key in archive.files}
        found["input-landscape/loss"] = found["input-landscape/loss"][:3]
        found["weight-landscape/clean"] = np.full_like(found["weight-landscape/clean"], np.nan)
        found["t-sne/clean"] = np.array(["a", "b"])
        np.savez(file, **found)
        (made,) = section(shown)
        said = " ".join(made.absent)
        for words in ("input-landscape: its arrays are damaged", "t-sne: its arrays are damaged",
                      "weight-landscape: its figure is left out, because"):  # fmt: skip
            assert words in said
        assert [[drawing.caption[:22] for drawing in group] for group in made.figures] == [["The two parts of R-DIV"]]
        assert len(made.heats) == 2
        file.write_bytes(b"PK half a file")
        (made,) = section(shown)
        assert "The figures are left out" in " ".join(made.absent)
        assert made.rows
        whole["entries"][0] |= {"values": {"rank": 3, "r-div": {"relative": "a"}}, "settings": 1, "refused": None}
        (shown / kept.FILE).write_text(json.dumps(whole))
        assert [row.attacked for row in section(shown)[0].rows] == [None]

    def test_names_are_escaped(self, told: tuple[Path, str], tmp_path: Path) -> None:
        path = write_run(tmp_path / "run", data=results()["data"] | {"classes": [HOSTILE] * 10})
        whole = json.loads((told[0] / kept.FILE).read_text())
        shutil.copy(told[0] / whole["entries"][0]["arrays"], path / "artifacts")
        question = dict.fromkeys(whole["entries"][0]["question"], HOSTILE) | {"weights": {}, "attack": {"use": HOSTILE}}
        whole["entries"][0] |= {"question": question, "refused": {HOSTILE: HOSTILE}}
        (path / kept.FILE).write_text(json.dumps(whole))
        page = page_of(path)
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert page.text.count(HOSTILE) > 5

    def test_drops_are_of_whole_rows_with_a_clean_one(self) -> None:
        def row(attack: str | None, value: float | None, n: int = 10, **more: Any) -> dict[str, Any]:
            return {"protocol": "slf", "route": "clean", "split": "test", "attack": attack, "metric": "x_acc",
                    "value": value, "n": n} | more  # fmt: skip

        rows = [row(None, 0.8), row("pgd", 0.2), row("cut", 0.2, partial=True), row("few", 0.2, n=5), row("none", None)]
        assert [(each.attack, each.clean, each.relative) for each in list_drops(rows)] == [
            ("pgd", 0.8, pytest.approx(0.75))
        ]
        assert list_drops([row(None, 0.0), row("pgd", 0.0)]) == []


BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    os.environ.setdefault("SE_AVOID_STATS", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [320, 400, 1200])
def test_section_fits_and_is_reached_by_keyboard(browser: Any, told: tuple[Path, str], width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get((told[0] / "report.html").as_uri())
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = browser.execute_script(
        "return [...document.querySelectorAll('#measures *')].filter(e => !e.closest('.scroll, svg')"
        " && e.getBoundingClientRect().right > window.innerWidth + 0.5).map(e => e.outerHTML.slice(0, 90))"
    )
    assert beyond == []
    # What is wider than its box can be scrolled by the arrow keys once it has the focus.
    assert browser.execute_script(
        "return [...document.querySelectorAll('#measures .scroll')].every(e => e.tabIndex === 0 && e.ariaLabel)"
    )
    assert browser.execute_script("return [...document.images].every(image => image.complete && image.naturalWidth)")
    assert browser.execute_script(
        "return document.querySelector('nav a[href=\"#measures\"]').textContent"
    ) == "Measures"  # fmt: skip
