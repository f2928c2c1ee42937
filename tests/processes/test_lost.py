"""A process that reads images, or one of several that train, dies: a sentence, and nobody waits."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch

from robustcl.data.streamed import read_ahead
from robustcl.errors import RobustclError, UsageError
from robustcl.nn.backbone import features_of
from robustcl.processes.lost import RANK, WORKER, name_lost


class Endless:
    """Gives images of 0."""

    labels = torch.zeros(10_000, dtype=torch.int64)
    item = (1, 2, 2)

    def fetch(self, index: torch.Tensor) -> torch.Tensor:
        return torch.zeros((len(index), 1, 2, 2))


# Its handler may also raise while the loader is thrown away, where Python can only report it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_worker_is_a_sentence() -> None:
    batches = read_ahead(Endless(), list(torch.arange(10_000).split(4)), 1)
    next(batches)
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    said, code = "", 0
    try:
        list(batches)
    except RobustclError as error:
        said, code = str(error), error.exit_code
    except RuntimeError as error:  # torch's own handler raises wherever we are; the command line tells it
        said, code = str(name_lost(error, 1)), 1
    assert (said, code) == (WORKER, 1)


GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:17437"


@pytest.mark.parametrize(
    ("text", "ranks", "said"),
    [(GLOO, 2, RANK), (GLOO, 1, None), ("NCCL error: remote process exited", 2, RANK), ("shape mismatch", 2, None)],
)
def test_only_a_run_of_several_loses_a_rank(text: str, ranks: int, said: str | None) -> None:
    assert name_lost(RuntimeError(text), ranks) == said
    assert name_lost(ValueError(text), ranks) is None


def test_a_rank_that_is_lost_in_the_pass_of_a_model_is_no_fault_of_the_model() -> None:
    class Exchanges(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(GLOO)

    with pytest.raises(UsageError) as blamed:
        features_of(Exchanges(), torch.zeros(4, 1, 8, 8), 3, "mine")
    assert name_lost(blamed.value, 2) == RANK
    assert name_lost(blamed.value, 1) is None


def test_an_error_that_is_its_own_cause_is_looked_at_once() -> None:
    first, second = UsageError("one"), UsageError("two")
    first.__cause__, second.__cause__ = second, first
    assert name_lost(first, 2) is None
