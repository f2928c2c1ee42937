"""``python -m tests.fuzz 50000 --seed 1 --workspace DIR``: mutate by hand; the same command goes on where it ended."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path


def main() -> int:
    """Mutate, print what does not hold, and the count; the exit code is 1 where anything was found."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("mutations", type=int, nargs="?", default=2000)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--costly", type=float, default=0.05, help="share that meets a command of a second")
    asked.add_argument("--only", type=int, help="one mutation of the seed, by its number; the run stays mutated")
    asked.add_argument("--workspace", type=Path, help="keep runs and count here, and take them from here")
    given = asked.parse_args()
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    from tests.fuzz import runs
    from tests.fuzz.check import Count, Fuzz

    place = (given.workspace or Path(tempfile.mkdtemp(prefix="fuzz-"))).absolute()
    fuzz, count, found, started = Fuzz(runs.enter(place), given.costly), Count(), Counter[str](), time.process_time()
    kept = place.with_name(f"{place.name}-{given.seed}.json")
    told = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() and given.only is None else {}
    numbers = range(told.get("next", 0), given.mutations) if given.only is None else [given.only]
    for number in numbers:
        for failure in fuzz.one(number, fuzz.stream(given.seed, number), count):
            last = failure.what.strip().splitlines()[-1][:200]
            found[last] += 1
            if found[last] <= 3:
                print(failure, flush=True)
        if given.only is None and number % 50 == 49:
            kept.write_text(json.dumps({"next": number + 1}), encoding="utf-8")
    spent = time.process_time() - started
    print(
        f"{count.tried} mutations, {count.costly} of them met costly commands, {spent:.0f} s; codes {dict(count.codes)}"
    )
    print(f"{sum(found.values())} did not hold, of {len(found)} kinds")
    for last, times in found.most_common():
        print(f"{times:6} {last}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
