"""What every benchmark script shares: time two sides fairly, keep the figures, hold them against a bar."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "robustcl",
    "torch",
    "numpy",
    "scikit-learn",
    "faiss-cpu",
    "kornia",
    "torchvision",
    "torchattacks",
    "adversarial-robustness-toolbox",
    "foolbox",
    "lightly",
    "pytorch-metric-learning",
)


def compare(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Time two functions in turns, so that a busy machine slows both; return both medians in seconds.

    Each is called once beforehand to warm up, untimed.
    """
    ours()
    peer()
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        turns = [(ours, seconds[0]), (peer, seconds[1])]
        for function, kept in turns if repeat % 2 == 0 else turns[::-1]:
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            kept.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def report(name: str, ratios: Sequence[tuple[str, float, float]], details: Mapping[str, Any]) -> int:
    """Keep the figures in ``results/<name>.json``, print one line per ratio, and return the exit code.

    ``ratios`` are (name, value, bar): a value below its bar, or not a number, makes the code 1. ``details``
    are any further figures that JSON can hold; versions, processor and thread count are added.
    """
    document = {
        "name": name,
        "ratios": [{"name": n, "value": v, "bar": bar, "met": bool(v >= bar)} for n, v, bar in ratios],
        "details": dict(details),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"cpu": _cpu(), "platform": platform.platform(), "threads": torch.get_num_threads()},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for key, figure in {**details, **document["versions"], **document["machine"]}.items():  # type: ignore[dict-item]
        print(f"{key}: {figure}")
    for ratio, value, bar in ratios:
        print(f"RATIO {ratio} {value:.4g} >= {bar:g}", flush=True)
    return 0 if all(value >= bar for _, value, bar in ratios) else 1


def version(package: str) -> str:
    """Return the installed version of a distribution, for naming the peer."""
    return importlib.metadata.version(package)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
