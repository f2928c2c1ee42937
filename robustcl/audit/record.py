"""C11, C12, C15 and C16: how the number is made and told, and what lies outside the threat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import registry
from robustcl.audit.bench import Bench, count, percent
from robustcl.audit.chance import above, say_overstatement
from robustcl.audit.values import Finding
from robustcl.errors import RobustclError

_SIGMAS = (0.02, 0.05, 0.1, 0.2)


def worst_case(bench: Bench) -> Finding:
    """C11: each sample meets every attack; robust accuracy is the mean of the worst, not the worst of the means."""
    if not bench.fallen:
        return bench.finding("C11", "not run", "no attack could be run")
    every = torch.stack(list(bench.fallen.values())).any(0)
    said = f"{percent(bench.accuracy(every))} withstand every attack of this audit"
    label = bench.effort.iterative.label
    if bench.reported:
        lost, claimed = every & bench.stood, "the reported attacks"
    elif label in bench.fallen:
        lost, claimed = every & ~bench.fallen[label], label
    else:
        return bench.finding("C11", "pass", said)
    said += f"; of the samples that {claimed} left standing, {count(int(lost.sum()))} fell"
    said += "" if bool(bench.judged.all()) else f"; {count(int(bench.judged.sum()), bench.n)} were reported at all"
    return bench.finding("C11", say_overstatement(lost, bench.judged), said, lost)


def fields(bench: Bench) -> Finding:
    """C12: clean accuracy, threat and every option of every attack are part of the record."""
    right = int(bench.correct.sum())
    valid = "no range" if bench.ball.range is None else f"{bench.ball.range[0]:g} .. {bench.ball.range[1]:g}"
    said = f"clean accuracy {percent(right / bench.n)} of {count(bench.n)}, {bench.ball.norm} eps"
    said += f" {float(bench.ball.eps):.5g} in {valid}, and the options of all attacks"
    if not above(right, bench.n, 1.0 / bench.classes):
        return bench.finding("C12", "warn", f"{said}; clean accuracy is no better than chance")
    return bench.finding("C12", "pass", said)


def broader(bench: Bench) -> Finding:
    """C15: Gaussian noise, brightness, contrast and shifts: figures, with nothing to pass."""
    low, high = bench.ball.range or (float(bench.x.min()), float(bench.x.max()))
    width, rng = high - low, bench.rng.child("corruptions").for_rows(bench.index)
    changed: dict[str, Tensor] = {
        f"noise {sigma:g}": bench.x + sigma * width * rng.normal(bench.x.shape, device=bench.x.device)
        for sigma in _SIGMAS
    }
    changed["brightness +0.2"] = bench.x + 0.2 * width
    changed["half contrast"] = (bench.x - (low + high) / 2) / 2 + (low + high) / 2
    if bench.x.dim() >= 4:
        changed["shift by 1 pixel"] = F.pad(bench.x, (1, 0), value=low)[..., :-1]
    shares = {name: bench.predict(x.clamp(low, high)) == bench.label for name, x in changed.items()}
    said = ", ".join(f"{name} {percent(float(right.float().mean()))}" for name, right in shares.items())
    return bench.finding("C15", "report", said)


def cite_validation(bench: Bench) -> Finding:
    """C16: attacks are held against models of known weakness by the conformance suite of their distribution."""
    origins = {str(origin) for use in bench.used if (origin := _origin(use)) is not None}
    said = f"attacks of {', '.join(sorted(origins)) or 'none'}"
    return bench.finding("C16", "report", f"{said}; whether they work at all is for robustcl plugins check to say")


def _origin(use: str) -> object | None:
    for kind in ("attack", "generator"):
        try:
            return registry.origin(kind, use)
        except RobustclError:
            continue
    return None
