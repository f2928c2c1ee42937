"""Where a run computes: its device, its processes and its precision, as asked for and as run.json keeps them."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustcl import ranks
from robustcl.disk import write_atomically
from robustcl.errors import UsageError
from robustcl.run.folder import FILE
from robustcl.train.engine import Engine
from robustcl.train.world import Devices, find, require

_PATIENCE = 60.0
"""Seconds in which a network disk shows to one machine what another one has written."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run that has begun goes on; ``kept`` is what its run.json says."""

    kept: Mapping[str, Any]
    device: str
    devices: Devices
    num_nodes: int | None

    @property
    def gathered(self) -> bool:
        """Whether others have started the processes, which then meet before any of them looks at the run."""
        world = find(self.devices, self.num_nodes, 1)
        return not world.ours and world.size > 1

    def engine(self) -> Engine:
        """Return the engine of it; one process a call."""
        return Engine(self.device, self.devices, self.kept["precision"], self.num_nodes)

    def keep(self, folder: Path, engine: Engine) -> None:
        """Write down where the run goes on, on the first rank, if it is elsewhere."""
        kept = {key: value for key, value in self.kept.items() if key != "store" or value}
        now = {
            **kept,
            "device": self.device,
            "devices": self.devices or engine.world.devices,
            "num_nodes": engine.world.nodes,
        }
        if ranks.rank() == 0 and now != kept:
            write_atomically(folder / FILE, json.dumps(now), within=folder)


def ask(folder: Path, kept: Mapping[str, Any], device: str | None, devices: Devices, num_nodes: int | None) -> Site:
    """Return where a run goes on: as asked for, else by the processes that were started, else as it was.

    Raises:
        UsageError: a device that there is not, other processes than were started, or machines that nobody reaches.
    """
    if device is not None:
        check_device(device)
    require(devices, num_nodes)
    alone = find(None, None, 1).ours
    if alone and devices is None and num_nodes is None and kept["num_nodes"] > 1:
        raise UsageError(
            f"{folder} was trained on {kept['num_nodes']} machines: start it by torchrun or srun on as many as you "
            "like, or go on with this one alone, robustcl resume RUN --num-nodes 1"
        )
    if alone and devices is None:
        devices = kept["devices"]
    return Site(kept, device or kept["device"], devices, num_nodes)


def require_one_disk(folder: Path) -> None:
    """Refuse a run directory that is not the same one for all ranks; every rank must call.

    Raises:
        UsageError: a machine does not see what the first rank has written there.
    """
    there, until = folder / "recipe.lock.toml", time.monotonic() + _PATIENCE
    while not there.is_file() and time.monotonic() < until:
        time.sleep(1.0)
    missing = [name for name in ranks.collect("" if there.is_file() else socket.gethostname()) if name]
    if missing:
        raise UsageError(
            f"--out {folder}: {missing[0]} does not see what the first process has written there; choose a directory "
            "on a disk that all machines share"
        )


def check_device(device: str) -> None:
    """Refuse a device of a name that means nothing, or that is not there."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UsageError(f'--device {device!r} is not known; write "auto", "cpu", "cuda" or "cuda:1"')
    number = device.partition(":")[2]
    if number and 0 < torch.cuda.device_count() <= int(number):
        raise UsageError(f"--device {device}: torch sees {torch.cuda.device_count()} CUDA devices here, counted from 0")
