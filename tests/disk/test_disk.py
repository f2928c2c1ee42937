"""Files are replaced whole or not at all, never through a link; what is read is a regular file within limits."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from robustcl import disk
from robustcl.errors import DataError, DiskError, UsageError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.lock.toml").write_text("")
    return folder


@pytest.fixture
def limited() -> Iterator[None]:
    """No file grows beyond 4096 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("content", ["text", b"bytes", "\udcff"])
def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    disk.write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))
    assert os.listdir(tmp_path) == ["x.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_a_link_is_replaced_and_its_target_stays(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("results.json", "results.json.tmp", ".results.json"):
        (run / name).symlink_to(precious)
    disk.write_atomically(run / "results.json", "new")
    assert precious.read_text() == "mine"
    assert not (run / "results.json").is_symlink()
    assert (run / "results.json").read_text() == "new"


@pytest.mark.parametrize("name", ["journal.jsonl", "metrics.jsonl"])
def test_nothing_is_appended_or_cut_through_a_link(run: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine\n")
    (run / name).symlink_to(precious)
    with pytest.raises(UsageError, match=r"is a symbolic link"):
        disk.Appender(run / name)
    assert precious.read_text() == "mine\n"


@pytest.mark.parametrize("folder", ["artifacts", "checkpoints", "stages"])
def test_a_folder_that_leads_out_of_the_run_takes_nothing(run: Path, tmp_path: Path, folder: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / folder).symlink_to(outside)
    for act in (
        lambda: disk.write_atomically(run / folder / "x", "new"),
        lambda: disk.make_folder(run / folder / "deeper"),
        lambda: disk.Appender(run / folder / "x"),
    ):
        with pytest.raises(UsageError, match="leads out of"):
            act()
    assert os.listdir(outside) == []


def test_a_run_that_is_a_link_itself_is_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(run)
    (run / "real").mkdir()
    (run / "inner").symlink_to(run / "real")
    disk.write_atomically(tmp_path / "short" / "inner" / "x", "new")
    assert (run / "real" / "x").read_text() == "new"


def _text(path: Path) -> None:
    disk.write_atomically(path, "x" * 100_000)


def _tensors(path: Path) -> None:
    with disk.replacing(path) as file:
        torch.save({"x": torch.zeros(100_000)}, file)


def _arrays(path: Path) -> None:
    with disk.replacing(path) as file:
        np.savez(file, x=np.zeros(100_000))


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("write", [_text, _tensors, _arrays])
def test_a_disk_that_refuses_is_one_sentence_and_the_old_file_stays(tmp_path: Path, write: object) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(DiskError, match=r"x cannot be written: it grows beyond the largest file") as caught:
        write(path)  # type: ignore[operator]
    assert caught.value.exit_code == 1
    assert caught.value.number == errno.EFBIG
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.usefixtures("limited")
def test_a_journal_on_a_full_disk_keeps_whole_lines(tmp_path: Path) -> None:
    with disk.Appender(tmp_path / "j") as file:
        file.write(["first"])
        with pytest.raises(DiskError, match="cannot be written"):
            file.write(["y" * 10_000])
    assert (tmp_path / "j").read_bytes() == b"first\n"


def test_full_disks_stay_the_disk_s_fault_and_bad_places_the_user_s(tmp_path: Path) -> None:
    said = r"--out .* cannot be written: there is no such folder; choose another"
    with pytest.raises(UsageError, match=said), disk.as_usage("--out no/x", "choose another"):
        disk.write_atomically(tmp_path / "no" / "x", "")
    with pytest.raises(DiskError), disk.as_usage("--out x", "choose another"):
        raise DiskError("full", errno.ENOSPC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested more than 64"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 64"),
        ("9" * 6000, "6000 digits"),
        ("-" + "9" * 500, "501 digits"),
        ("NaN", "NaN is no number"),
        ("{", "line 1"),
        ("", "line 1"),
        ('"\ud800', "damaged"),
    ],
)
def test_damaged_json_is_a_sentence(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        disk.parse_json(text, "f.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 100_000 + "]" * 100_000, "nested more than 64"),
        ("a = " + "{b = " * 5_000 + "1" + "}" * 5_000, "nested more than 64"),
        (".".join("a" * 50_000) + " = 1", "more than 64 parts"),
        ("[" + " . ".join(['"a b"'] * 50_000) + "]", "more than 64 parts"),
        ("a = " + "9" * 6000, "."),
        ("a = 0x" + "f" * 3000, "400 digits"),
        ("a = 1\na = 2", "not TOML"),
        ("a.b.c.d.e.f.g.h = " + "{a.b.c.d.e.f.g.h = " * 20 + "1" + "}" * 20, "nested more than 64"),
    ],
)
def test_damaged_toml_is_a_sentence(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        disk.parse_toml(text, "f.toml")


def test_what_only_looks_deep_is_read() -> None:
    many = [[number, {"a": "[[[[{{{{" * 50}] for number in range(200)]
    assert disk.parse_json(json.dumps(many), "f") == many
    assert disk.parse_toml("# " + "[" * 500 + f'\na = "{"[" * 500}"\nb = [{"0.1, " * 500}]', "f")["b"][0] == 0.1
    assert disk.parse_json(r'{"a\\": "\"[["}', "f") == {"a\\": '"[['}


def test_what_is_no_file_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, words in [
        ("pipe", "a pipe"), ("device", "a device"), (".", "a folder"), ("none", "there is no"),
        ("bytes", "no UTF-8"), ("a\0b", "value 0"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=words):
            disk.read_json(tmp_path / name)
    with pytest.raises(UsageError, match="no regular file"):
        disk.Appender(tmp_path / "pipe")


def test_too_much_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"short\n" + b"x" * 100)
    limits = disk.Limits(file=50, line=20)
    with pytest.raises(DataError, match="106 bytes, more than the 50"):
        disk.read_bytes(tmp_path / "f", limits=limits)
    with pytest.raises(DataError, match="line 2 is longer"):
        list(disk.read_lines(tmp_path / "f", limits=limits))
    assert list(disk.read_lines(tmp_path / "f")) == [b"short\n", b"x" * 100]
