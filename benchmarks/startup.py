"""How long the command line takes to start, held against ``python -c "import click"``; torch stays outside.

    python benchmarks/startup.py

The commands run as processes, turn by turn with the peer. A start may take three times the peer's.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from _bar import compare, report

ALLOWED = 3.0
REPEATS = 15
COMMANDS = {"help": ("--help",), "plugins-list": ("plugins", "list")}
OUTSIDE = ("torch", "pydantic", "rich", "pandas", "numpy")


def main() -> int:
    """Time every command, look at what it imports, and report."""
    ratios: list[tuple[str, float, float]] = []
    details: dict[str, object] = {}
    for name, words in COMMANDS.items():
        command = ("-m", "robustcl", *words)
        ours, click = compare(partial(_run, *command), partial(_run, "-c", "import click"), REPEATS)
        heavy = _imported(command) & set(OUTSIDE)
        ratios.append((f"startup-{name}", ALLOWED * click / ours, 1.0))
        ratios.append((f"startup-{name}-light", float(not heavy), 1.0))
        details[f"{name} ms"] = round(ours * 1000, 1)
        details[f"import click ms, beside {name}"] = round(click * 1000, 1)
        details[f"{name} imports of {', '.join(OUTSIDE)}"] = sorted(heavy)
    return report("startup", ratios, details)


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def _imported(command: tuple[str, ...]) -> set[str]:
    """Return the top-level packages that ``-X importtime`` names."""
    run = subprocess.run([sys.executable, "-X", "importtime", *command], check=True, capture_output=True, text=True)
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


if __name__ == "__main__":
    sys.exit(main())
