"""The whole of a data set: its splits one by one, then against each other, then the validation part of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from robustcl.composition import exchange
from robustcl.composition.parts import Parts
from robustcl.data import agreement
from robustcl.data.promises import class_names, open_split, statistics
from robustcl.data.split import holdout
from robustcl.data.streamed import fetch
from robustcl.errors import DataError, RobustclError, UsageError
from robustcl.inspection import findings, words
from robustcl.inspection.facts import DataFacts
from robustcl.inspection.splits import SplitFacts, Told, look
from robustcl.inspection.twins import find_shared, repeats
from robustcl.protocols import DatasetPlugin, Source
from robustcl.ratio import plain
from robustcl.recipe import Data, override, reading
from robustcl.rng import Rng
from robustcl.run.splits import same_images
from robustcl.types import UNLABELED

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "pretrain", "test")


class Inspection(DataFacts):
    """What a data set holds; printed, it says it in words."""

    __slots__ = ()

    def __str__(self) -> str:
        return words.to_text(self)

    def __repr__(self) -> str:
        """Return what it is in a line; ``print`` says the rest."""
        sizes = ", ".join(f"{name} {split.images}" for name, split in self.splits.items()) or "nothing could be opened"
        found = f"{len(self.faults)} faults, {len(self.remarks)} remarks"
        return f"<Inspection of {self.dataset}: {sizes}; {found}: print(it) says more>"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per split: images, shape, dtype, range, mean, std, labels, copies, what cannot be read."""
        import pandas as pd

        return pd.DataFrame(words.records(self), index=pd.Index(list(self.splits), name="split", dtype=object))

    def classes_to_frame(self) -> pd.DataFrame:
        """Return one row per class: its label, its name, and its images in each split and in the validation part."""
        import pandas as pd

        return pd.DataFrame(words.classes_records(self))

    def tables(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return words.tables(self)


def check_data(
    dataset: str,
    *,
    data_dir: str | None = None,
    overrides: Sequence[str] = (),
    splits: Sequence[str] = SPLITS,
    seed: int = 0,
    told: Told = lambda split, done, images: None,
) -> Inspection:
    """Look through every image of a data set, a few at a time, before anything is trained on it.

    Args:
        dataset: as ``compose`` takes it: "digits", "cifar10", "npz:FILE", "imagefolder:FOLDER".
        data_dir: file or folder of the data set, where its name does not say it.
        overrides: ``"data.KEY=VALUE"``: options of the data set, and ``data.validation``.
        splits: which are looked at, of "train", "pretrain" and "test".
        seed: of the run that would hold a validation part out.
        told: called with a split's name, how many of its images were looked at, and how many there are.

    Returns:
        What was found; whatever is wrong with the data stands in it as a sentence.

    Raises:
        UsageError: no such data set, option or split, or a seed that is no whole number.
    """
    seed = plain(seed)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed = {seed!r}: write a whole number")
    splits = [splits] if isinstance(splits, str) else splits
    for name in splits:
        if name not in SPLITS:
            raise UsageError(f"there is no split {name!r}: look at {', '.join(SPLITS)}")
    data, plugin = _made(dataset, data_dir, overrides)
    sources, faults = _opened(plugin, [name for name in SPLITS if name in splits])
    same = sources.get("pretrain") is not None and sources["pretrain"] is sources.get("train")
    sources = {name: source for name, source in sources.items() if name != "pretrain" or not same}
    kinds = {_kind(source) for source in sources.values()}
    facts = {name: look(name, source, told, as_floats=len(kinds) > 1) for name, source in sources.items()}
    classes = _asked(lambda: class_names(plugin), faults, default=())
    readable = "train" in facts and not facts["train"].unreadable
    moments = _asked(lambda: statistics(plugin, facts["train"].item[0]), faults, default=None) if readable else None
    twins = {name: repeats(split) for name, split in facts.items()}
    names = list(facts)
    shares = tuple(
        find_shared(facts[first], facts[second]) for place, first in enumerate(names) for second in names[place + 1 :]
    )
    validation = None
    if "train" in facts and data.validation > 0:
        validation = _validation(facts["train"], data.validation, seed, len(classes), faults)
    faults += [said for said in findings.find_stopping(facts, classes) if said not in faults]
    remarks = [remark for source in sources.values() for remark in getattr(source, "remarks", ())]
    remarks += findings.notable(facts, classes, twins, shares, moments)
    return Inspection(
        dataset, facts, tuple(classes), moments, twins, shares, data.validation, seed, validation, tuple(faults),
        tuple(remarks), same,
    )  # fmt: skip


def _made(dataset: str, data_dir: str | None, overrides: Sequence[str]) -> tuple[Data, DatasetPlugin]:
    # A recipe has a stage; this one is never composed.
    tables: dict[str, Any] = {"name": "data", "stage": [{"name": "none", "epochs": 0}], "data": {"use": dataset}}
    tables["data"] |= exchange.files(dataset, data_dir, "")
    for assignment in overrides:
        if not assignment.strip().startswith("data.") or assignment.partition("=")[0].strip() == "data.use":
            raise UsageError(
                f"--set {assignment}: only the data are looked at; write data.KEY=VALUE, e.g. data.size=64"
            )
        override.apply(tables, assignment)
    data = reading.parse(tables, "--set").data
    plugin: DatasetPlugin = Parts().make("dataset", data, "data").plugin
    return data, plugin


def _opened(plugin: DatasetPlugin, names: Sequence[str]) -> tuple[dict[str, Source], list[str]]:
    """Open the splits that can be; a pretrain split of the training images is the source of these."""
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for name in names:
        try:
            source = open_split(plugin, name)
        except RobustclError as error:
            faults += [str(error)] if str(error) not in faults else []
            continue
        if name == "pretrain" and "train" in sources and _same(source, sources["train"]):
            sources[name] = sources["train"]
        else:
            sources[name] = source
    return sources, faults


def _same(first: Source, second: Source) -> bool:
    try:
        return same_images(first, second)
    except DataError:  # of an image that cannot be read, which will be told when it is looked at
        return torch.equal(first.labels, second.labels) and getattr(first, "files", 0) == getattr(second, "files", 1)


def _kind(source: Source) -> bool | None:
    """Return whether the pixels of a source are floats; ``None`` where its first image cannot be read."""
    try:
        return fetch(source, torch.zeros(1, dtype=torch.int64)).is_floating_point()
    except DataError:
        return None


def _asked(question: Any, faults: list[str], *, default: Any) -> Any:
    try:
        return question()
    except RobustclError as error:
        faults += [str(error)] if str(error) not in faults else []
        return default


def _validation(train: SplitFacts, fraction: float, seed: int, classes: int, faults: list[str]) -> tuple[int, ...]:
    """Return how many images of each class are held out, and at the end how many without a label."""
    _, held = holdout(train.labels, fraction, Rng(seed, "validation"))
    labels = train.labels[held]
    known = labels[labels > UNLABELED]  # others are a fault by themselves
    try:
        agreement.require_validation(train.labels, len(known), fraction)
    except UsageError as error:
        faults.append(str(error))
    width = max(classes, int(known.max()) + 1 if len(known) else 0)
    return (*torch.bincount(known, minlength=width).tolist(), len(labels) - len(known))
