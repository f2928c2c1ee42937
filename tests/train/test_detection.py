"""Precision and recall of detected false negatives, against loops over every pair, and in the log of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from robustcl import api
from robustcl.errors import UsageError
from robustcl.rng import Rng
from robustcl.study.numbers import checks
from robustcl.testing import make_scene
from robustcl.train.detection import logged, shares, tally
from robustcl.train.pairs import EpochMeans
from robustcl.types import Embedding, Pairs, Rows, Scene
from tests.shared import tiny

LABEL = [0, 1, 0, -1, 1, 0]


def term(name: str = "pull", *, detects: bool = True) -> Any:
    return SimpleNamespace(name=name, selector=SimpleNamespace(plugin=SimpleNamespace(detects=detects)))


def scene_of(negative: torch.Tensor, columns: Rows | None = None) -> Scene:
    """Two views of six images, of which the fourth has no label."""
    z = {name: Embedding(z=Rng(0, name).normal((6, 3))) for name in ("a", "b")}
    beside = {} if columns is None else {"columns": columns}
    pairs = Pairs(positive=torch.zeros(negative.shape), negative=negative, **beside)
    return make_scene(z, label=torch.tensor(LABEL), pairs=pairs)


def counted(negative: list[list[float]], labels: list[int], samples: list[int]) -> tuple[float, float, float]:
    """Count by hand: detected, of one class, and both."""
    detected = false = both = 0.0
    for i, row in enumerate(negative):
        for k, weight in enumerate(row):
            if i % 6 == samples[k] or LABEL[i % 6] == -1 or labels[k] == -1:
                continue
            same = LABEL[i % 6] == labels[k]
            detected += max(1.0 - weight, 0.0)
            false += same
            both += max(1.0 - weight, 0.0) * same
    return detected, false, both


@pytest.mark.parametrize("kind", ["mask", "weights"])
def test_pairs_are_counted_as_loops_count_them(kind: str) -> None:
    drawn = Rng(1, kind).uniform((12, 12), 0.0, 1.6)
    negative = drawn > 0.8 if kind == "mask" else drawn
    found = tally([(term(), scene_of(negative)), (term("other", detects=False), scene_of(negative))])
    assert list(found) == [f"false-negatives/pull/{count}" for count in ("detected", "false", "both")]
    expected = counted(negative.double().tolist(), LABEL * 2, [*range(6)] * 2)
    assert list(found.values()) == pytest.approx(expected, rel=1e-6)


def test_a_bank_is_held_against_its_own_labels() -> None:
    negative = Rng(2).uniform((12, 4)) > 0.5
    labels = [0, -1, 1, 0]
    bank = Rows(sample=torch.tensor([0, -3, -4, 5]), view=torch.full((4,), -1), label=torch.tensor(labels),
                index=torch.arange(4))  # fmt: skip
    found = tally([(term(), scene_of(negative, bank))])
    assert list(found.values()) == list(counted(negative.double().tolist(), labels, [0, -3, -4, 5]))


def test_an_epochs_shares_are_of_all_its_pairs() -> None:
    means = EpochMeans()
    means.add({"pairs/it/positive": 1.0, "false-negatives/it/detected": 1.0, "false-negatives/it/false": 4.0,
               "false-negatives/it/both": 1.0})  # fmt: skip
    means.add({"pairs/it/positive": 3.0, "false-negatives/it/detected": 9.0, "false-negatives/it/false": 4.0,
               "false-negatives/it/both": 1.0})  # fmt: skip
    told = {"pairs-of-epoch/it/positive": 2.0, "false-negatives/it/precision": 0.2, "false-negatives/it/recall": 0.25}
    assert means.take() == told


@pytest.mark.parametrize(("detected", "false", "told"), [(0.0, 3.0, ["recall"]), (2.0, 0.0, ["precision"]),
                                                          (0.0, 0.0, [])])  # fmt: skip
def test_what_is_undefined_is_not_told(detected: float, false: float, told: list[str]) -> None:
    sums = {"false-negatives/it/detected": detected, "false-negatives/it/false": false, "false-negatives/it/both": 0.0}
    assert shares(sums) == {f"false-negatives/it/{share}": 0.0 for share in told}


def test_a_run_tells_them_at_the_end_of_each_epoch(tmp_path: Path) -> None:
    """The oracle is always right; a threshold of -1 detects every pair, and is right as often as classes meet."""
    everything = {"use": "adaptive-fnc", "rho": -1.0}
    terms = {name: {"use": "info-nce", "views": ["a", "b"], "selector": selector}
             for name, selector in {"ceiling": "oracle", "floor": everything, "plain": "all"}.items()}  # fmt: skip
    tables = tiny.tables(evaluate=[])
    tables["stage"] = [{"name": "it", "epochs": 2, "split": "train", "views": {"a": "weak", "b": "weak"}, "term": terms,
                        "optimizer": {"use": "sgd", "lr": 0.01}}]  # fmt: skip
    composition = api.from_tables(tables, "the test")
    composition.train(tmp_path / "run", device="cpu", report=False)
    lines = [
        line
        for line in tiny.lines(tmp_path / "run" / "metrics.jsonl", "seconds")
        if "pairs-of-epoch/plain/positive" in line
    ]
    assert len(lines) == 2
    for line in lines:
        assert [line[name] for name in logged("ceiling")] == [1.0, 1.0]
        precision, recall = (line[name] for name in logged("floor"))
        assert 0.05 < precision < 0.15, "ten digits, about as many of each"
        assert recall == pytest.approx(1.0, abs=1e-3)
        assert not set(logged("plain")) & set(line)
    (stage,) = composition.stages
    for known in ("floor", "plain"):
        checks._check_metric(stage, f"false-negatives/{known}/recall", "here")
    with pytest.raises(UsageError, match="logs no 'false-negatives/florr/recall', did you mean"):
        checks._check_metric(stage, "false-negatives/florr/recall", "here")
