"""What reads a file of a run for the costly commands, called by itself: a mutation costs milliseconds then."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from robustcl import report, robustbench
from robustcl.analysis.measure import kept
from robustcl.disk import read_bytes
from robustcl.errors import WeightsError
from robustcl.measures.catalogue import VALUES
from robustcl.nn.files import check_whole
from robustcl.report import blackbox, threats
from robustcl.report.measured import read_measured
from robustcl.run import complete, contents, folder
from robustcl.study import api
from robustcl.study.numbers import columns
from robustcl.study.numbers.reading import read_value
from robustcl.study.plan.setting import Setting
from robustcl.study.runs import execution as running
from robustcl.train import checkpoint, stage_files

Reader = Callable[[Path, Path], object]
"""Takes the run and the mutated file; returns or raises whatever it does."""


def checkpoints(run: Path, file: Path) -> object:
    """Read the newest checkpoint of a stage."""
    return checkpoint.newest(file.parent)


def clusters(run: Path, file: Path) -> object:
    """Take up the clusters of a stage, as another run does."""
    return stage_files.clusters(run, "stage:robust", torch.device("cpu"))


def encoders(run: Path, file: Path) -> object:
    """Load an encoder of the run."""
    return stage_files.load(file.parent), stage_files.newest(run)


def classifier(run: Path, file: Path) -> object:
    """Load the classifier that the recipe judged, as ``robustcl.robustbench.load_model`` does."""
    return robustbench.load_model("a", custom_checkpoint=str(run), route="clean")


def tensors(run: Path, file: Path) -> object:
    """Read a file of weights as one from elsewhere."""
    return check_whole(read_bytes(file, error=WeightsError), file)


def whole(run: Path, file: Path) -> object:
    """Ask what a run still lacks."""
    composition, _ = folder.reopen(run)
    return complete.results(composition, run)


def data(run: Path, file: Path) -> object:
    """Hold the data against those with which the run began."""
    composition, _ = folder.reopen(run.parent / "b")
    return contents.open_again(composition, run, torch.device("cpu"))


def parts(run: Path, file: Path) -> object:
    """Read all that the page of a run shows beside results.json, and draw nothing."""
    return report.load(run)


def beside(run: Path, file: Path) -> object:
    """Read the matrices and the other threats that a run's page shows."""
    return blackbox.matrices(report.load(run)), threats.read_threats(run)


def figures(run: Path, file: Path) -> object:
    """Draw what was measured of a run's representation."""
    return read_measured(report.load(run), ["a"] * 10)


def words(run: Path, file: Path) -> object:
    """Read what a study has measured of a run, as its table does."""
    return [read_value(entry, value) for entry in kept._entries(run / kept.FILE) for value in VALUES]


def cells(run: Path, file: Path) -> object:
    """Read the numbers that a study tells of a run which is there already."""
    (planned,) = _study().planned
    return running._there(planned, run), columns.read(_study().study.column[:2], planned, run)


def curve(run: Path, file: Path) -> object:
    """Read what a study tells of a stage's metrics."""
    return columns.epochs(_study().planned[0], run, "robust", "loss")


@functools.cache
def _study() -> api.Composed:
    return api.compose("study.toml", Setting(budget="paper"))


READERS: Mapping[Reader, tuple[str, int]] = {
    checkpoints: (r"^checkpoints/", 2),
    clusters: (r"^stages/robust/clusters/", 2),
    encoders: (r"^stages/[^/]*/((slow/)?(model|config)|finished)", 2),
    classifier: (r"^stages/evaluate-|^recipe\.lock", 2),
    tensors: (r"safetensors$", 1),
    whole: (r"finished\.json$|^results\.json$|^recipe\.lock|^run\.json$", 2),
    data: (r"^data\.json$", 1),
    parts: (r"^artifacts|^metrics|^recipe\.lock", 4),
    beside: (r"^transfers/|^threat-", 4),
    figures: (r"^representation|^measures\.json$|^artifacts/measures", 1),
    words: (r"^representation", 1),
    cells: (r"^results\.json$|^recipe\.lock|journal\.jsonl$", 1),
    curve: (r"^metrics", 2),
}
"""Reader -> which files it reads, and how often it is drawn among those of a file."""


def drawn(rng: random.Random, name: str) -> Reader | None:
    """Draw a reader of a file, ``None`` where there is none."""
    found = {reader: weight for reader, (pattern, weight) in READERS.items() if re.search(pattern, name)}
    return rng.choices(list(found), list(found.values()))[0] if found else None
