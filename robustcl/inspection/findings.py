"""What would stop a run on a data set, and what its reader should know of it, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from robustcl.data import agreement
from robustcl.data.moments import LEAST, Statistics
from robustcl.errors import RobustclError
from robustcl.inspection.splits import SplitFacts
from robustcl.inspection.twins import Repeats, Shared, examples
from robustcl.types import UNLABELED

_AWAY = 0.05
"""How far the mean of a data set's own constants may lie from that of its training images, unremarked."""
_RATIO = 1.25
"""And their deviations from each other."""


def find_stopping(splits: Mapping[str, SplitFacts], classes: Sequence[str]) -> Iterator[str]:
    """Yield what a run that trains and judges would be refused for, or would end at."""
    for split in splits.values():
        if split.unreadable:
            first = min(split.unreadable)
            count = f"{len(split.unreadable)} of {split.images}"
            yield f"{split.name}: unreadable are {count} images, such as {split.unreadable[first]}"
    train = splits.get("train")
    for split in splits.values():
        if train is not None:
            yield from _raised(agreement.require_item, split.name, split.item, train.item)
        if classes:
            yield from _raised(agreement.require_named, split.labels, split.name, len(classes))
    if train is not None and bool((train.labels == UNLABELED).all()):
        yield "train: no image has a label, and every protocol that judges an encoder needs them: give labels"
    if train is not None and "test" in splits and classes:
        test = splits["test"].labels
        if int(max(train.labels.max(), test.max())) < len(classes):
            yield from _raised(agreement.require_learnable, train.labels, test, classes)
    if len(classes) == 1:
        yield f"there is one class, {classes[0]}, and a classifier needs two: give images of another class"


def notable(
    splits: Mapping[str, SplitFacts],
    classes: Sequence[str],
    twins: Mapping[str, Repeats],
    shares: Sequence[Shared],
    statistics: Statistics | None,
) -> Iterator[str]:
    """Yield what a run would not be stopped by, and its numbers would suffer from."""
    for split in splits.values():
        yield from _of_split(split, classes, twins[split.name])
    for common in shares:
        yield from _of_pair(splits[common.first], splits[common.second], common)
    if statistics is not None and "train" in splits:
        yield from _of_statistics(splits["train"], statistics)


def _of_split(split: SplitFacts, classes: Sequence[str], twins: Repeats) -> Iterator[str]:
    name, labels = split.name, split.labels
    named = classes and int(labels.max()) < len(classes)
    if named and (missing := agreement.without_image(labels, classes)):
        yield f"{name}: no image has the class {agreement.brief(missing)}"
    if 0 < split.unlabelled < split.images:
        yield f"{name}: without a label are {split.unlabelled} of {split.images} images"
    if twins.images:
        yield (
            f"{name}: copies of other images in it are {twins.images} of {split.images}, such as "
            f"{examples(split, twins.groups[0])}"
        )
    if twins.conflicts:
        rows = twins.contradictory[0]
        said = " and ".join(_class(split, row, classes) for row in rows[:2])
        yield (
            f"{name}: under different labels {_times(twins.conflicts)} the same image, such as "
            f"{examples(split, rows)}: {said}"
        )
    if split.constant:
        yield (
            f"{name}: of one value all over, showing nothing, are {len(split.constant)} of {split.images} images, such "
            f"as {examples(split, split.constant)}"
        )
    if split.high is not None and split.high > (split.low or 0.0):
        yield from _of_range(split, split.high)


def _of_range(split: SplitFacts, high: float) -> Iterator[str]:
    whole = 255 if split.dtype == "uint8" else 1
    if high <= 1.01 * whole / 255:
        why = "multiply them by 255" if whole == 255 else "were they divided by 255 twice?"
        yield f"{split.name}: no value is above {high:.2g} of {whole}, almost black: {why}"


def _of_pair(first: SplitFacts, second: SplitFacts, common: Shared) -> Iterator[str]:
    if not common.images:
        return
    there, here = common.pairs[0]
    why = "; accuracies on them say nothing" if second.name == "test" else ""
    yield (
        f"{second.name}: copies of images of {first.name} are {common.images} of {second.images}, such as "
        f"{second.named(here)}, which is {first.named(there)}{why}"
    )
    if common.conflicts:
        there, here = common.contradictory[0]
        yield (
            f"{second.name}: under another label than in {first.name} {_times(common.conflicts)} the same image, such "
            f"as {second.named(here)}, label {int(second.labels[here])}, which is {first.named(there)}, label "
            f"{int(first.labels[there])}"
        )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _of_statistics(train: SplitFacts, statistics: Statistics) -> Iterator[str]:
    mean, std = statistics
    if len(mean) != len(train.mean):
        return
    away = max(abs(one - other) for one, other in zip(mean, train.mean, strict=True))
    ratios = [max(one, LEAST) / max(other, LEAST) for one, other in zip(std, train.std, strict=True)]
    if away > _AWAY or max(*ratios, *(1 / ratio for ratio in ratios)) > _RATIO:
        yield (
            f"a model normalises by mean {numbers(mean)} and deviation {numbers(std)}, as the data set says, and its "
            f"training images have {numbers(train.mean)} and {numbers(train.std)}"
        )


def _class(split: SplitFacts, row: int, classes: Sequence[str]) -> str:
    label = int(split.labels[row])
    return classes[label] if 0 <= label < len(classes) else str(label)


def _raised(check: object, *given: object) -> list[str]:
    """Return the sentence of a check, if it has one."""
    try:
        check(*given)  # type: ignore[operator]
    except RobustclError as error:
        return [str(error)]
    return []


def numbers(values: Sequence[float]) -> str:
    """Return a number for each channel in words."""
    return ", ".join(f"{value:.3f}" for value in values)
