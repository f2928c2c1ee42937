"""AutoAttack by two workers beside one process, one thread each: the time that each takes, and equal verdicts.

The model is one of ``autoattack.py``. Every side is the command line as a user gives it, with the start of Python. A
ratio counts only where both journals are the same to the byte; otherwise it is reported as 0. Needs two idle cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _bar import report
from _pinned import data, model

NAME, EPS, BAR = "resnet-adversarial", 0.15, 1.8


def main(samples: int, block: int) -> int:
    """Measure, keep and print."""
    _, digest = model(NAME)
    x, label = (part[:samples].numpy() for part in data(NAME))
    details: dict[str, Any] = {"model": f"{NAME} {digest}", "eps": f"Linf {EPS}", "samples, block": (len(x), block)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = np.round(x.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        np.savez(folder / "images.npz", x_train=images, y_train=label, x_test=images, y_test=label)
        (folder / "judged.py").write_text(
            f"from _pinned import model\n\ndef build():\n    return model({NAME!r})[0]\n", encoding="utf-8"
        )
        command = ["evaluate", "--model", "judged:build", "--dataset", "npz:images.npz", "--attack", "autoattack"]
        command += ["--eps", str(EPS), "--block", str(block), "--device", "cpu", "--no-audit"]
        alone = _seconds(folder, [[*command, "--out", "alone"]])
        together = _seconds(folder, [[*command, "--out", "shared", "--worker"]] * 2)
        alike = len({(folder / out / "journal.jsonl").read_bytes() for out in ("alone", "shared")}) == 1
    details["seconds of one process, of two workers"] = (round(alone, 1), round(together, 1))
    details["journals are the same to the byte"] = alike
    return report("workers", [("two workers", alone / together if alike else 0.0, BAR)], details)


def _seconds(folder: Path, commands: list[list[str]]) -> float:
    """Run commands at the same time, one thread each, and return how long the last one took."""
    here = os.pathsep.join([str(folder), str(Path(__file__).parent)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": here}
    start = time.perf_counter()
    begun = [
        subprocess.Popen([sys.executable, "-m", "robustcl", *command], cwd=folder, env=environment)
        for command in commands
    ]
    codes = [process.wait() for process in begun]
    if any(codes):
        raise SystemExit(f"a process ended with the codes {codes}")
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--block", type=int, default=25, help="images attacked together")
    given = parser.parse_args()
    sys.exit(main(given.samples, given.block))
