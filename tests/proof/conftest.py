"""A run and a stranger's model, judged so that some images fall as they are, some by an attack, and some stand."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from robustcl.analysis.again import evaluate_again
from robustcl.analysis.bare import ModelQuestion, judge_model

MODULE = """
import torch
from torch import nn

def build(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5))

def other():
    return build(1)

def one_bit():
    model = build()
    bits = model[0].weight.data.view(torch.int32)
    bits[0, 0, 0, 0] ^= 1
    return model
"""


@pytest.fixture(scope="session")
def proven_run(tmp_path_factory: pytest.TempPathFactory, whole_run: Path) -> Path:
    """A finished run that was judged under PGD with witnesses; copy it before anything is changed."""
    folder = tmp_path_factory.mktemp("proven") / "run"
    shutil.copytree(whole_run, folder)
    evaluate_again(folder, "linear", ["adv"], ["pgd-20"], 40, audit=0)
    return folder


@pytest.fixture(scope="session")
def strange_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of models, a data set and ``judged``, where one of the models was judged."""
    place = tmp_path_factory.mktemp("strange")
    (place / "models_of_somebody.py").write_text(MODULE, encoding="utf-8")
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", [str(place), *sys.path])
        import models_of_somebody  # type: ignore[import-not-found]
        import torch

        model = models_of_somebody.build()
        label = model(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy()
        label[::6] = (label[::6] + 1) % 5
        label[:5] = np.arange(5)  # every class is there
        np.savez(place / "images.npz", x_train=x, y_train=label, x_test=x, y_test=label)
        asked = ModelQuestion(
            "models_of_somebody:build", f"npz:{place}/images.npz", attacks=("pgd-20",), eps="2/255", audit=0, block=7
        )
        judge_model(asked, place / "judged", device="cpu")
    return place
