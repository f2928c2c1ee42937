"""What a check is given, and what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from robustcl import hooks, options, registry
from robustcl.hooks import PluginHooks
from robustcl.nn.traces import Traces
from robustcl.protocols import Need
from robustcl.testing.builders import DIMS


class Skip(Exception):
    """A check does not apply to this plugin here; the message says why."""


@dataclass(frozen=True)
class PluginSubject:
    """One plugin under test: its class, the kind and name it goes by, the options that the name presets."""

    kind: str
    name: str
    cls: type
    preset: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, kind: str, name: str) -> PluginSubject:
        """Return the registered plugin; raises what ``robustcl.registry.find`` raises."""
        found = registry.find(kind, name)
        return cls(kind, name, found.cls, found.preset)

    def options(self) -> Mapping[str, inspect.Parameter]:
        """Return the parameters of ``__init__``, but self."""
        if self.cls.__init__ is object.__init__:  # type: ignore[misc]
            return {}
        return dict(list(inspect.signature(self.cls.__init__).parameters.items())[1:])  # type: ignore[misc]

    def make(self, **given: Any) -> Any:
        """Build the plugin from defaults, preset and some options; skips where a default is missing."""
        needed = [n for n, p in self.options().items() if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
        missing = [name for name in needed if name not in {**self.preset, **given}]
        if missing:
            raise Skip(f"the option {missing[0]!r} has no default")
        plugin = options.build(self.cls, {**self.preset, **given}, self.name).instance
        reason = unavailable(plugin)
        if reason:
            raise Skip(reason)
        hooks.of(plugin, PluginHooks).build(DIMS)
        return plugin

    def needs(self, plugin: Any = None) -> frozenset[Need]:
        """Return the needs of a built plugin, or those of the class."""
        asked: Any = self.cls if plugin is None else plugin
        found: frozenset[Need] = asked.needs
        return found


Check = Callable[[PluginSubject], None]
"""A check raises ``AssertionError`` for a broken promise and ``Skip`` where it does not apply.

Its docstring says what it checks, its name becomes the report's.
"""


@dataclass(frozen=True)
class Report:
    """What one check said of one plugin; ``message`` is the broken promise, or why the check was skipped."""

    kind: str
    plugin: str
    check: str
    ok: bool
    message: str = ""
    skipped: bool = False

    def __str__(self) -> str:
        verdict = "skipped" if self.skipped else "ok" if self.ok else "FAILED"
        return f"{self.kind} {self.plugin}: {self.check}: {verdict}" + (f": {self.message}" if self.message else "")


def unavailable(plugin: Any) -> str | None:
    """Return the sentence of the plugin's optional ``available()``: why it cannot run here."""
    reason = hooks.of(plugin, PluginHooks).available()
    return reason if isinstance(reason, str) and reason else None


@contextmanager
def global_rng_untouched() -> Iterator[None]:
    """Assert that nothing inside draws from, or seeds, the generators of torch, NumPy or Python."""
    traces = Traces(())
    yield
    for sentence in traces.found():
        raise AssertionError(sentence)
