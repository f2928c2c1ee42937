"""The finished runs of a transfer matrix: each one's prepared classifier, and what they must have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.analysis.again import Wanted
from robustcl.analysis.subject import open_run
from robustcl.composition.assembly import assemble
from robustcl.errors import UsageError
from robustcl.evaluate import resolved
from robustcl.run.subjects import RunSubject
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine
from robustcl.train.plan import Part

Asked = tuple[Part, Mapping[str, Any]]
"""An attack, and all of its options."""

_CHUNK = 500
"""Images that are compared together."""


def open_opponent(
    folder: Path, protocol: str | None, route: str | None, engine: Engine, say: Callable[[str], None]
) -> RunSubject:
    """Open a finished run; what its protocol trains is trained where no evaluation has done so yet.

    Raises:
        UsageError: no finished run, or a protocol or route that it does not have.
    """
    wanted = Wanted(protocol, (route,) if route is not None else ())
    plan = assemble(wanted.tables(folder, say)[0], str(folder))
    with open_run(plan, folder, engine, say) as run:
        return run.subject(plan.evaluations[0])


def name_of(opponent: RunSubject) -> str:
    """Return the folder's name."""
    return opponent.folder.resolve().name


def describe(found: Sequence[RunSubject]) -> list[dict[str, Any]]:
    """Return the runs as JSON; their names are the folders', in full where two have the same."""
    names = [name_of(opponent) for opponent in found]
    if len(set(names)) < len(names):
        names = [str(opponent.folder) for opponent in found]
    return [
        {"name": name, "folder": str(opponent.folder), **opponent.identity}
        for name, opponent in zip(names, found, strict=True)
    ]


def common(found: Sequence[RunSubject], samples: int | None) -> Tensor:
    """Return which test images are judged, (n,) int64: the first ``samples``, which must be the same for all runs.

    Raises:
        UsageError: other data sets, classes or images.
    """
    first, *others = found
    index = torch.arange(min(first.test.samples, samples or first.test.samples))
    for other in others:
        pair = f"{first.folder} and {other.folder} cannot be compared:"
        if other.data != first.data:
            raise UsageError(f"{pair} they are of the data sets {first.data} and {other.data}; take runs of one")
        if other.classes != first.classes:
            raise UsageError(
                f"{pair} their classifiers tell {first.classes} and {other.classes} classes apart; take others"
            )
        if other.test.samples != first.test.samples or _content(other, index) != _content(first, index):
            raise UsageError(f"{pair} their test images of {first.data} are not the same; take runs of one data set")
    return index


def common_ball(found: Sequence[RunSubject], eps: str | float | None) -> Ball:
    """Return the ball of all runs, or that of ``eps`` in their norm.

    Raises:
        UsageError: runs of other threats, or no such radius.
    """
    first, *others = found
    for other in others:
        same = other.ball.norm == first.ball.norm and (eps is not None or other.ball.eps == first.ball.eps)
        if not same:
            balls = [f"{each.ball.norm} eps {float(each.ball.eps):.4g}" for each in (first, other)]
            raise UsageError(
                f"the threats of {first.folder} and {other.folder} are {balls[0]} and {balls[1]}; "
                "give one for all with --norm and --eps"
            )
    return first.ball if eps is None else ball_of(first.ball.norm, eps, "--eps")


def common_attack(found: Sequence[RunSubject], ball: Ball) -> Asked:
    """Return the first attack of the runs' recipes, which must be the same in the ball, however it is written.

    Raises:
        UsageError: a run without one, or other attacks.
    """
    first = found[0]
    for other in found:
        if not other.attacks or not first.attacks or _ran(other, ball) != _ran(first, ball):
            raise UsageError(
                f"{first.folder} and {other.folder} were not attacked alike: say one for all by --attack, e.g. pgd-20"
            )
    return _first(first)


def _ran(opponent: RunSubject, ball: Ball) -> Mapping[str, Any]:
    part, stated = _first(opponent)
    return resolved.options(part.plugin, stated, opponent.classes, ball)


def _first(opponent: RunSubject) -> Asked:
    return opponent.attacks[0], {"use": opponent.asked.attacks[0].use, **opponent.question.attacks[0][1]}


def _content(opponent: RunSubject, index: Tensor) -> str:
    images, digest = opponent.test, hashlib.blake2b(digest_size=8)
    for rows in torch.split(index.to(images.device), _CHUNK):
        for value in (images.labels[rows], images.fetch(rows)):
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
