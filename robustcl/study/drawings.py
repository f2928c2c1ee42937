"""The figures of a study as tables: what each kind is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from robustcl.recipe import Section


class Bars(Section):
    """A bar for each row and column, the paper's numbers as marks."""

    kind: Literal["bars"]
    columns: list[str] = Field(min_length=1)
    caption: str = ""


class Lines(Section):
    """A line for each row and column along an axis."""

    kind: Literal["lines"]
    axis: str
    columns: list[str] = Field(min_length=1)
    caption: str = ""


class Epochs(Section):
    """Metrics of a stage, averaged over the logged steps of each epoch."""

    kind: Literal["epochs"]
    metrics: list[str] = Field(min_length=1)
    stage: str | None = None
    caption: str = ""


class SilhouetteFigure(Section):
    """The silhouette score of each number of clusters that was tried; the chosen one is marked."""

    kind: Literal["silhouette"]
    caption: str = ""


class Sweeps(Section):
    """A panel for each swept column, a line for each row along the values; marks alone where these are names."""

    kind: Literal["sweep"]
    columns: list[str] = Field(min_length=1)
    caption: str = ""


class Scatter(Section):
    """One column against another. Two columns swept over the same values give each row as many points as values."""

    kind: Literal["scatter"]
    x: str
    y: str
    caption: str = ""


class Landscape(Section):
    """The mean loss around test images, along the gradient's sign and random signs, a panel for each row.

    times: the reach along both directions, in radii of the threat. images: how many test images, the first ones.
    """

    kind: Literal["landscape"]
    times: float = Field(1.0, gt=0)
    points: int = Field(21, ge=3)
    images: int = Field(200, ge=1)
    caption: str = ""


class Map(Section):
    """t-SNE of the clean features h of the first test images, a panel for each row, a colour for each class."""

    kind: Literal["map"]
    images: int = Field(500, ge=4)
    caption: str = ""


Figure = Annotated[
    Bars | Lines | Epochs | SilhouetteFigure | Sweeps | Scatter | Landscape | Map, Field(discriminator="kind")
]
