"""Protocols against closed forms: what they freeze, what they fit, and the schedules that the papers print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustcl import compose
from robustcl.api import from_tables
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_mode
from robustcl.nn.routing import RoutedNorm
from robustcl.options.schedule import Progress, Schedule, parse
from robustcl.recipe import reading
from robustcl.run.splits import open_splits
from robustcl.testing.survey import TinySurvey
from robustcl.train.stage_files import facts, load, stage_folder
from robustcl_plugins.protocols.aff import AdversarialFull
from robustcl_plugins.protocols.frozen import AdversarialLinear, StandardLinear
from robustcl_plugins.protocols.fsf import StandardFull
from robustcl_plugins.protocols.semi_supervised import SemiSupervisedLinear
from robustcl_plugins.samplers.labelled import Labelled
from tests.shared import tiny


def falls_at_15_and_20(stage: Mapping[str, Any]) -> None:
    """Hold the rate of a stage of 25 epochs against 0.1, a tenth of it from 15 on, a hundredth from 20 on."""
    rate = parse(stage["optimizer"]["lr"], "lr")
    assert isinstance(rate, Schedule)
    at = [rate.at(Progress(0, 25, epoch, 25.0)) for epoch in (0, 14.9, 15, 19.9, 20, 24.9)]
    assert at == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.golden("protocol", "slf")
def test_slf_is_the_papers_schedule() -> None:
    (stage,) = StandardLinear().stages("adv")
    falls_at_15_and_20(stage)
    assert (stage["epochs"], stage["batch"], stage["trainable"], stage["mode"]) == (25, 512, ["classifier"], "eval")
    assert stage["optimizer"]["momentum"] == 0.9
    assert stage["optimizer"]["weight_decay"] == 2e-4
    assert stage["routes"] == {"w": "adv"}
    assert stage["split"] == "train"


@pytest.mark.golden("protocol", "alf")
def test_alf_trains_on_what_pgd_10_makes() -> None:
    (stage,) = AdversarialLinear().stages("clean")
    generator = stage["generator"]["w_adv"]
    assert (generator["use"], generator["steps"]) == ("pgd", 10)
    assert "step_size" not in generator  # PGD's own quarter of eps: the paper's 2/255 at 8/255
    (own,) = AdversarialLinear(step_size=1 / 255).stages("clean")
    assert own["generator"]["w_adv"]["step_size"] == 1 / 255
    assert stage["term"]["ce"]["views"] == ["w_adv"]
    assert stage["routes"] == {"w": "clean", "w_adv": "clean"}


@pytest.mark.golden("protocol", "slf")
@pytest.mark.golden("protocol", "alf")
def test_the_encoder_stays_and_the_classifier_fits(tmp_path: Path) -> None:
    """Plain images, no augmentation: SLF must come near the loss of a multinomial regression on the same features."""
    from sklearn.linear_model import LogisticRegression

    tables = tiny.tables(run={"checkpoint": "1000 steps", "log_every": 100})
    options = {"epochs": 15, "batch": 64, "lr": 0.5, "decay_at": [10], "view": "none", "weight_decay": 0.0, "audit": 0}
    tables["evaluate"] = [
        {"use": "slf", "route": ["clean"], "attacks": ["fgsm"], **options},
        {"use": "alf", "route": ["clean"], "attacks": ["fgsm"], **options, "epochs": 1, "batch": 512, "samples": 16},
    ]
    composition = from_tables(tables, "tiny")
    run = composition.train(tmp_path / "run", device="cpu", report=False)
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


@pytest.mark.golden("protocol", "aff")
def test_aff_is_the_papers_schedule() -> None:
    (stage,) = AdversarialFull().stages("adv")
    falls_at_15_and_20(stage)
    assert (stage["epochs"], stage["batch"], stage["trainable"], stage["mode"]) == (25, 128, ["online"], "train")
    assert (stage["optimizer"]["momentum"], stage["optimizer"]["weight_decay"]) == (0.9, 2e-4)
    assert stage["classifier"] == "zero"
    assert stage["routes"] == {"w": "adv", "w_adv": "adv"}
    (two_branches,) = AdversarialFull(clean_route="clean").stages("adv")
    assert two_branches["routes"] == {"w": "clean", "w_adv": "adv"}


@pytest.mark.golden("protocol", "aff")
def test_aff_is_the_stage_of_the_recipe_trades() -> None:
    """TRADES itself is held against the paper elsewhere; a protocol in its numbers is its stage."""
    options = {"batch": 128, "epochs": 76, "decay_at": (74,), "step_size": 0.007}
    (stage,) = AdversarialFull(**options).stages("clean")
    parsed = reading.parse({"name": "aff", "stage": [stage]}, "aff").stage[0]
    trades = compose(recipe="trades", dataset="cifar10", data_dir=".", budget="paper").recipe.stage[0]
    for key in ("term", "forward", "views", "split", "mode", "trainable"):
        assert getattr(parsed, key) == getattr(trades, key), key
    mine, theirs = parsed.generator["w_adv"], trades.generator["w_adv"]
    assert mine.options == theirs.options
    assert (mine.reads, mine.maximise, mine.mode) == (theirs.reads, theirs.maximise, theirs.mode)


@pytest.mark.golden("protocol", "fsf")
def test_fsf_is_slf_with_everything_learning() -> None:
    (full,) = StandardFull(batch=512).stages("adv")
    (linear,) = StandardLinear().stages("adv")
    different = {key for key in linear if full[key] != linear[key]}
    assert different == {"name", "trainable", "mode"}
    assert (full["trainable"], full["mode"]) == (["online"], "train")


@pytest.mark.golden("protocol", "semi-supervised")
def test_semi_supervised_is_slf_with_fewer_labels() -> None:
    (few,) = SemiSupervisedLinear(fraction=0.01).stages("adv")
    (linear,) = StandardLinear().stages("adv")
    assert {key: few[key] for key in linear if key != "name"} == {key: linear[key] for key in linear if key != "name"}
    assert set(few) - set(linear) == {"labelled", "sampler"}
    assert few["labelled"] == 0.01


@pytest.mark.golden("sampler", "labelled")
def test_the_labelled_images_and_no_others_are_gone_through() -> None:
    survey = TinySurvey()
    survey.labels = torch.tensor([3, -1, 0, -1, -1, 7])
    assert Labelled().select(survey, 1).tolist() == [0, 2, 5]
    with pytest.raises(UsageError, match="no image has a label"):
        Labelled().check_images(torch.tensor([-1, -1]), 8)


@pytest.mark.golden("protocol", "aff")
@pytest.mark.golden("protocol", "fsf")
@pytest.mark.golden("protocol", "semi-supervised")
def test_full_tuning_moves_its_own_branches_and_few_labels_take_few_steps(tmp_path: Path) -> None:
    tables = tiny.tables()
    common = {"epochs": 1, "decay_at": [], "view": "none", "attacks": ["fgsm"], "samples": 16, "audit": 0}
    tables["evaluate"] = [
        {"use": "aff", "route": ["clean", "adv"], "clean_route": "clean", "steps": 1, "batch": 400, **common},
        {"use": "fsf", "route": ["clean"], "batch": 400, **common},
        {"use": "semi-supervised", "route": ["clean"], "batch": 64, **common},
    ]
    composition = from_tables(tables, "tiny")
    run = composition.train(tmp_path / "run", device="cpu", report=False)
    last = composition.recipe.stage[-1].name
    judged = load(stage_folder(run.path, last))

    def moved(protocol: str, route: str) -> set[str]:
        tuned = load(stage_folder(run.path, f"evaluate-{protocol}-{route}-{last}"))
        return _moved(judged, tuned)

    assert moved("aff", "clean") == {"weights", "clean"}
    assert moved("aff", "adv") == {"weights", "clean", "adv"}
    assert moved("fsf", "clean") == {"weights", "clean"}
    assert moved("semi-supervised", "clean") == set()
    labelled = round(0.1 * _trained_on(composition))
    steps = facts(run.path, f"evaluate-semi-supervised-clean-{last}")["steps"]  # type: ignore[index]
    assert steps == -(-labelled // 64)


def test_a_branch_that_the_encoder_lacks_is_refused() -> None:
    tables = tiny.tables(evaluate=[{"use": "aff", "route": ["adv"], "clean_route": "normal"}])
    with pytest.raises(UsageError, match=r"evaluate\.aff\.aff: the view 'w' takes the route 'normal'"):
        from_tables(tables, "tiny")


def test_a_schedule_is_refused_where_nothing_would_follow_it() -> None:
    tables = tiny.tables(evaluate=[{"use": "slf", "lr": {"cosine": [0.1, 0.01]}}])
    with pytest.raises(UsageError, match=r"evaluate\.slf\.lr: .* give one number"):
        from_tables(tables, "tiny")


def _moved(before: Encoder, after: Encoder) -> set[str]:
    """Return what changed in the backbone: the branches of its norms, and "weights" for what they share."""
    assert not _differing(before.projector, after.projector), "a protocol that reads no projections moved the projector"
    norms = [module for module in before.backbone.modules() if isinstance(module, RoutedNorm)]
    others = [module for module in after.backbone.modules() if isinstance(module, RoutedNorm)]
    found = {
        route
        for route in before.routes
        for norm, other in zip(norms, others, strict=True)
        if _differing(norm.branch(route), other.branch(route))
    }
    weights = before.backbone.state_dict()
    kernels = [name for name in _differing(before.backbone, after.backbone) if weights[name].dim() == 4]
    return found | ({"weights"} if kernels else set())


def _differing(before: nn.Module, after: nn.Module) -> list[str]:
    """Return the tensors that differ; the main branch of a norm holds the others, which are not counted to it."""
    tensors = after.state_dict()
    own = isinstance(before, RoutedNorm)
    names = [name for name in tensors if not (own and name.startswith("others."))]
    return [name for name in names if not torch.equal(before.state_dict()[name], tensors[name])]


def _trained_on(composition: object) -> int:
    return open_splits(composition, torch.device("cpu")).train.samples  # type: ignore[arg-type]


@pytest.mark.golden("protocol", "alf")
def test_alf_by_trades_is_affs_stage_of_a_frozen_encoder() -> None:
    (linear,) = AdversarialLinear(loss="trades", beta=3.0).stages("adv")
    (full,) = AdversarialFull(beta=3.0).stages("adv")
    different = {key for key in linear if linear[key] != full[key]}
    assert different == {"name", "trainable", "mode", "batch", "classifier"}
    assert AdversarialLinear(loss="trades").stages("adv")[0]["term"]["robust"]["weight"] == 6.0
    with pytest.raises(UsageError, match=r'evaluate\.alf: .* beta = 3 weighs the divergence of loss = "trades"'):
        from_tables(tiny.tables(evaluate=[{"use": "alf", "beta": 3.0}]), "tiny")
    with pytest.raises(UsageError, match=r"evaluate\.alf\.loss = 'mart'"):
        from_tables(tiny.tables(evaluate=[{"use": "alf", "loss": "mart"}]), "tiny")


@pytest.mark.golden("protocol", "alf")
def test_two_steps_of_alf_by_trades_by_hand(whole_run: Path, tmp_path: Path) -> None:
    """From zero the first step is the cross-entropy's alone; in the second one beta weighs one divergence, linearly."""

    def tuned(beta: float) -> tuple[Encoder, Any]:
        options = {"loss": "trades", "beta": beta, "epochs": 2, "batch": 5000, "decay_at": [], "lr": 5.0, "steps": 2}
        options |= {"momentum": 0.0, "weight_decay": 0.0, "initial": "zero", "view": "none", "attacks": [], "audit": 0}
        stage = {"name": "judged", "epochs": 0, "init": f"run:{whole_run}"}
        tables = tiny.tables(stage=[stage], evaluate=[{"use": "alf", **options}], threat={"eps": "128/255"})
        made = from_tables(tables, "tiny")
        run = made.train(tmp_path / f"beta-{beta:g}", device="cpu", report=False)
        return load(stage_folder(run.path, "evaluate-alf-clean-judged")), made

    (three, made), (six, _) = tuned(3.0), tuned(6.0)
    train = open_splits(made, torch.device("cpu")).train
    with torch.no_grad(), hold_mode(six, "eval"):
        h = six(train.fetch(torch.arange(train.samples)), "clean", frozenset({"h"})).h.double().numpy()
    label = train.labels.numpy()

    def slope(weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        """The gradient of the mean cross-entropy, image by image."""
        of_weight, of_bias = np.zeros_like(weight), np.zeros_like(bias)
        for row, own in zip(h, label, strict=True):
            grown = np.exp(weight @ row + bias)
            error = grown / grown.sum()
            error[own] -= 1.0
            of_weight += np.outer(error, row) / len(h)
            of_bias += error / len(h)
        return of_weight, of_bias

    weight, bias = np.zeros((10, h.shape[1])), np.zeros(10)
    for _ in range(2):
        of_weight, of_bias = slope(weight, bias)
        weight, bias = weight - 5.0 * of_weight, bias - 5.0 * of_bias
    layers = [encoder.classifier for encoder in (three, six)]
    for name, by_hand in (("weight", weight), ("bias", bias)):
        at_three, at_six = (getattr(layer, name).detach().double().numpy() for layer in layers)
        np.testing.assert_allclose(2 * at_three - at_six, by_hand, atol=2e-5)
        assert np.abs(at_six - at_three).max() > 2e-3, "the divergence has a gradient, a hundred times what is rounded"
