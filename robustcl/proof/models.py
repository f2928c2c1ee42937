"""The models behind a folder's numbers, opened without writing anything: those of a run, anybody's, published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.analysis.again import Wanted
from robustcl.analysis.subject import open_model
from robustcl.composition import exchange
from robustcl.composition.assembly import assemble
from robustcl.data.subset import Images
from robustcl.errors import ProofFailed, UsageError, WeightsError
from robustcl.evaluate.classifier import Classifier, of_model
from robustcl.evaluate.likeness import digest_model
from robustcl.proof.rows import Model, Row
from robustcl.recipe import Use
from robustcl.registry.owners import LOCK
from robustcl.run import subjects
from robustcl.run.splits import Splits, open_splits
from robustcl.run.stages import Stages
from robustcl.run.subjects import RunSubject
from robustcl.train.engine import Engine
from robustcl.train.log import watch_nothing

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Here:
    """Where model and data are found on this machine, as far as the folder does not say it.

    model, weights: as ``robustcl evaluate`` has them, of a model that no recipe has trained. dataset, data_dir: where
    the data set lies, if not where it lay. device: where it is computed, if not as before.
    """

    model: str | None = None
    weights: Path | None = None
    dataset: str | None = None
    data_dir: str | None = None
    device: str | None = None

    def data(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """Return the table of a data set with what lies elsewhere here."""
        if self.dataset is None and self.data_dir is None:
            return dict(table)
        kept = {key: value for key, value in table.items() if key != "path"} | {"use": self.dataset or table["use"]}
        return kept | exchange.files(kept["use"], self.data_dir)


def subjects_of_run(run: Path, rows: Sequence[Row], here: Here, say: Say) -> list[RunSubject]:
    """Return the classifiers of a finished run that rows are of; nothing is trained or written.

    Raises:
        UsageError: no finished run, a protocol whose classifier is not there, or data that are not.
        ProofFailed: weights that are damaged.
    """
    found: list[RunSubject] = []
    splits: Splits | None = None
    for protocol, routes in _asked(rows).items():
        tables, options = Wanted(protocol=protocol, routes=routes).tables(run, say)
        tables["data"] = here.data(tables["data"])
        plan = assemble(tables, str(run))
        engine = Engine(here.device or options["device"], 1, options["precision"])
        splits = splits or open_splits(plan, engine.device, test=True)
        stages = Stages(plan, run, engine, watch_nothing, say, splits)
        for evaluation in plan.evaluations:
            for route in evaluation.table.route:
                if subjects.lacks(stages, evaluation, route):
                    raise UsageError(f"{run}: the classifier of {protocol} on route {route} is not there: evaluate it")
                try:
                    found.append(subjects.prepare(stages, evaluation, route))
                except WeightsError as error:
                    raise ProofFailed(str(error)) from None
    return found


def models_of_run(run: Path, rows: Sequence[Row], here: Here, say: Say) -> Callable[[Row], Model]:
    """Return what finds the model of a row among those of a run; errors as ``subjects_of_run``."""
    found = subjects_of_run(run, rows, here, say)

    def find(row: Row) -> Model:
        for subject in found:
            if subject.model == row.get("model"):
                return subject.classifier, subject.test
        there = [
            subject.model for subject in found if (subject.protocol, subject.route) == (row["protocol"], row["route"])
        ]
        raise differing(row, there)

    return find


def models_of_stranger(folder: Path, results: Mapping[str, Any], here: Here, say: Say) -> Callable[[Row], Model]:
    """Return what finds the one model that was judged as it came, which its owner names once more.

    Raises:
        UsageError: nobody has named it: a folder must not choose which code is run.
    """
    if here.model is None:
        raise UsageError(
            f"{folder} holds numbers of the model {results['model'].get('spec')}: name it with --model and --weights, "
            "since no code is run because a folder says so"
        )
    spec = next((row.get("spec") or {} for row in results["rows"]), {})
    engine = Engine(here.device or "auto", 1, str(spec.get("precision", "32-true")))
    data = here.data({"use": results["data"]["use"]})
    opened = open_model(here.model, here.weights, Use(**data), engine, say=say)
    digest, model = digest_model(opened.model), (of_model(opened.model), opened.images)

    def find(row: Row) -> tuple[Classifier, Images]:
        if row.get("model") != digest:
            raise differing(row, [digest])
        return model

    return find


def run_of(folder: Path, results: Mapping[str, Any]) -> Path | None:
    """Return the run whose classifiers were judged into a folder; ``None`` where no recipe has trained them."""
    if (folder / LOCK).is_file():
        return folder
    if "judged" not in results:
        return None
    above = folder.absolute().parent  # where it lay as it was judged says nothing of a folder that was moved
    return above if (above / LOCK).is_file() else Path(str(results["judged"]))


def differing(row: Row, there: Sequence[str]) -> ProofFailed:
    """Return the error of a row whose model is another one."""
    name = " ".join(str(row[key]) for key in ("protocol", "route") if row.get(key))
    return ProofFailed(
        f"the model of {name} is not the one that was judged: its hash is {' or '.join(there) or 'unknown'}, "
        f"and that of the numbers {row.get('model')}"
    )


def _asked(rows: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        routes = found.setdefault(str(row["protocol"]), [])
        if row["route"] not in routes:
            routes.append(str(row["route"]))
    return found
