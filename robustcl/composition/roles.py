"""Roles and views: which view, through which encoder, stands for which role of an objective."""

from __future__ import annotations

from collections.abc import Mapping

from robustcl.errors import UsageError, near
from robustcl.recipe import Stage
from robustcl.train.encoders import ONLINE
from robustcl.train.plan import Ref


def bind(
    roles: tuple[str, ...],
    given: Mapping[str, str] | list[str] | None,
    views: list[str],
    stage: Stage,
    where: str,
    use: str,
) -> tuple[tuple[str, Ref], ...]:
    """Bind an objective's roles to views; by default each role takes the view of its name, ``*`` takes all."""
    if roles == ("*",):
        if isinstance(given, Mapping):
            given = list(given.values())
        counted = {name: table.count for name, table in stage.views.items() if table.count > 1}
        names = [
            repeat
            for name in (given if given is not None else views)
            for repeat in ([f"{name}{i}" for i in range(1, counted[name] + 1)] if name in counted else [name])
        ]
        return tuple((text, ref_to(text, views, stage, where)) for text in names)
    if isinstance(given, list):
        if len(given) != len(roles):
            raise UsageError(f"{where}.views: {use} has the roles {', '.join(roles)}, but {len(given)} views are given")
        given = dict(zip(roles, given, strict=True))
    bound = dict(given or {})
    for role in bound:
        if role not in roles:
            raise UsageError(
                f"{where}.views: {use} has no role {role!r}{near(role, roles)}; its roles are {', '.join(roles)}"
            )
    if len(roles) == 1 and not bound and len(views) == 1:
        bound = {roles[0]: views[0]}
    missing = [role for role in roles if role not in bound and role not in views]
    if missing:
        raise UsageError(
            f"{where}.views: no view is bound to the role {missing[0]!r} of {use}; "
            f"write {missing[0]} = one of {', '.join(views) or 'the views that the stage has yet to draw'}"
        )
    return tuple((role, ref_to(bound.get(role, role), views, stage, where)) for role in roles)


def ref_to(text: str, views: list[str], stage: Stage, where: str) -> Ref:
    """Return what ``view`` or ``view@encoder`` names.

    Raises:
        UsageError: no such view or encoder in the stage.
    """
    view, at, encoder = text.partition("@")
    if view not in views:
        raise UsageError(
            f"{where}: there is no view {view!r}{near(view, views)}; the stage has {', '.join(views) or 'none'}"
        )
    encoder = encoder if at else stage.encode.get(view, ONLINE)
    known = [ONLINE, *stage.encoders]
    if encoder not in known:
        raise UsageError(
            f"{where}: there is no encoder {encoder!r}{near(encoder, known)}; the stage has {', '.join(known)}; "
            f'add it: encoders = {{ {encoder} = "stage:NAME" }}'
        )
    return Ref(view, encoder)
