"""A recipe's tables under the rules of its data set: every place that a rule is about, and what is set there.

Of a plugin's options the defaults count as written; of the core's keys only what the recipe says itself.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from robustcl import registry
from robustcl.composition.exchange import takes
from robustcl.errors import UsageError
from robustcl.options import describe
from robustcl.options.signature import hints, is_whole
from robustcl.recipe import ThreatTable, adaptation, override
from robustcl.recipe.adaptation import KINDS, Adaptation, ThreatRule
from robustcl.recipe.multiples import scale
from robustcl.threat import parse_norm


def rules_of(dataset: str, written_for: str) -> Adaptation | None:
    """Return what a data set says of recipes that were written for another one; ``None`` where it says nothing.

    Raises:
        UsageError: its rules are none.
    """
    try:
        found = registry.find("dataset", dataset)
    except UsageError:  # there is no such data set, which is told when it is made
        return None
    own = plain_name(dataset)
    where = f"the data set {dataset!r} of {found.origin}"
    return None if own == written_for else adaptation.read(found.cls, where).get(written_for)


def plain_name(dataset: str) -> str:
    """Return a data set's name without the distribution before it and the file behind it, by which tables call it."""
    return dataset.partition(":")[0].rpartition("/")[2]


def apply(recipe: dict[str, Any], rules: Adaptation, but: Sequence[str] = ()) -> dict[str, Any]:
    """Change the tables, which need not be well-formed, in place; return the paths and values that were set.

    but: paths at which what is written stays. What is not written there, an option that a table leaves to its default,
    follows the rules.
    """
    changes: dict[str, Any] = {}
    written = {path: copy.deepcopy(override.get(recipe, path)) for path in but}

    def stays() -> bool:
        return all(_still(value, override.get(recipe, path)) for path, value in written.items())

    threat = recipe.get("threat", {})
    norm = threat.get("norm", ThreatTable().norm) if isinstance(threat, dict) else None
    with contextlib.suppress(UsageError):  # no norm, which is refused with the recipe
        norm = parse_norm(norm) if isinstance(norm, str) else None
    if norm in rules.threat:
        changes |= _grow(recipe, rules.threat[norm], stays)
    for place in _places(recipe):
        for option in rules.options(place.kind):
            value = rules.change(place.kind, option, place.get(option), place.is_whole(option))
            changes |= place.put(option, value, stays)
    return changes


def _still(written: Any, now: Any) -> bool:
    """Say whether what is written still stands there, beside whatever else."""
    if isinstance(written, Mapping):
        return isinstance(now, Mapping) and all(_still(value, now.get(key)) for key, value in written.items())
    if isinstance(written, list):
        return isinstance(now, list) and len(now) == len(written) and all(map(_still, written, now))
    if isinstance(written, str) and isinstance(now, Mapping):
        return bool(now.get("use") == written)  # a bare name, written out
    return written is None or written is now or bool(written == now)


def _grow(recipe: dict[str, Any], rule: ThreatRule, stays: Callable[[], bool]) -> dict[str, Any]:
    """Make the recipe's ball larger, with every step that is taken in it and the budgets of curves."""
    threat = recipe.get("threat", {})
    changes = {"threat.eps": scale(threat.get("eps", ThreatTable().eps), rule.times)}
    recipe["threat"] = {**threat, "eps": changes["threat.eps"]}
    if not stays():
        recipe["threat"], changes = threat, {}
    for place in _places(recipe):
        if "ball" in place.table:
            continue  # its own, which the threat does not move
        if place.kind in ("generator", "sampler", "protocol", "attack"):
            step = place.get("step_size")
            changes |= place.put("step_size", rule.step_size if step is None else scale(step, rule.times), stays)
        if place.kind == "protocol" and place.table.get("curve"):
            changes |= place.put("curve", list(rule.curve) or scale(place.table["curve"], rule.times), stays)
    return changes


@dataclass(frozen=True)
class _Place:
    """A table of a kind at a dotted path: what stands below ``key`` of ``box``, or a bare name written out."""

    kind: str
    path: str
    box: Any
    key: Any
    table: dict[str, Any]

    def get(self, option: str) -> Any:
        """Return what an option is: as it is written, or the plugin's default; ``None`` where there is none."""
        return self.table.get(option, self._defaults.get(option))

    def put(self, option: str, value: Any, stays: Callable[[], bool]) -> dict[str, Any]:
        """Set an option, where it can be and is another and what must stay does so; return its path and value."""
        if value == self.get(option):
            return {}
        if option in KINDS[self.kind].model_fields:
            taken = option in self.table
        else:
            taken = takes(self._registered(), self.table | {"use": self._name()}, option, value)
        if not taken:
            return {}
        before, inside = dict(self.table), isinstance(self.box, list) or self.key in self.box
        stood = self.box[self.key] if inside else None
        self.table[option] = value
        self.box[self.key] = self.table
        if stays():
            if option == "use":  # another plugin, with defaults of its own
                for known in ("_plugin", "_defaults"):
                    vars(self).pop(known, None)
            return {f"{self.path}.{option}": value}
        self.table.clear()
        self.table.update(before)
        if inside:
            self.box[self.key] = stood
        else:
            del self.box[self.key]
        return {}

    def is_whole(self, option: str) -> bool:
        """Say whether an option's numbers are whole ones."""
        if field := KINDS[self.kind].model_fields.get(option):
            return is_whole(field.annotation)
        return self._plugin is not None and is_whole(hints(self._plugin).get(option))

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        found = () if self._plugin is None else describe(self._plugin)
        return {option.name: option.default for option in found if not option.required}

    @cached_property
    def _plugin(self) -> type | None:
        try:
            return registry.get(self._registered(), self._name())
        except UsageError:  # the core's own table, or no such plugin, which is told when it is made
            return None

    def _name(self) -> str:
        return str(self.table.get("use", self.table.get("protocol", "")))

    def _registered(self) -> str:
        if self.kind != "attack":
            return self.kind
        try:
            return registry.kind_of(self._name(), ("attack", "generator")) or "attack"
        except UsageError:  # of two distributions, which is told when it is made
            return "attack"


def _places(recipe: dict[str, Any]) -> Iterator[_Place]:
    yield from _at("data", "data", recipe, "data")
    yield from _at("encoder", "encoder", recipe, "encoder")
    yield from _at("projector", "encoder.projector", recipe.get("encoder"), "projector")
    for path, stages, key in _entries(recipe, "stage", ""):
        for place in _at("stage", path, stages, key):
            yield place
            yield from _of_stage(place.table, path)
    for path, entries, key in _entries(recipe, "evaluate", ""):
        for place in _at("protocol", path, entries, key):
            yield place
            view = {"view": place.get("view")} | place.table
            yield from (
                _Place("view", p.path, place.table, "view", p.table) for p in _at("view", f"{path}.view", view, "view")
            )
            for spot, attacks, number in _entries(place.table, "attacks", f"{path}."):
                yield from _at("attack", spot, attacks, number)


def _of_stage(stage: dict[str, Any], path: str) -> Iterator[_Place]:
    for key, kind in (("views", "view"), ("generator", "generator"), ("term", "objective")):
        tables = stage.get(key)
        tables = tables if isinstance(tables, dict) else {}
        single = kind == "generator" and len(tables) == 1  # whatever it is called, once it is another one
        for name in list(tables):
            where = f"{path}.{key}" if single else f"{path}.{key}.{name}"
            for place in _at(kind, where, tables, name):
                yield place
                yield from _at("selector", f"{where}.selector", place.table, "selector")
    for key, kind in (("objective", "objective"), ("targets", "target"), ("sampler", "sampler")):
        yield from _at(kind, f"{path}.{key}", stage, key)
    yield from _at("optimizer", f"{path}.optimizer", stage, "optimizer")


def _entries(tables: dict[str, Any], key: str, above: str) -> Iterator[tuple[str, list[Any], int]]:
    """Go through a list of tables; an entry's path is by its name, where no other one has it."""
    entries = tables.get(key)
    if not isinstance(entries, list):
        return
    called = [_called(entry) for entry in entries]
    for number, name in enumerate(called):
        yield f"{above}{key}.{name if called.count(name) == 1 else number}", entries, number


def _called(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    return entry.get("name", entry.get("use", entry.get("protocol")))


def _at(kind: str, path: str, box: Any, key: Any) -> Iterator[_Place]:
    inside = key in box if isinstance(box, dict) else isinstance(box, list) and isinstance(key, int)
    value = box[key] if inside else None
    table = {"use": value} if isinstance(value, str) else value
    if isinstance(table, dict):
        yield _Place(kind, path, box, key, table)
