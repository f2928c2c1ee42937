"""The attacks that an audit throws at a model: one table of names and options, looked up in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from robustcl import options, registry
from robustcl.errors import RobustclError
from robustcl.evaluate.judge import Members
from robustcl.registry.presets import Solo
from robustcl.threat import Ball


@dataclass(frozen=True, slots=True)
class Arm:
    """One attack, by the name of a registered attack or generator.

    step: step size as a share of eps, for those that take one. stream: attacks of one stream begin alike, so that a
    longer one goes on where a shorter one ended. white: it follows gradients.
    """

    label: str
    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
    step: float | None = None
    stream: str | None = None
    white: bool = True

    def missing(self, classes: int, ball: Ball) -> str | None:
        """Return why it cannot be used in a ball, or ``None``."""
        try:
            self.members(classes, ball)
        except RobustclError as error:
            return str(error)
        return None

    def members(self, classes: int, ball: Ball) -> Members:
        """Return the attack's members for a ball; raises ``UnknownPlugin`` or ``OptionError``."""
        kind, use = _own(self.use)
        given = self.spec(ball)
        if "targets" in given:  # a model of few classes has fewer wrong ones
            given["targets"] = max(1, min(given["targets"], classes - 1))
        plugin = options.build(registry.get(kind, use), given, f"audit.{self.label}").instance
        attack = plugin if kind == "attack" else Solo(name=self.use, generator=plugin)
        return [(self.stream or name, member) for name, member in attack.members(classes, ball)]

    def spec(self, ball: Ball) -> dict[str, Any]:
        """Return the options for a ball."""
        moved = {} if self.step is None else {"step_size": self.step * float(ball.eps)}
        return {**self.options, **moved}

    def but(self, label: str, **changes: Any) -> Arm:
        """Return it with other options."""
        return replace(self, label=label, options={**self.options, **changes})


def _own(name: str) -> tuple[str, str]:
    """Return the kind and the name of an attack: that of the audit's own distribution, whoever else has one."""
    kinds = ("attack", "generator")
    own = any(entry.qualified == f"robustcl/{name}" for kind in kinds for entry in registry.entries(kind))
    use = f"robustcl/{name}" if own else name
    return registry.kind_of(use, kinds) or "generator", use


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is tried; ``second`` meets what only a weaker attack broke, so that bad luck is not called masking."""

    single: Arm
    iterative: Arm
    longer: Arm
    restarts: Arm
    unbounded: Arm
    targeted: Arm
    black_box: Arm
    hard_label: Arm | None
    second: tuple[Arm, ...]
    noise: int
    sweep: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)


_PGD = Arm("PGD-20", "pgd", {"steps": 20}, step=0.25, stream="pgd")

CHEAP = Effort(
    single=Arm("FGSM", "fgsm"),
    iterative=_PGD,
    longer=_PGD.but("PGD-40", steps=40),
    restarts=_PGD.but("PGD-20 with 2 restarts", restarts=2),
    unbounded=_PGD.but("PGD-40", steps=40),
    targeted=Arm("APGD-T", "apgd-targeted", {"steps": 20, "targets": 3}),
    black_box=Arm("Square", "square", {"queries": 200}, white=False),
    hard_label=None,
    second=(
        _PGD.but("PGD-60 with 4 restarts", steps=60, restarts=4),
        Arm("APGD-T", "apgd-targeted", {"steps": 40, "targets": 5}),
    ),
    noise=50,
)
"""A few hundred gradients and queries for each sample."""

DEEP = replace(
    CHEAP,
    longer=_PGD.but("PGD-100", steps=100),
    restarts=_PGD.but("PGD-20 with 10 restarts", restarts=10),
    unbounded=_PGD.but("PGD-200", steps=200),
    targeted=Arm("APGD-T", "apgd-t"),
    black_box=Arm("Square", "square", {"queries": 5000}, white=False),
    hard_label=Arm("RayS", "rays", white=False),
    second=(
        _PGD.but("PGD-200 with 10 restarts", steps=200, restarts=10),
        Arm("APGD-T", "apgd-targeted", {"steps": 100, "targets": 9, "restarts": 3}),
    ),
    noise=10_000,
)
"""What one number of a paper deserves."""
