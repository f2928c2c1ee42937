"""Ranks that hear each other over a real store: who falls silent is lost, for everybody, and nobody else is."""

from __future__ import annotations

import datetime
import time

import pytest
import torch.distributed as dist

from robustcl import ranks
from robustcl.train import heartbeat
from robustcl.train.heartbeat import Heartbeat

WORLD = 3


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.TCPStore:
    """A store as rank 0 has it, where the ranks of this test beat quickly; each is a heartbeat of one process."""
    served = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=datetime.timedelta(seconds=20))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(served.port))
    monkeypatch.setattr(ranks, "world", lambda: WORLD)
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    monkeypatch.setattr(heartbeat, "SILENCE", 2.0)
    return served


def hearts(monkeypatch: pytest.MonkeyPatch) -> list[Heartbeat]:
    found = []
    for number in range(WORLD):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        monkeypatch.setattr(heartbeat, "_numbers", iter([0]))
        found.append(Heartbeat())
    return found


def wait_for(heart: Heartbeat) -> bool:
    until = time.monotonic() + 60
    while not heart.lost and time.monotonic() < until:
        time.sleep(0.02)
    return heart.lost


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("silent", [0, 2])
def test_who_falls_silent_is_lost_for_all(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    every = hearts(monkeypatch)
    time.sleep(3.0)
    assert not any(heart.lost for heart in every), "as long as all beat"
    every[silent].stop()
    assert all(wait_for(heart) for number, heart in enumerate(every) if number != silent)
    for heart in every:
        heart.stop()


def test_without_the_store_everybody_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "9")  # where nobody listens
    monkeypatch.setattr(heartbeat, "SILENCE", 0.2)
    assert wait_for(Heartbeat())
