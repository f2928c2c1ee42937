"""The one file that speaks to other processes: gather with gradient, sum, broadcast, rank and world size.

Everything is a no-op in a single process, so no other file asks how many there are.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from robustcl.errors import RobustclError

Result = TypeVar("Result")


def world() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if _running() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if _running() else 0


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all ranks, rank by rank, (world * R, ...); the gradient flows back to every rank.

    Every rank must bring the same shape. The backward pass sums over ranks what each of them derived for these rows.
    """
    if world() == 1:
        return rows
    if rows.is_floating_point():
        gathered: Tensor = _Gather.apply(rows.contiguous())
        return gathered
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def total(values: Tensor) -> Tensor:
    """Return the sum over ranks, without gradient."""
    if world() == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values


def total_with_gradient(values: Tensor) -> Tensor:
    """Return the sum over ranks; the gradient is the sum over ranks of what each derived for the sum."""
    if world() == 1:
        return values
    summed: Tensor = _Total.apply(values)
    return summed


def from_first(value: Any) -> Any:
    """Return rank 0's object on every rank."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def collect(value: Any) -> list[Any]:
    """Return the objects of all ranks, rank by rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def by_first(call: Callable[[], Result]) -> Result:
    """Return on every rank what rank 0's call returns; its error is everybody's."""
    if world() == 1:
        return call()
    value, error = None, None
    if rank() == 0:
        try:
            value = call()
        except RobustclError as caught:
            error = caught
    value, error = from_first((value, error))
    if error is not None:
        raise error
    return cast(Result, value)


def wait() -> None:
    """Wait until every rank has come here."""
    if world() > 1:
        dist.barrier()


def connect(patience: float) -> Any:
    """Return a connection of one's own to the store through which the ranks have met; each word waits so long.

    The store is where MASTER_ADDR and MASTER_PORT say: in rank 0, or in torchrun on rank 0's machine. A thread may use
    it while the main one waits in a collective.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    seconds = datetime.timedelta(seconds=patience)
    return dist.TCPStore(host, port, is_master=False, timeout=seconds)  # type: ignore[attr-defined]


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Through _Total, so that the gradient may be differentiated once more.
        gradient: Tensor = _Total.apply(gradients[0])
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient: Tensor = _Total.apply(gradients[0])
        return gradient
