"""What a claim came to in one study: the outcome, its certainty, the numbers behind it, and the file that has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustcl.disk import Limits, read_json, write_atomically
from robustcl.errors import DataError
from robustcl.evaluate.shape import check_values
from robustcl.recipe.reading import sentence

FILE, SCHEMA = "claims.json", 1
_LIMITS = Limits(file=8 << 20)

Status = Literal["seen", "not seen", "contradicted", "not run at this size"]
SEEN: Status = "seen"
NOT_SEEN: Status = "not seen"
CONTRADICTED: Status = "contradicted"
NOT_RUN: Status = "not run at this size"


class _Stored(BaseModel):
    """A table of the file; keys of later versions are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True)


class Found(_Stored):
    """One contrast of a claim: what it came to, in the columns' unit, and the margin that it had to exceed.

    low, high: the 95 % interval over seeds, or over images with one seed. up, down: one-sided p-values of lying above
    the margin and below it. paper: the same contrast of the numbers that the paper reports.
    """

    said: str
    value: float
    margin: float
    low: float | None = None
    high: float | None = None
    up: float = Field(ge=0, le=1)
    down: float = Field(ge=0, le=1)
    paper: float | None = None


class Measured(_Stored):
    """A cell that a claim reads: its number by seed, and what the paper reports."""

    line: str
    column: str
    values: dict[str, float]
    paper: float | None = None


class ClaimOutcome(_Stored):
    """What a claim came to.

    why: what hindered a test, and which seeds were left out for what they lack. p: two-sided; adjusted: after Holm's
    correction over the claims of the study. asked: what it was decided by, as the study writes it. seeds: how many
    seeds all of its cells have. contrasts: the first one is that on which the outcome stands, the weakest.
    """

    name: str
    says: str
    place: str
    status: Status
    why: str = ""
    unit: str = ""
    p: float | None = Field(None, ge=0, le=1)
    adjusted: float | None = Field(None, ge=0, le=1)
    method: str = ""
    seeds: int = Field(0, ge=0)
    images: int | None = Field(None, ge=0)
    asked: dict[str, Any]
    contrasts: list[Found] = Field(default_factory=list)
    numbers: list[Measured] = Field(default_factory=list)

    def measured(self) -> str:
        """Return what was measured, in a line: the weakest contrast with its interval, and what the paper has there."""
        if not self.contrasts:
            return self.why
        one = self.contrasts[0]
        unit = f" {self.unit}" if self.unit else ""
        interval = "" if one.low is None or one.high is None else f" [{one.low:+.4g}, {one.high:+.4g}]"
        margin = f", claimed above {one.margin:+.4g}" if one.margin else ""
        paper = f"; the paper {one.paper:+.4g}" if one.paper is not None else ""
        why = f"; {self.why}" if self.why else ""
        return f"{one.said}: {one.value:+.4g}{interval}{unit}{margin}{paper}{why}"

    def tested_over(self) -> str:
        """Return by what a claim was tested, and over how many seeds; "" where it was not."""
        if not self.method:
            return ""
        return (
            f"{self.method}, n = {self.seeds}" if self.images is None else f"{self.method}, n = {self.images}, 1 seed"
        )

    def shown_p(self) -> str:
        """Return the corrected p-value, "" where nothing was tested."""
        return "" if self.adjusted is None else "< 0.0001" if self.adjusted < 1e-4 else f"{self.adjusted:.2g}"


class Claims(_Stored):
    """The claims of one finished study, and under which terms its numbers came about.

    dataset, data: the data set by its name, and in words with its options. equal: what every row had equally much of,
    "" where that is nothing. optimizer: "shared" by all rows, or each recipe's "own". terms: what each row took.
    versions: of robustcl, torch, device and precision.
    """

    version: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    study: str
    cite: str = ""
    dataset: str
    data: str
    budget: str
    seeds: int = Field(ge=0)
    samples: int | None = None
    threat: str = ""
    changed: list[str] = Field(default_factory=list)
    equal: str = ""
    optimizer: str = "own"
    terms: list[dict[str, Any]] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    claims: list[ClaimOutcome]


def write(claims: Claims, file: Path) -> None:
    """Write the file whole or not at all."""
    plain = claims.model_dump(mode="json", by_alias=True)
    write_atomically(file, json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> Claims:
    """Read what a study's directory, or a file that was copied from one, says of its claims.

    Raises:
        DataError: there is none, or it is damaged; the sentence names the place.
    """
    file = path / FILE if path.is_dir() else path
    missing = f"{path} has no {FILE}: name the directory of a finished study that makes claims"
    again = "run the study's command again"
    found = read_json(file, missing=missing if path.is_dir() else None, remedy=again, limits=_LIMITS)
    if not isinstance(found, dict):
        raise DataError(f"{file} holds a {type(found).__name__}, not a table; {again}")
    check_values(str(file), found)
    try:
        return Claims.model_validate(found)
    except ValidationError as error:
        raise DataError(f"{sentence(error, str(file), found, Claims)}; {again}") from None
