"""The commands that read a run directory, which files each reads, what it costs, and what it may write."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A command on the run ``a``.

    reads: the files that it reads, as a pattern of their paths in the run. weight: how often it is tried, among those
    that read a file. costly: it trains, attacks or draws, and takes a second instead of some milliseconds. writes: what
    of the run it may change, as prefixes. beside: what it may change in the workspace.
    """

    arguments: tuple[str, ...]
    reads: str
    weight: int = 1
    costly: bool = False
    writes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


_PAGE = ("report.html",)
_WORK = (
    "report.html", ".lock", "results.json", "journal.jsonl", "artifacts", "audits", "stages/evaluate-", "data.json",
    "checkpoints/evaluate-", "metrics.jsonl", "tensorboard", "stages", "checkpoints", "witnesses",
)  # fmt: skip
_TOLD = r"(results\.json|journal\.jsonl)$"
_RECIPE = r"(recipe\.lock\.toml|run\.json)$"
_ALL = ""

TABLE = ("compare", "a", "b", "--format", "json", "--by", "run", "--allow-mixed")
"""The command whose numbers are held against those of before."""
RESUME = Command(("resume", "a"), _ALL, 3, costly=True, writes=_WORK)

COMMANDS: Sequence[Command] = (
    Command(TABLE, rf"^{_TOLD}|^recipe\.lock", 4),
    Command(("compare", "b", "a", "--by", "run"), rf"^{_TOLD}|^recipe\.lock", 1),
    Command(("compare", "a", "b", "--allow-mixed", "--format", "latex"), rf"^{_TOLD}", 1),
    Command(("compare", "a", "b", "--allow-mixed", "--format", "csv"), rf"^{_TOLD}", 1),
    Command(("export", "a", "--model-info", "out", "--id", "X2026Y", "--route", "clean", "--force"),
            rf"^{_TOLD}|^recipe\.lock|config\.json$", 6, beside=("out",)),
    Command(("merge", "a"), r"^journal|results\.json$", 5, writes=("journal.jsonl",)),
    Command(("run", "a/recipe.lock.toml", "--dry-run"), r"^recipe\.lock\.toml$", 4),
    Command(("run", "a/recipe.toml", "--dry-run"), r"^recipe\.toml$", 4),
    Command(("report", "a", "b"), rf"^{_TOLD}|^recipe\.lock", 4),
    Command(("evaluate", "a", "--shard", "1/2"), _ALL, 4, costly=True, writes=(*_WORK, "journal.1-of-2.jsonl")),
    Command(("report", "a", "--projection", "pca"), _ALL, 6, costly=True, writes=_PAGE),
    Command(("report", "a/threat-linf-4-255", "--projection", "pca"), r"^threat-|" + _RECIPE, 3, costly=True,
            writes=("report.html", "threat-linf-4-255/report.html")),
    RESUME,
    Command(("evaluate", "a"), _ALL, 3, costly=True, writes=_WORK),
    Command(("evaluate", "a", "--eps", "4/255", "--no-audit"), r"^threat-|safetensors$|config\.json$|" + _RECIPE, 2,
            costly=True, writes=(*_WORK, "threat-linf-4-255")),
    Command(("audit", "a", "--samples", "2", "--route", "clean"), _ALL, 2, costly=True, writes=_WORK),
    Command(("measure", "a", "--what", "alignment", "--samples", "20"), _ALL, 2, costly=True,
            writes=(*_WORK, "representation.json")),
    Command(("transfer", "a", "b", "--samples", "8", "--out", "t"), _ALL, 2, costly=True,
            writes=("transfers", "report.html", ".lock", "artifacts", "stages/evaluate-", "checkpoints/evaluate-"),
            beside=("t", "b/transfers", "b/report.html", "b/.lock")),
    Command(("study", "study.toml", "--budget", "paper", "--seeds", "2", "--out", "s", "--device", "cpu"),
            rf"^{_TOLD}|^recipe\.lock|^representation|^metrics|^data\.json$|^run\.json$", 8, costly=True,
            writes=(*_WORK, "representation.json"), beside=("s", "b/representation.json", "b/.lock", "b/stages")),
    Command(("audit", "b", "--surrogate", "a", "--samples", "2", "--route", "clean"), _ALL, 1, costly=True,
            writes=_WORK, beside=tuple(f"b/{name}" for name in _WORK)),
    Command(("run", "init.toml", "--out", "out", "--device", "cpu"), r"^stages/robust|safetensors$|config\.json$", 1,
            costly=True, beside=("out",)),
)  # fmt: skip


def drawn(rng: random.Random, name: str, costly: bool) -> Command:
    """Draw a command that reads a file; one of the cheap ones only if it is read by one."""
    able = [command for command in COMMANDS if command.costly == costly and re.search(command.reads, name)]
    return rng.choices(able, [command.weight for command in able])[0]


def is_read_cheaply(name: str) -> bool:
    """Say whether a cheap command reads a file."""
    return any(not command.costly and re.search(command.reads, name) for command in COMMANDS)
