"""docs/results.md from what benchmarks/methods.py has measured so far."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "results.md"

HEAD = """# Results

What has been run so far, by `benchmarks/methods.py`, with the command of each table. SA is the accuracy on clean test
images, RA under PGD-20 in the ball that the table names, both in percent with the standard deviation over seeds. Every
recipe had the same number of passes over the training images; see the script for what a pass is. That is all that was
equal: optimiser, rate and its schedule, batch, attack, and with them the number of optimiser steps, are each recipe's
own, so that a method may have had 20 steps where another had 90. A difference between two rows is therefore one between
two whole recipes at this size, and of no single part of them; a study with one optimiser and equal steps separates
parts. The budgets are small: nothing here says what a method reaches in a thousand epochs. Protocols differ too: `own`
judges the classifier that was trained along, `slf` and `alf` train one by a short schedule. Nothing was
tuned on these figures. Seconds are of training alone, on two cores that did other work beside it. A table may hold
fewer recipes and seeds than its command names: it is filled one after the other.
"""


def write_page(folder: Path) -> None:
    """Write the page from every table in the folder."""
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    PAGE.write_text("\n".join([HEAD, *(line for table in tables for line in _section(table))]), encoding="utf-8")


def _section(table: dict[str, Any]) -> Iterator[str]:
    rows = table["recipes"]
    first = next(iter(next(iter(rows.values())).values()))
    yield f"## {table['name']}\n"
    commands = dict.fromkeys(row["command"] for seeds in rows.values() for row in seeds.values())
    yield "```\n" + "\n".join(commands) + "\n```\n"
    yield f"torch {table['versions']['torch']}, {first['n']} test images.\n"
    for title, supervised in (("Self-supervised", False), ("Supervised", True)):
        chosen = {name: seeds for name, seeds in rows.items() if next(iter(seeds.values()))["supervised"] == supervised}
        if not chosen:
            continue
        yield f"### {title}\n"
        yield "| recipe | SA | RA | eps | protocol, route | seeds | seconds |"
        yield "|---|---|---|---|---|---|---|"
        yield from (_line(name, list(seeds.values())) for name, seeds in sorted(chosen.items(), key=_robust))
        yield ""


def _robust(item: tuple[str, dict[str, Any]]) -> float:
    return -statistics.mean(row["ra"] for row in item[1].values())


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    last = rows[-1]
    figures = " | ".join(_figure([row[key] for row in rows]) for key in ("sa", "ra"))
    seconds = statistics.mean(row["seconds"] for row in rows)
    eps = f"{last['eps'] * 255:g}/255"
    return f"| {name} | {figures} | {eps} | {last['protocol']}, {last['route']} | {len(rows)} | {seconds:.0f} |"


def _figure(values: list[float]) -> str:
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"
