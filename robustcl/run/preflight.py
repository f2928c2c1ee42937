"""What only the data and other people's weights can tell, checked before a run directory exists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from robustcl import hooks, ranks
from robustcl.composition import provenance
from robustcl.composition.plan import RecipePlan
from robustcl.data.order import epoch_batches
from robustcl.errors import UsageError, WeightsError
from robustcl.hooks import SamplerHooks
from robustcl.nn.encoder import options_of
from robustcl.protocols import Need
from robustcl.recipe import Stage
from robustcl.rng import Rng
from robustcl.run import contents
from robustcl.run.splits import Splits
from robustcl.run.stages import build_untrained
from robustcl.train import rowwise, stage_files
from robustcl.train.plan import StagePlan, routes_until


def check(composition: RecipePlan, splits: Splits) -> None:
    """Hold every stage against the images that it will see and the weights that it starts from.

    Raises:
        UsageError: missing labels, too few images for a batch or for the clusters, a single class to tell apart.
        WeightsError: weights from outside that are damaged or of another encoder.
    """
    contents.check(composition, splits)
    for evaluation in composition.evaluations:
        if Need.LABELS in evaluation.protocol.needs and len(splits.classes) < 2:
            raise UsageError(
                f"evaluate.{evaluation.table.use}: a classifier needs two classes or more, and the data set "
                f"{composition.recipe.data.use} has only {', '.join(splits.classes)}; remove the table [[evaluate]], "
                "or give labels of several classes"
            )
        provenance.check_classes(composition, evaluation, len(splits.classes))
    for where, stage, plan in _stages(composition):
        images = splits.of(stage.split, plan, where)
        if stage.epochs > 0 and plan.sampler is None:
            _check_batch(plan, images.samples, where)
        if stage.epochs > 0 and plan.sampler is not None:
            _check_sampler(plan, images.labels, where)
        if plan.targets is not None:
            _check_clusters(plan, images.samples, where)
    _check_encoder(composition, splits)
    _check_micro_batches(composition, splits)
    for stage in composition.recipe.stage:
        _check_weights(composition, stage, splits.train.item)


def _stages(composition: RecipePlan) -> Iterator[tuple[str, Stage, StagePlan]]:
    for stage, plan in zip(composition.recipe.stage, composition.stages, strict=True):
        yield f"stage.{stage.name}", stage, plan
    for evaluation in composition.evaluations:
        for stages in evaluation.stages.values():
            for stage, plan in stages:
                yield f"evaluate.{evaluation.table.use}", stage, plan


def _check_batch(plan: StagePlan, samples: int, where: str) -> None:
    if plan.drop_last and plan.batch > samples:
        raise UsageError(
            f"{where}: a batch of {plan.batch} is larger than the {samples} training images; lower {where}.batch or "
            f"data.batch to {samples} or less"
        )
    try:
        epoch_batches(samples, plan.batch, None, rank=ranks.rank(), world=ranks.world(), drop_last=plan.drop_last)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _check_sampler(plan: StagePlan, labels: Tensor, where: str) -> None:
    """Ask the sampler, if it has an answer, whether it can choose from these images."""
    assert plan.sampler is not None
    try:
        hooks.of(plan.sampler.part.plugin, SamplerHooks).check_images(labels, plan.batch)
    except UsageError as error:
        raise UsageError(f"{where}.{error}") from None


def _check_clusters(plan: StagePlan, samples: int, where: str) -> None:
    assert plan.targets is not None
    key, asked = ("grid", plan.targets.grid) if plan.targets.clusters is None else ("clusters", plan.targets.clusters)
    if max(asked) > samples:
        raise UsageError(
            f"{where}.targets.{key}: {max(asked)} clusters cannot be made of {samples} training images; "
            f"ask for {samples} or less"
        )


def _check_encoder(composition: RecipePlan, splits: Splits) -> None:
    """Build the encoder once, if a stage starts from a new one: one that cannot be trained leaves no run behind."""
    for stage, plan in zip(composition.recipe.stage, composition.stages, strict=True):
        if stage.init is None:
            build_untrained(composition, splits, routes_until([plan]), Rng(composition.recipe.seed, "preflight"))
            return


def _check_micro_batches(composition: RecipePlan, splits: Splits) -> None:
    """Hold the encoder against the micro batches of each stage; weights from elsewhere are of the same encoder."""
    for where, _, plan in _stages(composition):
        if plan.micro_batch is not None:
            rng = Rng(composition.recipe.seed, "preflight")
            rowwise.require(plan, build_untrained(composition, splits, routes_until([plan]), rng), where)


def _check_weights(composition: RecipePlan, stage: Stage, item: tuple[int, ...]) -> None:
    origins = {"init": stage.init} if stage.init else {}
    origins |= {f"encoders.{name}": origin for name, origin in stage.encoders.items() if isinstance(origin, str)}
    for key, origin in origins.items():
        if origin.startswith("stage:"):
            continue
        where = f"stage.{stage.name}.{key} = {origin!r}"
        try:
            encoder = stage_files.load(stage_files.resolve(origin, Path()))
        except UsageError as error:
            raise type(error)(f"{where}: {error}") from None
        seen = tuple(encoder.config["item"])
        if seen[0] != item[0] or len(seen) != len(item):
            raise WeightsError(
                f"{where}: these weights are for images of shape {seen}, and the data set's have {item}; "
                "take weights of the same channels, or another data set"
            )
        if key == "init":
            _check_same(composition, dict(encoder.config["encoder"]), where)


def _check_same(composition: RecipePlan, theirs: dict[str, object], where: str) -> None:
    table = composition.recipe.encoder
    assert table is not None
    ours = {"use": table.use, **options_of(composition.encoder.plugin)}
    differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if differing:
        said = ", ".join(f"{key} {theirs.get(key)!r} instead of {ours.get(key)!r}" for key in differing)
        raise WeightsError(
            f"{where}: these weights are of another encoder: {said}; write [encoder] as they have it, or take others"
        )
