"""The finished runs of a transfer matrix: each one's prepared classifier, and what they must have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.composition import contents
from robustcl.composition.again import Wanted
from robustcl.composition.assembly import assemble
from robustcl.composition.evaluation import Evaluation
from robustcl.composition.folder import only_one
from robustcl.composition.judging import ball_of
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate import resolved
from robustcl.evaluate.classifier import Classifier, of_encoder
from robustcl.evaluate.journal import model_hash
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.unstopped import Unstopped
from robustcl.evaluate.work import WHOLE
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing
from robustcl.train.plan import Part

Asked = tuple[Part, Mapping[str, Any]]
"""An attack, and all of its options."""

_CHUNK = 500
"""Images that are compared together."""


@dataclass(frozen=True, slots=True)
class Opponent:
    """One run's classifier on its protocol's route, as the run was judged; ``images`` are its test images."""

    folder: Path
    dataset: str
    seed: int
    protocol: str
    route: str
    classifier: Classifier
    classes: int
    model: str
    ball: Ball
    attack: Asked | None
    images: Images

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the classifier and its randomness are known by."""
        return {"model": self.model, "protocol": self.protocol, "route": self.route, "seed": self.seed}

    def judge(self, ball: Ball, engine: Engine) -> Judge:
        """Return the source of adversaries in a ball; its random numbers are those of the run's own evaluation."""
        rng = Rng(self.seed, "evaluate", self.protocol, self.route)
        return Unstopped(self.classifier, ball, rng, engine.autocast)


def opened(
    folder: Path, protocol: str | None, route: str | None, engine: Engine, say: Callable[[str], None]
) -> Opponent:
    """Open a finished run; what its protocol trains is trained where no evaluation has done so yet.

    Raises:
        UsageError: no finished run, or a protocol or route that it does not have.
    """
    wanted = Wanted(protocol, (route,) if route is not None else ())
    judged = assemble(wanted.tables(folder, say)[0], str(folder))
    plan = judged.evaluations[0]
    taken = plan.table.route[0]
    with only_one(folder):
        splits = contents.open_again(judged, folder, engine.device)
        stages = Stages(judged, folder, engine, watch_nothing, say, splits)
        encoder = Evaluation(stages, WHOLE).prepared(plan, taken)
    first = plan.table.attacks[0] if plan.attacks else None
    assert splits.test is not None
    return Opponent(
        folder=folder,
        dataset=judged.recipe.data.use,
        seed=judged.recipe.seed,
        protocol=plan.table.use,
        route=taken,
        classifier=of_encoder(encoder, taken),
        classes=encoder.classes,
        model=model_hash(encoder.state_dict()),
        ball=judged.ball,
        attack=(plan.attacks[0], {"use": first.use, **judged.parts.resolved(first)}) if first is not None else None,
        images=splits.test,
    )


def described(found: Sequence[Opponent]) -> list[dict[str, Any]]:
    """Return the runs as JSON; their names are the folders', in full where two have the same."""
    names = [opponent.name for opponent in found]
    if len(set(names)) < len(names):
        names = [str(opponent.folder) for opponent in found]
    return [
        {"name": name, "folder": str(opponent.folder), **opponent.identity}
        for name, opponent in zip(names, found, strict=True)
    ]


def common(found: Sequence[Opponent], samples: int | None) -> Tensor:
    """Return which test images are judged, (n,) int64: the first ``samples``, which must be the same for all runs.

    Raises:
        UsageError: other data sets, classes or images.
    """
    first, *others = found
    index = torch.arange(min(first.images.samples, samples or first.images.samples))
    for other in others:
        pair = f"{first.folder} and {other.folder} cannot be compared:"
        if other.dataset != first.dataset:
            raise UsageError(f"{pair} they are of the data sets {first.dataset} and {other.dataset}; take runs of one")
        if other.classes != first.classes:
            raise UsageError(
                f"{pair} their classifiers tell {first.classes} and {other.classes} classes apart; take others"
            )
        if other.images.samples != first.images.samples or _content(other, index) != _content(first, index):
            raise UsageError(f"{pair} their test images of {first.dataset} are not the same; take runs of one data set")
    return index


def common_ball(found: Sequence[Opponent], eps: str | float | None) -> Ball:
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


def common_attack(found: Sequence[Opponent], ball: Ball) -> Asked:
    """Return the first attack of the runs' recipes, which must be the same in the ball, however it is written.

    Raises:
        UsageError: a run without one, or other attacks.
    """
    first = found[0]
    for other in found:
        if other.attack is None or first.attack is None or _ran(other, ball) != _ran(first, ball):
            raise UsageError(
                f"{first.folder} and {other.folder} were not attacked alike: say one for all by --attack, e.g. pgd-20"
            )
    assert first.attack is not None
    return first.attack


def _ran(opponent: Opponent, ball: Ball) -> Mapping[str, Any]:
    assert opponent.attack is not None
    part, stated = opponent.attack
    return resolved.options(part.plugin, stated, opponent.classes, ball)


def _content(opponent: Opponent, index: Tensor) -> str:
    images, digest = opponent.images, hashlib.blake2b(digest_size=8)
    for rows in torch.split(index.to(images.device), _CHUNK):
        for value in (images.labels[rows], images.fetch(rows)):
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
