"""Which random numbers were drawn: every draw of every stream, noted while a block runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from robustcl.rng import Rng


class DrawRecord:
    """The draws of a block, each by the key of its stream, how many came before it, and the row that it is bound to."""

    def __init__(self) -> None:
        self._count: Counter[tuple[int, int, int | None]] = Counter()
        self.busy = False

    def __bool__(self) -> bool:
        return bool(self._count)

    @property
    def places(self) -> set[tuple[int, int, int | None]]:
        """(key, number of the draw, row); the row is None where no rows are bound."""
        return set(self._count)

    @property
    def twice(self) -> set[tuple[int, int, int | None]]:
        """What was drawn more than once: two uses of one and the same number."""
        return {place for place, times in self._count.items() if times > 1}

    def add(self, rng: Rng) -> None:
        """Note that ``rng`` is about to draw."""
        if rng.rows is None:
            self._count[rng.key, rng._draws, None] += 1
        else:
            self._count.update((rng.key, rng._draws, row) for row in rng.rows.tolist())


@contextmanager
def record_draws() -> Iterator[DrawRecord]:
    """Note every draw from any ``Rng`` inside; numbers are the same as without it."""
    found, methods = DrawRecord(), {name: getattr(Rng, name) for name in ("_bits", "permutation", "generator", "seed")}
    for name, method in methods.items():
        setattr(Rng, name, _noting(method, found))
    try:
        yield found
    finally:
        for name, method in methods.items():
            setattr(Rng, name, method)


def another_key_draws_other_numbers(prepare: Callable[[Rng], Callable[[], Any]], rows: Tensor | None = None) -> None:
    """Assert that all that is drawn comes from the stream that is given, and that no number serves twice.

    ``prepare`` takes the stream and returns what draws from it. The same key gives the same draws, and two other keys,
    for example those of two epochs, share none of them. What is drawn once and then kept, like a table of permutations
    that an option seeds, is not looked at.
    """
    _draws(prepare, rows, 0)
    first, again, other = (_draws(prepare, rows, epoch) for epoch in (1, 1, 2))
    assert first.places == again.places, "the same stream is drawn from in two ways"
    common = first.places & other.places
    assert not common, f"{len(common)} of {len(first.places)} numbers do not depend on the stream that is given"
    twice = first.twice
    assert not twice, f"{len(twice)} of {len(first.places)} numbers serve twice: take rng.child(...) for each use"


def _draws(prepare: Callable[[Rng], Callable[[], Any]], rows: Tensor | None, epoch: int) -> DrawRecord:
    rng = Rng(0, "epoch", epoch)
    use = prepare(rng if rows is None else rng.for_rows(rows))
    with record_draws() as found:
        use()
    return found


def _noting(method: Callable[..., Any], found: DrawRecord) -> Callable[..., Any]:
    """Return a method of ``Rng`` that notes its draw; what a draw draws for itself is none of its own."""

    def note(rng: Rng, *given: Any, **named: Any) -> Any:
        if found.busy:
            return method(rng, *given, **named)
        found.busy = True
        try:
            found.add(rng)
            return method(rng, *given, **named)
        finally:
            found.busy = False

    return note
