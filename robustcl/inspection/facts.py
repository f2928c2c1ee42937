"""What an inspection has found, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustcl.data.moments import Statistics
from robustcl.inspection.splits import SplitFacts
from robustcl.inspection.twins import Repeats, Shared


@dataclass(frozen=True, slots=True, eq=False)
class DataFacts:
    """What a data set holds.

    splits: by name, those that could be opened; ``pretrain`` only where it holds other images than ``train``.
    classes: names by label; empty where the data set cannot say them. repeats: of each split; shared: of each two.
    validation: how many images of each class a run would hold out, the last entry of those without a label; ``None``
    where it holds none out. faults: what a run that trains and judges could not start with. remarks: what it could
    start with, and its reader should know.
    """

    dataset: str
    splits: Mapping[str, SplitFacts]
    classes: tuple[str, ...]
    statistics: Statistics | None
    repeats: Mapping[str, Repeats]
    shared: tuple[Shared, ...]
    fraction: float
    seed: int
    validation: tuple[int, ...] | None
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    pretrain_is_train: bool

    @property
    def ok(self) -> bool:
        """Whether a run could start."""
        return not self.faults
