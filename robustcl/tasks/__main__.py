"""``python -m robustcl.tasks TASK`` attends a task for as long as its standard input stays open.

What a launcher has started on its own machine thus ends with the launcher, however that ends.
"""

from __future__ import annotations

import os
import sys
import threading

from robustcl.tasks import attend, decode_task


def _main(text: str) -> int:
    task = decode_task(text)
    closed = threading.Event()

    def listen() -> None:
        while os.read(0, 1):
            pass
        closed.set()

    threading.Thread(target=listen, daemon=True).start()
    code = attend(task, wanted=lambda: not closed.is_set())
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
