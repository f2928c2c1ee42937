"""Judge a finished run's encoder again, by its own recipe or with other attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.composition.added import entry_for
from robustcl.composition.asked import attack_of, judged_table
from robustcl.composition.assembly import assemble
from robustcl.composition.lock import digest
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.errors import UsageError
from robustcl.evaluate.work import WHOLE, Work
from robustcl.recipe import reading
from robustcl.registry.owners import LOCK, Owners, of_lock, require
from robustcl.run.execution import Run, execute
from robustcl.run.folder import read_lock, reopen
from robustcl.run.machine import check_device
from robustcl.train import stage_files
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing

_DEFAULT = "slf"
"""The protocol where neither the recipe nor the caller names one."""


def evaluate_again(
    folder: Path,
    protocol: str | None = None,
    routes: Sequence[str] = (),
    attacks: Sequence[str | Mapping[str, Any]] = (),
    samples: int | None = None,
    corruptions: bool | str = False,
    *,
    curve: Sequence[str] = (),
    convergence: Sequence[int] = (),
    audit: int | None = None,
    device: str | None = None,
    work: Work = WHOLE,
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Evaluate a finished run; ``results.json`` gains these numbers, unless ``work`` is one share of several.

    The other arguments are those of ``Wanted``.

    Raises:
        UsageError: the run has an unfinished stage, or something asked for does not exist.
    """
    wanted = Wanted(protocol, routes, attacks, samples, corruptions, curve, convergence, audit, device)
    tables, options = wanted.tables(folder, say)
    judged = assemble(tables, str(folder))
    engine = Engine(options["device"], 1, options["precision"])
    return execute(judged, folder, engine, watcher, say, None, work, _is_own(judged, tables, folder))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a finished run's encoder; what is left out stays as its recipe has it.

    attacks: names, or tables of a name, its options and, as ``samples``, of how many images; a name alone is the
    recipe's attack of that name, with all that it has there, if there is one. corruptions: whether to judge on
    corrupted images too; a folder that holds stored copies, or True to make them. curve: budgets of the security
    curve; convergence: numbers of steps of the first attack. audit: how many images are audited, 0 for none. device:
    where it is computed, if not where the run was.
    """

    protocol: str | None = None
    routes: Sequence[str] = ()
    attacks: Sequence[str | Mapping[str, Any]] = ()
    samples: int | None = None
    corruptions: bool | str = False
    curve: Sequence[str] = ()
    convergence: Sequence[int] = ()
    audit: int | None = None
    device: str | None = None

    def tables(self, folder: Path, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the run's recipe with the evaluations that are asked for, and the device options of the run.

        Raises:
            UsageError: no run, one with an unfinished stage, or a device that there is not.
        """
        tables, recipe, options = read_lock(folder)
        owners = of_lock(recipe.lock)
        require(owners)  # before anything else that is asked: without them the run is nobody's
        for stage in recipe.stage:
            if stage_files.facts(folder, stage.name) is None:
                raise UsageError(
                    f"{folder}: stage {stage.name} is not finished; continue it with robustcl resume {folder}"
                )
        entries = tables.get("evaluate") or []
        if not entries and self.protocol is None:
            taken = f"judging by {_DEFAULT}; --protocol NAME takes another"
            say(f"the recipe of {folder} has no [[evaluate]] table: {taken}")
        entries = entries or [entry_for(tables, self.protocol or _DEFAULT)]
        if self.protocol is not None:
            entries = [entry for entry in entries if entry["use"] == self.protocol] or [
                entry_for(tables, self.protocol)
            ]
        own = {table.use: table.model_dump(exclude_unset=True) for entry in recipe.evaluate for table in entry.attacks}
        tables["evaluate"] = [entry | self._changes(own, owners) for entry in entries]
        if self.device is not None:
            check_device(self.device)
        return tables, options | {"device": self.device or options["device"]}

    def _changes(self, own: Mapping[str, Mapping[str, Any]], whose: Owners) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "route": list(self.routes),
            "attacks": [
                read_attack(own.get(attack, attack) if isinstance(attack, str) else attack, whose)
                for attack in self.attacks
            ],
            "samples": self.samples,
            "corruptions": {"path": self.corruptions} if isinstance(self.corruptions, str) else self.corruptions,
            "curve": list(self.curve),
            "convergence": list(self.convergence),
        }
        changes = {key: value for key, value in asked.items() if value}
        return changes | ({} if self.audit is None else {"audit": self.audit})


def _is_own(judged: RecipePlan, tables: Mapping[str, Any], folder: Path) -> bool:
    """Say whether a run is judged just as its own recipe says, however that was asked for."""
    asked, written = tables["evaluate"], reading.read(folder / LOCK).get("evaluate", [])
    if asked == written or _outline(asked) != _outline(written):
        return bool(asked == written)
    return digest(judged) == digest(reopen(folder)[0])


def _outline(entries: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what of each evaluation can be compared as it is written: all but the options of its attacks."""
    names = [[a if isinstance(a, str) else a["use"] for a in entry.get("attacks", [])] for entry in entries]
    return [
        (*(entry.get(key) for key in ("use", "route", "samples", "audit", "curve", "convergence")), asked)
        for entry, asked in zip(entries, names, strict=True)
    ]


def read_attack(attack: str | Mapping[str, Any], whose: Owners) -> dict[str, Any]:
    """Return an attack's table; what is wrong with it is said of the flag, and not of a recipe that nobody wrote."""
    table = judged_table(attack, "--attack")
    attack_of(table, Parts(whose), "--attack")
    return table.model_dump(exclude_unset=True)
