"""What the command audits: the classifier that a finished run was judged on, or anybody's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from robustcl.analysis import other_threat, surrogates
from robustcl.analysis.again import Wanted
from robustcl.analysis.subject import OpenRun, OutsideModel, open_model, open_run
from robustcl.audit.rivals import Surrogate
from robustcl.audit.runner import Told, audit
from robustcl.audit.values import Audit
from robustcl.composition.assembly import assemble
from robustcl.data.promises import class_names
from robustcl.errors import UsageError
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.subject import Subject
from robustcl.rng import Rng
from robustcl.run import audited
from robustcl.run.machine import check_device
from robustcl.run.stages import Say
from robustcl.train.engine import Engine

SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """What is audited; ``known``: the worst that its reported attacks did.

    name: what it is called. surrogates: models of the same task. home: the folder whose results the audit belongs to.
    """

    name: str
    subject: Subject
    known: tuple[Outcome, ...] = ()
    surrogates: tuple[Surrogate, ...] = ()
    home: Path | None = None

    @property
    def place(self) -> Mapping[str, Any]:
        """Protocol, route and question; see ``run.audited.place_of``."""
        keys = [key for key, _ in self.subject.questions()]
        here = {"protocol": self.subject.protocol, "route": self.subject.route}
        return audited.place_of(keys, self.subject.seed) if keys else here

    def audit(self, samples: int | None, *, deep: bool, told: Told) -> Audit:
        """Audit the first ``samples`` test images."""
        of, images = self.subject, self.subject.test
        index = torch.arange(min(images.samples, samples or SAMPLES))
        return audit(
            of.classifier, images, index, of.ball, Rng(of.seed, "audit"),
            deep=deep, known=self.known, surrogates=self.surrogates, told=told,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditedModel(OutsideModel):
    """Anybody's model, to be audited.

    surrogate: another model, as "module:function" with ``surrogate_weights``, or the folder of a finished run.
    """

    surrogate: str | None = None
    surrogate_weights: Path | None = None


def open_audited_model(asked: AuditedModel, device: str = "auto", say: Say = lambda sentence: None) -> Opened:
    """Open a model that somebody else has trained, and the test images of a data set.

    Raises:
        UsageError: a model, data set, threat or surrogate that is not there or does not fit.
        WeightsError: weights that are not safetensors, or of another model.
    """
    check_device(device)
    engine, ball = Engine(device, 1), asked.ball()
    opened = open_model(asked.model, asked.weights, asked.data(), engine, say=say)
    others: tuple[Surrogate, ...] = ()
    classes = len(class_names(opened.dataset))
    if asked.surrogate is not None:
        weights = asked.surrogate_weights
        others = (surrogates.open_surrogate(asked.surrogate, weights, asked.dataset, classes, engine, say),)
    return Opened(asked.model, opened.subject(ball, asked.seed, outputs=classes), surrogates=others)


@contextmanager
def open_audited(
    folder: Path, protocol: str | None, routes: Sequence[str], say: Say, *,
    norm: str | None = None, eps: str | None = None, attacks: Sequence[str | Mapping[str, Any]] = (),
    surrogate: str | None = None, surrogate_weights: Path | None = None,
) -> Iterator[list[Opened]]:  # fmt: skip
    """Open what a finished run was judged on: the prepared encoder of each route, and the run's test images.

    The threat is the run's, or that of ``norm`` and ``eps``. The classifiers that are opened together are surrogates of
    each other, beside the ``surrogate`` that is named. ``attacks``, names or tables, are those whose reported numbers
    are audited; left out, the recipe's. A name is the recipe's attack of that name, with its options, if it has one.

    Raises:
        UsageError: no finished run, attacks by which it was not judged, a protocol, route or threat that does not fit,
            or a surrogate of another task.
    """
    tables, options = Wanted(protocol, routes, attacks).tables(folder, say)
    judged, home = assemble(tables, str(folder)), folder
    if eps is not None:
        judged = other_threat.under(judged, folder, eps, norm)
        home = other_threat.place(folder, judged.ball, eps)
    engine = Engine(options["device"], 1, "32-true")
    others: list[Surrogate] = []
    if surrogate is not None:
        task = judged.recipe.data.use, len(class_names(judged.dataset.plugin))
        others.append(surrogates.open_surrogate(surrogate, surrogate_weights, *task, engine, say, audited=folder))
    with open_run(judged, folder, engine, say, home=home) as run:
        found = [_asked(run, subject, home) for subject in run.subjects()]
        if lacking := [each.name for each in found if attacks and not each.known]:
            said = " and ".join(str(attack) for attack in attacks)
            raise UsageError(
                f"--attack {said}: {folder} was not judged by it, with these options, under {lacking[0]}: "
                f"run robustcl evaluate {folder} with this --attack first"
            )
        yield [replace(each, surrogates=(*others, *_beside(each, found))) for each in found]


def _asked(run: OpenRun, subject: Subject, home: Path) -> Opened:
    return Opened(subject.name, subject, tuple(run.known(subject.questions())), home=home)


def _beside(one: Opened, found: Sequence[Opened]) -> list[Surrogate]:
    return [(f"{other.name} of the same run", other.subject.classifier) for other in found if other is not one]
