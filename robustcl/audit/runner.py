"""The audit itself: every check in an order in which later ones can trust what earlier ones found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustcl.audit import budgets, gradients, hygiene, record, rivals, strength
from robustcl.audit.arms import CHEAP, DEEP, Effort
from robustcl.audit.bench import Bench, Check, count_known
from robustcl.audit.rivals import Surrogate
from robustcl.audit.values import TITLES, Audit, Finding
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.soundness import check_labels
from robustcl.rng import Rng
from robustcl.threat import Ball

Told = Callable[[str, int, int], None]
"""Told (the check that begins, checks done, checks in all)."""


def audit(
    classifier: Classifier,
    images: Images,
    index: Tensor,
    ball: Ball,
    rng: Rng,
    *,
    deep: bool = False,
    effort: Effort | None = None,
    known: Sequence[Outcome] = (),
    surrogates: Sequence[Surrogate] = (),
    block: int = 250,
    told: Told = lambda what, done, total: None,
) -> Audit:
    """Ask whether an attack on a classifier may have failed for another reason than a robust model.

    The items are those of Carlini, Athalye, Papernot, Brendel, Rauber, Tsipras, Goodfellow, Madry and Kurakin, On
    Evaluating Adversarial Robustness, arXiv:1902.06705, 2019, as far as a program can see to them.

    Args:
        classifier: what was judged.
        images: the split, with labels.
        index: (n,) int64, which of its images; a few hundred suffice.
        ball: the threat of the number.
        rng: the audit's stream; the same one gives the same audit.
        deep: add a hard-label attack, 10,000 draws of noise, more queries, steps and restarts.
        effort: attacks of one's own, instead of the cheap or the deep ones.
        known: outcomes of what was reported, one for each sample, the worst of several attacks.
        surrogates: other models of the same task, for the transfer attack.
        block: samples at once.
        told: hears of each check before it begins.

    Raises:
        UsageError: no samples, a threat of size 0 or of several sizes, or both ``deep`` and ``effort``.
        DataError: labels that the model has no output for.
    """
    _refuse(index, ball, deep and effort is not None)
    index = index.to(images.device)
    x, label = images.fetch(index), images.labels.to(images.device)[index]
    bench = Bench(classifier, x, label, index, ball, rng, effort or (DEEP if deep else CHEAP), block, known)
    check_labels(label, max(bench.classes, 2))
    checks: dict[str, Check] = {**_FIRST, "C9": partial(rivals.transfer, surrogates=tuple(surrogates)), **_LAST}
    findings = {}
    for done, (code, check) in enumerate(checks.items()):
        told(f"{code} {TITLES[code]}", done, len(checks))
        findings[code] = _checked(bench, code, check)
    return _summed(bench, tuple(findings[code] for code in TITLES), count_known(known, index.tolist()))


_FIRST: dict[str, Check] = {
    "H4": hygiene.units,
    "H1": hygiene.logits,
    "H2": hygiene.traces,
    "C13": hygiene.randomness,
    "H3": hygiene.own_rows,
    "C14": gradients.check_gradients,
    "C1": strength.iterative,
    "C2": strength.steps,
    "C3": strength.restarts,
    "C10": strength.aim_attacks,
    "C4": budgets.sweep,
    "C5": budgets.lift_bounds,
    "C6": rivals.black_box,
    "C7": rivals.noise,
    "C8": rivals.hard_label,
}
_LAST: dict[str, Check] = {
    "C11": record.worst_case,
    "C12": record.fields,
    "C15": record.broader,
    "C16": record.cite_validation,
}

_BY_GRADIENT = frozenset({"C14", "C1", "C2", "C3", "C4", "C5", "C10"})
_BY_ATTACK = _BY_GRADIENT | {"C6", "C7", "C8", "C9"}


def _refuse(index: Tensor, ball: Ball, both: bool) -> None:
    """Refuse what cannot be audited; ``both``: two sets of attacks are given."""
    if len(index) == 0:
        raise UsageError("an audit needs samples: give at least one index")
    if isinstance(ball.eps, Tensor) or ball.eps <= 0:
        raise UsageError(f"an audit needs one threat of a size above 0, but eps is {ball.eps}")
    if both:
        raise UsageError("an audit takes deep = True or attacks of its own as effort, not both")


def _summed(bench: Bench, findings: tuple[Finding, ...], told: Mapping[str, Any]) -> Audit:
    """Return the findings with what all attacks together left."""
    ball, every = bench.ball, torch.stack([*bench.fallen.values(), ~bench.correct]).any(0)
    threat = {"norm": ball.norm, "eps": float(ball.eps), "range": None if ball.range is None else list(ball.range)}
    return Audit(findings, bench.n, float(bench.correct.float().mean()), bench.accuracy(every), threat, told)


def _checked(bench: Bench, code: str, check: Check) -> Finding:
    """Run one check; one that breaks down is a warning, because nothing is known of what it asks."""
    if code in _BY_ATTACK and bench.blocked is not None:
        return bench.finding(code, "not run", bench.blocked)
    if code in _BY_GRADIENT and bench.flat is not None:
        return bench.finding(code, "not run", bench.flat)
    try:
        return check(bench)
    except Exception as error:  # a stranger's model may raise anything
        first = str(error).splitlines()[0] if str(error) else ""
        return bench.finding(code, "warn", f"could not be checked: {type(error).__name__}: {first}")
