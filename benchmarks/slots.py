"""A study with two slots beside one, and what a task costs before its first step.

The study is ``ncp-table-4`` on digits with three seeds, twelve tasks of which nine wait for three; one thread a task
on both sides. A ratio counts only where the numbers of both studies are equal; otherwise it is reported as 0. What a
task costs is measured alone: from the start of its process to the first step that it logs, and how much of it imports
torch. Needs two idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from _bar import report

STUDY, BAR, MOST = "ncp-table-4", 1.7, 6.0
"""The study, the least ratio, and the seconds that a task may cost."""


def main(budget: str, seeds: int) -> int:
    """Measure, keep and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["study", "run", STUDY, "--dataset", "digits", "--budget", budget, "--seeds", str(seeds)]
        one, two = (_seconds([*words, "--out", str(folder / f"slots-{n}"), "--slots", n]) for n in ("1", "2"))
        tables = [pd.read_csv(folder / f"slots-{n}" / "study.csv") for n in ("1", "2")]
        alike = tables[0].equals(tables[1])
        first = statistics.median(_until_first_step(folder / f"alone-{number}") for number in range(3))
    torch = statistics.median(_seconds_of("import torch") for _ in range(3))
    details = {
        "study": f"{STUDY}, digits, budget {budget}, {seeds} seeds",
        "seconds with one slot, with two": (round(one, 1), round(two, 1)),
        "numbers are equal": alike,
        "seconds of a task until its first step, of which the import of torch": (round(first, 2), round(torch, 2)),
    }
    ratios = [("two slots", one / two if alike else 0.0, BAR), (f"{MOST:g} s over a task's start", MOST / first, 1.0)]
    return report("slots", ratios, details)


def _seconds(words: list[str]) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ROBUSTCL_STORE": "none"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "robustcl", *words], env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def _until_first_step(out: Path) -> float:
    """Start a run of the study alone, and return how long it is until its log has a line."""
    words = ["study", "run", STUDY, "--dataset", "digits", "--budget", "smoke", "--set", "run.log_every=1"]
    words += ["--only", "iii-both-seed0", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ROBUSTCL_STORE": "none"}
    log, start = out / "runs" / "iii-both-seed0" / "metrics.jsonl", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "robustcl", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (log.is_file() and log.stat().st_size):
            if process.poll() is not None:
                raise SystemExit(f"the task ended with the code {process.returncode} before its first step")
            time.sleep(0.01)
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def _seconds_of(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sys.exit(main(given.budget, given.seeds))
