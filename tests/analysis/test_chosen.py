"""What a finished stage would choose next: the pairs of one anchor, against the paper's table 1 as loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robustcl import api, compose
from robustcl.analysis import chosen
from robustcl.analysis.chosen import Chosen, choose_again, find_term
from robustcl.analysis.subject import open_run
from robustcl.errors import UsageError
from robustcl.study.api import FinishedStudy
from robustcl.study.api import compose as compose_study
from robustcl.study.api import run as run_study
from robustcl.study.plan.setting import Setting
from robustcl.train.engine import Engine
from tests.shared import tiny

SMALL = ("encoder.use=resnet-small", "encoder.width=2", "data.validation=0.8", "stage.train.batch=32")

Run = tuple[api.Composition, Path]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """Return figure 8 of Bui et al., small: runs of one and of two epochs."""
    made = compose_study("ascl-bui-figure-8", Setting(budget="smoke", overrides=SMALL))
    return run_study(made, tmp_path_factory.mktemp("chosen") / "out", device="cpu")


@pytest.fixture(scope="module")
def run(study: FinishedStudy) -> Run:
    """Return its longer run."""
    made = compose_study("ascl-bui-figure-8", Setting(budget="smoke", overrides=SMALL)).planned[-1]
    return made.composition, study.path / "runs" / made.folder


def asked(run: Run, anchor: int) -> Chosen:
    composition, folder = run
    (stage,) = composition.stages
    engine = Engine("cpu")
    with open_run(composition, folder, engine, print, test=False) as opened:
        splits, term = opened.stages.splits, find_term(stage, "scl", "")
        return choose_again(composition, folder, engine, splits, stage, term, anchor)


def files(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}


@pytest.mark.golden("selector", "leaked-ls")
def test_the_pairs_of_an_anchor_are_those_of_table_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = chosen._scene
    monkeypatch.setattr(chosen, "_scene", lambda *given: seen.append(real(*given)) or seen[-1])
    before = files(run[1])
    for anchor in range(4):
        found = asked(run, anchor)
        (scene, *_), size = seen, 32
        seen.clear()
        label, predicted = scene.rows.label.tolist(), scene.rows.logits.argmax(1).tolist()
        for place, view in enumerate(("w", "w_adv")):
            images = scene.batch.views[view].numpy()
            alike = [i for i in range(size) if predicted[place * size + i] == predicted[anchor]]
            own = [anchor] if view == "w_adv" else []
            positive = {i for i in alike if label[i] == label[anchor] and (view, i) != ("w", anchor)} | {*own}
            negative = {i for i in alike if label[i] != label[anchor]}
            np.testing.assert_array_equal(found.picked["positive", view], images[sorted(positive)])
            np.testing.assert_array_equal(found.picked["negative", view], images[sorted(negative)])
        np.testing.assert_array_equal(found.anchor, scene.batch.views["w"][anchor].numpy())
        assert found.label == label[anchor]
    assert files(run[1]) == before


def test_what_cannot_be_chosen_again_is_one_sentence(run: Run) -> None:
    with pytest.raises(UsageError, match="anchor = 32: a batch of the stage train has the images 0 to 31"):
        asked(run, 32)
    (stage,) = run[0].stages
    with pytest.raises(UsageError, match="here: the stage train has no term 'slc' that selects pairs"):
        find_term(stage, "slc", "here")
    with pytest.raises(UsageError, match="here: no term of the stage train selects pairs"):
        find_term(compose(recipe="at").stages[0], None, "here")


def test_a_shorter_run_of_the_figure_is_the_beginning_of_the_longer_one(study: FinishedStudy, run: Run) -> None:
    short, long = (
        tiny.lines(study.path / "runs" / name / "metrics.jsonl", "seconds") for name in ("epochs-1-seed0", run[1].name)
    )
    assert len(short) > 0
    assert long[: len(short)] == short
    assert len(long) > len(short)


def test_the_figure_tells_how_many_attract_and_repel_the_anchor(study: FinishedStudy, run: Run) -> None:
    svg = (study.path / "figure-1.svg").read_text(encoding="utf-8")
    found = asked(run, 0)
    for (side, view), verb in zip(found.picked, ("attract", "attract", "repel", "repel"), strict=True):
        assert f">{len(found.picked[side, view])} {view} {verb}<" in svg
