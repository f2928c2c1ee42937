"""Attacks of one generator: a generator by itself, and presets of one, which are written in TOML.

A preset's file is called as the attack is: ``use`` names the generator, ``about`` tells of the attack as a docstring
does, ``cite`` is its source where that is not the generator's. Every other key is an option of the generator.
``settable`` names the options that may still be given; what the file says of one holds where it is left out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustcl import hooks, options
from robustcl.disk import parse_toml
from robustcl.errors import NotAPlugin, OptionError
from robustcl.hooks import GeneratorHooks
from robustcl.options import signature
from robustcl.protocols import Need, PerturbationGenerator
from robustcl.registry.installed import Entry
from robustcl.threat import Ball

_JUDGED = frozenset({Need.PREDICTIONS, Need.LABELS})
"""What every attack by name reads: it is for classifiers, and where the generator borrows a loss there is theirs."""


_OWN = frozenset({"name", "generator", "needs", "citation"})
"""What an attack of one generator holds itself."""


class Solo:
    """An attack with one member: a generator, under a name."""

    def __init__(self, *, name: str, generator: PerturbationGenerator) -> None:
        self.name, self.generator = name, generator
        self.needs: frozenset[Need] = generator.needs
        self.target = hooks.of(generator, GeneratorHooks).target

    def available(self) -> str | None:
        """Return why the generator cannot run here."""
        return hooks.of(self.generator, GeneratorHooks).available()

    def members(self, classes: int, ball: Ball) -> Sequence[tuple[str, PerturbationGenerator]]:
        """Return the generator under its name. Raises ``UsageError`` where it cannot attack such a model or ball."""
        hooks.of(self.generator, GeneratorHooks).check_threat(classes, ball, self.name)
        return [(self.name, self.generator)]


class Preset(BaseModel):
    """What a preset's file says beside options."""

    model_config = ConfigDict(extra="allow")

    use: str = Field(min_length=1)
    about: str = Field(min_length=1)
    cite: str = ""
    settable: tuple[str, ...] = ()


@functools.cache
def read(entry: Entry) -> Preset:
    """Return what a preset's file says; raises ``NotAPlugin`` where it is no preset."""
    try:
        text = entry.source.read_bytes()
    except OSError as error:
        raise NotAPlugin(f"{entry} cannot be read: {error}") from None
    tables = parse_toml(text, str(entry), error=NotAPlugin, remedy=f"mend or uninstall {entry.origin.distribution}")
    try:
        return Preset.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        said = "is missing" if first["type"] == "missing" else first["msg"].lower()
        raise NotAPlugin(f"{entry} is no preset: {'.'.join(map(str, first['loc']))}: {said}") from None


@functools.cache
def make(entry: Entry, generator: type, named: tuple[tuple[str, str], ...] = ()) -> type[Solo]:
    """Return the class of a preset's attack, of the ``generator`` that it uses.

    ``named``: the options that the generator's name fills, as "MIFGSM" in ``torchattacks:MIFGSM``.

    Raises:
        NotAPlugin: an option that the generator lacks, or a value that it refuses.
    """
    preset = read(entry)
    known = signature.hints(generator)
    for name in preset.settable:
        if name not in known:
            raise NotAPlugin(f"{entry} is no preset: {preset.use} has no option {name!r}")
        if hasattr(Solo, name) or name in _OWN:
            raise NotAPlugin(f"{entry} is no preset: settable: an attack has {name!r} already; leave it out there")
    try:
        values, schedules = options.validate(generator, {**dict(named), **(preset.model_extra or {})}, str(entry))
    except OptionError as error:
        raise NotAPlugin(str(error)) from error
    if schedules:
        raise NotAPlugin(f"{entry}.{min(schedules)}: a preset has no epochs to schedule by; give one number")
    settable = {name: values.pop(name) for name in dict.fromkeys(preset.settable)}
    more: Any = generator
    return type(
        f"{generator.__name__}Attack",
        (Solo,),
        {
            "__init__": _constructor(entry.name, generator, settable, values),
            "__reduce__": lambda self: (
                _made_again,
                (entry, generator, named, {n: getattr(self, n) for n in settable}),
                vars(self),
            ),
            "__doc__": inspect.cleandoc(preset.about),
            "__module__": __name__,
            "needs": _JUDGED | (more.needs - {Need.OBJECTIVE}),
            "citation": preset.cite or more.citation,
        },
    )


def _made_again(entry: Entry, generator: type, named: tuple[tuple[str, str], ...], chosen: Mapping[str, Any]) -> Solo:
    """Return a preset's attack out of a pickle or a copy: its class is made, and stands in no module."""
    kind: Any = make(entry, generator, named)
    attack: Solo = kind(**chosen)
    return attack


def refresh() -> None:
    """Forget what was read and made."""
    read.cache_clear()
    make.cache_clear()


def _constructor(name: str, generator: Any, settable: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """Return an ``__init__`` with the options that may be given, whose words are the generator's own."""

    def __init__(self: Solo, **given: Any) -> None:
        chosen = {**settable, **given}
        Solo.__init__(self, name=name, generator=generator(**fixed, **chosen))
        vars(self).update(chosen)

    hints = {option: signature.hints(generator)[option] for option in settable}
    parameters = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hints[option])
        for option, value in settable.items()
    ]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made: Any = __init__
    made.__signature__ = inspect.Signature([own, *parameters])
    made.__annotations__ = hints
    made.__doc__ = generator.__doc__
    return made
