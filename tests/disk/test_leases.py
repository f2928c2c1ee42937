"""Work shared out by files: one holder at a time, the dead replaced, the living left alone, whatever the clocks say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustcl.disk import Leases
from robustcl.errors import DiskError

HOLD = """
import sys, time
from pathlib import Path
from robustcl.disk import Leases
with Leases(Path(sys.argv[1]), patience=0.4, beat=0.05) as leases:
    print(leases.take("block"), flush=True)
    time.sleep(60)
"""

SHARE = """
import os, sys, time
from pathlib import Path
from robustcl.disk import Leases
folder = Path(sys.argv[1])
with Leases(folder / "leases", patience=30, beat=0.05) as leases:
    for number in range(40):
        done = folder / f"{number}.done"
        if done.exists() or not leases.take(str(number)):
            continue
        if not done.exists():
            os.close(os.open(folder / f"{number}.work", os.O_CREAT | os.O_EXCL))  # fails where another is at it
            time.sleep(0.001)
            done.touch()
        leases.release(str(number))
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lease "block" until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_one_holds_and_the_other_does_not_until_it_is_given_back(tmp_path: Path) -> None:
    with Leases(tmp_path) as one, Leases(tmp_path) as two:
        assert one.take("a")
        assert one.take("a")
        assert one.holds("a")
        assert not two.take("a")
        assert two.take("b")
        assert two.holder("a").endswith(str(os.getpid()))
        one.release("a")
        assert not one.holds("a")
        assert two.take("a")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_killed_holder_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with Leases(tmp_path, patience=0.4, beat=0.05) as leases:
            # A clock that is an hour behind or ahead changes nothing: the file's times are not looked at.
            for hours in (-1, 1):
                os.utime(tmp_path / "block.lease", (time.time() + 3600 * hours,) * 2)
                end = time.monotonic() + 0.8
                while time.monotonic() < end:
                    assert not leases.take("block")
                    time.sleep(0.02)
            process.kill()
            process.wait()
            end = time.monotonic() + 20
            while not leases.take("block"):
                assert time.monotonic() < end
                time.sleep(0.02)
            assert leases.holds("block")
    finally:
        process.kill()
        process.communicate()


def test_who_stood_still_learns_that_it_has_lost_its_lease(tmp_path: Path) -> None:
    one = Leases(tmp_path, beat=60)
    with one, Leases(tmp_path, patience=0.05, beat=0.02) as two:
        assert one.take("a")
        assert not two.take("a")
        time.sleep(0.1)
        assert two.take("a")
        assert not one.holds("a")
        one.release("a")
        assert two.holds("a"), "what another has taken over is not given back by who has lost it"


def test_a_lease_that_was_taken_over_by_a_third_is_put_back(tmp_path: Path) -> None:
    """Two saw the same silence: the slower one takes the faster one's fresh lease away, sees it, and puts it back."""
    dead, fast, slow = Leases(tmp_path, beat=60), Leases(tmp_path, 0.0), Leases(tmp_path, 0.0)
    with dead, fast, slow:
        assert dead.take("a")
        assert not slow.take("a")
        assert not fast.take("a")
        assert fast.take("a")
        path = slow._path("a")
        assert not slow._remove("a", path)
        assert fast.holds("a")


def test_one_killed_while_it_took_a_lease_blocks_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.lease").touch()  # created, and not yet written
    with Leases(tmp_path, patience=0.05) as leases:
        assert not leases.take("a")
        time.sleep(0.1)
        assert leases.take("a")


@pytest.mark.parametrize("signals", [(), (signal.SIGKILL,)])
def test_several_processes_do_each_piece_once(tmp_path: Path, signals: tuple[int, ...]) -> None:
    (tmp_path / "leases").mkdir()
    workers = [subprocess.Popen([sys.executable, "-c", SHARE, str(tmp_path)], stderr=subprocess.PIPE, text=True)
               for _ in range(4)]  # fmt: skip
    for number in signals:
        workers[0].send_signal(number)
    for worker in workers[len(signals) :]:
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
    workers[0].communicate(timeout=60)
    done = {file.stem for file in tmp_path.glob("*.done")}
    assert len(done) >= 39 if signals else done == {str(number) for number in range(40)}


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot be made"), Leases(tmp_path / "file" / "leases"):
        pass
