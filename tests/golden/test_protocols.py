"""SLF and ALF against closed forms: what they freeze, what they fit, and the schedule that the papers print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from robustcl.composition.api import from_tables
from robustcl.composition.store import load, stage_folder
from robustcl.schedule import Progress, Schedule, parse
from robustcl_plugins.protocols.linear import AdversarialLinear, StandardLinear


@pytest.mark.golden("protocol", "slf")
def test_slf_is_the_papers_schedule() -> None:
    (stage,) = StandardLinear().stages("adv")
    rate = parse(stage["optimizer"]["lr"], "lr")
    assert isinstance(rate, Schedule)
    at = [rate.at(Progress(0, 25, epoch, 25.0)) for epoch in (0, 14.9, 15, 19.9, 20, 24.9)]
    assert at == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (stage["epochs"], stage["batch"], stage["trainable"], stage["mode"]) == (25, 512, ["classifier"], "eval")
    assert stage["optimizer"]["momentum"] == 0.9
    assert stage["optimizer"]["weight_decay"] == 2e-4
    assert stage["routes"] == {"w": "adv"}
    assert stage["split"] == "train"


@pytest.mark.golden("protocol", "alf")
def test_alf_trains_on_what_pgd_10_makes() -> None:
    (stage,) = AdversarialLinear().stages("clean")
    generator = stage["generator"]["w_adv"]
    assert (generator["use"], generator["steps"], generator["step_size"]) == ("pgd", 10, 2 / 255)
    assert stage["term"]["ce"]["views"] == ["w_adv"]
    assert stage["routes"] == {"w": "clean", "w_adv": "clean"}


@pytest.mark.golden("protocol", "slf")
@pytest.mark.golden("protocol", "alf")
def test_the_encoder_stays_and_the_classifier_fits(tmp_path: Path) -> None:
    """Plain images, no augmentation: SLF must come near the loss of a multinomial regression on the same features."""
    from sklearn.linear_model import LogisticRegression

    tables = tiny.tables()
    options = {"epochs": 30, "batch": 64, "lr": 0.5, "decay_at": [20], "view": "none", "weight_decay": 0.0}
    tables["evaluate"] = [
        {"use": "slf", "route": ["clean"], "attacks": ["fgsm"], **options},
        {"use": "alf", "route": ["clean"], "attacks": ["fgsm"], **options, "epochs": 2},
    ]
    composition = from_tables(tables, "tiny")
    run = composition.train(tmp_path / "run", device="cpu")
    last = composition.recipe.stage[-1].name
    judged = load(stage_folder(run.path, last))
    for protocol in ("slf", "alf"):
        probe = load(stage_folder(run.path, f"evaluate-{protocol}-clean-{last}"))
        for name, value in judged.state_dict().items():
            if not name.startswith("classifier"):
                assert torch.equal(probe.state_dict()[name], value), f"{protocol} moved {name}"
    rows = {(row["protocol"], row["split"], row["attack"]): row["value"] for row in run.results.tables["rows"]}
    digits = composition.dataset.plugin
    train, test = digits.open("train"), digits.open("test")

    def features(source: object) -> tuple[np.ndarray, np.ndarray]:
        x = source.fetch(torch.arange(len(source.labels))).float() / 255  # type: ignore[attr-defined]
        with torch.no_grad():
            h = judged.eval()(x, "clean", frozenset({"h"})).h
        return h.numpy(), source.labels.numpy()  # type: ignore[attr-defined]

    best = LogisticRegression(max_iter=3000, C=1e4).fit(*features(train)).score(*features(test))
    assert rows["slf", "test", None] > best - 0.12
    assert rows["slf", "test", "fgsm"] <= rows["slf", "test", None]
