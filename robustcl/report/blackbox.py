"""The page of a black-box matrix: which model's adversaries fool which other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl.report.heat import matrix
from robustcl.report.rendering import environment, store


def write(tables: Mapping[str, Any], folder: Path) -> Path:
    """Write ``transfer.html`` beside transfer.json, of which ``tables`` is the content, and return its path.

    Raises ``UsageError`` where the page cannot be written.
    """
    names = [str(run["name"]) for run in tables["runs"]]
    told = [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]
    page = environment().get_template("transfer.html.j2").render(
        attack=tables["attack"]["name"], norm=tables["norm"], eps=tables["eps"],
        n=tables["n"], heat=matrix(told, tables["accuracy"], "Accuracy under transferred adversaries"),
        clean=list(zip(told, tables["clean"], strict=True)), rows=dict(tables),
    )  # fmt: skip
    return store(page, folder / "transfer.html")
