"""Which entry a name selects, among the local and the installed ones; and what is said where none or several answer."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar

from robustcl.errors import AmbiguousPlugin, UnknownPlugin, near
from robustcl.registry.installed import KINDS, LOCAL, Entry, by_name, normal, scan
from robustcl.registry.packages import presets

added: ContextVar[tuple[Entry, ...]] = ContextVar("robustcl_local_plugins", default=())
"""What ``registry.local`` has added."""


def entries(kind: str) -> list[Entry]:
    """Return all entries of a kind, local ones first, then by name and distribution; nothing is imported."""
    check_kind(kind)
    local = [entry for entry in added.get() if entry.kind == kind]
    found = scan().get(kind, ())
    return local + (sorted([*found, *presets()], key=by_name) if kind == "attack" else list(found))


def kind_of(name: str, kinds: Iterable[str]) -> str | None:
    """Return the first of ``kinds`` that has a registered name, ``name``, ``distribution/name`` or ``name:VALUE``.

    Raises:
        AmbiguousPlugin: two distributions mean two things by it, and it does not say whose is meant.
    """
    owner, _, head = name.partition(":")[0].rpartition("/")
    found = {kind: [entry for entry in entries(kind) if entry.name == head] for kind in kinds}
    there = [kind for kind, rows in found.items() if rows]
    if owner:
        mine = [kind for kind in there if any(_is_of(entry, owner) for entry in found[kind])]
        return next(iter(mine or there), None)
    if len(there) > 1:
        first, other = found[there[0]], found[there[1]]
        if not any(_is_of(entry, each.origin.distribution) or entry.origin.distribution == LOCAL
                   for entry in first for each in other):  # fmt: skip
            one, two = first[0], other[0]
            raise AmbiguousPlugin(f"{name!r} is {one} and {two}: write {one.qualified!r} or {two.qualified!r}")
    return next(iter(there), None)


def _is_of(entry: Entry, distribution: str) -> bool:
    return normal(entry.origin.distribution) == normal(distribution)


def labels(rows: Iterable[Entry]) -> dict[str, Entry]:
    """Return what selects each entry: its name, or ``distribution/name`` where the name alone would not."""
    by_name: dict[str, list[Entry]] = {}
    for entry in rows:
        by_name.setdefault(entry.name, []).append(entry)
    return {entry.qualified if len(same) > 1 else name: entry for name, same in by_name.items() for entry in same}


def choose(kind: str, name: str, rows: list[Entry]) -> Entry:
    """Return the one entry that ``name`` or ``distribution/name`` selects; else the error says what would."""
    owner, slash, plain = name.rpartition("/")
    chosen = [entry for entry in rows if entry.name == plain]
    if slash:
        chosen = [entry for entry in chosen if normal(entry.origin.distribution) == normal(owner)]
    if not chosen:
        raise UnknownPlugin(_unknown(kind, name, plain, rows))
    if len(chosen) > 1:
        owners = " and ".join(f"{entry.origin} ({entry.origin.target})" for entry in chosen)
        choices = " or ".join(repr(entry.qualified) for entry in chosen)
        raise AmbiguousPlugin(f"the {kind} {plain!r} is offered by {owners}; write {choices}")
    return chosen[0]


def check_kind(kind: str) -> None:
    """Raise ``UnknownPlugin`` for a kind that is none."""
    if kind not in KINDS:
        raise UnknownPlugin(f"there is no kind of plugin called {kind!r}; the kinds are {', '.join(KINDS)}")


def _unknown(kind: str, name: str, plain: str, rows: list[Entry]) -> str:
    said = f"no installed distribution offers {_a(kind)} called {name!r}"
    others = [other for other in KINDS if other != kind and any(e.name == plain for e in entries(other))]
    if others:
        said += f"; {plain!r} is a name of another kind: {', '.join(others)}"
    known = sorted(labels(rows))
    return said + (near(name, known) or near(plain, known) or f"; there are: {', '.join(known) or 'none'}")


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
