"""``python -m tests.fuzz --mutations 50000 --seed 1``: mutate by hand, and count."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> int:
    """Mutate, print what does not hold, and the count; the exit code is 1 where anything was found."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mutations", type=int, default=2000)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--only", type=int, help="one mutation of the seed, by its number")
    asked.add_argument("--workspace", type=Path, help="keep the runs here, and take them from here")
    given = asked.parse_args()
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    from fuzz import runs
    from fuzz.check import Count, Fuzz

    place = given.workspace or Path(tempfile.mkdtemp(prefix="fuzz-"))
    runs.enter(place)
    fuzz, count, found, started = Fuzz(Path.cwd()), Count(), Counter[str](), time.process_time()
    numbers = range(given.mutations) if given.only is None else [given.only]
    for number in numbers:
        for failure in fuzz.one(number, fuzz.stream(given.seed, number), count):
            last = failure.what.strip().splitlines()[-1][:200]
            found[last] += 1
            if found[last] <= 3:
                print(failure, flush=True)
    print(f"{count.tried} mutations, {time.process_time() - started:.0f} s; exit codes {dict(count.codes)}")
    print(f"{sum(found.values())} did not hold, of {len(found)} kinds")
    for last, times in found.most_common():
        print(f"{times:6} {last}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
