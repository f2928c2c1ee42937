"""How an attack is named, everywhere: by its name, or by a table of its name and options, as text or as a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from robustcl import registry
from robustcl.composition.parts import Parts
from robustcl.disk import parse_toml
from robustcl.errors import AmbiguousPlugin, NeedNotMet, UnknownPlugin, UsageError, near
from robustcl.evaluate import aim
from robustcl.interop import words
from robustcl.protocols import Need
from robustcl.ratio import plain
from robustcl.recipe import AttackTable, Use
from robustcl.recipe.reading import sentence
from robustcl.registry.owners import Owners
from robustcl.registry.presets import Solo
from robustcl.train.plan import Part

_REMEDY = 'write a name, pgd-20, or a table, { use = "pgd", steps = 50 }'
_GIVEN = frozenset({Need.FEATURES, Need.PREDICTIONS, Need.LABELS, Need.INDEX, Need.OBJECTIVE})
"""What test images and their classifier can offer an attack."""
_THREAT = {
    "eps": 'give it by --eps, or by eps in [threat] of the recipe, "8/255"',
    "norm": 'give it by --norm, or by norm in [threat] of the recipe, "L2"',
    "range": "pixels are in 0 .. 1",
}


def attack_table(given: object, where: str) -> Use:
    """Return the table that is meant by a name, a TOML table in a text, a mapping, or a table that is made already.

    Single numbers of NumPy and torch become Python's own. ``where`` opens every sentence, "--attack".

    Raises:
        UsageError: another type, a text that is no TOML table, or a table that names no attack.
    """
    return given if isinstance(given, Use) else Use(**_keys(given, where))


def judged_table(given: object, where: str) -> AttackTable:
    """Return the table of an attack of an evaluation, which may say of how many images: see ``attack_table``.

    Raises:
        UsageError: as ``attack_table``, and ``samples`` that are no count.
    """
    keys = _keys(given, where)
    try:
        return AttackTable(**keys)
    except ValidationError as error:
        raise UsageError(sentence(error, f"{where} {keys}", keys)) from None


def _keys(given: object, where: str) -> dict[str, Any]:
    if isinstance(given, str) and not given.lstrip().startswith("{"):
        if not given.strip():
            raise UsageError(f"{where} is empty: {_REMEDY}")
        return {"use": given}
    table = _parsed(given, where) if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} = {table!r} is a {type(table).__name__}: {_REMEDY}")
    if not isinstance(table.get("use"), str) or not table["use"].strip():
        raise UsageError(f"{where} {dict(table)} names no attack: {_REMEDY}")
    if strange := next((key for key in table if not isinstance(key, str)), None):
        raise UsageError(f"{where} {dict(table)}: the option {strange!r} is no name: {_REMEDY}")
    return {name: plain(value) for name, value in table.items()}


def attack_of(table: Use, parts: Parts, where: str) -> Part:
    """Return an attack by name, or a generator (``pgd``, ``torchattacks:PGD``) as an attack of its own.

    Raises:
        UsageError: a name that is unknown, an option that it lacks, or a schedule, for which nothing goes on here.
    """
    kind = _kind(table.use, parts.owners, where)
    words.check(parts.find(kind, table.use, where).cls, table.use, table.options, where, _THREAT)
    part = parts.make(kind, table, where)
    if part.schedules:
        raise UsageError(f"{where}.{min(part.schedules)}: an evaluation has no epochs to schedule by; give one number")
    name = aim.name_aimed(table.use, aim.of(part.plugin))
    return Part(name, part.plugin if kind == "attack" else Solo(name=name, generator=part.plugin))


def check_attack(table: Use, where: str, more: frozenset[Need] = frozenset(), whose: Owners | None = None) -> Part:
    """Return an attack; refuse one that reads what test images and their classifier, with ``more``, cannot offer."""
    part = attack_of(table, Parts(whose), f"{where}.attack")
    for need in sorted(part.needs - _GIVEN - more, key=str):
        raise NeedNotMet(f"{where}: {part.name} reads {need.value}, which no test image has")
    return part


def _kind(use: str, whose: Owners, where: str) -> str:
    """Return whether an evaluation attack is meant, which comes first, or a generator; of two owners, the lock's."""
    kinds = ("attack", "generator")
    try:
        if (kind := registry.kind_of(use, kinds)) is not None:
            return kind
    except AmbiguousPlugin as error:
        meant = [kind for kind in kinds if f"{kind} {use}" in whose]
        if len(meant) == 1:
            return meant[0]
        raise AmbiguousPlugin(f"{where}: {error}") from None
    every = sorted({label.rpartition("/")[2] for each in kinds for label in registry.names(each)})
    hint = near(use.partition(":")[0].rpartition("/")[2], every) or "; there are " + ", ".join(every)
    raise UnknownPlugin(f"{where}: there is no attack {use!r}{hint}")


def _parsed(text: str, where: str) -> Any:
    said = f"{where} {text}"
    tables = parse_toml(f"attack = {text}", said, error=UsageError, remedy=_REMEDY)
    if len(tables) > 1:
        raise UsageError(f"{said}: more than one table stands there; give {where} once for each attack")
    return tables["attack"]
