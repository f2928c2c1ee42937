"""From ``robustcl.attacks.MultiTargetedPGD`` to the registered plugin, and from its options to an instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustcl import options, registry
from robustcl.errors import AmbiguousPlugin, NotAPlugin, OptionError, UsageError, near

KINDS = ("generator", "attack")
"""Where a name is looked for: a generator perturbs every input, an evaluation attack what is left standing."""

RESERVED = ("model", "eps", "norm", "range", "seed", "mode", "precision", "stop_early")
"""What every attack takes beside its plugin's options."""

_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("alpha", "eps_iter", "eps_step", "stepsize", "rel_stepsize"), "step_size"),
    **dict.fromkeys(("iters", "n_iter", "nb_iter", "max_iter", "num_steps"), "steps"),
    **dict.fromkeys(("n_restarts", "nb_restarts", "num_random_init"), "restarts"),
    **dict.fromkeys(("n_queries", "nb_queries"), "queries"),
    **dict.fromkeys(("n_classes", "n_target_classes", "nb_target_classes"), "targets"),
    **dict.fromkeys(("random_start", "rand_init"), "start"),
    **dict.fromkeys(("eot_iter",), "eot"),
    **dict.fromkeys(("use_largereps",), "largereps"),
}
"""What other libraries call options, and their names here."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plugin with its options: the registered name, the kind, the instance, and all options as JSON can hold them."""

    kind: str
    name: str
    plugin: Any
    options: Mapping[str, Any]


def spelled() -> dict[str, tuple[str, str]]:
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
    known = spelled()
    hint = near(_plain(attribute), [_plain(name) for name in known])
    for name in known:
        hint = hint.replace(repr(_plain(name)), repr(name))
    raise AttributeError(
        f"robustcl.attacks has no attack {attribute!r}{hint or '; there are ' + ', '.join(sorted(known))}"
    )


def kind_of(name: str) -> str:
    """Return the kind of a registered name, ``name``, ``distribution/name`` or ``name:VALUE``."""
    head = name.partition(":")[0]
    for kind in KINDS:
        if head.rpartition("/")[2] in {label.rpartition("/")[2] for label in registry.names(kind)}:
            return kind
    return KINDS[0]


def build(kind: str, name: str, given: Mapping[str, Any], where: str) -> Made:
    """Return a plugin with its options.

    Raises:
        OptionError: an option that it lacks or a value that it refuses.
        UsageError: a name that is unknown, a schedule, or a plugin that cannot run here.
    """
    found = registry.find(kind, name, where)
    described = [option.name for option in options.describe(found.cls)]
    if shadowed := set(described) & set(RESERVED):
        raise NotAPlugin(f"{where}: its option {min(shadowed)!r} is a word that every attack takes; rename it")
    for option in given:
        meant = _ELSEWHERE.get(option)
        if option not in described and meant in described:
            raise OptionError(f"{where}: what other libraries call {option!r} is {meant!r} here")
    table = {**found.preset, **given}
    built = options.build(found.cls, table, where)
    if built.schedules:
        raise OptionError(f"{where}.{min(built.schedules)}: there are no epochs here to schedule by; give one number")
    available = getattr(built.instance, "available", None)
    if available is not None and (reason := available()):
        raise UsageError(f"{where}: {name} cannot run here: {reason}")
    return Made(kind, name, built.instance, options.resolve(found.cls, table, where))


def _attribute(name: str, target: str) -> str:
    """Return the class's own spelling where it is that of the name, else the words joined, short ones in capitals."""
    own = target.rpartition(":")[2].rpartition(".")[2]
    if _plain(own) == _plain(name):
        return own
    words = re.split(r"[^0-9A-Za-z]+", name)
    return "".join(word.upper() if len(word) <= 4 else word.capitalize() for word in words)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())
