"""From a generator of a recipe to its plan: what it reads and writes, in which ball, and which term it maximises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from robustcl import hooks
from robustcl.composition.parts import Parts
from robustcl.composition.roles import ref_to
from robustcl.composition.terms import make_term
from robustcl.errors import NeedNotMet, UsageError, near
from robustcl.evaluate import aim
from robustcl.hooks import GeneratorHooks
from robustcl.protocols import Need
from robustcl.recipe import GeneratorTable, Maximise, Stage, Term
from robustcl.threat import Ball
from robustcl.train.derived import line_of, looked_through
from robustcl.train.plan import GeneratorPlan, Part, TermPlan, ViewPlan


@dataclass(frozen=True, slots=True)
class StageGenerators:
    """The generators of one stage; ``ball`` is the threat's, ``where`` the stage's place in the recipe."""

    stage: Stage
    terms: tuple[TermPlan, ...]
    views: tuple[ViewPlan, ...]
    parts: Parts
    ball: Ball
    where: str

    def plans(self, drawn: list[str]) -> tuple[GeneratorPlan, ...]:
        """Return the generators in their order; ``drawn`` are the views that are there before any attack.

        Raises:
            UsageError: what is read is not there, or what is maximised cannot be told.
        """
        plans: list[GeneratorPlan] = []
        there = list(drawn)
        for name, table in self.stage.generator.items():
            plans.append(self._plan(name, table, drawn, there))
            there += plans[-1].writes
        return tuple(plans)

    def _plan(self, name: str, table: GeneratorTable, drawn: list[str], there: list[str]) -> GeneratorPlan:
        place = f"{self.where}.generator.{name}"
        writes = tuple(table.writes or [name])
        reads = tuple(table.reads or (drawn if len(drawn) == 1 else []))
        for view in reads:
            if view not in there:
                raise UsageError(f"{place}.reads: there is no view {view!r} yet{near(view, there)}; {', '.join(there)}")
        if not reads or len(reads) != len(writes):
            raise UsageError(
                f"{place}: it writes {', '.join(writes)} but reads {', '.join(reads) or 'nothing'}; "
                f'name one view for each, e.g. reads = ["{there[0] if there else "w"}"]'
            )
        part = self.parts.make("generator", table, place)
        _check_constants(table, part, place)
        _check_mode(table, part, place)
        _check_target(part, place)
        then = [*there, *writes]
        return GeneratorPlan(
            name=name,
            part=part,
            reads=reads,
            writes=writes,
            mode=table.mode,
            ball=_ball(table, self.ball, place),
            maximise=self._maximised(table, writes, then, place, part.needs),
            constants={
                key: ref_to(text, then, self.stage, f"{place}.constants") for key, text in table.constants.items()
            },
        )

    def _maximised(
        self, table: GeneratorTable, writes: tuple[str, ...], there: list[str], where: str, needs: frozenset[Need]
    ) -> TermPlan | None:
        """Return the term that a borrowing generator maximises: the named one, or the only one that reads its views."""
        if Need.OBJECTIVE not in needs:
            if table.maximise is not None or table.selector is not None:
                raise UsageError(f"{where}.maximise: {table.use} brings its own loss; remove the line")
            return None
        of = {view.name: view.of for view in self.views}
        visible = [*there, *(view for view in of if set(writes) & set(line_of(of, view)[1:]))]
        if isinstance(table.maximise, Maximise):
            asked = Term(use=table.maximise.use, views=table.maximise.views, selector=table.maximise.selector,
                         **table.maximise.options)  # fmt: skip
            term = make_term(f"{where}.maximise", asked, visible, self.stage, self.parts, f"{where}.maximise")
            _refuse_unseen(term, writes, visible, of, where)
            return term
        term = self._chosen(table.maximise, writes, of, where)
        _refuse_unseen(term, writes, visible, of, where)
        if table.selector is None:
            return term
        selector = self.parts.make("selector", table.selector, f"{where}.selector")
        return replace(term, name=f"{where}.maximise", selector=selector)

    def _chosen(self, name: str | None, writes: tuple[str, ...], of: Mapping[str, str | None], where: str) -> TermPlan:
        if name is not None:
            for term in self.terms:
                if term.name == name:
                    return term
            names = [term.name for term in self.terms]
            raise UsageError(
                f"{where}.maximise: the stage has no term {name!r}{near(name, names)}; it has {', '.join(names)}"
            )
        reading = [term for term in self.terms if _sees(term, writes, of) and Need.VALUES not in term.objective.needs]
        if len(reading) != 1:
            found = ", ".join(term.name for term in reading) or "no term"
            raise UsageError(f"{where}: {found} reads {', '.join(writes)}; say which one to maximise: maximise = NAME")
        return reading[0]


def _sees(term: TermPlan, writes: tuple[str, ...], of: Mapping[str, str | None]) -> bool:
    """Say whether a term reads a written view, or one that is made of it."""
    return any(set(writes) & set(line_of(of, ref.view)) for _, ref in term.roles)


def _refuse_unseen(
    term: TermPlan, writes: tuple[str, ...], visible: list[str], of: Mapping[str, str | None], where: str
) -> None:
    """Refuse a term of which an attack cannot see everything, or one view in two ways."""
    if Need.VALUES in term.objective.needs:
        raise UsageError(
            f"{where}.maximise: {term.name} reads the values of other terms, which do not exist during an attack; "
            "maximise one of those terms"
        )
    for _, ref in term.roles:
        if ref.view not in visible:
            raise UsageError(f"{where}.maximise: {term.name} reads {ref.view!r}, which is made only after this attack")
    try:
        looked_through(of, writes, [ref.view for _, ref in term.roles])
    except ValueError as error:
        raise UsageError(
            f"{where}.maximise: {term.name} reads {error}, but an attack looks at it in one way only; bind one of "
            "them to a term of its own"
        ) from None


def _check_constants(table: GeneratorTable, part: Part, where: str) -> None:
    """Refuse a constant that the generator reads and nothing binds, and one that is bound and nothing reads."""
    read = hooks.of(part.plugin, GeneratorHooks).constants
    for name in read:
        if name not in table.constants:
            raise NeedNotMet(
                f"{where}: {table.use} reads the constant {name!r}, which is not bound{near(name, table.constants)}; "
                f'add constants = {{ {name} = "VIEW@ENCODER" }}, e.g. "w@teacher"'
            )
    for name in table.constants:
        if name not in read:
            raise UsageError(
                f"{where}.constants: {table.use} does not read the constant {name!r}{near(name, read)}; it reads "
                f"{', '.join(read) or 'none'}: remove it"
            )


def _check_mode(table: GeneratorTable, part: Part, where: str) -> None:
    """Refuse batch statistics for a generator that sends ever fewer rows: they would depend on who has left."""
    if table.mode != "eval" and not hooks.of(part.plugin, GeneratorHooks).lockstep:
        raise UsageError(
            f'{where}.mode = "{table.mode}": {table.use} looks at some rows more often than at others, and batch '
            'statistics would depend on which; take mode = "eval"'
        )


def _check_target(part: Part, where: str) -> None:
    """Refuse a class to aim at: in training a generator maximises a term, which knows no target."""
    if (target := aim.of(part.plugin)) is not None:
        raise UsageError(
            f"{where}.target = {target}: in training {part.name} maximises a term of the stage and aims at no class; "
            "remove it, or name the attack in attacks of an [[evaluate]]"
        )


def _ball(table: GeneratorTable, ball: Ball, where: str) -> Ball:
    own = table.ball
    if own is None:
        return ball
    limits = None if own.unbounded else ball.range
    eps = own.eps if own.eps is not None else ball.eps
    if not isinstance(eps, str | float | int):
        raise UsageError(f"{where}.ball.eps = {eps!r} is not a size")
    try:
        return Ball.checked(own.norm or ball.norm, eps, limits)
    except UsageError as error:
        raise UsageError(f"{where}.ball: {error}") from None
