"""Entries of a store: copied out as they were put there, to the byte, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import CheckpointError, DiskError, UsageError
from robustcl.store import manifest as manifests
from robustcl.store.entries import Store
from robustcl.store.manifest import key_of
from robustcl.store.places import HOME, find_place, find_remembered
from robustcl.store.upkeep import Listed, choose_removed, list_entries, parse_age, parse_size
from tests.fuzz.spoilt import limited

DECIDES = {"seed": 0, "stage": [{"name": "a", "lr": 0.1, "weights": float("nan")}]}
KEY = key_of(DECIDES)
FILES: dict[str, Path | bytes] = {
    "finished.json": b'{"steps": 3}',
    "model.safetensors": b"weights" * 100,
    "slow/model.safetensors": b"slow",
    "clusters/step-000000000.pt": b"clusters",
    "metrics.jsonl": b"{}\n",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.put({"stage": "a"}, DECIDES, FILES)
    return store


def rewrite(store: Store, **changes: Any) -> None:
    """Change a manifest as somebody would who knows how it is sealed."""
    path = store.entry(KEY) / manifests.FILE
    said = json.loads(path.read_text()) | changes
    sealed = {name: said[name] for name in ("about", "files", "decides")}
    path.write_text(json.dumps(said | {"seal": sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()}))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_entry_comes_out_as_it_was_put_in(store: Store, tmp_path: Path) -> None:
    found = store.copy_out(KEY, tmp_path / "run" / "stage", tmp_path / "run")
    assert found is not None
    assert dict(found.about) == {"stage": "a"}
    assert contents(tmp_path / "run" / "stage") == FILES
    assert store.fault(KEY) is None
    assert not list((store.folder / "aside").iterdir())
    assert store.copy_out("0" * 32, tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize("name", [*FILES, manifests.FILE])
@pytest.mark.parametrize("how", ["flipped", "longer", "shorter", "gone", "link"])
def test_no_byte_that_was_tampered_with_is_taken(store: Store, tmp_path: Path, name: str, how: str) -> None:
    path = store.entry(KEY) / name
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif how != "gone":
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"flipped": flipped, "longer": data + b"x", "shorter": data[:-3]}[how])
    with pytest.raises(CheckpointError):
        store.copy_out(KEY, tmp_path / "taken", tmp_path)
    assert not (tmp_path / "taken").exists()
    assert store.fault(KEY)
    store.put({"stage": "a"}, DECIDES, FILES)
    assert store.fault(KEY) is None
    assert store.copy_out(KEY, tmp_path / "taken", tmp_path) is not None


def test_whatever_becomes_of_a_manifest_what_is_taken_is_right(store: Store, tmp_path: Path) -> None:
    path, draw = store.entry(KEY) / manifests.FILE, random.Random(0)
    whole = path.read_bytes()
    for number in range(150):
        at, length = draw.randrange(len(whole)), draw.choice([0, 1, 1, 40])
        path.write_bytes(
            whole[:at] + draw.choice([b"", b"9", b'"', b"[" * 50_000, draw.randbytes(3)]) + whole[at + length :]
        )
        with contextlib.suppress(CheckpointError):
            store.copy_out(KEY, tmp_path / str(number), tmp_path)
        if (tmp_path / str(number)).exists():
            assert contents(tmp_path / str(number)) == FILES


def test_an_entry_of_another_stage_is_told(store: Store) -> None:
    path = store.entry(KEY) / manifests.FILE
    path.write_text(path.read_text().replace('"stage": "a"', '"stage": "b"'))
    assert "differs from its seal" in str(store.fault(KEY))
    rewrite(store, decides=DECIDES | {"seed": 1})
    assert "of another stage" in str(store.fault(KEY))


@pytest.mark.parametrize("name", [
    "../evil.json", "/etc/passwd", "a/b/config.json", "..", "model.pt", "x.py", "a\\config.json",
    "../config.json", ".hidden/config.json", "clusters/step-1.pt", "finished.json/",
])  # fmt: skip
def test_a_manifest_leads_nowhere_else(store: Store, tmp_path: Path, name: str) -> None:
    files = json.loads((store.entry(KEY) / manifests.FILE).read_text())["files"]
    rewrite(store, files=files | {name: {"sha256": "0" * 64, "bytes": 0}})
    with pytest.raises(CheckpointError, match="which no stage leaves"):
        store.copy_out(KEY, tmp_path / "taken", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": {}},
        {"files": []},
        {"about": 1},
        {"files": {"finished.json": {"sha256": "0" * 64, "bytes": 1 << 60}}},
        {"files": {"finished.json": {"sha256": "0" * 64, "bytes": True}}},
        {"files": {"finished.json": {"sha256": 7, "bytes": 1}}},
        {"files": {"finished.json": 3}},
        {"files": {f"{n}/config.json": {"sha256": "0" * 64, "bytes": 0} for n in range(2000)}},
    ],
)
def test_a_foreign_manifest_is_refused(store: Store, tmp_path: Path, change: dict[str, Any]) -> None:
    rewrite(store, **change)
    with pytest.raises(CheckpointError):
        store.copy_out(KEY, tmp_path / "taken", tmp_path)


def test_an_entry_that_is_a_link_is_refused_and_removed_without_its_aim(store: Store, tmp_path: Path) -> None:
    store.entry(KEY).rename(tmp_path / "aim")
    store.entry(KEY).symlink_to(tmp_path / "aim")
    with pytest.raises(CheckpointError, match="symbolic link"):
        store.copy_out(KEY, tmp_path / "taken", tmp_path)
    store.remove(KEY)
    assert store.list_keys() == []
    assert (tmp_path / "aim" / manifests.FILE).is_file()


def test_a_file_that_the_manifest_does_not_name_is_told(store: Store) -> None:
    (store.entry(KEY) / ".nfs0001").write_bytes(b"")
    assert store.fault(KEY) is None
    (store.entry(KEY) / "more.py").write_bytes(b"")
    assert "does not name" in str(store.fault(KEY))


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with limited(2000), pytest.raises(DiskError):
        store.put({}, DECIDES, FILES | {"model.safetensors": bytes(5000)})
    assert store.list_keys() == []
    assert list((tmp_path / "aside").iterdir()) == []


def test_what_the_dead_have_begun_is_cleared_away_after_a_day(store: Store) -> None:
    old, new = (store.folder / "aside" / name for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    store.clear_aside()
    assert (old.exists(), new.exists()) == (False, True)


def test_the_list_holds_what_is_damaged_too(store: Store) -> None:
    (one,) = list_entries(store, whole=True)
    assert (one.key, one.about, one.bytes, one.fault) == (
        KEY,
        {"stage": "a"},
        sum(map(len, map(bytes, FILES.values()))),
        None,
    )  # type: ignore[arg-type]
    (store.entry(KEY) / "finished.json").write_bytes(b"{}")
    assert list_entries(store)[0].fault is None
    assert list_entries(store, whole=True)[0].fault
    (store.entry(KEY) / manifests.FILE).write_bytes(b"{")
    assert list_entries(store)[0].fault
    assert list_entries(Store(store.folder / "none")) == []


def test_what_was_taken_last_stays() -> None:
    new, old, oldest = (Listed(name, {}, 10, taken) for name, taken in (("new", 90.0), ("old", 50.0), ("oldest", 1.0)))
    entries = [new, old, oldest]
    assert choose_removed(entries, 100.0) == []
    assert choose_removed(entries, 100.0, older=50.0) == [oldest]
    assert choose_removed(entries, 100.0, older=49.0) == [old, oldest]
    assert choose_removed(entries, 100.0, most=20) == [oldest]
    assert choose_removed(entries, 100.0, most=0) == entries
    broken = Listed("broken", {}, 10, 99.0, "it is damaged")
    assert choose_removed([broken, *entries], 100.0, most=30, damaged=True) == [broken]
    assert choose_removed([broken, *entries], 100.0, most=30) == [oldest]


def test_ages_and_sizes_as_people_write_them() -> None:
    assert [parse_age(text, "--older") for text in ("30d", "12h", "1.5w", "90m")] == [2_592_000, 43_200, 907_200, 5_400]
    assert [parse_size(text, "--keep") for text in ("0", "64K", "1.5 MiB", "2g")] == [0, 65_536, 1_572_864, 2 << 30]
    for parse in (parse_age, parse_size):
        for text in ("", "-1d", "soon", "1e3", "nan"):
            with pytest.raises(UsageError, match="--x"):
                parse(text, "--x")


def test_a_word_is_good_once_and_for_its_key(store: Store) -> None:
    word = store.begin(KEY)
    assert not store.has_begun("0" * 32, store.begin(KEY))
    assert store.has_begun(KEY, word)
    for wrong in (word, "0" * 32, "../stages/" + KEY, None, 3):
        assert not store.has_begun(KEY, wrong)


def test_a_run_finds_its_store_again_before_the_first_stage_is_there(tmp_path: Path) -> None:
    for name in ("absent", "empty", "x" * 5000, "a\0b", "none"):
        assert find_remembered(str(tmp_path / name) if name != "none" else name) is None
        if name == "empty":
            (tmp_path / name).mkdir()
            assert find_remembered(str(tmp_path / name)) is None
    Store(tmp_path / "store").begin(KEY)
    assert find_remembered(str(tmp_path / "store")) == tmp_path / "store"
    (tmp_path / "store" / "recipe.lock.toml").write_text("")
    assert find_remembered(str(tmp_path / "store")) is None


def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_place(None, HOME) is None  # the tests say none
    monkeypatch.delenv("ROBUSTCL_STORE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_place(None) is None
    assert find_place(None, HOME) == tmp_path / ".cache" / "robustcl"
    assert find_place("none", HOME) is None
    monkeypatch.setenv("ROBUSTCL_STORE", "~/shared")
    assert find_place(None) == tmp_path / "shared"
    monkeypatch.chdir(tmp_path)
    assert find_place("here") == tmp_path / "here"
    (tmp_path / "file").write_text("")
    (tmp_path / "run" / "stages").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("")
    for wrong in ("file", "file/below", "a\0b", "run"):
        with pytest.raises(UsageError, match="--store"):
            find_place(wrong)
