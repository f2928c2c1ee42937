"""Stages that runs share by the store: trained once, taken to the bit, and never where anything else decides them."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robustcl
from robustcl import registry
from robustcl.api import from_tables
from robustcl.disk import Leases
from robustcl.errors import Interrupted, UsageError
from robustcl.run import contents, folder, keying, sharing
from robustcl.run.keying import describe_stage
from robustcl.run.splits import open_splits
from robustcl.run.stages import Stages
from robustcl.store.entries import Store
from robustcl.store.manifest import key_of
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing
from robustcl_plugins.views.weak import Weak
from tests.fuzz.spoilt import small_disk
from tests.shared import tiny
from tests.shared.forks import Asked, fork_all

TABLES = tiny.tables(evaluate=[])


class Trained:
    """A run of the tiny recipe without an evaluation, what it said, and the stage of each step that it made."""

    def __init__(self, out: Path, store: Path | str | None, tables: Mapping[str, Any] = TABLES) -> None:
        self.out, self.said, self.steps = out, list[str](), list[str]()
        from_tables(tables, "tiny").train(
            out, store=store, report=False, say=self.said.append, watcher=lambda stage, *_: self.steps.append(stage)
        )

    @property
    def weights(self) -> dict[str, bytes]:
        """The weights and clusters of all stages."""
        found = [*self.out.glob("stages/**/model.safetensors"), *self.out.glob("stages/*/clusters/*.pt")]
        return {path.relative_to(self.out).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that has filled a store beside it."""
    base = tmp_path_factory.mktemp("first")
    return Trained(base / "run", base / "store")


@pytest.fixture
def store(first: Trained, tmp_path: Path) -> Store:
    """A copy of its store."""
    shutil.copytree(first.out.parent / "store", tmp_path / "store")
    return Store(tmp_path / "store")


def test_a_second_run_trains_nothing_and_ends_alike(first: Trained, store: Store, tmp_path: Path) -> None:
    assert len(first.steps) == tiny.STEPS
    second = Trained(tmp_path / "run", store.folder, TABLES | {"name": "called-otherwise"})
    assert second.steps == []
    assert second.weights == first.weights
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (first.out / "metrics.jsonl").read_bytes()
    assert sum("taken from the store" in said and "10 steps in" in said for said in second.said) == 2
    for stage in ("pretrain", "robust"):
        mine, theirs = (
            json.loads((run.out / "stages" / stage / "finished.json").read_text()) for run in (second, first)
        )
        assert mine.pop("taken")["key"] in store.list_keys()
        assert mine == theirs


def test_a_run_that_began_without_ending_takes_the_rest_on_resume(
    first: Trained, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tiny.RECIPE.partition("[[evaluate]]")[0] + "[run]\ncheckpoint = '2 steps'\nlog_every = 1\n")
    alone = tmp_path / "alone"  # empty: the first stage is trained up to its fifth step
    (ended,) = tiny.run_legs(
        tmp_path, [tiny.Leg(["run", recipe.name, "--out", "run", "--store", "alone"], "within a log line", 5)]
    )
    assert ended.code == -9
    assert json.loads((out / "run.json").read_text())["store"] == str(alone)
    shutil.rmtree(alone)
    shutil.copytree(store.folder, alone)
    steps: list[str] = []
    robustcl.resume(out, watcher=lambda stage, *_: steps.append(stage), say=lambda said: None, report=False)
    assert steps == []
    assert (out / "metrics.jsonl").read_bytes() == (first.out / "metrics.jsonl").read_bytes()


def test_a_damaged_stage_is_trained_and_replaced(first: Trained, store: Store, tmp_path: Path) -> None:
    last = next(key for key in store.list_keys() if (store.entry(key) / "clusters").is_dir())
    path = store.entry(last) / "slow" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    found = Trained(tmp_path / "run", store.folder)
    assert found.steps == ["robust"] * 10
    assert sum("is not taken" in said and "damaged" in said for said in found.said) == 1
    assert found.weights == first.weights
    assert [store.fault(key) for key in store.list_keys()] == [None, None]


def test_two_at_once_train_once(first: Trained, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny.RECIPE.partition("[[evaluate]]")[0])
    asked = [
        Asked(["run", "tiny.toml", "--out", name, "--store", "store"], tmp_path, tiny.environment(), together=True)
        for name in ("a", "b")
    ]
    ends = fork_all(asked)
    assert [end.returncode for end in ends] == [0, 0], ends
    taken = [(tmp_path / name / "stages" / stage / "finished.json").read_text().count('"taken"')
             for name in ("a", "b") for stage in ("pretrain", "robust")]  # fmt: skip
    assert sum(taken) == 2
    for path in first.weights:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_of_two_that_train_together_the_first_takes_for_both(tmp_path: Path) -> None:
    recipe = tiny.RECIPE.partition('[[stage]]\nname = "robust"')[0]
    (tmp_path / "short.toml").write_text(recipe)
    for name in ("a", "b"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        shared = tiny.environment() | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        shared |= {"MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": "0"}
        command = ["run", "short.toml", "--out", name, "--store", "store", "--device", "cpu", "--devices", "2"]
        ends = fork_all([
            Asked(command, tmp_path, {**shared, "RANK": rank, "LOCAL_RANK": rank}, together=True) for rank in "01"
        ])  # fmt: skip
        assert [end.returncode for end in ends] == [0, 0], [end.stdout for end in ends]
        assert sum(end.stdout.count("taken from the store") for end in ends) == (name == "b")
    weights = (tmp_path / name / "stages" / "pretrain" / "model.safetensors" for name in ("a", "b"))
    assert next(weights).read_bytes() == next(weights).read_bytes()
    assert not (tmp_path / "b" / "checkpoints").exists()


def test_a_holder_that_was_killed_is_replaced(first: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.3)
    monkeypatch.setattr(sharing, "PAUSE", 0.05)
    store = Store(tmp_path / "store")
    kept = Store(first.out.parent / "store").list_keys()
    with Leases(store.leases, beat=1000.0) as leases:  # it gives no sign of life any more
        for key in kept:
            assert leases.take(key)
        found = Trained(tmp_path / "run", store.folder)
    assert len(found.steps) == tiny.STEPS
    assert sum("trains the same at this moment" in said for said in found.said) == 2
    assert store.list_keys() == kept


def test_who_finishes_between_a_look_and_a_lease_is_taken_from(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Store(tmp_path / "late")

    class Slow(Leases):
        def take(self, name: str) -> bool:
            if not late.entry(name).exists():
                shutil.copytree(store.entry(name), late.entry(name))
            return super().take(name)

    monkeypatch.setattr(sharing, "Leases", Slow)
    assert Trained(tmp_path / "run", late.folder).steps == []
    assert list(late.leases.iterdir()) == []


def test_a_store_that_is_full_stops_nothing(first: Trained, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12k") as disk:
        if disk is None:
            pytest.skip("no file system can be mounted here")
        found = Trained(tmp_path / "run", disk)
        assert len(found.steps) == tiny.STEPS
        assert sum("takes nothing" in said and "the disk is full" in said for said in found.said) == 1
        assert Store(disk).list_keys() == []
    assert found.weights == first.weights


def test_a_store_that_is_read_only_is_read(store: Store, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        if disk is None:
            pytest.skip("no file system can be mounted here")
        last = next(key for key in store.list_keys() if (store.entry(key) / "clusters").is_dir())
        store.remove(last)
        shutil.copytree(store.folder, disk / "store")
        shutil.rmtree(disk / "store" / "leases")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        found = Trained(tmp_path / "run", disk / "store")
    assert found.steps == ["robust"] * 10
    assert sum("takes nothing" in said and "read-only" in said for said in found.said) == 1


# What decides a stage.


def key(
    where: Path, number: int = 1, precision: str = "32-true", tables: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """Return the key that a stage of a run would have; nothing is trained, what it starts from is the first run's."""
    composition = from_tables((tables or TABLES) | changes, "tiny")
    engine = Engine("cpu", 1, precision)
    splits = open_splits(composition, engine.device, test=bool(composition.evaluations))
    if not (where / "recipe.lock.toml").is_file():
        folder.create(composition, where, {"device": "cpu", "devices": 1, "precision": precision})
    contents.keep_or_compare(where, splits, lambda said: None)
    return key_of(describe_stage(Stages(composition, where, engine, watch_nothing, print, splits), number))


def test_the_key_is_of_the_stage_and_of_nothing_else(first: Trained, tmp_path: Path) -> None:
    same = key(tmp_path / "same", 0)
    assert same in Store(first.out.parent / "store").list_keys()
    judged = tiny.tables(name="other", run={"checkpoint": "1 epoch", "log_every": 50}, about="said otherwise")
    later = [TABLES["stage"][0], TABLES["stage"][1] | {"epochs": 7}]
    assert key(tmp_path / "judged", 0, tables=judged) == same
    assert key(tmp_path / "later", 0, stage=later) == same


CHANGES: Mapping[str, dict[str, Any]] = {
    "seed": {"seed": 1},
    "batch": {"data": {"use": "digits", "batch": 64}},
    "images": {"data": {"use": "digits", "batch": 128, "only": [0, 1, 2]}},
    "held out": {"data": {"use": "digits", "batch": 128, "validation": 0.2}},
    "threat": {"threat": {"eps": "4/255"}},
    "encoder": {"encoder": TABLES["encoder"] | {"width": 4}},
    "stage": {"stage": [TABLES["stage"][0] | {"epochs": 2}]},
    "precision": {"precision": "64-true"},
}


def test_whatever_decides_a_stage_makes_another_key(tmp_path: Path) -> None:
    keys = [key(tmp_path / "plain", 0), *(key(tmp_path / name, 0, **change) for name, change in CHANGES.items())]
    assert len({*keys}) == len(CHANGES) + 1


def test_software_and_code_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = key(tmp_path / "plain", 0)
    with monkeypatch.context() as patched:
        patched.setattr(keying, "version", lambda: "9.9")
        assert key(tmp_path / "version", 0) != plain
    with monkeypatch.context() as patched:
        patched.setattr(keying, "_digest_code", lambda package: f"other {package}")
        assert key(tmp_path / "code", 0) != plain
    assert key(tmp_path / "again", 0) == plain


def test_a_stage_is_known_by_the_weights_that_it_starts_from(first: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(first.out, run)
    assert key(run) in Store(first.out.parent / "store").list_keys()
    path = run / "stages" / "pretrain" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert key(run) not in Store(first.out.parent / "store").list_keys()


def test_outside_weights_count_by_what_they_are_and_not_by_where_they_lie(first: Trained, tmp_path: Path) -> None:
    def of(name: str) -> str:
        stage = {**TABLES["stage"][0], "init": f"file:{tmp_path / name}"}
        return key(tmp_path / f"run-{name}", 0, stage=[stage])

    for name in ("here", "there", "spoilt"):
        shutil.copytree(first.out / "stages" / "pretrain", tmp_path / name)
    path = tmp_path / "spoilt" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert of("here") == of("there") != of("spoilt")


def test_the_same_images_in_another_place_take_the_stage(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 4
    steps = []
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
        tables = TABLES | {"data": {"use": "npz", "path": str(tmp_path / f"{name}.npz"), "batch": 16}}
        found = Trained(tmp_path / name, tmp_path / "store", tables | {"stage": TABLES["stage"][:1]})
        steps.append(len(found.steps))
    assert steps == [2, 0]


def test_images_count_by_what_they_are_and_not_by_where_they_lie(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(40) % 4

    def of(name: str, x: Any, y: Any) -> str:
        np.savez(tmp_path / name, x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
        data = {"use": "npz", "path": str(tmp_path / name), "batch": 16}
        return key(tmp_path / f"run-{name}", 0, data=data)

    brighter = images.copy()
    brighter[3, 0, 0, 0] ^= 1
    assert of("a.npz", images, labels) == of("b.npz", images, labels)
    assert (
        len({of("a2.npz", images, labels), of("c.npz", brighter, labels), of("d.npz", images, labels[::-1].copy())})
        == 3
    )


def test_a_changed_run_and_a_notebooks_plugin_are_not_shared(first: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(first.out, run)
    lock = run / "recipe.lock.toml"
    lock.write_text(lock.read_text() + '\n[[lock.history]]\nset = ["stage.robust.clip=1.0"]\n')
    with pytest.raises(UsageError, match="resume --set"):
        key(run)
    with registry.local("view", "mine", Weak), pytest.raises(UsageError, match="no installed distribution"):
        key(tmp_path / "local", 0, stage=[TABLES["stage"][0] | {"views": {"a": "mine", "b": "weak"}}])


def test_a_strangers_run_writes_into_no_folder_and_brings_no_beginning(store: Store, tmp_path: Path) -> None:
    recipe = tiny.RECIPE.partition("[[evaluate]]")[0] + "[run]\ncheckpoint = '2 steps'\nlog_every = 1\n"
    (tmp_path / "tiny.toml").write_text(recipe)
    tiny.run_legs(tmp_path, [tiny.Leg(["run", "tiny.toml", "--out", "run"], "within a checkpoint", 3)])
    run, said = tmp_path / "run", list[str]()
    told = json.loads((run / "run.json").read_text())
    for key in store.list_keys():
        store.remove(key)
    (run / "checkpoints" / "pretrain" / "store.json").write_text(json.dumps({"word": "0" * 32}))
    (tmp_path / "notes").mkdir()
    (run / "run.json").write_text(json.dumps(told | {"store": str(tmp_path / "notes")}))
    with pytest.raises(Interrupted):
        robustcl.resume(run, say=said.append, report=False, watcher=interrupt)
    assert sum("is no store here" in sentence for sentence in said) == 1
    assert list((tmp_path / "notes").iterdir()) == []
    (run / "run.json").write_text(json.dumps(told | {"store": str(store.folder)}))
    robustcl.resume(run, say=said.append, report=False)
    assert [
        json.loads((store.entry(key) / "manifest.json").read_text())["about"]["stage"] for key in store.list_keys()
    ] == ["robust"]


def interrupt(*_: Any) -> None:
    """Stop a run at the next step's border."""
    signal.raise_signal(signal.SIGTERM)


def test_another_softwares_beginning_is_not_kept(tmp_path: Path) -> None:
    """A stage that was begun without the store, or by other versions, has no key."""
    store = Store(tmp_path / "store")
    (tmp_path / "tiny.toml").write_text(tiny.RECIPE.partition("[[evaluate]]")[0] + "[run]\ncheckpoint = '2 steps'\n")
    tiny.run_legs(tmp_path, [tiny.Leg(["run", "tiny.toml", "--out", "other"], "within a checkpoint", 3)])
    said: list[str] = []
    robustcl.resume(tmp_path / "other", say=said.append, report=False, store=store.folder)
    assert sum("not kept in the store" in sentence for sentence in said) == 1
    assert len(store.list_keys()) == 1
