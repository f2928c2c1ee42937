"""What every evaluation attack and protocol must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

from collections.abc import Mapping

import tomli_w
import torch
from torch import nn

from robustcl import hooks
from robustcl.errors import UsageError
from robustcl.hooks import ProtocolHooks
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.testing.builders import DIMS
from robustcl.testing.generators import EPS
from robustcl.testing.strength import STRENGTH
from robustcl.testing.subject import Check, PluginSubject, Skip
from robustcl.threat import Ball

_IMAGES = 400
"""Training images of which a head is made."""


def has_members(subject: PluginSubject) -> None:
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


def has_stages(subject: PluginSubject) -> None:
    """Each stage is a table that TOML can hold; none only where it makes a head or needs a run's own predictions."""
    plugin = subject.make()
    for route in ("clean", "adv"):
        stages = plugin.stages(route)
        bare = Need.PREDICTIONS not in plugin.needs and not hasattr(plugin, "head")
        assert len(stages) > 0 or not bare, "has no stages, makes no head, and needs no predictions"
        for stage in stages:
            assert isinstance(stage, Mapping), f"a stage is a {type(stage).__name__}, not a table"
            assert stage, "a stage is empty"
            try:
                tomli_w.dumps(stage)
            except TypeError as error:
                raise AssertionError(f"a stage holds what TOML cannot: {error}") from error


def its_head_classifies(subject: PluginSubject) -> None:
    """``head``, where there is one, gives finite logits (R, L) through which a gradient reaches the features."""
    plugin = subject.make()
    if not hasattr(plugin, "head"):
        raise Skip("it makes no head")
    rng = Rng(0, "head")
    features, label = rng.normal((_IMAGES, DIMS.features)), torch.arange(_IMAGES) % DIMS.classes
    head = plugin.head(features, label, DIMS.classes)
    assert isinstance(head, nn.Module), f"the head is a {type(head).__name__}, not a module"
    assert not list(head.parameters()), "the head has parameters, which nobody trains"
    h = rng.normal((5, DIMS.features)).requires_grad_()
    logits = head(h)
    assert logits.shape == (5, DIMS.classes), f"the logits of 5 features have the shape {tuple(logits.shape)}"
    assert bool(logits.isfinite().all()), "the logits are not finite"
    assert logits.requires_grad, "no gradient reaches the features"
    alone = head(h[3:4])
    assert torch.allclose(alone, logits[3:4], atol=1e-5), "a row's logits depend on the other rows"


def its_version_is_text(subject: PluginSubject) -> None:
    """``version``, where there is one, is text that is not empty."""
    version = hooks.of(subject.cls, ProtocolHooks).version if hooks.has(subject.cls, "version") else "v0"
    assert isinstance(version, str), f"version is a {type(version).__name__}, not text"
    assert version, "version is empty"


ATTACK: tuple[Check, ...] = (has_members, *STRENGTH)
PROTOCOL: tuple[Check, ...] = (has_stages, its_head_classifies, its_version_is_text)
