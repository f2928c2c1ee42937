"""The page that leads from nothing to a paper's table: its commands, at the smallest size, one after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.shared import tiny
from tests.shared.forks import fork

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
INSTALL = ["python3 -m venv .venv", ". .venv/bin/activate", "pip install .", "robustcl doctor"]
"""What the environment of the tests has behind it; ``doctor`` has tests of its own."""
TINY = ["encoder.use=resnet-small", "encoder.width=2", "data.validation=0.8", "evaluate.slf.samples=4",
        "evaluate.slf.audit=0"]  # fmt: skip


def commands() -> list[str]:
    """Return the lines of the page's code blocks, in their order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def small(line: str) -> list[str]:
    """Return a command for the digits, at budget smoke on a CPU; studies are composed once and not run."""
    for before, after in (
        (" --dataset cifar10 --data-dir data", ""), ("data check cifar10 --data-dir data", "data check digits"),
        (" --set data.download=true", ""), ("--budget paper", "--budget smoke"), ("--device cuda", "--device cpu"),
        ("--samples 1000", "--samples 4 --no-audit"), (" --time", ""),
    ):  # fmt: skip
        line = line.replace(before, after)
    if line.startswith("robustcl study "):
        line = re.sub(r" --(seeds|out|device) \S+| --dry-run", "", line) + " --dry-run"
    words = shlex.split(line)[1:]
    assert not {"cifar10", "cuda", "paper"} & {*words}, "it would not run here"
    return words + ([f"--set={path}" for path in TINY] if words[0] == "compose" else [])


def test_the_commands_of_the_page_run_at_smoke_size(tmp_path: Path) -> None:
    lines = commands()
    assert lines[: len(INSTALL)] == INSTALL
    rest = lines[len(INSTALL) :]
    assert all(line.startswith("robustcl ") for line in rest)
    assert {line.split()[1] for line in rest} == {"data", "study", "compose", "evaluate", "report"}
    for words in dict.fromkeys(tuple(small(line)) for line in rest):
        done = fork(words, tmp_path, tiny.environment())
        assert done.returncode == 0, f"robustcl {shlex.join(words)}: {done.stderr}"
        assert done.stdout.strip() or done.stderr.strip()
    assert (tmp_path / "ncp-0" / "report.html").is_file()


def test_what_the_page_leaves_to_the_real_size_is_told_apart() -> None:
    with pytest.raises(AssertionError, match="it would not run here"):
        small("robustcl compose --recipe ncp --device cuda --dataset cifar10")
