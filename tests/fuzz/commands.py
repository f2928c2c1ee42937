"""The commands that read a run directory, how often each is tried, and what each may write."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command on the run ``a``; weight: how often, as it costs time.

    writes: what of the run it may change, as prefixes; None is what a run may change of itself. beside: what it may
    change in the workspace.
    """

    arguments: tuple[str, ...]
    weight: int
    writes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


_PAGE = ("report.html",)
_WORK = (
    "report.html", ".lock", "results.json", "journal.jsonl", "artifacts", "audits", "stages/evaluate-",
    "checkpoints/evaluate-",
    "metrics.jsonl", "tensorboard", "stages", "checkpoints",
)  # fmt: skip

COMMANDS: Sequence[Command] = (
    Command(("compare", "a", "b", "--format", "json", "--by", "run", "--allow-mixed"), 30),
    Command(("compare", "b", "a", "--by", "run"), 14),
    Command(("compare", "a", "b", "--allow-mixed", "--format", "latex"), 4),
    Command(("compare", "a", "b", "--allow-mixed", "--format", "csv"), 4),
    Command(("export", "a", "--model-info", "out", "--id", "X2026Y", "--route", "clean", "--force"), 24, (), ("out",)),
    Command(("merge", "a"), 16, ("journal.jsonl",)),
    Command(("run", "a/recipe.lock.toml", "--dry-run"), 8),
    Command(("run", "a/recipe.toml", "--dry-run"), 4),
    Command(("run", "init.toml", "--out", "out", "--device", "cpu"), 4, (), ("out",)),
    Command(("report", "a", "--projection", "pca"), 4, _PAGE),
    Command(("report", "a/threat-linf-4-255", "--projection", "pca"), 1, ("report.html",
    "threat-linf-4-255/report.html")),
    Command(("report", "a", "b"), 6),
    Command(("resume", "a"), 3, _WORK),
    Command(("evaluate", "a"), 2, _WORK),
    Command(("evaluate", "a", "--shard", "1/2"), 2, (*_WORK, "journal.1-of-2.jsonl")),
    Command(("audit", "a", "--samples", "2", "--route", "clean"), 1, _WORK),
    Command(("measure", "a", "--what", "alignment", "--samples", "20"), 1, (*_WORK, "representation.json")),
    Command(("transfer", "a", "b", "--samples", "8", "--out", "t"), 1, ("transfers", "report.html", ".lock"),
            ("t", "b/transfers", "b/report.html", "b/.lock")),
)  # fmt: skip


def drawn(rng: random.Random) -> Command:
    """Draw a command."""
    return rng.choices(COMMANDS, [command.weight for command in COMMANDS])[0]
