"""From a classifier and a question to numbers that are kept beside it: the one way by which anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from robustcl.analysis.again import Wanted
from robustcl.analysis.measure import kept, numbers, pictures
from robustcl.analysis.measure.clusters import cluster
from robustcl.analysis.measure.numbers import Measures
from robustcl.analysis.measure.question import ImageQuestion, identify_run
from robustcl.analysis.measure.sample import Sample, Told, draws_of
from robustcl.analysis.subject import open_run
from robustcl.composition.asked import check_attack
from robustcl.composition.assembly import assemble
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.evaluate import scaled
from robustcl.evaluate.subject import Subject
from robustcl.measures.catalogue import choose_measures
from robustcl.registry.owners import Owners
from robustcl.run.folder import read_lock
from robustcl.run.splits import Splits
from robustcl.run.subjects import RunSubject
from robustcl.train.engine import Engine
from robustcl.types import ABSENT

Say = Callable[[str], None]

MEASURES: Mapping[str, Callable[..., Measures]] = MappingProxyType({
    "r-div": numbers.divergence,
    "class-distances": numbers.class_distances,
    "r-div-128": numbers.batch_divergence,
    "alignment": numbers.alignment,
    "uniformity": numbers.uniformity,
    "silhouette": numbers.silhouette,
    "separability": numbers.separability,
    "rank": numbers.rank,
    "relative-drop": numbers.relative_drop,
    "fooled": numbers.fooled,
    "entropy": numbers.entropy,
    "input-landscape": pictures.input_landscape,
    "weight-landscape": pictures.weight_landscape,
    "inversion": pictures.inversion,
    "components": pictures.components,
    "t-sne": numbers.embedding,
})  # fmt: skip
"""Name in the catalogue -> how it is measured of a ``Sample``, with the question's options for it."""

SPLITS = ("test", "validation")


@dataclass(frozen=True, slots=True)
class MeasureQuestion:
    """What is asked of a run. Protocol, route and attack are by default the first of its recipe.

    samples: how many images, drawn by the run's seed; by default those that the evaluation judges.
    """

    protocol: str | None = None
    route: str | None = None
    attack: str | None = None
    split: str = "test"
    samples: int | None = None


def measure(
    folder: Path | str,
    what: Sequence[str] = (),
    asked: MeasureQuestion | None = None,
    *,
    told: Told = lambda what, done, total: None,
    say: Say = lambda sentence: None,
) -> dict[str, Any]:
    """Measure a finished run's representation, keep it in its ``representation.json``, and return the entry.

    Nothing is kept before all is measured. A measure that these features do not allow is kept as the reason.

    Args:
        folder: of the run.
        what: names of ``catalogue.NUMBERS``; all where empty.
        asked: protocol, route, attack, split and sample.
        told: hears of progress. say: hears sentences.

    Raises:
        UsageError: no such measure, no finished run, or something asked for that it does not have.
    """
    names, folder, asked = choose_measures(what), Path(folder), asked or MeasureQuestion()
    _check(asked)
    plan, engine = _composed(folder, asked, say)
    evaluation = plan.evaluations[0]
    if not evaluation.attacks:
        raise UsageError(
            f"the recipe of {folder} attacks nothing under {evaluation.table.use}: name an attack by --attack"
        )
    attack = evaluation.table.attacks[0]
    where = f"evaluate.{evaluation.table.use}" if asked.attack is None else "--attack"
    check_attack(attack, where, whose=plan.parts.owners)
    question = ImageQuestion(
        attack=attack, ball=plan.ball, split=asked.split, first=evaluation.table.first(0), drawn=asked.samples
    )
    return answer(folder, plan, evaluation, evaluation.table.route[0], question, names, engine, told=told, say=say)


def answer(
    folder: Path,
    plan: RecipePlan,
    evaluation: EvaluationPlan,
    route: str,
    question: ImageQuestion,
    names: Sequence[str],
    engine: Engine,
    *,
    source: RunSubject | None = None,
    told: Told = lambda what, done, total: None,
    say: Say = lambda sentence: None,
) -> dict[str, Any]:
    """Open a finished run, measure and keep it; what its protocol trains is trained where nobody has so far.

    ``source``: the classifier of another run, which is attacked in this one's place.

    Raises:
        UsageError: the run holds no such images, or another process is at work there.
    """
    with open_run(plan, folder, engine, say, test=question.split == "test") as run:
        splits = run.stages.splits
        images = splits.test or _validation(splits)
        index = question.index(images, plan.recipe.seed)
        found = run.subject(evaluation, route)
        sample = sample_of(found, question, images, index, splits.train, source, told, plan.parts.owners)
        classifier = identify_run(folder, plan, evaluation, route)
        if source is not None:
            classifier["source"] = identify_run(source.folder, source.plan, source.evaluation, source.route)
        return take(folder, question.table(classifier, plan.parts.owners), names, sample)


def take(folder: Path, question: Mapping[str, Any], names: Sequence[str], sample: Sample) -> dict[str, Any]:
    """Take measures of a sample, keep them in a folder under the question as it is kept, and return the entry."""
    found: dict[str, Measures] = {}
    refused: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        try:
            found[name] = MEASURES[name](sample, **question.get("options", {}).get(name, {}))
        except UsageError as error:  # one image in each class, features that have collapsed, no image right
            refused[name] = str(error)
        sample.told("measure", number, len(names))
    return kept.keep(folder, question, {"samples": len(sample.index), "model": sample.subject.model}, found, refused)


def sample_of(
    subject: Subject,
    question: ImageQuestion,
    images: Images,
    index: Tensor,
    train: Images | None = None,
    source: Subject | None = None,
    told: Told = lambda what, done, total: None,
    whose: Owners | None = None,
) -> Sample:
    """Return images of ``index`` (n,) as a subject sees them, moved as a question says.

    ``train``: its training images, where it has some; ``whose``: whose plugins are meant. Only a run has clusters.
    """
    part, clusters = question.part(Parts(whose)), ABSENT
    if question.targets is not None:
        assert isinstance(subject, RunSubject), "a model from outside is not asked for clusters: checked before"
        clusters = cluster(subject, question.targets, images, index, draws_of(subject))
    members = scaled.members(part.plugin, subject.outputs, question.ball, question.times)
    return Sample(subject=subject, images=images, index=index, ball=question.ball, attack=part.name, members=members,
                  clusters=clusters, train=train, source=source, told=told)  # fmt: skip


def _check(asked: MeasureQuestion) -> None:
    if asked.samples is not None and asked.samples < 1:
        raise UsageError(f"--samples {asked.samples}: measure 1 image or more")
    if asked.split not in SPLITS:
        raise UsageError(f"--split {asked.split}: write one of {', '.join(SPLITS)}")


def _composed(folder: Path, asked: MeasureQuestion, say: Say) -> tuple[RecipePlan, Engine]:
    """Return the run's recipe with the evaluation that is asked for."""
    if asked.protocol is None and not read_lock(folder)[1].evaluate:
        raise UsageError(f"the recipe of {folder} has no [[evaluate]] table: say by which --protocol it is judged")
    routes, attacks = (() if one is None else (one,) for one in (asked.route, asked.attack))
    tables, options = Wanted(asked.protocol, routes, attacks).tables(folder, say)
    tables["evaluate"] = tables["evaluate"][:1]
    return assemble(tables, str(folder)), Engine(options["device"], 1, options["precision"])


def _validation(splits: Splits) -> Images:
    if splits.validation is None:
        raise UsageError("--split validation: this run held no images out of its training; take --split test")
    return splits.validation
