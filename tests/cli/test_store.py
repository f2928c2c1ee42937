"""``robustcl store`` as a process: what it lists, what it finds damaged, what it removes, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from robustcl.store.entries import Store
from robustcl.store.manifest import FILE, key_of
from tests.shared import tiny
from tests.shared.forks import fork

STAGES = ("new", "old", "oldest")


def call(*words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return fork(["store", *map(str, words)], Path.cwd(), tiny.environment() | more)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three stages of 1012 bytes each: taken now, and 10 and 40 days ago."""
    store = Store(tmp_path / "store")
    for name, days in zip(STAGES, (0, 10, 40), strict=True):
        about = {"stage": name, "recipe": "tiny\x1b[31m", "data": "digits", "seed": 3, "kept": "2026-01-01T00:00:00Z"}
        store.put(about, {"name": name}, {"finished.json": b'{"steps": 1}', "model.safetensors": bytes(1000)})
        moment = time.time() - 86_400 * days
        os.utime(store.entry(key_of({"name": name})) / FILE, (moment, moment))
    return store


def test_the_list_says_what_lies_there(store: Store) -> None:
    done = call("list", "--store", store.folder)
    head, *rows, last = done.stdout.splitlines()
    assert head.split() == ["key", "stage", "recipe", "data", "seed", "size", "kept", "last", "taken"]
    assert [row.split()[1] for row in rows] == list(STAGES)
    assert "\x1b" not in done.stdout
    assert last == f"store   {store.folder}: 3 stages, 3.0 KiB"
    told = json.loads(call("list", "--json", ROBUSTCL_STORE=str(store.folder)).stdout)
    assert told["store"] == str(store.folder)
    assert [entry["about"]["stage"] for entry in told["entries"]] == list(STAGES)
    assert {entry["bytes"] for entry in told["entries"]} == {1012}


def test_what_is_damaged_is_found_and_removed(store: Store) -> None:
    assert call("verify", "--store", store.folder).returncode == 0
    spoilt = key_of({"name": "old"})
    (store.entry(spoilt) / "model.safetensors").write_bytes(bytes(999) + b"x")
    done = call("verify", "--store", store.folder)
    assert done.returncode == 1
    assert f"{spoilt[:12]}: {store.entry(spoilt)}/model.safetensors is damaged" in done.stdout
    assert done.stdout.endswith("3 stages, 1 damaged\n")
    assert call("prune", "--damaged", "--store", store.folder).returncode == 0
    assert call("verify", "--store", store.folder).stdout.endswith("2 stages, 0 damaged\n")


@pytest.mark.parametrize(
    ("flags", "stays"),
    [
        (["--older", "30d"], ["new", "old"]),
        (["--keep", "2K"], ["new", "old"]),
        (["--older", "5d", "--keep", "1T"], ["new"]),
        (["--keep", "0", "--dry-run"], list(STAGES)),
        (["--keep", "0"], []),
    ],
)
def test_prune_removes_what_was_taken_longest_ago(store: Store, flags: list[str], stays: list[str]) -> None:
    done = call("prune", *flags, "--store", store.folder)
    assert done.returncode == 0, done.stderr
    assert store.list_keys() == sorted(key_of({"name": name}) for name in stays)
    assert ("would be removed: 3 stages" in done.stdout) == ("--dry-run" in flags)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prune"], "store prune removes nothing by itself"),
        (["prune", "--older", "soon"], "--older 'soon' is no length of time"),
        (["prune", "--keep", "-1"], "--keep '-1' is no size"),
        (["list"], "there is no store: name its folder by --store"),
        (["verify", "--store", __file__], "is a file"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], said: str) -> None:
    done = call(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_nobody_has_made_is_empty(tmp_path: Path) -> None:
    done = call("list", "--store", tmp_path / "none")
    assert (done.returncode, done.stdout) == (0, f"store   {tmp_path}/none: 0 stages, 0 B\n")
    assert not (tmp_path / "none").exists()
