"""Processes that a run needs and that have died: out of memory, most often. What the libraries say of it, in words."""

from __future__ import annotations

import re

RANK = (
    "another process of this run has ended, and the others cannot go on without it: look at what it said, or at the "
    "memory of the machine; the last checkpoint is kept, go on from there with robustcl resume RUN"
)
"""What a run of several processes says when it loses one."""

STUCK = (
    "stopped while it waited for another process of this run, which does not answer; the last checkpoint is kept, go "
    "on from there with robustcl resume RUN"
)
"""What a run of several processes says when it is asked to end, and another process keeps it from the next border."""

WORKER = (
    "a process that reads images has died, most often because the memory is used up; what was finished is kept: free "
    "some memory, then go on with robustcl resume RUN, or give the same command again"
)
_WORKER = re.compile(r"DataLoader worker .*(exited unexpectedly|killed by signal)", re.DOTALL)
_PEER = re.compile(r"gloo|NCCL|ProcessGroup|Connection (closed|reset) by peer|Connection refused|Socket Timeout", re.I)


def name_lost(error: BaseException, ranks: int) -> str | None:
    """Return the sentence of a dead process that has caused an error in a run of so many ranks, else ``None``.

    The libraries' own error may stand under another: where a model exchanges with its other ranks in a forward or
    backward pass, their end looks like a fault of the model.
    """
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # an error kept and raised again may be its own cause
        seen.add(id(cause))
        if isinstance(cause, RuntimeError | ConnectionError):
            text = str(cause)
            if _WORKER.search(text):
                return WORKER
            if ranks > 1 and _PEER.search(text):
                return RANK
        cause = cause.__cause__
    return None
