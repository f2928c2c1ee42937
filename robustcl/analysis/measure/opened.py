"""A finished run, opened to have its representation measured: its encoder, its attack, and a sample of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from robustcl.analysis.again import Wanted
from robustcl.analysis.subject import open_run
from robustcl.composition.asked import check_attack
from robustcl.composition.assembly import assemble
from robustcl.composition.data import Splits
from robustcl.composition.folder import read_lock
from robustcl.composition.plan import RecipePlan
from robustcl.composition.subjects import RunSubject, weights_of
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.judge import Members
from robustcl.evaluate.observer import Observer
from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_mode
from robustcl.nn.weights import read_config
from robustcl.rng import Rng
from robustcl.train.engine import Engine

SAMPLES = 200
"""Images that are measured where nobody says how many."""

SPLITS = ("test", "validation")


@dataclass(frozen=True, slots=True)
class MeasureQuestion:
    """What is asked of a run. Protocol, route and attack are by default the first of its recipe.

    samples: how many images, drawn by the run's seed; by default 200, or all where there are fewer.
    """

    protocol: str | None = None
    route: str | None = None
    attack: str | None = None
    split: str = "test"
    samples: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredSubject:
    """What is measured: one prepared encoder on one route, and which images of a split, (n,) int64.

    question: protocol, route, split, samples, attack, threat and weights; other answers belong to other questions.
    """

    question: Mapping[str, Any]
    encoder: Encoder
    route: str
    judge: Observer
    attack: str
    members: Members
    block: int
    images: Images
    index: Tensor
    train: Images
    classes: tuple[str, ...]
    rng: Rng

    def features(self, x: Tensor) -> Tensor:
        """Return features (R, F) of images (R, *item), in eval mode; gradients reach x."""
        return self._embedded(x, "h")

    def logits(self, x: Tensor) -> Tensor:
        """Return logits (R, L) of images (R, *item), in eval mode; gradients reach x."""
        return self._embedded(x, "logits")

    def _embedded(self, x: Tensor, layer: str) -> Tensor:
        with hold_mode(self.encoder, "eval"):
            found: Tensor = getattr(self.encoder(x, self.route, frozenset({layer})), layer)
        return found.float()


@contextmanager
def open_measured(folder: Path, asked: MeasureQuestion, say: Callable[[str], None]) -> Iterator[MeasuredSubject]:
    """Open a finished run for one process; what its protocol trains is trained where no evaluation has done so yet.

    Raises:
        UsageError: no finished run, a protocol, route, split or attack that it does not have, or no such sample.
    """
    _check(asked)
    judged, engine = _composed(folder, asked, say)
    plan = judged.evaluations[0]
    if not plan.attacks:
        raise UsageError(f"the recipe of {folder} attacks nothing under {plan.table.use}: name an attack by --attack")
    where = f"evaluate.{plan.table.use}" if asked.attack is None else "--attack"
    check_attack(plan.table.attacks[0], where, whose=judged.parts.owners)
    with open_run(judged, folder, engine, say, test=asked.split == "test") as run:
        splits = run.stages.splits
        images = splits.test or _validation(splits)
        index = _sample(images, asked, judged.recipe.seed)
        found = run.subject(plan)
        yield MeasuredSubject(
            question=_question(found, asked, len(index)),
            encoder=found.encoder,
            route=found.route,
            judge=Observer(found.classifier, found.ball, found.rng, engine.autocast),
            attack=plan.attacks[0].name,
            members=scaled.members(plan.attacks[0].plugin, found.outputs, found.ball),
            block=plan.table.block,
            images=images,
            index=index,
            train=splits.train,
            classes=splits.classes,
            rng=Rng(found.seed, "measure", found.protocol, found.route),
        )


def _check(asked: MeasureQuestion) -> None:
    if asked.samples is not None and asked.samples < 1:
        raise UsageError(f"--samples {asked.samples}: measure 1 image or more")
    if asked.split not in SPLITS:
        raise UsageError(f"--split {asked.split}: write one of {', '.join(SPLITS)}")


def _composed(folder: Path, asked: MeasureQuestion, say: Callable[[str], None]) -> tuple[RecipePlan, Engine]:
    """Return the run's recipe with the evaluation that is asked for."""
    if asked.protocol is None and not read_lock(folder)[1].evaluate:
        raise UsageError(f"the recipe of {folder} has no [[evaluate]] table: say by which --protocol it is judged")
    wanted = Wanted(
        asked.protocol,
        () if asked.route is None else (asked.route,),
        () if asked.attack is None else (asked.attack,),
    )
    tables, options = wanted.tables(folder, say)
    tables["evaluate"] = tables["evaluate"][:1]
    return assemble(tables, str(folder)), Engine(options["device"], 1, options["precision"])


def _validation(splits: Splits) -> Images:
    if splits.validation is None:
        raise UsageError("--split validation: this run held no images out of its training; take --split test")
    return splits.validation


def _sample(images: Images, asked: MeasureQuestion, seed: int) -> Tensor:
    """Draw the images that are measured, of those with a label; ascending, so that blocks stay the same."""
    labelled = (images.labels >= 0).nonzero()[:, 0].cpu()
    where = f"the {asked.split} split"
    if len(labelled) == 0:
        raise UsageError(f"{where} has no labels: the measures compare classes; take another --split")
    if (asked.samples or 0) > len(labelled):
        raise UsageError(f"--samples {asked.samples}: {where} has {len(labelled)} labelled images; ask for fewer")
    order = Rng(seed, "measure", asked.split).permutation(len(labelled))
    index = labelled[order[: asked.samples or SAMPLES]].sort().values.to(images.device)
    classes = set(images.labels[index].tolist())
    if len(classes) < 2:
        raise UsageError(
            f"all {len(index)} sampled images of {where} are of class {min(classes)}: the measures compare classes; "
            "give more --samples, or another --split"
        )
    return index


def _question(of: RunSubject, asked: MeasureQuestion, samples: int) -> dict[str, Any]:
    weights = weights_of(of.asked, of.plan, of.folder)
    return {
        "protocol": of.protocol, "route": of.route, "split": asked.split, "samples": samples,
        "attack": {"use": of.asked.attacks[0].use, **of.question.attacks[0][1]},
        "norm": of.ball.norm, "eps": float(of.ball.eps), "seed": of.seed, "model": of.model,
        "weights": {"folder": weights.relative_to(of.folder).as_posix(), "sha256": read_config(weights)["sha256"]},
    }  # fmt: skip
