"""An evaluation by several workers at once: each judges the blocks that nobody has done, and one of them concludes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robustcl.evaluate import workers
from robustcl.evaluate.work import WHOLE, Work
from robustcl.run.execution import Run


def judge_together(judge: Callable[[Work], Run], say: Callable[[str], None], work: Work = WHOLE) -> Run | None:
    """Take part in an evaluation until every block of it is judged, and conclude it unless another worker does.

    Any number of processes do the same, on every machine that sees the folder, begun at any time; one that is killed
    is begun again, or is not. Who concludes writes journal, results, audits and pictures as one process alone would.

    Args:
        judge: the evaluation, given this process's part.
        say: hears who concludes.
        work: the whole evaluation, as one process alone would do it.

    Returns:
        The whole evaluation, ``None`` where another worker has concluded.

    Raises:
        UsageError: as ``judge``; workers of another model or another block size, or of contradicting outcomes.
    """
    path = judge(replace(work, worker=True)).path
    with workers.leases(path) as held:
        before = _stamp(path)
        if not held.take(workers.CONCLUDE):
            say(f"every block is judged; {held.holder(workers.CONCLUDE) or 'another worker'} concludes")
            while not workers.wait_for_turn(held, workers.CONCLUDE):
                if _stamp(path) != before:  # else it has failed at that, and somebody has to
                    return None
        while not workers.wait_for_turn(held, workers.ALONE):
            pass
        return judge(work)


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return what changes when results are written, of the disk alone."""
    try:
        found = (folder / "results.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
