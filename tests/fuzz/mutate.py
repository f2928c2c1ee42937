"""Mutations of one file or folder of a run directory: what disks, editors, kills and strangers do to it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mutation happens: ``file`` below ``run``; ``other``: the same file of another run; ``outside``: a file
    and a folder that no command may touch."""

    run: Path
    file: Path
    other: Path
    outside: Path


Mutator = Callable[[random.Random, Place], str]

DEEP, DIGITS, PARTS = 100_000, 6_000, 50_000

STRINGS = (
    "\x1b[31mred\x1b[0m\x1b]0;title\x07", "a\x00b", "\x9b2J\x85", "<script>alert(1)</script>", "=cmd|' /C calc'!A0",
    "@SUM(1)", "+1", "-1+1", "\t=1", "\r=1", "$(touch pwned)`touch pwned`;touch pwned", "..", "../../outside",
    "/etc/passwd",
    "\\input{/etc/passwd}", "{{ 7 * 7 }}", "a\nb", "\u202eevil", "", " ", "x" * 100_000, "stage:", "run:.", "\ud800",
    "[link](javascript:1)", "|", "%s%n", "nan",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**400, -(10**30), 1e308, 1.5, 0.95, [], {}, [[]], [None], {"": None}, [1,
    "a", None],
    {"use": "fgsm"}, float("nan"), float("inf"), -float("inf"), 2**63, 1e-320,
)  # fmt: skip


def flip(rng: random.Random, at: Place) -> str:
    data = bytearray(at.file.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    at.file.write_bytes(data)
    return "bits flipped"


def splice(rng: random.Random, at: Place) -> str:
    """Replace, insert or remove some bytes."""
    data = at.file.read_bytes()
    start = rng.randrange(len(data) + 1)
    end = min(start + rng.choice((0, 1, 7, 100, 5000)), len(data))
    what = rng.choice(
        (b"", b"\x00", b"\xff\xfe", b"\x1b[2J", b"\n", b"}", b'"', os.urandom(0) + rng.randbytes(9), b"9" * 40)
    )
    at.file.write_bytes(data[:start] + what + data[end:])
    return "bytes spliced"


def truncate(rng: random.Random, at: Place) -> str:
    data = at.file.read_bytes()
    at.file.write_bytes(data[: rng.randrange(len(data) + 1)])
    return "truncated"


def empty(rng: random.Random, at: Place) -> str:
    at.file.write_bytes(b"")
    return "emptied"


def delete(rng: random.Random, at: Place) -> str:
    at.file.unlink()
    return "deleted"


def repeat(rng: random.Random, at: Place) -> str:
    data = at.file.read_bytes()
    at.file.write_bytes(data + data)
    return "doubled"


def deep(rng: random.Random, at: Place) -> str:
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    text = opening * DEEP + "1" + (closing * DEEP if rng.random() < 0.5 else "")
    at.file.write_text({".toml": f"a = {text}\n"}.get(at.file.suffix, text + "\n"), encoding="utf-8")
    return "nested deep"


def huge(rng: random.Random, at: Place) -> str:
    digits = "9" * DIGITS
    text = {".toml": f"a = {digits}\n"}.get(at.file.suffix, f'{{"a": {digits}}}\n')
    at.file.write_text(text, encoding="utf-8")
    return "an integer of 6000 digits"


def many_parts(rng: random.Random, at: Place) -> str:
    key = ".".join("a" * PARTS)
    at.file.write_text(f"{key} = 1\n" if at.file.suffix == ".toml" else json.dumps({key: 1}), encoding="utf-8")
    return "a key of 50,000 parts"


def not_text(rng: random.Random, at: Place) -> str:
    data = at.file.read_bytes()
    place = rng.randrange(len(data) + 1)
    at.file.write_bytes(
        data[:place] + rng.choice((b"\xff\xfe\xfa", b"\xc3\x28", b"\xed\xa0\x80", b"\x00")) + data[place:]
    )
    return "no UTF-8"


def link(rng: random.Random, at: Place) -> str:
    at.file.unlink()
    goal = rng.choice(
        (at.outside, at.outside.parent / "nowhere", at.file, Path("/dev/zero"), Path("/dev/full"), at.other)
    )
    at.file.symlink_to(goal)
    return f"a link to {goal}"


def plant_link(rng: random.Random, at: Place) -> str:
    """Lay a link where a command may write."""
    name = rng.choice((
        ".lock", ".lock.1-of-2", "results.json.tmp", ".results.json.tmp", "report.html", "report.html.tmp",
        "journal.jsonl.tmp",
        "representation.json.tmp", "representation.json", "measures.json", "metrics.jsonl", "artifacts",
        "transfers", "audits",
        "journal.jsonl", "results.json",
    ))  # fmt: skip
    _remove(at.run / name)
    goal = at.outside if "." in name else at.outside.parent
    (at.run / name).symlink_to(goal)
    return f"{name} a link to {goal}"


def fifo(rng: random.Random, at: Place) -> str:
    at.file.unlink()
    os.mkfifo(at.file)
    return "a FIFO"


def folder_for_file(rng: random.Random, at: Place) -> str:
    at.file.unlink()
    at.file.mkdir()
    return "a folder in its place"


def file_for_folder(rng: random.Random, at: Place) -> str:
    folders = sorted(path for path in at.run.rglob("*") if path.is_dir() and not path.is_symlink())
    chosen = rng.choice(folders)
    shutil.rmtree(chosen)
    if rng.random() < 0.7:
        chosen.write_text("no folder\n", encoding="utf-8")
        return f"{chosen.name} a file"
    return f"{chosen.name} gone"


def forbid(rng: random.Random, at: Place) -> str:
    """Take permissions away; root is not stopped by them, and must not be."""
    at.file.chmod(rng.choice((0o000, 0o200, 0o444)))
    return "permissions taken"


def swap(rng: random.Random, at: Place) -> str:
    if not at.other.is_file():
        return delete(rng, at)
    shutil.copyfile(at.other, at.file)
    return "taken from another run"


def swap_within(rng: random.Random, at: Place) -> str:
    files = [path for path in sorted(at.run.rglob(f"*{at.file.suffix}")) if path.is_file() and path != at.file]
    if files:
        shutil.copyfile(rng.choice(files), at.file)
    return "taken from elsewhere in the run"


def value(rng: random.Random, at: Place) -> str:
    """Change one value of a JSON file, of a line of JSON lines, or of TOML, to one of another type or meaning."""
    lines = at.file.read_text(encoding="utf-8").splitlines() if at.file.suffix == ".jsonl" else None
    if at.file.suffix == ".toml":
        return _toml(rng, at)
    if at.file.suffix not in (".json", ".jsonl"):
        return splice(rng, at)
    number = rng.randrange(len(lines)) if lines else 0
    tree = json.loads(lines[number] if lines else at.file.read_text(encoding="utf-8") or "null")
    said = _change(rng, tree)
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5 or "\\ud800" in json.dumps(tree))
    if lines:
        lines[number] = text
        text = "\n".join(lines) + "\n"
    at.file.write_text(text, encoding="utf-8")
    return said


def twice(rng: random.Random, at: Place) -> str:
    """Give a key twice, or a line twice."""
    data = at.file.read_bytes()
    lines = data.splitlines(keepends=True)
    if at.file.suffix == ".json" and data.lstrip()[:1] == b"{":
        key = rng.choice(sorted(json.loads(data)) or ["a"])
        at.file.write_bytes(data.rstrip()[:-1] + f", {json.dumps(key)}: {rng.choice(('1', 'null', '[]'))}}}".encode())
    elif lines:
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
        at.file.write_bytes(b"".join(lines))
    return "something twice"


def _toml(rng: random.Random, at: Place) -> str:
    lines = at.file.read_text(encoding="utf-8").splitlines()
    number = rng.choice([place for place, line in enumerate(lines) if "=" in line] or [0])
    key = lines[number].partition("=")[0] if lines else "a "
    said = rng.choice((
        '"\\u001b[31mred"', '"\\u0000"', "nan", "inf", "-1", "0", "true", "[]", "{}", '""', '"../../x"',
        "9" * 400, "1e400",
        "'<script>'", "1979-05-27", '["a", 1]', '{ use = "pgd" }', f'"{"x" * 5000}"', '"=1+1"',
    ))  # fmt: skip
    lines[number : number + 1] = [f"{key}= {said}"]
    at.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{key.strip()} = {said[:40]}"


def _change(rng: random.Random, tree: Any) -> str:
    """Change one entry, in place; leaves of long lists are not likelier than those of short ones."""
    path: list[str] = []
    node = tree
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        path.append(str(key))
        if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.1:
            break
        node = node[key]
    if not path:
        return "nothing to change"
    act = rng.random()
    if act < 0.1 and isinstance(node, dict):
        del node[key]
        return f"{'.'.join(path)} gone"
    number = node[key]
    if act < 0.3 and isinstance(number, int | float) and not isinstance(number, bool):
        node[key] = rng.choice((number + 1, number * 2, -number, number / 2 + 0.1, 1 - number))
    elif act < 0.6:
        node[key] = rng.choice(STRINGS)
    else:
        node[key] = rng.choice(VALUES)
    return f"{'.'.join(path)} = {str(node[key])[:40]!r}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
