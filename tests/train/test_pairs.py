"""How many positives and negatives an anchor has: at each logged step, and as the mean over each epoch."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

import robustcl
from robustcl import api
from robustcl.errors import Interrupted, UsageError
from robustcl.train.pairs import EpochMeans
from tests.shared import tiny


def test_an_epochs_means_are_those_of_its_steps() -> None:
    means = EpochMeans()
    means.add({"pairs/it/positive": 1.0, "pairs/it/negative": 10.0})
    means.add({"pairs/it/positive": 4.0, "pairs/it/negative": 0.0})
    again = EpochMeans(sums=means.sums, steps=means.steps)
    expected = {"pairs-of-epoch/it/positive": 2.5, "pairs-of-epoch/it/negative": 5.0}
    assert means.take() == again.take() == expected
    means.add({"pairs/it/positive": 7.0})
    assert means.take() == {"pairs-of-epoch/it/positive": 7.0}


def test_without_pairs_there_is_nothing_to_tell() -> None:
    means = EpochMeans()
    means.add({})
    assert means.take() == {}


def _composition(log_every: int) -> api.Composition:
    """Two epochs of leaked selection, whose counts differ from step to step; 5 steps each."""
    stage = {
        "name": "it",
        "epochs": 2,
        "split": "train",
        "views": {"a": "weak", "b": "weak"},
        "term": {
            "ce": {"use": "cross-entropy", "views": ["a"]},
            "pull": {"use": "supcon", "views": ["a", "b"], "selector": "leaked-ls"},
        },
        "optimizer": {"use": "sgd", "lr": 0.1},
    }
    tables = tiny.tables(stage=[stage], evaluate=[], run={"checkpoint": "1 steps", "log_every": log_every})
    tables["data"] = {"use": "digits", "batch": 128, "validation": 0.5}
    return api.from_tables(tables, "the test")


def test_a_policy_that_leaves_no_positives_is_told_after_the_first_epoch(tmp_path: Path) -> None:
    tables = tiny.tables(evaluate=[])
    tables["stage"] = [{
        "name": "it",
        "epochs": 2,
        "views": {"a": "weak"},
        "term": {"pull": {"use": "info-nce", "views": ["a"]}},
        "optimizer": {"use": "sgd", "lr": 0.1},
    }]  # fmt: skip
    alone = "stage.it.term.pull: no anchor had a positive in a whole epoch, so nothing was learnt from it; bind two"
    with pytest.raises(UsageError, match=alone):
        api.from_tables(tables, "the test").train(tmp_path / "run", device="cpu", report=False)


def test_each_epoch_ends_with_a_line_that_tells_its_means(tmp_path: Path) -> None:
    _composition(1).train(tmp_path / "every", device="cpu", report=False)
    _composition(1000).train(tmp_path / "few", device="cpu", report=False)
    every, few = (tiny.lines(tmp_path / run / "metrics.jsonl", "seconds") for run in ("every", "few"))
    steps = len(every) // 2
    assert [line["step"] for line in few] == [1, steps, 2 * steps]
    for end in (steps, 2 * steps):
        line = every[end - 1]
        for side in ("positive", "negative"):
            counts = [each[f"pairs/pull/{side}"] for each in every[end - steps : end]]
            assert len(set(counts)) > 1
            assert line[f"pairs-of-epoch/pull/{side}"] == pytest.approx(sum(counts) / steps, rel=1e-12)
        assert line in few
    assert sum("pairs-of-epoch/pull/positive" in line for line in every) == 2


def test_a_run_cut_off_within_an_epoch_tells_the_same_means(tmp_path: Path) -> None:
    _composition(1).train(tmp_path / "whole", device="cpu", report=False)

    def stop(stage: str, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        _composition(1).train(tmp_path / "cut", device="cpu", report=False, watcher=stop)
    robustcl.resume(tmp_path / "cut")
    whole, cut = (tiny.lines(tmp_path / run / "metrics.jsonl", "seconds") for run in ("whole", "cut"))
    assert cut == whole
