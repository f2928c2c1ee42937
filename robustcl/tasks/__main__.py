"""``python -m robustcl.tasks TASK [RECORD ...]`` attends a task for as long as its standard input stays open.

What a launcher has started on its own machine thus ends with the launcher, however that ends. In place of a task,
``look PATHS ANSWER`` says whether this machine sees what the one of the launcher has left for it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from robustcl.errors import RobustclError
from robustcl.tasks import Record, attend, attend_on_record, decode_task
from robustcl.tasks.sight import LOOK, look


def _main(text: str, record: str = "", attempt: str = "", place: str = "", patience: str = "60") -> int:
    if text == LOOK:
        return look(record, Path(attempt))
    task = decode_task(text)
    closed = threading.Event()

    def listen() -> None:
        while os.read(0, 1):
            pass
        closed.set()

    threading.Thread(target=listen, daemon=True).start()

    def wanted() -> bool:
        return not closed.is_set()

    try:
        if record:
            begun = Record(attempt, place)
            code = attend_on_record(task, Path(record), begun, wanted=wanted, patience=float(patience))
        else:
            code = attend(task, wanted=wanted)
    except RobustclError as error:
        print(f"robustcl: the task {task.name}: {error}", file=sys.stderr)
        return error.exit_code
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
