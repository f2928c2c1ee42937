"""Which checks a kind has, and how they are run over a plugin, a class or a whole distribution."""

from __future__ import annotations

from collections.abc import Mapping

from robustcl import registry
from robustcl.errors import RobustclError, UnknownPlugin, UsageError
from robustcl.testing import common, data, evaluation, generators, launchers, models, objectives, selectors, targets
from robustcl.testing.subject import Check, PluginSubject, Report, Skip

CHECKS: Mapping[str, tuple[Check, ...]] = {
    "generator": generators.CHECKS,
    "objective": objectives.CHECKS,
    "selector": selectors.CHECKS,
    "target": targets.CHECKS,
    "view": data.VIEW,
    "encoder": models.ENCODER,
    "dataset": data.DATASET,
    "optimizer": models.OPTIMIZER,
    "sampler": data.SAMPLER,
    "attack": evaluation.ATTACK,
    "protocol": evaluation.PROTOCOL,
    "launcher": launchers.LAUNCHER,
}
"""What each kind must satisfy beside what all kinds must."""


def checks(kind: str) -> list[Check]:
    """Return the checks of a kind: those of all kinds first; ``UnknownPlugin`` if there is no such kind.

    Each is a function of a ``Subject``, named after the promise it holds the plugin to.
    """
    if kind not in CHECKS:
        raise UnknownPlugin(f"there is no kind of plugin called {kind!r}; the kinds are {', '.join(CHECKS)}")
    return [*common.CHECKS, *CHECKS[kind]]


def check_plugin(kind: str, name: str) -> list[Report]:
    """Run every check of a kind on one registered plugin; if it cannot be loaded, that is the one report."""
    try:
        subject = PluginSubject.find(kind, name)
    except RobustclError as error:
        return [Report(kind, name, "can_be_loaded", False, str(error))]
    return check_subject(subject)


def check_class(kind: str, cls: type, name: str = "") -> list[Report]:
    """Run every check of a kind on a class that need not be registered.

    Raises:
        UsageError: the arguments in another order.
    """
    if not isinstance(cls, type) or not isinstance(name, str):
        raise UsageError(
            f"check_class(kind, cls, name) was given {cls!r} as the class and {name!r} as its name: "
            "the class comes second"
        )
    return check_subject(PluginSubject(kind, name or cls.__name__, cls))


def check_subject(subject: PluginSubject) -> list[Report]:
    """Run every check of the subject's kind."""
    return [run(subject, check) for check in checks(subject.kind)]


def check_distribution(distribution: str) -> list[Report]:
    """Run every check on every plugin of an installed distribution; ``UnknownPlugin`` if it has none."""
    wanted = _normal(distribution)
    entries = [e for kind in CHECKS for e in registry.entries(kind) if _normal(e.origin.distribution) == wanted]
    if not entries:
        raise UnknownPlugin(f"the distribution {distribution!r} registers no plugin: is it installed here?")
    return [r for entry in entries for r in check_plugin(entry.kind, f"{entry.origin.distribution}/{entry.name}")]


def run(subject: PluginSubject, check: Check) -> Report:
    """Run one check; whatever the plugin raises becomes the report's message."""
    ok, skipped, message = True, False, ""
    try:
        check(subject)
    except Skip as reason:
        skipped, message = True, str(reason)
    except AssertionError as broken:
        ok, message = False, str(broken) or "the promise does not hold"
    except Exception as error:
        ok, message = False, f"{type(error).__name__}: {error}"
    return Report(subject.kind, subject.name, check.__name__, ok, message, skipped)


def _normal(distribution: str) -> str:
    return distribution.replace("_", "-").replace(".", "-").lower()
