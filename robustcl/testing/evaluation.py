"""What every evaluation attack and protocol must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

from collections.abc import Mapping

import tomli_w

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.testing.builders import DIMS
from robustcl.testing.generators import EPS
from robustcl.testing.subject import Check, Subject
from robustcl.threat import Ball


def has_members(subject: Subject) -> None:
    """In some norm there are members: distinct names, each with a generator (``perturb``, ``needs``)."""
    plugin, taken = subject.make(), 0
    for norm, eps in EPS.items():
        try:
            members = plugin.members(DIMS.classes, Ball(norm, eps))
        except UsageError:
            continue
        taken += 1
        assert len(members) > 0, f"{norm}: has no members"
        names = [name for name, _ in members]
        assert all(isinstance(name, str) and name for name in names), f"{norm}: a member has no name"
        assert len(set(names)) == len(names), f"{norm}: two members share a name: {names}"
        for name, generator in members:
            assert callable(getattr(generator, "perturb", None)), f"{norm}: {name} has no perturb"
            assert isinstance(getattr(generator, "needs", None), frozenset), f"{norm}: {name} declares no needs"
    assert taken, "takes no norm at all"


def has_stages(subject: Subject) -> None:
    """Each stage is a table that TOML can hold; none at all only where it needs a run's own predictions."""
    plugin = subject.make()
    for route in ("clean", "adv"):
        stages = plugin.stages(route)
        assert len(stages) > 0 or Need.PREDICTIONS in plugin.needs, "has no stages, and needs no predictions"
        for stage in stages:
            assert isinstance(stage, Mapping), f"a stage is a {type(stage).__name__}, not a table"
            assert stage, "a stage is empty"
            try:
                tomli_w.dumps(stage)
            except TypeError as error:
                raise AssertionError(f"a stage holds what TOML cannot: {error}") from error


ATTACK: tuple[Check, ...] = (has_members,)
PROTOCOL: tuple[Check, ...] = (has_stages,)
