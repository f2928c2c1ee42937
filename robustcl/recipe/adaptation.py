"""What a data set says of recipes that were written for another one: rules about meanings, not paths of one recipe.

A data set's plugin has it as the hook ``adaptation``: the data set that a recipe was written for -> a table of rules.

    {"cifar10": {
        "threat": {"Linf": {"times": 4}},
        "times": {"projector.widths": "1/8"},
        "at_least": {"view.scale": 0.4, "projector.widths": 128},
        "at_most": {"stage.labelled": 100},
        "set": {"view.flip": 0.0},
    }}

Beside ``threat``, a rule's key is KIND.OPTION: of every table of that kind. Numbers are multiplied, then held within
bounds, then replaced; numbers of a list or a schedule each.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from robustcl import hooks
from robustcl.errors import UsageError, near, words
from robustcl.hooks import DatasetHooks
from robustcl.ratio import ratio
from robustcl.recipe.evaluation import Evaluate
from robustcl.recipe.grammar import (
    Data,
    EncoderTable,
    GeneratorTable,
    ProjectorTable,
    SamplerTable,
    Stage,
    Targets,
    Term,
    ViewTable,
)
from robustcl.recipe.multiples import change_each
from robustcl.recipe.reading import sentence
from robustcl.recipe.tables import Section, Use
from robustcl.threat import parse_norm

KINDS: Mapping[str, type[BaseModel]] = {
    "data": Data,
    "encoder": EncoderTable,
    "projector": ProjectorTable,
    "stage": Stage,
    "view": ViewTable,
    "generator": GeneratorTable,
    "objective": Term,
    "selector": Use,
    "target": Targets,
    "sampler": SamplerTable,
    "optimizer": Use,
    "protocol": Evaluate,
    "attack": Use,
}
"""The tables that a rule may be about, with the keys that are the core's in them."""

Number = Annotated[float, BeforeValidator(ratio), Field(allow_inf_nan=False)]
Factor = Annotated[float, BeforeValidator(ratio), Field(gt=0, allow_inf_nan=False)]


class ThreatRule(Section):
    """How large a ball is: ``times`` as large as the recipe's, with its eps, every step in it, and curves.

    step_size: what a step that is left to the ball is written out as. curve: the budgets of curves, in place of the
    recipe's.
    """

    times: Factor
    step_size: str | float | int | None = None
    curve: list[str | float | int] = Field(default_factory=list)


class Adaptation(Section):
    """The rules for recipes that were written for one other data set; ``threat``: norm of the recipe's ball -> rule."""

    threat: dict[str, ThreatRule] = Field(default_factory=dict)
    times: dict[str, Factor] = Field(default_factory=dict)
    at_least: dict[str, Number] = Field(default_factory=dict)
    at_most: dict[str, Number] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)

    def about(self) -> list[str]:
        """Return KIND.OPTION of every rule, each once."""
        return list(dict.fromkeys(key for rules in self._rules().values() for key in rules))

    def options(self, kind: str) -> list[str]:
        """Return which options of a kind some rule is about."""
        return [option for head, _, option in (key.partition(".") for key in self.about()) if head == kind]

    def change(self, kind: str, option: str, value: Any, whole: bool = False) -> Any:
        """Return what becomes of an option's value; text that is no number, and tables, stay unless they are set.

        whole: whether the option's numbers are whole ones; the bounds hold of what is rounded.
        """
        key = f"{kind}.{option}"
        if key in self.set:
            return copy.deepcopy(self.set[key])
        times, least, most = self.times.get(key, 1.0), self.at_least.get(key), self.at_most.get(key)

        def bounded(number: float, unit: float) -> float:
            number *= times
            down, up = (math.floor, math.ceil) if whole else (float, float)
            number = round(number) if whole else number
            number = number if least is None else max(number, up(least * unit))
            return number if most is None else min(number, down(most * unit))

        return change_each(value, bounded)

    def said(self) -> list[str]:
        """Return the rules in words, a line each."""
        balls = [f"{norm}: {_threat_said(rule)}" for norm, rule in self.threat.items()]
        return [*balls, *(f"{verb.replace('_', ' ')}: {_listed(rules)}" for verb, rules in self._rules().items())]

    def _rules(self) -> dict[str, Mapping[str, Any]]:
        rules = {"times": self.times, "at_least": self.at_least, "at_most": self.at_most, "set": self.set}
        return {verb: table for verb, table in rules.items() if table}


def read(cls: type, where: str) -> dict[str, Adaptation]:
    """Return the rules of a data set's class, by the data set that a recipe was written for.

    Raises:
        UsageError: they are none, in a sentence that begins with ``where``.
    """
    where = f"{where}: adaptation"
    try:
        return _read(hooks.of(cls, DatasetHooks).adaptation, where)
    except UsageError:
        raise
    except Exception as error:  # whatever a stranger's tables raise when they are looked through
        raise UsageError(f"{where} cannot be read, {words(error)}: a mistake in the plugin") from error


def _read(given: object, where: str) -> dict[str, Adaptation]:
    if not isinstance(given, Mapping):
        raise UsageError(f"{where} = {given!r} is not accepted; give a table of rules for each data set, by its name")
    found = {}
    for name, tables in given.items():
        if not isinstance(tables, Mapping):
            raise UsageError(f"{where}.{name} = {tables!r} is not accepted; give a table of rules")
        try:
            rules = Adaptation.model_validate(tables)
        except ValidationError as error:
            raise UsageError(sentence(error, f"{where}.{name}", tables, Adaptation)) from None
        found[str(name)] = rules = rules.model_copy(update={"threat": _by_norm(rules, f"{where}.{name}")})
        for key in rules.about():
            _check(key, f"{where}.{name}")
        for key, value in rules.set.items():
            if not _is_plain(value):
                wanted = "give what a recipe can hold: a finite number, text, true or false, a list or a table"
                raise UsageError(f"{where}.{name}: set.{key} is of {type(value).__name__}; {wanted}")
    return found


def say(found: Mapping[str, Adaptation]) -> list[str]:
    """Return rules in words: a line for the data sets that recipes were written for, and one for each sort of rule."""
    lines: list[str] = []
    for name, rules in found.items():
        same = [other for other in found if found[other] == rules]
        if name == same[0]:
            lines += [f"Recipes written for {', '.join(same)}:", *(f"  {line}" for line in rules.said())]
    return lines


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _by_norm(rules: Adaptation, where: str) -> dict[str, ThreatRule]:
    """Return the rules of balls by their norms' own names."""
    found: dict[str, ThreatRule] = {}
    for given, rule in rules.threat.items():
        try:
            norm = parse_norm(given)
        except UsageError as error:
            raise UsageError(f"{where}.threat: {error}") from None
        if norm in found:
            raise UsageError(f"{where}.threat: {given!r} is {norm}, of which another rule speaks; keep one of them")
        found[norm] = rule
    return found


def _check(key: str, where: str) -> None:
    kind, _, option = key.partition(".")
    if kind in KINDS and not option:
        raise UsageError(f"{where}: the rule {key!r} names no option of a {kind}; write {kind}.OPTION")
    if key == "data.use":
        raise UsageError(f"{where}: the rule {key!r} would exchange the data set itself; leave it out")
    if kind not in KINDS:
        known = f"the kinds are {', '.join(KINDS)}"
        raise UsageError(f"{where}: the rule {key!r} is no KIND.OPTION{near(kind, KINDS)}; {known}")
    model = KINDS[kind]
    if model in (Data, ProjectorTable, Stage) and option not in model.model_fields:
        raise UsageError(f"{where}: the rule {key!r} is about no key of a recipe{near(option, model.model_fields)}")


def _threat_said(rule: ThreatRule) -> str:
    parts = [f"balls and steps {rule.times:g} times as large"]
    parts += [f"a step that is left to the ball written as {rule.step_size}"] if rule.step_size is not None else []
    parts += [f"curves at {', '.join(map(str, rule.curve))}"] if rule.curve else []
    return ", ".join(parts)


def _listed(rules: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in rules.items()
    )
