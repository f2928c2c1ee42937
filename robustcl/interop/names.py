"""From ``robustcl.attacks.MultiTargetedPGD`` to the registered plugin, and from its options to an instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustcl import hooks, options, registry
from robustcl.errors import AmbiguousPlugin, NotAPlugin, OptionError, UsageError, near
from robustcl.hooks import PluginHooks
from robustcl.interop import words
from robustcl.ratio import plain

KINDS = ("generator", "attack")
"""Where a name is looked for: a generator perturbs every input, an evaluation attack what is left standing."""

RESERVED = ("model", "eps", "norm", "range", "seed", "mode", "precision", "verbose", "stop_early")
"""What every attack takes beside its plugin's options."""

RESERVED_OUTSIDE = frozenset(RESERVED) - {"stop_early"}
"""What of it belongs to the call and not into an attack's table."""

_THREAT = {
    "eps": 'give eps = "8/255"',
    "norm": 'give norm = "Linf", "L2" or "L1"',
    "range": "give range = (0, 1), or None for none",
}


@dataclass(frozen=True, slots=True)
class NamedPlugin:
    """A plugin with its options: the registered name, the kind, the instance, and all options as JSON can hold them."""

    kind: str
    name: str
    plugin: Any
    options: Mapping[str, Any]


def list_names() -> dict[str, tuple[str, str]]:
    """Return attribute -> (kind, registered name) for everything that can be asked for; nothing is imported."""
    found: dict[str, tuple[str, tuple[str, str]]] = {}
    for kind in KINDS:
        for label, entry in registry.labels(registry.entries(kind)).items():
            if "/" not in label:
                attribute = _attribute(entry.name, entry.origin.target)
                found.setdefault(_plain(attribute), (attribute, (kind, label)))
    return dict(found.values())


def resolve(attribute: str) -> tuple[str, str]:
    """Return the kind and the registered name of an attribute: hyphens are left out, and case does not matter.

    Raises:
        AttributeError: nothing registered has this name.
        AmbiguousPlugin: several do; ``make`` takes the registered name.
    """
    for kind in KINDS:
        same = [label for label in registry.names(kind) if _plain(label.rpartition("/")[2]) == _plain(attribute)]
        if len(same) > 1:
            choices = " or ".join(f"robustcl.attacks.make({label!r}, model, ...)" for label in same)
            raise AmbiguousPlugin(f"robustcl.attacks.{attribute} could be {' or '.join(same)}: write {choices}")
        if same:
            return kind, same[0]
    known = list_names()
    hint = near(_plain(attribute), [_plain(name) for name in known])
    for name in known:
        hint = hint.replace(repr(_plain(name)), repr(name))
    raise AttributeError(
        f"robustcl.attacks has no attack {attribute!r}{hint or '; there are ' + ', '.join(sorted(known))}"
    )


def build(kind: str, name: str, given: Mapping[str, Any], where: str) -> NamedPlugin:
    """Return a plugin with its options.

    Raises:
        OptionError: an option that it lacks or a value that it refuses.
        UsageError: a name that is unknown, a schedule, or a plugin that cannot run here.
    """
    found = registry.find(kind, name, where)
    described = [option.name for option in options.describe(found.cls)]
    if shadowed := set(described) & set(RESERVED):
        raise NotAPlugin(f"{where}: its option {min(shadowed)!r} is a word that every attack takes; rename it")
    words.check(found.cls, name, given, where, _THREAT)
    table = {**found.preset, **given}
    built = options.build(found.cls, table, where)
    if built.schedules:
        raise OptionError(f"{where}.{min(built.schedules)}: there are no epochs here to schedule by; give one number")
    if reason := hooks.of(built.instance, PluginHooks).available():
        raise UsageError(f"{where}: {name} cannot run here: {reason}")
    return NamedPlugin(kind, name, built.instance, options.resolve(found.cls, table, where))


def check_words(given: Mapping[str, Any], verbose: object, where: str) -> None:
    """Refuse words that are said elsewhere: where to compute, how many inputs at once, what to print."""
    if not isinstance(verbose, bool):
        raise UsageError(f"{where}: verbose = {verbose!r}; give True or False")
    for name in given:
        if name in _ELSEWHERE:
            raise OptionError(f"{where}: {name} is not offered here: {_ELSEWHERE[name]}")


_ELSEWHERE = {
    "device": "the attack computes where the model is, so move the model, and leave device out",
    **dict.fromkeys(
        ("bs", "batch_size"), "give it where the attack is called, attack(x, y, bs=250) or run_standard_evaluation"
    ),
    "log_path": "the journal of run_standard_evaluation(x, y, journal=FILE) keeps every verdict",
    "summary_writer": "verbose = True prints how far an attack is",
}
"""Arguments of other libraries' attacks that are said elsewhere -> where."""


def take_targets(kind: str, name: str, given: dict[str, Any], where: str) -> Any:
    """Take out of some options the targets of single inputs, a tensor, an array or a list, which no table can hold.

    A single number stays, as an option of the plugin. Returns ``None`` where there is nothing to take out.
    """
    target = plain(given.get("target"))
    if not (hasattr(target, "__len__") and not isinstance(target, str | Mapping)):
        return None
    words.check_aim(registry.find(kind, name, where).cls, name, where)
    return given.pop("target")


def _attribute(name: str, target: str) -> str:
    """Return the class's own spelling where it is that of the name, else the words joined, short ones in capitals."""
    own = target.rpartition(":")[2].rpartition(".")[2]
    if _plain(own) == _plain(name):
        return own
    words = re.split(r"[^0-9A-Za-z]+", name)
    return "".join(word.upper() if len(word) <= 4 else word.capitalize() for word in words)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())
