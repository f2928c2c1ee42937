"""What a training step promises, on compositions small enough to take a second, through the public library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import robustcl
from robustcl import registry
from robustcl.errors import NonFiniteLoss, PluginMisbehaved, WeightsError
from robustcl.protocols import Need, Survey
from robustcl.rng import Rng
from robustcl.run.execution import Run
from robustcl.train import checkpoint, stage_files
from robustcl.types import Attack, Clustering, Scene
from tests.shared import tiny
from tests.shared.short import Recorder, stage, train

NONE: frozenset[Need] = frozenset()


def trace(run: Run, key: str = "loss") -> list[float]:
    return [line[key] for line in tiny.lines(run.path / "metrics.jsonl")]


def weights(run: Run, name: str = "it") -> dict[str, Tensor]:
    return load_file(run.path / "stages" / name / "model.safetensors")


class ClusterRecorder(Recorder):
    """The same, reading clusters."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.CLUSTERS})


@pytest.fixture(autouse=True)
def recorders() -> Any:
    Recorder.scenes.clear()
    Recorder.scales.clear()
    with registry.local("objective", "recorder", Recorder), registry.local("objective", "clusters", ClusterRecorder):
        yield


# --- the same again


def test_the_same_recipe_and_seed_give_the_same_trace(tmp_path: Path) -> None:
    first, again, other = (train(tmp_path / name, stage(), seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert trace(first) == trace(again)
    assert weights(first).keys() == weights(again).keys()
    assert all(torch.equal(value, weights(again)[key]) for key, value in weights(first).items())
    assert trace(first) != trace(other)


def test_the_global_generators_decide_nothing_and_are_left_alone(tmp_path: Path) -> None:
    first = train(tmp_path / "a", stage())
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = train(tmp_path / "b", stage())
    assert torch.equal(torch.get_rng_state(), state)
    assert trace(first) == trace(again)


# --- a loss that is no number


class Diverges(Recorder):
    """Finite at the first two steps, not a number afterwards."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        value = super().per_sample(scene)["norm"]
        return {"norm": value * (torch.nan if len(self.scenes) > 2 else 1.0)}


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    table = stage(generator={}, term={"odd": {"use": "diverges", "views": ["w"]}})
    kept = {"checkpoint": "1 steps", "log_every": 1}
    stops = pytest.raises(NonFiniteLoss, match="odd/norm became nan at step 2")
    with registry.local("objective", "diverges", Diverges), stops as caught:
        train(tmp_path / "run", table, run=kept)
    assert caught.value.exit_code == 1
    state, passed = checkpoint.newest(tmp_path / "run/checkpoints/it")
    assert state is not None
    assert state["step"] == 2
    assert passed == []
    assert all(bool(value.isfinite().all()) for value in state["online"].values() if value.is_floating_point())


# --- schedules


def test_schedules_reach_the_learning_rate_the_plugins_and_the_weights(tmp_path: Path) -> None:
    ramp = {"linear": [1.0, 0.0]}
    table = stage(
        generator={},
        term={"it": {"use": "recorder", "views": ["w"], "scale": ramp, "weight": {"linear": [2.0, 0.0]}}},
        optimizer={"use": "sgd", "lr": {"linear": [0.5, 0.0]}, "momentum": 0.0},
    )
    run = train(tmp_path / "run", table)
    steps = [1 - step / 5 for step in range(5)]
    assert trace(run, "lr") == pytest.approx([0.5 * share for share in steps])
    assert Recorder.scales == pytest.approx(steps)
    norms = [float(scene.views["w"].h.detach().square().mean()) for scene in Recorder.scenes]
    assert trace(run) == pytest.approx([2 * share * share * norm for share, norm in zip(steps, norms, strict=True)])


# --- followers


@pytest.mark.parametrize("update", ["before-optimiser", "after-optimiser"])
def test_a_follower_moves_before_or_after_the_optimiser(update: str, tmp_path: Path) -> None:
    table = stage(
        encoders={"slow": {"of": "online", "momentum": 0.75, "update": update}},
        term={"pull": {"use": "info-nce", "views": ["w_adv", "w@slow"]}},
    )
    run = train(tmp_path / "run", table, run={"checkpoint": "1 steps", "log_every": 1})
    start, end = (checkpoint.read(path) for path in sorted((run.path / "checkpoints/it").glob("*.pt")))
    assert (start["step"], end["step"]) == (4, 5)
    leader = start if update == "before-optimiser" else end
    parameters = dict(stage_files.load(run.path / "stages/it").named_parameters())
    for name in parameters:
        expected = start["ema"]["slow"][name].lerp(leader["online"][name], 0.25)
        assert torch.equal(end["ema"]["slow"][name], expected), name
    moved = [name for name in parameters if not torch.equal(start["online"][name], end["online"][name])]
    assert len(moved) > 5
    assert torch.equal(load_file(run.path / "stages/it/slow/model.safetensors")["projector.0.weight"],
                       end["ema"]["slow"]["projector.0.weight"])  # fmt: skip


@pytest.mark.parametrize("buffers", ["own", "copied"])
def test_a_follower_has_its_own_statistics_or_the_leaders(buffers: str, tmp_path: Path) -> None:
    table = stage(
        encoders={"slow": {"of": "online", "momentum": 0.9, "buffers": buffers}},
        term={"pull": {"use": "info-nce", "views": ["w", "w_adv@slow"]}},
    )
    run = train(tmp_path / "run", table)
    online, slow = weights(run), load_file(run.path / "stages/it/slow/model.safetensors")
    names = [name for name in online if name.endswith("running_mean")]
    assert all(torch.equal(online[name], slow[name]) == (buffers == "copied") for name in names)


# --- what stays as it is


@pytest.mark.parametrize(
    ("table", "still"),
    [
        ({"freeze": ["online.projector"]}, "projector."),
        ({"trainable": ["projector"]}, "backbone."),
        ({"term": {"pull": {"use": "info-nce", "views": ["w", "w_adv"], "layer": "h"}}}, "projector."),
    ],
)
def test_what_is_frozen_or_unread_keeps_its_parameters_to_the_bit(
    table: dict[str, Any], still: str, tmp_path: Path
) -> None:
    decay = {"use": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    first = stage(name="first", term={"pull": {"use": "info-nce", "views": ["w", "w_adv"]}})
    run = train(tmp_path / "run", first, stage(init="stage:first", optimizer=decay, **table))
    before, after = weights(run, "first"), weights(run)
    parameters = dict(stage_files.load(run.path / "stages/it").named_parameters())
    same = {name for name in parameters if torch.equal(before[name], after[name])}
    assert {name for name in parameters if name.startswith(still)} <= same
    assert parameters.keys() - same, "something else must have learnt"


def test_adversarial_training_alone_leaves_the_clean_statistics(tmp_path: Path) -> None:
    first = stage(name="first")
    table = stage(init="stage:first", routes={"w": "clean", "w_adv": "adv"},
                  term={"it": {"use": "recorder", "views": ["w_adv"]}})  # fmt: skip
    run = train(tmp_path / "run", first, table)
    before, after = weights(run, "first"), weights(run)
    clean = [name for name in before if "running" in name]
    assert clean
    assert all(torch.equal(before[name], after[name]) for name in clean)
    adversarial = [name for name in after if "others.adv.running" in name]
    backbone = [name for name in adversarial if name.startswith("backbone.")]
    assert backbone
    assert all(not torch.equal(after[name], after[name.replace("others.adv.", "")]) for name in backbone)


# --- views, labels, clusters


def test_a_view_drawn_several_times(tmp_path: Path) -> None:
    table = stage(views={"w": {"use": "weak", "count": 3}}, generator={},
                  term={"it": {"use": "recorder", "views": ["w"]}})  # fmt: skip
    train(tmp_path / "run", table)
    views = Recorder.scenes[0].batch.views
    assert sorted(views) == sorted(Recorder.scenes[0].views) == ["w1", "w2", "w3"]
    assert not torch.equal(views["w1"], views["w2"])
    assert not torch.equal(views["w2"], views["w3"])


def test_labels_from_clusters(tmp_path: Path) -> None:
    table = stage(
        generator={},
        labels="targets:0",
        classifier="default",
        targets={"use": "spherical-kmeans", "clusters": 4, "refresh": "never"},
        term={"it": {"use": "clusters", "views": ["w"]}, "ce": {"use": "cross-entropy", "views": ["w"]}},
    )
    run = train(tmp_path / "run", table)
    for scene in Recorder.scenes:
        assert torch.equal(scene.batch.label, scene.clusters.assignment[0][scene.batch.index])
        assert int(scene.batch.label.max()) < 4
    assert stage_files.load(run.path / "stages/it").classes == 4


@pytest.mark.parametrize("item", ["x" * 1000, [], [1, "8", 8], [1, 0, 8], None])
def test_a_description_of_no_image_is_refused_in_few_words(tmp_path: Path, item: object) -> None:
    folder = train(tmp_path / "a", stage()).path / "stages/it"
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "item": item}))
    with pytest.raises(WeightsError, match=r"an encoder .*: item is .*, not a list of sizes") as said:
        stage_files.load(folder)
    assert len(str(said.value)) < 400


class Counted:
    """A target that counts how often it is asked, and for how many clusters."""

    needs: ClassVar[frozenset[Need]] = NONE
    citation: ClassVar[str] = "none: a test's own"
    asked: ClassVar[list[tuple[int, ...]]] = []

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        self.asked.append(clusters)
        plain: Any = registry.get("target", "spherical-kmeans")
        found: Clustering = plain().fit(features, clusters, rng)
        return found


@pytest.mark.parametrize(("refresh", "fits"), [("1 epoch", 3), ("2 epochs", 2), ("never", 1)])
def test_clusters_are_chosen_once_and_refitted_at_their_cadence(refresh: str, fits: int, tmp_path: Path) -> None:
    Counted.asked.clear()
    table = stage(
        epochs=3,
        generator={},
        targets={"use": "counted", "clusters": "silhouette", "grid": [3, 4], "refresh": refresh},
        term={"it": {"use": "clusters", "views": ["w"]}},
    )
    with registry.local("target", "counted", Counted):
        run = train(tmp_path / "run", table)
    (curve,) = run.results.tables["silhouette"]
    chosen = curve["chosen"]
    assert chosen == max(zip(curve["score"], curve["grid"], strict=True))[1]
    assert Counted.asked == [(3,), (4,), *[(chosen,)] * fits]
    assert {len(scene.clusters.centroids[0]) for scene in Recorder.scenes} == {chosen}
    assert len({id(scene.clusters) for scene in Recorder.scenes}) == fits


# --- samplers


class FirstRows:
    """A sampler of as many first images as the epoch says, which looks at the model too."""

    needs: ClassVar[frozenset[Need]] = NONE
    citation: ClassVar[str] = "none: a test's own"
    asked: ClassVar[list[int]] = []

    def select(self, survey: Survey, epoch: int) -> Tensor:
        self.asked.append(epoch)
        rows = torch.arange(256 if epoch < 2 else 128)
        assert survey.take(rows[:4]).views.keys() == {"w"}
        assert survey.embed("w", "online", rows[:4]).shape[0] == 4
        gradients = survey.gradient(rows[:4], "backbone")
        assert any(bool(gradient.any()) for gradient in gradients)
        return rows


@pytest.mark.parametrize(("after", "asked", "steps"), [(0, [0, 2], 6), (1, [1, 3], 10)])
def test_a_sampler_chooses_the_images_of_the_coming_epochs(
    after: int, asked: list[int], steps: int, tmp_path: Path
) -> None:
    FirstRows.asked.clear()
    table = stage(
        epochs=4,
        generator={},
        sampler={"use": "first-rows", "every": 2, "after": after},
        term={"it": {"use": "recorder", "views": ["w"]}},
    )
    with registry.local("sampler", "first-rows", FirstRows):
        run = train(tmp_path / "run", table)
        calm = train(tmp_path / "calm", table)
    assert FirstRows.asked == asked * 2
    lines = tiny.lines(run.path / "metrics.jsonl")
    assert len(lines) == steps
    assert lines[-1]["epoch"] == 4
    late = [line for line in lines if line["epoch"] > asked[1]]
    assert len(late) == 4 - asked[1]
    assert trace(run) == trace(calm)


# --- attacks leave no traces


class Careless:
    """A generator that calls ``backward`` and draws from the global generator."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation: ClassVar[str] = "none: a test's own"

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        leaf = x.detach().requires_grad_()
        attack.encode(leaf).h.sum().backward()
        torch.rand(1)
        return x


def test_a_generator_that_leaves_traces_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(PluginMisbehaved, match=r"careless.*(traces|random)")
    with registry.local("generator", "careless", Careless), refused:
        train(tmp_path / "run", stage(generator={"w_adv": {"use": "careless", "reads": ["w"]}}))


@pytest.mark.parametrize("mode", ["eval", "batch"])
def test_an_attack_without_reach_changes_nothing(mode: str, tmp_path: Path) -> None:
    """A ball of size 0: searching in it costs passes through the encoder, and must not be noticed afterwards."""
    pgd = {"use": "pgd", "reads": ["w"], "steps": 2, "mode": mode, "ball": {"eps": 0}}
    attacked, plain = (
        train(tmp_path / name, stage(generator={"w_adv": generator}))
        for name, generator in (("attacked", pgd), ("plain", {"use": "none", "reads": ["w"]}))
    )
    assert trace(attacked) == trace(plain)
    assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(attacked).items())


def test_an_attack_in_train_mode_moves_statistics(tmp_path: Path) -> None:
    pgd = {"use": "pgd", "reads": ["w"], "steps": 2, "mode": "train", "ball": {"eps": 0}}
    run, plain = (
        train(tmp_path / name, stage(generator={"w_adv": generator}))
        for name, generator in (("run", pgd), ("plain", {"use": "none", "reads": ["w"]}))
    )
    name = next(name for name in weights(run) if name.endswith("running_mean"))
    assert not torch.equal(weights(run)[name], weights(plain)[name])


# --- as a library


def test_compose_train_and_read_the_results(tmp_path: Path) -> None:
    settings = (
        "encoder.width=2", "stage.pretrain.epochs=1", "stage.robust.targets.clusters=5", "data.validation=0.5",
        "evaluate.slf.epochs=1", "evaluate.slf.samples=8", "evaluate.slf.attacks=[\"fgsm\"]",
    )  # fmt: skip
    composition = robustcl.compose(
        generator="ncp", objective="deacl", encoder="resnet-small", budget="smoke", overrides=settings
    )
    seen: list[tuple[str, int, int]] = []
    run = composition.train(
        out=tmp_path / "run", device="cpu", watcher=lambda name, step, steps, numbers: seen.append((name, step, steps))
    )
    frame = run.results.to_frame()
    assert set(frame["route"]) == {"clean", "adv"}
    assert set(frame["split"]) == {"test", "validation"}
    assert set(frame["attack"].dropna()) == {"fgsm"}
    assert set(frame[frame["attack"].isna()]["metric"]) == {"clean_acc"}
    assert bool(frame["value"].between(0, 1).all())
    assert {"pretrain", "robust"} < {name for name, _, _ in seen}
    assert all(step <= steps for _, step, steps in seen)
    assert json.loads((run.path / "results.json").read_text(encoding="utf-8"))["rows"] == run.results.tables["rows"]
    # A finished run has nothing left to do: resuming it trains and judges nothing, and gives the same numbers.
    journal = (run.path / "journal.jsonl").read_bytes()
    again = robustcl.resume(run.path, watcher=lambda *told: pytest.fail("it trained again"))
    assert again.results.tables["rows"] == run.results.tables["rows"]
    assert (run.path / "journal.jsonl").read_bytes() == journal
