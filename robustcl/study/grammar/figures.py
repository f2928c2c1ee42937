"""The figures of a study as tables: what each kind is asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from robustcl.recipe import PluginTable, Section, Use


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
    """t-SNE of the features h of the first test images, a panel for each row, a colour for each class.

    attack: puts the first ``attacked`` of them into the same map once more, as it moves them. entropy: a second panel
    below each raises every point by the entropy of its prediction.
    """

    kind: Literal["map"]
    images: int = Field(500, ge=4)
    attack: PluginTable | None = None
    attacked: int = Field(100, ge=1)
    entropy: bool = False
    caption: str = ""


class Anchors(Section):
    """An image of a batch, and which others of it attract and repel it at a stage's end, a block for each row.

    stage: the last one by default. term: the first one that selects pairs. anchor: the image's place in the batch, that
    is the first one of the stage's first epoch. most: how many candidates of a kind are shown, the first ones.
    """

    kind: Literal["anchors"]
    stage: str | None = None
    term: str | None = None
    anchor: int = Field(0, ge=0)
    most: int = Field(12, ge=1)
    caption: str = ""


class WeightLandscapeFigure(Section):
    """The mean loss along a random, filter-normalised direction of the weights, on clean images and on moved ones.

    attack: what moves the images of the second panel; they stay as they are while the weights move. radius: the reach
    to both sides, in lengths of the weights. images: how many test images, the first ones, at most 200.
    """

    kind: Literal["weight-landscape"]
    attack: PluginTable = Use(use="pgd-20")
    radius: float = Field(0.5, gt=0)
    points: int = Field(31, ge=3)
    images: int = Field(200, ge=1, le=200)
    caption: str = ""


class Components(Section):
    """What makes single components of the features h large, a panel for each row: a line for each seed, image or noise.

    images: how many test images are seeds, one of each class first; noise is one more. count: how many components,
    those that differ most over the images that are judged. steps: of the search.
    """

    kind: Literal["components"]
    images: int = Field(3, ge=1)
    count: int = Field(4, ge=1)
    steps: int = Field(200, ge=1)
    caption: str = ""


class ClassTable(Section):
    """The mean cosine distance of the clean features h of each two classes and within each, a panel for each row."""

    kind: Literal["classes"]
    caption: str = ""


Picture = Landscape | WeightLandscapeFigure | Components | Map | ClassTable
"""Figures that no table holds: the runs themselves are looked at."""

Figure = Annotated[
    Bars | Lines | Epochs | SilhouetteFigure | Sweeps | Scatter | Anchors | Picture, Field(discriminator="kind")
]
