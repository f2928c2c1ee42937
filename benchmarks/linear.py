"""The protocol ``linear`` beside ``slf`` and scikit-learn's LogisticRegression, on the SimCLR encoder of digits.

``python benchmarks/linear.py``: exit code 1 where a bar is missed. The encoder is trained once, at the budget small.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bar import compare, report, version
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import robustcl
from robustcl import api
from robustcl.analysis.again import Wanted
from robustcl.evaluate.head import embed_labelled
from robustcl.nn.encoder import Encoder
from robustcl.run import subjects
from robustcl.run.splits import Splits, open_splits
from robustcl.run.stages import Stages
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing

FOLDER = Path(__file__).parents[1] / "runs" / "pinned" / "simclr-digits"
ROUTE = "clean"


def main() -> int:
    """Prepare the classifier by both protocols, and the regression of the peer at the decay that ours has chosen."""
    if not (FOLDER / "stages" / "pretrain" / "finished.json").is_file():
        shutil.rmtree(FOLDER, ignore_errors=True)
        cheap = [
            "evaluate.slf.curve=[]",
            "evaluate.slf.samples=1",
            "evaluate.slf.audit=0",
        ]  # only the encoder is wanted
        composed = robustcl.compose(recipe="simclr", dataset="digits", budget="small", overrides=cheap)
        composed.train(FOLDER, device="cpu", say=print)
    linear, slf = _composed("linear"), _composed("slf")
    splits = open_splits(linear, torch.device("cpu"), test=True)
    seconds = compare(lambda: _prepared(linear, splits), lambda: _prepared(slf, splits), 3)
    ours, theirs = _prepared(linear, splits), _prepared(slf, splits)
    outcome = ours.classifier.outcome  # type: ignore[union-attr]
    assert splits.test is not None
    assert splits.validation is not None
    features, label = embed_labelled(ours, ROUTE, splits.train)
    test, truth = embed_labelled(ours, ROUTE, splits.test)
    held = embed_labelled(ours, ROUTE, splits.validation)
    plugin = linear.evaluations[0].protocol.plugin
    fits = compare(
        lambda: plugin.head(features, label, len(splits.classes), validation=held),
        lambda: [_peer(features, label, entry["weight_decay"], outcome["scale"]) for entry in outcome["grid"]],
        3,
    )
    predict, loss = _peer(features, label, outcome["weight_decay"], outcome["scale"])
    return report(
        "linear",
        [
            ("times-faster-than-slf", seconds[1] / seconds[0], 1.0),
            ("within-1e-4-of-scikit-learn-in-loss", 1e-4 / max(abs(outcome["loss"] - loss), 1e-300), 1.0),
        ],
        {
            "peer": f"scikit-learn {version('scikit-learn')} LogisticRegression(tol=1e-6), every decay of the grid",
            "samples": len(label),
            "features": features.shape[1],
            "linear_seconds": seconds[0],
            "slf_seconds": seconds[1],
            "grid_seconds": fits[0],
            "peer_grid_seconds": fits[1],
            "peer_over_ours_in_grid_seconds": fits[1] / fits[0],
            "weight_decay": outcome["weight_decay"],
            "loss": outcome["loss"],
            "peer_loss": loss,
            "linear_test_accuracy": _accuracy(ours.classifier, test, truth),
            "slf_test_accuracy": _accuracy(theirs.classifier, test, truth),
            "peer_test_accuracy": float((predict(test) == truth).double().mean()),
        },
    )


def _composed(protocol: str) -> api.Composition:
    tables, _ = Wanted(protocol, (ROUTE,)).tables(FOLDER, lambda sentence: None)
    return api.from_tables(tables, str(FOLDER))


def _prepared(composition: api.Composition, splits: Splits) -> Encoder:
    """Prepare the judged classifier in a copy of the run that holds none yet."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("evaluate-*", "artifacts", "report.html"))
        stages = Stages(composition, folder, Engine("cpu", 1, "32-true"), watch_nothing, lambda _: None, splits)
        return subjects.prepare(stages, composition.evaluations[0], ROUTE).encoder


def _peer(features: Tensor, label: Tensor, decay: float, scale: float) -> tuple[Callable[[Tensor], Tensor], float]:
    """Fit the regression to the same features, centred and scaled alike; return its prediction and mean loss."""
    mean = features.double().mean(0)

    def units(h: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
        return ((h.double() - mean) / scale).numpy()

    model = LogisticRegression(C=1 / (len(label) * decay), max_iter=50_000, tol=1e-6).fit(
        units(features), label.numpy()
    )
    logs = torch.from_numpy(model.predict_log_proba(units(features)))
    loss = float(nn.functional.nll_loss(logs, label))
    return lambda h: torch.from_numpy(model.predict(units(h))), loss


def _accuracy(classifier: nn.Module | None, h: Tensor, label: Tensor) -> float:
    assert classifier is not None
    with torch.no_grad():
        return float((classifier(h).argmax(1) == label).double().mean())


if __name__ == "__main__":
    sys.exit(main())
