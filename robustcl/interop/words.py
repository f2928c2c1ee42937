"""Words of other libraries, and of the threat, in an attack's options: each gets the sentence that helps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from robustcl import registry
from robustcl.errors import OptionError, RobustclError
from robustcl.options import signature
from robustcl.threat import Ball

_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("alpha", "eps_iter", "eps_step", "stepsize", "rel_stepsize", "abs_stepsize", "lr"), "step_size"),
    **dict.fromkeys(("iters", "n_iter", "nb_iter", "max_iter", "num_steps", "num_iter", "iterations"), "steps"),
    **dict.fromkeys(("n_restarts", "nb_restarts", "num_restarts", "num_random_init"), "restarts"),
    **dict.fromkeys(("n_queries", "nb_queries", "max_queries", "query_limit"), "queries"),
    **dict.fromkeys(("n_target_classes", "nb_target_classes", "num_targets"), "targets"),
    **dict.fromkeys(("n_classes", "num_classes", "nb_classes"), "targets"),
    **dict.fromkeys(("random_start", "rand_init", "rand_start", "random_init"), "start"),
    **dict.fromkeys(("eot_iter", "n_eot"), "eot"),
    **dict.fromkeys(("use_largereps",), "largereps"),
    **dict.fromkeys(("loss_fn", "loss_type"), "loss"),
    **dict.fromkeys(("targeted", "target_class", "target_label", "target_labels", "y_target"), "target"),
}
"""What other libraries call options, and their names here."""

_THREAT: Mapping[str, str] = {
    **dict.fromkeys(("epsilon", "epsilons", "eps", "max_eps", "radius"), "eps"),
    **dict.fromkeys(("norm", "ord", "p", "lp"), "norm"),
    **dict.fromkeys(("clip_min", "clip_max", "clip_values", "bounds", "range"), "range"),
}
"""What belongs to the threat, and not to an attack's options."""

_TARGET = "target"


def check(cls: type, use: str, given: Iterable[str], where: str, calls: Mapping[str, str]) -> None:
    """Refuse options that the plugin ``use`` of a class lacks and that are known by another name, or not offered.

    Args:
        cls: the plugin's class.
        use: its registered name.
        given: the names of the options.
        where: opens the sentence.
        calls: eps, norm and range -> how they are said at this place; what is left out is not asked for.

    Raises:
        OptionError: as said; what is merely misspelt is left to ``options.build``.
    """
    known = signature.hints(cls)
    for option in given:
        if option in known:
            continue
        meant = _ELSEWHERE.get(option, option)
        if meant in known:
            hint = ", the number of the class to reach" if meant == _TARGET else ""
            raise OptionError(f"{where}: what other libraries call {option!r} is {meant!r} here{hint}")
        if meant == _TARGET:
            check_aim(cls, use, where)
        if (threat := _THREAT.get(option, "")) in calls:
            raise OptionError(f"{where}: {option!r} is the threat's and not an option of {use}: {calls[threat]}")
        if (other := _taker(cls, option)) is not None:
            said = f"{use} always has the same {option}"
            raise OptionError(f'{where}.{option}: {said}; take the generator behind it, use = "{other}", which has it')


def check_aim(cls: type, use: str, where: str) -> None:
    """Refuse a target for a plugin whose class has no option ``target``; say which have one."""
    if _TARGET not in signature.hints(cls):
        raise OptionError(f"{where}: {use} cannot be aimed at one class; {_listed(aimable())} take a target")


def aimable() -> list[str]:
    """Return the names of the generators that can be aimed at one class."""
    return [name for name, cls in _generators() if _TARGET in signature.hints(cls)]


def _taker(cls: type, option: str) -> str | None:
    """Return the generator behind an attack that has an option which the attack itself does not offer."""
    if not hasattr(cls, "members"):
        return None
    try:
        behind = {type(generator) for _, generator in cls().members(10, Ball("Linf", 8 / 255))}
    except (RobustclError, TypeError):
        return None
    return next((name for name, cls in _generators() if option in signature.hints(cls) and cls in behind), None)


def _generators() -> Iterator[tuple[str, type]]:
    for name in registry.names("generator"):
        with suppress(RobustclError):  # a broken one is said where it is asked for
            yield name, registry.get("generator", name)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names) or "none of those installed"
