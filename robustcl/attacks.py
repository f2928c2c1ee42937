"""Attacks on any model, by name: ``robustcl.attacks.PGD(model, eps="8/255", steps=20)(x, y)``.

Every registered generator and evaluation attack is an attribute here, under its name without hyphens and in any case:
``PGD``, ``APGD``, ``MultiTargetedPGD``. Where a generator and an evaluation attack share a name, it is the generator.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from robustcl import registry
from robustcl.errors import OptionError, UsageError
from robustcl.interop import names
from robustcl.options import signature

if TYPE_CHECKING:
    from torch import nn

    from robustcl.interop.calls import ModelAttack
    from robustcl.threat import Range

__all__ = ["AutoAttack", "make"]

FULL = "32-true"


class Factory(Protocol):
    """What an attribute of this module is."""

    def __call__(
        self,
        model: nn.Module,
        *,
        eps: float | str,
        norm: str | float = "Linf",
        range: Range = (0.0, 1.0),
        seed: int = 0,
        mode: str | None = None,
        precision: str = FULL,
        verbose: bool = False,
        **options: Any,
    ) -> ModelAttack:
        """Bind the attack to a model; see ``make``."""
        ...


def make(
    name: str | Mapping[str, Any],
    model: nn.Module,
    *,
    eps: float | str,
    norm: str | float = "Linf",
    range: Range = (0.0, 1.0),
    seed: int = 0,
    mode: str | None = None,
    precision: str = FULL,
    verbose: bool = False,
    **options: Any,
) -> ModelAttack:
    """Return a registered attack bound to a model.

    Args:
        name: as it is registered, "pgd", "torchattacks:MIFGSM", "distribution/name"; or a table of a name and its
            options as recipes and the command line have it, ``{"use": "pgd", "steps": 50}``, or that table as text.
        model: maps inputs (R, *item) to logits (R, L).
        eps: the radius, a number or a ratio such as "8/255".
        norm: "Linf", "L2" or "L1", or the order: infinity, 2, 1.
        range: lowest and highest value of an input; ``None`` where every value is valid.
        seed: of the attack's own random streams.
        mode: in which mode the model is attacked: "eval", "batch" (batch statistics) or "train"; left out, the model
            must be in eval mode.
        precision: "32-true", or "bf16-mixed" for forward and backward passes in bfloat16; verdicts are always taken in
            the model's own precision.
        verbose: print how many inputs are attacked, and accuracies after an evaluation.
        options: the plugin's own, as ``robustcl plugins show`` lists them. For generators also ``stop_early``: leave
            inputs alone once they are wrong, as evaluations do. ``target``, where the attack has it, may also be a
            tensor, an array or a list of one class for each input.

    Raises:
        UsageError: a name, option, threat or mode that is none, or a plugin that needs more than a model.
    """
    if not isinstance(name, str) or name.lstrip().startswith("{"):
        from robustcl.composition.asked import attack_table

        table = attack_table(name, "robustcl.attacks.make")
        if strange := names.RESERVED_OUTSIDE & table.options.keys():
            raise OptionError(
                f"robustcl.attacks.make: {min(strange)!r} is no option of an attack: give it beside the table, "
                f"make(table, model, {min(strange)}=...)"
            )
        name, options = table.use, {**table.options, **options}
    bind = _factory(registry.kind_of(name, names.KINDS) or names.KINDS[0], name, f"robustcl.attacks {name}")
    more: dict[str, Any] = {"precision": precision, "verbose": verbose, **options}
    return bind(model, eps=eps, norm=norm, range=range, seed=seed, mode=mode, **more)


def AutoAttack(
    model: nn.Module,
    norm: str | float = "Linf",
    eps: float | str | None = None,
    seed: int = 0,
    *,
    version: str = "standard",
    attacks_to_run: list[str] | tuple[str, ...] | None = None,
    verbose: bool = False,
    range: Range = (0.0, 1.0),
    mode: str | None = None,
    precision: str = FULL,
    **elsewhere: Any,
) -> ModelAttack:
    """Return the registered attack "autoattack" with the arguments of the library of that name.

    Args:
        model: maps inputs (R, *item) to logits (R, L).
        norm: "Linf", "L2" or "L1", or the order: infinity, 2, 1.
        eps: the radius; left out, 8/255, which is for Linf alone.
        seed: of the attack's own random streams.
        version: as the plugin's option.
        attacks_to_run: some of the version's members; left out or empty, all of them.
        verbose: print the accuracy after each member.
        range: lowest and highest value of an input.
        mode: "eval" attacks a model in eval mode that is left in train mode.
        precision: "32-true" or "bf16-mixed", as ``make``.
        elsewhere: arguments that have no meaning here, each refused with what to do instead.

    Raises:
        UsageError: as ``make``, for another norm without eps, and for an argument that is not offered.
    """
    if version == "custom":
        raise OptionError(f"AutoAttack.version = 'custom' is not offered: {_INSTEAD['version']}")
    if "device" in elsewhere and _is_home(elsewhere["device"], model):
        del elsewhere["device"]
    for argument in elsewhere.keys() & _INSTEAD.keys():
        raise UsageError(f"AutoAttack({argument}={elsewhere[argument]!r}) is not offered: {_INSTEAD[argument]}")
    from robustcl.threat import parse_norm

    if eps is None and (known := parse_norm(norm)) != "Linf":
        raise UsageError(f'AutoAttack in {known} needs eps: the usual 8/255 is for Linf, in L2 "0.5" is common')
    options: dict[str, Any] = {"version": version, **elsewhere}
    if isinstance(attacks_to_run, str):
        raise OptionError(f"AutoAttack.attacks_to_run = {attacks_to_run!r}: give a list, [{attacks_to_run!r}]")
    if attacks_to_run is not None and len(attacks_to_run):
        options["attacks_to_run"] = list(attacks_to_run)
    eps = "8/255" if eps is None else eps
    bind = _factory("attack", "autoattack", "AutoAttack")
    more: dict[str, Any] = {"precision": precision, "verbose": verbose, **options}
    return bind(model, eps=eps, norm=norm, range=range, seed=seed, mode=mode, **more)


def _is_home(device: Any, model: nn.Module) -> bool:
    """Say whether a device is the one where the model is; a word that names none is not."""
    import torch

    from robustcl.interop.given import device_of

    try:
        asked, home = torch.device(device), device_of(model)
    except (RuntimeError, TypeError, AttributeError):
        return False
    return home is not None and asked.type == home.type and asked.index in (None, home.index)


_INSTEAD = {
    "version": 'name members of a version, attacks_to_run=["apgd-ce", ...], of "standard" or "plus"; one member with '
    "settings of its own is robustcl.attacks.APGD(model, eps=..., restarts=2)",
    "device": "the attack computes where the model is, so move the model, and leave device out",
    "log_path": "the journal of run_standard_evaluation(x, y, journal=FILE) keeps every verdict",
    "state_path": "run_standard_evaluation(x, y, journal=FILE) goes on where it was cut off",
    "is_tf_model": "models are PyTorch modules here",
}
"""Argument of the library of that name -> what is done here in its place."""


def __getattr__(attribute: str) -> Factory:
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    kind, name = names.resolve(attribute)
    where = f"robustcl.attacks.{attribute}"
    cls = registry.find(kind, name, where).cls
    factory: Any = _factory(kind, name, where)
    factory.__name__ = factory.__qualname__ = attribute
    factory.__doc__ = inspect.getdoc(cls)
    factory.__signature__ = _signature(factory, cls, kind)
    return cast("Factory", factory)


def __dir__() -> list[str]:
    return sorted({*__all__, *names.list_names()})


def _factory(kind: str, name: str, where: str) -> Factory:
    """Return the function that binds a registered attack to a model; ``where`` opens its errors."""

    def factory(
        model: nn.Module,
        *positional: Any,
        eps: float | str | None = None,
        norm: str | float = "Linf",
        range: Range = (0.0, 1.0),
        seed: int = 0,
        mode: str | None = None,
        precision: str = FULL,
        verbose: bool = False,
        **options: Any,
    ) -> ModelAttack:
        from robustcl.interop.calls import ModelAttack
        from robustcl.threat import Ball

        if positional:
            said = ", ".join(map(repr, positional))[:60]
            raise UsageError(f'{where}(model, {said}): name what is meant, {where}(model, eps="8/255", ...)')
        names.check_words(options, verbose, where)
        stop_early = options.pop("stop_early", False) if kind == "generator" else False
        if not isinstance(stop_early, bool):
            raise UsageError(f"{where}: stop_early = {stop_early!r}; give True or False")
        target = names.take_targets(kind, name, options, where)
        made = names.build(kind, name, options, where)
        if eps is None:
            raise UsageError(f'{where} needs eps, the radius of the ball: give eps = "8/255", or "0.5" in L2')
        ball = Ball.checked(norm, eps, range)
        if ball.eps == 0:
            raise UsageError(f"{where}: an eps of 0 leaves nothing to attack; give a radius above 0")
        return ModelAttack(
            made, model, ball, seed=seed, mode=mode, precision=precision, stop_early=stop_early, verbose=verbose,
            target=target,
        )  # fmt: skip

    return factory


def _signature(factory: Any, cls: type, kind: str) -> inspect.Signature:
    """Return the factory's signature with the plugin's options written out, for help and completion."""
    own = list(inspect.signature(Factory.__call__).parameters.values())[1:-1]
    taken = {parameter.name for parameter in own}  # names.build refuses such a plugin with a sentence
    more = {name: (signature.hints(cls)[name], default) for name, default in signature.defaults(cls).items()}
    if kind == "generator":
        more["stop_early"] = (bool, False)
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in more.items()
        if name not in taken
    ]
    return inspect.signature(factory).replace(parameters=[*own, *options])
