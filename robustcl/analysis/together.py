"""An evaluation by several workers at once: each judges the blocks that nobody has done, and one of them concludes."""

from __future__ import annotations

from collections.abc import Callable

from robustcl.evaluate import workers
from robustcl.evaluate.work import WHOLE, Work
from robustcl.run.execution import Run


def judge_together(judge: Callable[[Work], Run], say: Callable[[str], None]) -> Run | None:
    """Take part in an evaluation until every block of it is judged, and conclude it unless another worker does.

    Any number of processes do the same, on every machine that sees the folder, begun at any time; one that is killed
    is begun again, or is not. Who concludes writes journal, results, audits and pictures as one process alone would.

    Args:
        judge: the evaluation, given this process's part.
        say: hears who concludes.

    Returns:
        The whole evaluation, ``None`` where another worker has concluded.

    Raises:
        UsageError: as ``judge``; workers of another model or another block size, or of contradicting outcomes.
    """
    path = judge(Work(worker=True)).path
    with workers.leases(path) as held:
        if not held.take(workers.CONCLUDE):
            say(f"every block is judged; {held.holder(workers.CONCLUDE) or 'another worker'} concludes")
            if not workers.wait_for_turn(held, workers.CONCLUDE):
                return None
        while not workers.wait_for_turn(held, workers.ALONE):
            pass
        return judge(WHOLE)
