"""Square Attack: random search with squares of falling size, on the margin, without a gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from robustcl import search
from robustcl.options import Count, Fraction
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import Attack
from robustcl_plugins.generators.square_moves import MOVES
from robustcl_plugins.generators.square_windows import Canvas
from robustcl_plugins.generators.verdicts import claimed

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the share of a window is halved."""

PUBLISHED = 10_000
"""Of how many queries these are counted."""

_CHUNK = 64
"""Queries whose numbers are drawn at once; part of the stream, so another chunk is another attack."""


class Square:
    """Keeps for each row the best point so far and paints over a random window of it; what is no better is dropped.

    Needs no gradient and no smooth model, only logits: it lowers the margin, the label's logit minus the largest
    other one. A row that is fooled leaves. Windows, colours and acceptance are each row's own. Linf: squares of
    +-eps from vertical stripes on. L2 and L1: pairs of windows, of which one gives its length to the other.
    In a clip a window reaches through all frames; a flat item is one line of pixels. Returns x itself for rows
    that are fooled at once, and otherwise the point with the smallest margin.

    queries: candidates of each row and restart; one forward pass each. p_init: the share of the image that the
    first windows cover, halved nine times in the course of the queries. rescale: with other than 10,000 queries, halve
    it after the same parts of them; false keeps the published numbers of queries, as AutoAttack does with its 5,000.
    restarts: searches of the rows that stand.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    lockstep: ClassVar[bool] = False
    citation: ClassVar[str] = (
        "Andriushchenko, Croce, Flammarion and Hein, Square Attack: A Query-Efficient Black-Box Adversarial Attack via"
        " Random Search, ECCV 2020, algorithms 1 to 3; in L1 Croce and Hein, Mind the Box: l1-APGD for Sparse"
        " Adversarial Attacks on Image Classifiers, ICML 2021"
    )

    def __init__(
        self, *, queries: Count = 5000, p_init: Fraction = 0.8, rescale: bool = True, restarts: Count = 1
    ) -> None:
        self.queries = queries
        self.p_init = p_init
        self.rescale = rescale
        self.restarts = restarts

    def check_item(self, item: tuple[int, ...]) -> None:
        """Raise ``UsageError`` for items of a shape that no window fits."""
        Canvas.of(item)

    @torch.no_grad()
    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        best = x.detach().clone()
        lowest, fooled = judge(best, attack)
        for restart in range(self.restarts):
            rows = (~fooled).nonzero()[:, 0]
            if len(rows) == 0:
                break
            part = attack.take(rows)
            part = part.but(rng=part.rng.child("restart", restart))
            found, margin, broken = self._search(x.detach()[rows], part)
            better = broken | (margin < lowest[rows])
            best[rows[better]], lowest[rows[better]] = found[better], margin[better]
            fooled[rows] = broken
        return best

    def _search(self, x: Tensor, attack: Attack) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best points, their margins (R,) and whether they fool (R,) bool."""
        canvas, moves = Canvas.of(tuple(x.shape[1:])), MOVES[attack.ball.norm]
        clean, rows = canvas.view(x), torch.arange(len(x), device=x.device)
        start = attack.rng.uniform((len(x), *moves.start_numbers(canvas)), device=x.device)
        numbers = _Numbers(attack.rng, moves.move_numbers(canvas), rows)
        best = candidate = moves.start(clean, attack.ball, canvas, start)
        lowest = torch.full((len(x),), torch.inf, dtype=torch.float32, device=x.device)
        found, margins, fooled = torch.empty_like(clean), lowest.clone(), torch.zeros_like(rows, dtype=torch.bool)
        for query in range(self.queries):
            if query > 0:
                part = share(self.p_init, query, self.queries if self.rescale else PUBLISHED)
                candidate = moves.propose(clean, best, attack.ball, canvas, part, numbers.next())
            margin, broken = judge(candidate.view(-1, *x.shape[1:]), attack)
            better = broken | (margin < lowest)
            best[better], lowest[better] = candidate[better], margin[better]
            if bool(broken.any()):
                found[rows], margins[rows], fooled[rows] = best, lowest, broken
                kept = (~broken).nonzero()[:, 0]
                if len(kept) == 0:
                    break
                rows, clean, best, lowest = rows[kept], clean[kept], best[kept], lowest[kept]
                attack, numbers = attack.take(kept), numbers.take(kept)
        else:
            found[rows], margins[rows] = best, lowest
        return found.view(x.shape), margins, fooled


def share(p_init: float, query: int, queries: int) -> float:
    """Return the share p of the image that a window covers at a query (1, 2, ...; the start is 0) of ``queries``."""
    return p_init * 0.5 ** sum(query * PUBLISHED // queries > halving for halving in HALVINGS)


def judge(candidates: Tensor, attack: Attack) -> tuple[Tensor, Tensor]:
    """Return the margins (R,) float32 of candidates (R, *item), and whether they fool the model (R,) bool.

    Who fools is for the attack's verdict to say, and for its confirmation; without a verdict, a negative margin.
    """
    embedding = attack.encode(candidates)
    logits, label = embedding.logits.float(), attack.label[:, None]
    margin = (logits.gather(1, label) - logits.scatter(1, label, -torch.inf).amax(1, keepdim=True))[:, 0]
    return margin, search.confirm(attack, candidates, claimed(embedding, attack))


class _Numbers:
    """The uniform numbers of each query, drawn for a chunk of queries at once; a row's do not depend on who left."""

    def __init__(self, rng: Rng, width: int, rows: Tensor) -> None:
        self.rng, self.width, self.rows = rng, width, rows
        self.chunk, self.used = torch.empty(len(rows), 0, width, dtype=torch.float32, device=rows.device), 0

    def next(self) -> Tensor:
        """Return the numbers (R, width) of the next query."""
        if self.used == self.chunk.shape[1]:
            shape = (len(self.rows), _CHUNK, self.width)
            self.chunk, self.used = self.rng.uniform(shape, device=self.rows.device), 0
        self.used += 1
        return self.chunk[:, self.used - 1]

    def take(self, rows: Tensor) -> _Numbers:
        """Return those of some rows, at the same place."""
        other = _Numbers(self.rng.take(rows), self.width, self.rows[rows])
        other.chunk, other.used = self.chunk[rows], self.used
        return other
