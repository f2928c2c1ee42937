"""ProFeAT: its losses, its attack, its views and the whole recipe, against the formulas as loops over plain floats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchvision.transforms import AutoAugment as Library
from torchvision.transforms import AutoAugmentPolicy

from robustcl import compose
from robustcl.errors import NeedNotMet, UsageError
from robustcl.rng import Rng
from robustcl.testing import make_scene
from robustcl.threat import Ball
from robustcl.train import stage_files
from robustcl.types import Attack, Embedding, Oracle, Scene
from robustcl_plugins.generators.profeat import ProFeAT as Generator
from robustcl_plugins.objectives.profeat import ProFeAT
from robustcl_plugins.views.auto_augment import AutoAugment
from tests.shared.one_step import TINY, one_step

Vectors = Sequence[Sequence[float]]


def _cos(u: Sequence[float], v: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(u, v, strict=True))
    return dot / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))


def _drawn(seed: int, *shape: int) -> Tensor:
    return Rng(seed, "drawn").normal(shape, dtype=torch.float64)


def four_losses(scene: Scene) -> dict[str, list[float]]:
    """The two terms of the defence loss, each on features and on projections, image by image."""
    found: dict[str, list[float]] = {}
    for layer in ("h", "z"):
        clean, adversarial, teacher = (
            getattr(scene.views[role], layer).tolist() for role in ("clean", "adversarial", "teacher")
        )
        found[f"distil-{layer}"] = [-_cos(f, t) for f, t in zip(clean, teacher, strict=True)]
        found[f"robust-{layer}"] = [-_cos(a, f) for a, f in zip(adversarial, clean, strict=True)]
    return found


def _scene(images: int = 5) -> Scene:
    roles = ("clean", "adversarial", "teacher")
    views = {
        role: Embedding(h=_drawn(i, images, 6).requires_grad_(), z=_drawn(10 + i, images, 4).requires_grad_())
        for i, role in enumerate(roles)
    }
    return make_scene(views, apart=["teacher"])


@pytest.mark.golden("objective", "profeat")
def test_the_four_terms_are_negative_cosines() -> None:
    scene = _scene()
    found = ProFeAT().per_sample(scene)
    for name, expected in four_losses(scene).items():
        assert found[name].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.golden("objective", "profeat")
def test_the_four_terms_by_hand() -> None:
    """Features at right angles, projections alike, opposite ones to the adversary."""
    one, two = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    views = {"clean": Embedding(h=one, z=one), "adversarial": Embedding(h=-two, z=-one)}
    found = ProFeAT().per_sample(make_scene({**views, "teacher": Embedding(h=two, z=one)}))
    assert {name: value.item() for name, value in found.items()} == {
        "distil-h": 0.0, "distil-z": -1.0, "robust-h": 0.0, "robust-z": 1.0,
    }  # fmt: skip


@pytest.mark.golden("objective", "profeat")
def test_both_sides_of_the_robust_terms_have_gradient() -> None:
    scene = _scene()
    found = ProFeAT().per_sample(scene)
    for layer in ("h", "z"):
        for role in ("clean", "adversarial"):
            leaf = getattr(scene.views[role], layer)
            assert bool(torch.autograd.grad(found[f"robust-{layer}"].sum(), leaf, retain_graph=True)[0].any())


@pytest.mark.golden("objective", "profeat")
def test_a_projector_of_another_width_is_refused() -> None:
    scene = _scene()
    wide = Embedding(h=scene.views["teacher"].h, z=_drawn(5, 5, 7))
    with pytest.raises(UsageError, match="widths 4 and 7"):
        ProFeAT().per_sample(scene.but(views={**scene.views, "teacher": wide}))


# --- the attack


def _attack(features: Tensor, projection: Tensor, x: Tensor, target: Tensor) -> Attack:
    rows = torch.arange(len(x))

    def embed(v: Tensor) -> Embedding:
        h = v @ features.T
        return Embedding(h=h, z=h @ projection.T)

    return Attack(
        oracle=Oracle(encode=lambda v, places: embed(v), clean=lambda places: embed(x).take(places).detach()),
        ball=Ball("Linf", 0.1),
        rng=Rng(0, "attack").for_rows(rows),
        label=rows,
        index=rows,
        places=rows,
        constants={"target": Embedding(z=target)},
    )


def _slope(weight: Vectors, x: Sequence[float], target: Sequence[float]) -> list[float]:
    """d cos(W x, t) / d x = W^T (t / (|f| |t|) - cos(f, t) f / |f|^2), with f = W x."""
    f = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weight]
    square, lengths = sum(a * a for a in f), math.sqrt(sum(a * a for a in f) * sum(b * b for b in target))
    inner = [t / lengths - _cos(f, target) * a / square for t, a in zip(target, f, strict=True)]
    return [sum(weight[i][j] * inner[i] for i in range(len(f))) for j in range(len(x))]


@pytest.mark.golden("generator", "profeat")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_attack_leaves_clean_features_and_the_teachers_projection(steps: int) -> None:
    features, projection, target = _drawn(1, 4, 5), _drawn(2, 3, 4), _drawn(3, 6, 3)
    x = torch.sigmoid(_drawn(4, 6, 5))
    clean = (x @ features.T).tolist()
    whole = (projection @ features).tolist()
    adv = x.tolist()
    for _ in range(steps):
        for i in range(len(adv)):
            toward_self = _slope(features.tolist(), adv[i], clean[i])
            toward_target = _slope(whole, adv[i], target[i].tolist())
            for j in range(5):
                slope = -toward_self[j] - toward_target[j]
                moved = adv[i][j] + math.copysign(0.03, slope)
                lowest, highest = max(0.0, float(x[i, j]) - 0.1), min(1.0, float(x[i, j]) + 0.1)
                adv[i][j] = min(max(moved, lowest), highest)
    found = Generator(steps=steps, step_size=0.03, start="none").perturb(x, _attack(features, projection, x, target))
    torch.testing.assert_close(found, torch.tensor(adv, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.golden("generator", "profeat")
def test_an_unbound_target_is_refused_in_a_sentence() -> None:
    with pytest.raises(NeedNotMet, match=r"s_adv: profeat reads the constant 'target', which is not bound"):
        compose(recipe="profeat", overrides=["stage.robust.generator.constants={}"])
    with pytest.raises(NeedNotMet, match="did you mean 'targets'"):
        compose(recipe="profeat", overrides=['stage.robust.generator.constants={ targets = "w@teacher" }'])


# --- the strong view


def _images(count: int, channels: int = 3) -> Tensor:
    return Rng(1, "images").integers(256, (count, channels, 16, 16)).float() / 255


@pytest.mark.golden("view", "auto-augment")
@pytest.mark.parametrize("channels", [1, 3])
def test_auto_augment_is_the_librarys_on_pillow_images(channels: int) -> None:
    """The policies carried out by Pillow, with the same draws; its geometry may round a pixel elsewhere."""
    count = 200
    x, rng = _images(count, channels), Rng(3, "view").for_rows(torch.arange(count))
    found = AutoAugment().draw(x, rng)
    again = Rng(3, "view").for_rows(torch.arange(count))
    which, happens, signs = again.integers(25, (count,)), again.uniform((count, 2)), again.integers(2, (count, 2))
    same = 0
    for i in range(count):
        library = Library(AutoAugmentPolicy.CIFAR10, fill=[128.0] * channels)
        library.get_params = lambda number, i=i: (int(which[i]), happens[i], signs[i])  # type: ignore[method-assign]
        pixels = (255 * x[i]).round().byte().permute(1, 2, 0).numpy().squeeze()
        expected = np.asarray(library(Image.fromarray(pixels)), dtype=np.float64).reshape(16, 16, channels)
        difference = np.abs(255 * found[i].permute(1, 2, 0).double().numpy() - expected)
        same += bool((difference <= 1.01).mean() > 0.97)
    assert same >= 0.9 * count


@pytest.mark.golden("view", "auto-augment")
def test_the_first_policy_of_the_table_by_hand() -> None:
    """(Invert, 0.1), (Contrast, 0.2, 6): the inverted image is 1 - x, and seldom anything else happens."""
    rng = Rng(0, "view").for_rows(torch.arange(20_000))
    which, happens = rng.integers(25, (20_000,)), rng.uniform((20_000, 2))
    inverted = (which == 0) & (happens[:, 0] <= 0.1) & (happens[:, 1] > 0.2)
    rows = inverted.nonzero()[:, 0]
    assert 40 < len(rows) < 90
    x = _images(len(rows))
    found = AutoAugment().draw(x, Rng(0, "view").for_rows(rows))
    torch.testing.assert_close(found, 1 - x, rtol=0, atol=1e-6)


@pytest.mark.golden("view", "auto-augment")
def test_every_policy_is_drawn_equally_often() -> None:
    drawn = Counter(Rng(0, "view").for_rows(torch.arange(25_000)).integers(25, (25_000,)).tolist())
    assert set(drawn) == set(range(25))
    assert all(abs(count - 1000) < 5 * math.sqrt(1000) for count in drawn.values())


@pytest.mark.golden("view", "auto-augment")
def test_auto_augment_refuses_what_it_cannot_do() -> None:
    rng = Rng(0).for_rows(torch.arange(2))
    with pytest.raises(UsageError, match="1 or 3 channels, not 2"):
        AutoAugment().draw(torch.rand(2, 2, 8, 8), rng)
    with pytest.raises(UsageError, match="takes images"):
        AutoAugment().draw(torch.rand(2, 64), rng)


# --- the recipe


@pytest.mark.golden("recipe", "profeat")
def test_the_recipe_is_the_mean_over_layers_with_beta_eight() -> None:
    seen = one_step("profeat", "robust")
    losses = four_losses(seen.scenes["profeat"])
    mean = {name: sum(values) / len(values) for name, values in losses.items()}
    expected = 0.5 * (mean["distil-h"] + mean["distil-z"]) + 8 * 0.5 * (mean["robust-h"] + mean["robust-z"])
    assert seen.losses["total"].item() == pytest.approx(expected, rel=1e-9)
    views = seen.batch.views
    assert len({views[name].sum().item() for name in ("w", "aa", "s", "s_adv")}) == 4
    assert float((views["s_adv"] - views["s"]).abs().max()) == pytest.approx(32 / 255)


@pytest.mark.golden("recipe", "profeat")
def test_student_and_teacher_look_at_different_views_in_passes_of_their_own() -> None:
    seen = one_step("profeat", "robust")
    encoders, views = seen.run.encoders, seen.batch.views
    layers = frozenset({"h", "z"})
    alone = {
        "clean": encoders.embed(views["s"], "online", "clean", layers, "batch"),
        "adversarial": encoders.embed(views["s_adv"], "online", "clean", layers, "batch"),
        "teacher": encoders.embed(views["w"], "teacher", "clean", layers, "eval"),
    }
    for role, expected in alone.items():
        torch.testing.assert_close(seen.scenes["profeat"].views[role].z, expected.z)


@pytest.mark.golden("recipe", "profeat")
def test_the_recipes_attack_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Tensor] = {}
    original = Generator.perturb

    def watched(plugin: Any, x: Tensor, attack: Attack) -> Tensor:
        result = original(plugin, x, attack)
        h, z, adv = attack.encode(x).h.detach(), attack.constants["target"].z, x
        for _ in range(2):
            leaf = adv.clone().requires_grad_()
            seen = attack.encode(leaf)
            loss = -cosine_similarity(seen.h, h).sum() - cosine_similarity(seen.z, z).sum()
            step = 8 / 255 * torch.autograd.grad(loss, leaf)[0].sign()
            adv = (adv + step).clamp(x - 32 / 255, x + 32 / 255).clamp(0, 1)
        found.update(result=result, expected=adv, target=z)
        return result

    monkeypatch.setattr(Generator, "perturb", watched)
    # The first signs of a start at the image itself are those of the teacher's part: h is at its maximum there.
    settings = ("stage.robust.generator.start=none", "stage.robust.generator.steps=2")
    seen = one_step("profeat", "robust", settings)
    torch.testing.assert_close(found["result"], found["expected"], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["target"], seen.scenes["profeat"].views["teacher"].z)


@pytest.mark.golden("recipe", "profeat")
def test_the_frozen_projector_is_the_loaded_one(tmp_path: Path) -> None:
    settings = [*TINY, "encoder.projector.widths=[8,4]", "data.validation=0.8", "evaluate.slf.samples=8"]
    run = compose(recipe="profeat", budget="smoke", overrides=settings).train(
        tmp_path / "run", device="cpu", report=False
    )
    first, second = (
        _parts(stage_files.load(stage_files.resolve(f"stage:{name}", run.path))) for name in ("pretrain", "robust")
    )
    assert all(torch.equal(value, second["projector"][key]) for key, value in first["projector"].items())
    assert any(not torch.equal(value, second["backbone"][key]) for key, value in first["backbone"].items())


def _parts(encoder: Any) -> Mapping[str, Mapping[str, Tensor]]:
    return {"projector": encoder.projector.state_dict(), "backbone": encoder.backbone.state_dict()}
