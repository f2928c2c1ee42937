"""What a plugin may have beside what its kind must offer: every hook by kind, and what holds where it is left out.

A plugin inherits from nothing here. It has the hooks that it needs under these names, as attributes of its class, as
options, or as methods; ``of`` reads one, or what stands below. A name that is nearly a hook's is refused when the class
is looked up, since it would be passed over in silence.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from robustcl.threat import Ball
from robustcl.types import Dims, Scene


class PluginHooks:
    """Of every kind."""

    preset: str | None = None
    """The option that is filled by what stands after a colon: ``art:NAME``."""
    item_dim: int = 3
    """How many dimensions the items have that the conformance suite gives it: 3 for images, 4 for clips."""

    def available(self) -> str | None:
        """Return why it cannot run here, in a sentence: a library or a device that is missing."""
        return None

    def build(self, dims: Dims) -> None:
        """Make parameters and buffers, of sizes that are known before the first step."""

    def remember(self, scene: Scene) -> None:
        """Take in what a step has seen, after it."""


class GeneratorHooks(PluginHooks):
    """Of generators. ``target`` is the class that one is set to aim at; ``eot``: over how many passes it averages."""

    constants: tuple[str, ...] = ()
    """Names of embeddings that a recipe binds to other views."""
    lockstep: bool = True
    """Whether all rows take their steps together, so that batch statistics may be used."""
    target: int | None = None
    eot: int = 1
    steps: int | None = None
    step_size: float | None = None

    def check_item(self, item: tuple[int, ...]) -> None:
        """Raise ``UsageError`` where inputs of this shape cannot be taken."""

    def check_threat(self, classes: int, ball: Ball, who: str) -> None:
        """Raise ``UsageError`` where it cannot attack so many classes, or in a ball; ``who`` is the attack's name."""

    def check_clusters(self, clusters: tuple[int, ...]) -> None:
        """Raise ``UsageError`` where so few clusters do not suffice."""

    def grow(self, times: float) -> Mapping[str, Any]:
        """Return the options beside ``step_size`` that change in a ball ``times`` as large."""
        return {}

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, Any]:
        """Return what options that are left out come to, against so many classes in a ball."""
        return {}


class ObjectiveHooks(PluginHooks):
    """Of objectives."""

    separable: bool = False
    """Whether row i of every term depends on row i of the inputs alone."""
    rows: bool = False
    """Whether it reads rows and columns without a selector."""
    known_clusters: bool = False
    """Whether it needs a number of clusters that is fixed."""
    taps: tuple[str, ...] = ()
    """Inner layers whose maps it reads."""
    patches: int | None = None
    """How many patches an image of its views has, where embeddings are (B, patches, ...)."""
    selector: str = "all"
    """The selector that it takes where the recipe names none."""


class SelectorHooks(PluginHooks):
    """Of selectors."""

    detects: bool = False
    """Whether pairs of other images that it does not repel are taken for false negatives: the log holds them against
    labels then, where there are some."""


class ViewHooks(PluginHooks):
    """Of views."""

    range: tuple[float, float] | None = (0.0, 1.0)
    """To which the core clamps; ``None`` for values that are not pixels."""
    makes_target: bool = False
    """Whether it returns a pretext target as well."""


class DatasetHooks(PluginHooks):
    """Of data sets."""

    corrupted: str = ""
    """The folder, beside its own, of corrupted copies of its test split."""
    adaptation: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """What becomes of recipes that were written for another data set, by its name: ``robustcl.recipe.adaptation``."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return (n, *item) of each split as published, nothing where the files alone know.

        ``"pretrain"`` is left out where it is the train split.
        """
        return {}


class SamplerHooks(PluginHooks):
    """Of samplers."""

    def check_images(self, labels: Tensor, batch: int) -> None:
        """Raise ``UsageError`` where it cannot choose from images of these labels (n,)."""


class AttackHooks(PluginHooks):
    """Of evaluation attacks."""

    target: int | None = None

    def defaults(self, classes: int, ball: Ball) -> Mapping[str, Any]:
        """Return what options that are left out come to, against so many classes in a ball."""
        return {}


class ProtocolHooks(PluginHooks):
    """Of evaluation protocols; ``EvaluationProtocol`` says what ``head`` is given."""

    version: str = ""
    """What its author calls what it does; left out, the name and "-v0"."""
    later: tuple[str, ...] = ()
    """Options that came after that version and say nothing where they are ``None``: its hash leaves them out there."""

    def head(self, features: Tensor, label: Tensor, classes: int, **more: Any) -> nn.Module:
        """Return a classifier that is made and not trained."""
        raise NotImplementedError  # asked only of a protocol that has it


class LauncherHooks(PluginHooks):
    """Of launchers."""

    slots: int = 1
    here: bool = False
    """Whether its tasks run on the machine that launches them."""


HOOKS: Mapping[str, type[PluginHooks]] = {
    "generator": GeneratorHooks,
    "objective": ObjectiveHooks,
    "selector": SelectorHooks,
    "target": PluginHooks,
    "view": ViewHooks,
    "encoder": PluginHooks,
    "dataset": DatasetHooks,
    "optimizer": PluginHooks,
    "sampler": SamplerHooks,
    "attack": AttackHooks,
    "protocol": ProtocolHooks,
    "launcher": LauncherHooks,
}

H = TypeVar("H", bound=PluginHooks)


def of(plugin: object, hooks: type[H]) -> H:
    """Return the hooks of a plugin, or of its class: its own, and the defaults for the others."""
    return cast(H, _Hooks(plugin, hooks))


def has(plugin: object, name: str) -> bool:
    """Say whether a plugin has a hook of its own."""
    return getattr(plugin, name, None) is not None


def misspelt(kind: str, cls: type, known: Collection[str]) -> list[str]:
    """Return, as parts of a sentence, which names of a class are nearly a hook's; ``known`` are right."""
    hooks = [name for name in dir(HOOKS[kind]) if not name.startswith("_")]
    own = {name for base in cls.__mro__ if base is not object for name in vars(base) if not name.startswith("_")}
    near = {
        name: difflib.get_close_matches(name, [hook for hook in hooks if _alike(kind, hook, cls, name)], 1, _NEAR)
        for name in sorted(own - {*hooks, *known})
    }
    return [
        f"has {name!r}, which nothing reads: did you mean {close[0]!r}? (else begin it with _)"
        for name, close in near.items()
        if close
    ]


_NEAR = 0.85
"""Of difflib's ratio: one letter of seven is wrong, missing or exchanged."""

_OPTIONS = frozenset({"target", "eot", "steps", "step_size"})
"""Options by nature: the recipe's reader refuses a misspelt one, and ``step`` is a good name of one's own."""


def _alike(kind: str, hook: str, cls: type, name: str) -> bool:
    """Say whether a hook could be meant by a name: a method by a method, a value by a value."""
    return hook not in _OPTIONS and callable(getattr(HOOKS[kind], hook)) == callable(getattr(cls, name))


class _Hooks:
    def __init__(self, plugin: object, hooks: type[PluginHooks]) -> None:
        self._plugin, self._defaults = plugin, hooks

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        default = getattr(self._defaults, name)
        own = getattr(self._plugin, name, default)
        if not callable(default):
            return own
        return functools.partial(default, self._plugin) if own is None or own is default else own
