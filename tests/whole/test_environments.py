"""Machines as they are: streams that are closed, folders that are gone or forbidden, terminals that can do little."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.shared import tiny
from tests.shared.compared_runs import finished, first

ROBUSTCL = f"{sys.executable} -m robustcl"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machine")
    for seed, name in enumerate("ab"):
        finished(folder / name, {None: first(90, 100), "pgd-20": first(40 + seed, 100)}, name=name, seed=seed)
    return folder


def shell(line: str, place: Path, without: Sequence[str] = (), **changes: str) -> subprocess.CompletedProcess[bytes]:
    environment: Mapping[str, str] = {k: v for k, v in {**tiny.environment(), **changes}.items() if k not in without}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=place, env=environment, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("recipes list | true", 1, b""),
        ("recipes list >&-", 0, b""),
        ("recipes list >&- 2>&-", 0, b""),
        ("recipes list <&-", 0, b""),
        ("recipes list > /dev/full", 1, b"robustcl: the output cannot be written: no space left on device\n"),
        ("frobnicate 2>&-", 2, b""),
    ],
)
def test_streams_that_are_closed_or_full(line: str, code: int, said: bytes, place: Path) -> None:
    if "/dev/full" in line and not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full here")
    done = shell(f"{ROBUSTCL} {line}", place)
    assert (done.returncode, done.stderr) == (code, said)


def test_letters_that_the_terminal_lacks_are_written_out(place: Path) -> None:
    done = shell(
        f"{ROBUSTCL} compare a b --by name --format csv && {ROBUSTCL} recipes show ncp", place,
        LANG="C", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="20", TERM="dumb", NO_COLOR="1",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"\x1b" not in done.stdout


def test_without_docstrings_and_with_warnings_as_errors(place: Path) -> None:
    done = shell(f"{sys.executable} -OO -W error -m robustcl plugins show ncp", place)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"ncp, a generator of robustcl")


def test_no_home_no_cache_and_no_room_for_temporary_files(place: Path) -> None:
    """What matplotlib has to say of its cache is its own; the page is there."""
    nowhere = "/dev/null/nowhere"
    done = shell(
        f"{ROBUSTCL} report a", place, without=["HOME"],
        MPLCONFIGDIR=nowhere, XDG_CACHE_HOME=nowhere, XDG_CONFIG_HOME=nowhere, PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout == b"report: a/report.html\n"


@pytest.mark.parametrize(
    "line", ["resume x", "report x", "compose --recipe simclr --budget smoke --device cpu --out y"]
)
def test_a_working_folder_that_is_gone(line: str, tmp_path: Path) -> None:
    done = shell(f"mkdir gone && cd gone && rmdir {tmp_path}/gone && {ROBUSTCL} {line}", tmp_path)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"robustcl: "), done.stderr
    assert b"Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
