"""``robustcl compose --seeds N``: one composition with several seeds, which is a study of one row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from robustcl.disk import as_usage, make_folder, read_bytes, write_atomically
from robustcl.errors import UsageError

if TYPE_CHECKING:
    from robustcl.api import Composition

FILE = "study.toml"
"""The study, in its own folder: ``robustcl study OUT/study.toml`` goes on with it, and may be given rows to compare."""


def run_seeds(composition: Composition, given: dict[str, Any], seeds: int, launched: list[str], as_json: bool) -> int:
    """Write the study of a composition and run it; return its exit code.

    Args:
        composition: what the flags compose, with any seed.
        given: the flags of ``robustcl compose``.
        seeds: how many, from 0 on.
        launched: the flags that name a launcher.
        as_json: print the results for tools.
    """
    from robustcl.cli import study
    from robustcl.store import places

    if given["seed"] is not None:
        raise UsageError(f"--seed {given['seed']} and --seeds {seeds}: seeds count from 0; leave one of them out")
    if given["devices"] not in (None, 1):
        raise UsageError(f"--devices {given['devices']} and --seeds: each seed is one process; take --slots instead")
    if given["num_nodes"] not in (None, 1):
        raise UsageError(
            f"--num-nodes {given['num_nodes']} and --seeds: each seed is one process; take --slots instead"
        )
    recipe = composition.recipe
    folder = Path(given["out"] or Path("studies") / f"{_plain(recipe.name)}-seeds")
    _write(folder, _tables(composition, given))
    budget = getattr(recipe.made, "budget", None) or "paper"
    place = places.find_place(given["store"])  # as of a single composition, and not as of other studies
    words = [f"--out={folder}", f"--seeds={seeds}", f"--budget={budget}", f"--store={place or places.NONE}"]
    flags = [flag for flag in ("dataset", "data_dir", "device", "precision") if given[flag] is not None]
    words += [f"--{flag.replace('_', '-')}={given[flag]}" for flag in flags]
    words = ["run", str(folder.absolute() / FILE), *words, *(f"--set={text}" for text in given["overrides"])]
    words += launched + (["--json"] if as_json else [])
    code = study.command.main(args=words, prog_name="robustcl study", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _tables(composition: Composition, given: dict[str, Any]) -> dict[str, Any]:
    """Return the study: one row of the flags' parts, and a column for each accuracy of its first evaluation."""
    recipe = composition.recipe
    row: dict[str, Any] = {"name": recipe.name}
    for part in ("recipe", "generator", "objective", "selector", "target"):
        if given[part] is not None:
            row[part] = given[part]
    if given["recipe"] is not None and Path(given["recipe"]).is_file():
        row["recipe"] = str(Path(given["recipe"]).absolute())
    if given["encoder"] is not None:
        row["set"] = {"encoder.use": given["encoder"]}
    columns: list[dict[str, Any]] = []
    if recipe.evaluate:
        columns = [{"name": "SA"}, *({"name": one.use, "attack": one.use} for one in recipe.evaluate[0].attacks)]
    about = f"{recipe.name} with several seeds."
    return {"name": f"{_plain(recipe.name)}-seeds", "about": about, "row": [row], "column": columns}


def _write(folder: Path, tables: dict[str, Any]) -> None:
    content, path = tomli_w.dumps(tables).encode(), folder / FILE
    if path.is_file() and read_bytes(path) != content:
        raise UsageError(f"{folder} holds another study than these flags compose; choose another --out, or go on with "
                         f"it: robustcl study {path}")  # fmt: skip
    with as_usage(f"--out {folder}", "choose another directory"):
        make_folder(folder)
        write_atomically(path, content)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.+_") or "composition"
