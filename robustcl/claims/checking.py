"""Whether the claims of a study speak of what it has, asked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from robustcl.claims.cells import Shape, is_swept
from robustcl.claims.contrasts import expand
from robustcl.claims.grammar import KINDS, Claim, Gains, Ratio, Trend
from robustcl.errors import UsageError, near


def check(claims: Sequence[Claim], shape: Shape, where: str) -> None:
    """Refuse a claim without a test or with several, and one on a row, column or axis that the study does not have.

    A value that a budget or a data set leaves out is no fault: the claim is not run at that size.

    Raises:
        UsageError: which claim, and what it names.
    """
    names = [claim.name for claim in claims]
    if twins := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{where}: two claim tables are named {twins[0]!r}; rename one")
    for claim in claims:
        place = f"{where}: claim.{claim.name}"
        given = [kind for kind, test in zip(KINDS, claim.tests, strict=True) if test is not None]
        if len(given) != 1:
            raise UsageError(f"{place}: it has {' and '.join(given) or 'no test'}; give one of {', '.join(KINDS)}")
        _check_form(claim, f"{place}.{given[0]}")
        for noun, name, known in _named(claim, shape):
            if name not in known and not (noun == "column" and any(is_swept(name, written) for written in shape.swept)):
                there = near(name, known) or f"; there is {', '.join(map(str, known)) or 'none'}"
                raise UsageError(f"{place}.{given[0]}: there is no {noun} {name!r}{there}")


def check_values(claims: Sequence[Claim], shape: Shape, where: str) -> None:
    """Refuse a claim on a value that not even the study's own file has, before budget and data set change it.

    Raises:
        UsageError: which claim, and what is not there.
    """
    for claim in claims:
        if isinstance(found := expand(claim, shape), str):
            raise UsageError(f"{where}: claim.{claim.name}: {found}; correct the claim")


def _check_form(claim: Claim, where: str) -> None:
    test = claim.test
    if isinstance(test, Ratio) and (test.at_least is None) == (test.at_most is None):
        raise UsageError(f"{where}: give either at_least or at_most")
    if not isinstance(test, Trend):
        return
    swept = ["{}" in column for column in test.column]
    if all(swept) == (test.axis is not None) or any(swept) != all(swept):
        raise UsageError(f"{where}: a trend runs along an axis, or along the values of a column with {{}} in its name")
    if test.peak is not None and test.direction != "peak":
        raise UsageError(f'{where}: peak = {test.peak!r} is for direction = "peak"; leave it out')


def _named(claim: Claim, shape: Shape) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield what a test names: what it is, its name, and those that there are."""
    test = claim.test
    assert test is not None
    columns, axes = [*shape.columns, *shape.swept], list(shape.axes)
    if isinstance(test, Gains):
        rows: Iterable[str | None] = [test.row, test.over, test.than, test.than_over]
    elif isinstance(test, Trend):
        rows = [*(test.row or ()), test.minus]
        yield from [("axis", test.axis, axes)] if test.axis is not None else []
    else:
        rows = [*(test.row or ()), *(test.than or ())]
        yield from [("column", test.than_column, columns)] if test.than_column is not None else []
        yield from (("axis", axis, axes) for axis in test.than_at or ())
    yield from (("row", row, shape.rows) for row in rows if row is not None)
    yield from (("column", column, columns) for column in test.column)
    yield from (("axis", axis, axes) for axis in test.at)
