"""A folder to publish: the judged classifiers, their cards, the results, the journal and the witnesses, sealed."""

from __future__ import annotations

import json
import lzma
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcl.disk import as_usage, make_folder, read_bytes, replacing, write_atomically
from robustcl.errors import UsageError, WeightsError
from robustcl.evaluate.extras.evidence import Evidence, key_of
from robustcl.evaluate.journal import Journal, Key, model_hash
from robustcl.evaluate.lines import QuestionLine
from robustcl.evaluate.witnesses import PATTERN, Witness, WitnessFile, read
from robustcl.nn import weights
from robustcl.proof.models import Here, Say, differing, run_of, subjects_of_run
from robustcl.proof.rows import Row, proven_kinds, require_witnesses
from robustcl.proof.sums import seal
from robustcl.report.load import load_held
from robustcl.run.evaluation import LISTS
from robustcl.run.subjects import RunSubject
from robustcl.train import stage_files

FORMAT = "robustcl-proof-1"
PROOF, RESULTS, JOURNAL, WITNESSES = "proof.json", "results.json", "journal.jsonl", "witnesses.jsonl"
PACKED = ".xz"


def publish(folder: Path, out: Path, here: Here | None = None, say: Say = lambda sentence: None) -> Path:
    """Write what others need to verify a run's numbers without the run, and return the folder; it appears when whole.

    Raises:
        UsageError: no finished run, no number that can be proven, a folder that holds something, or a classifier that
            a saved encoder cannot hold.
        ProofFailed: the run's weights are others than those that were judged.
    """
    results, evidence, _ = load_held(folder)
    rows = proven_kinds(results["rows"])
    run = run_of(folder, results)
    if run is None:
        raise UsageError(f"{folder} holds numbers of a model from elsewhere: publish it as it is, with the model")
    if not rows:
        raise UsageError(f"{folder} holds no number of test images whose question is told: evaluate the run again")
    require_witnesses(folder, rows, evidence)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--proof {out} exists and holds something: choose another folder")
    subjects = _judged(rows, subjects_of_run(run, rows, here or Here(), say))
    with as_usage(f"--proof {out}", "choose another folder"):
        aside = make_folder(out.absolute().parent / f".{out.name}.{secrets.token_hex(8)}")
    try:
        places = {subject.model: f"models/{number}" for number, subject in enumerate(subjects, 1)}
        for subject in subjects:
            _save(subject, aside / places[subject.model], _about(subject, rows))
        _keep(aside / PROOF, _proof(subjects, places))
        _keep(aside / RESULTS, {**results, **dict.fromkeys(LISTS, ()), "rows": rows})
        _write_evidence(folder, aside, rows, evidence)
        seal(aside)
        os.replace(aside, out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return out


def _judged(rows: Sequence[Row], subjects: Sequence[RunSubject]) -> list[RunSubject]:
    """Return the classifiers that rows are of, each once."""
    found = {subject.model: subject for subject in subjects}
    for row in rows:
        if row.get("model") not in found:
            raise differing(row, list(found))
    return [subject for model, subject in found.items() if any(row["model"] == model for row in rows)]


def _save(subject: RunSubject, folder: Path, about: Mapping[str, str]) -> None:
    """Save a classifier with its card, and see that it can be loaded as what it is."""
    weights.save(subject.encoder, folder, about=about)
    try:
        same = model_hash(stage_files.load(folder).state_dict()) == subject.model
    except WeightsError:
        same = False
    if not same:
        raise UsageError(
            f"the classifier of protocol {subject.protocol} is none that a saved encoder can hold: publish numbers of "
            "another protocol, such as slf or linear, in 32 bits"
        )


def _about(subject: RunSubject, rows: Sequence[Row]) -> dict[str, str]:
    """Return the lines of a card: what was measured of a classifier."""
    found = {"judged": f"by {subject.name}, on {subject.data}", "hash": f"`{subject.model}`"}
    for row in (row for row in rows if row["model"] == subject.model):
        spec = row["spec"]
        threat = f" ({spec['norm']} {spec['eps']:.4g})" if row["attack"] else ""
        found[f"{row['metric']}{threat}"] = f"{row['value']:.2%} of {row['n']} test images"
    return found | {"proven by": "robustcl verify, on the folder that holds this one"}


def _proof(subjects: Sequence[RunSubject], places: Mapping[str, str]) -> dict[str, Any]:
    data = subjects[0].plan.recipe.data
    options = {key: value for key, value in data.options.items() if key != "path"}
    models = [{"folder": places[each.model], "hash": each.model, "route": each.route} for each in subjects]
    return {"format": FORMAT, "data": {"use": data.use, **options}, "models": models}


def _write_evidence(folder: Path, aside: Path, rows: Sequence[Row], evidence: Evidence) -> None:
    keys = {key.digest: key for key in map(key_of, rows)}
    journal, kept = Journal(aside / JOURNAL), WitnessFile(aside / WITNESSES)
    for key in keys.values():
        journal.append(key, [outcome for _, each in sorted(evidence.known(key).items()) for outcome in each])
    for path in sorted(folder.glob(PATTERN)):
        _copy_witnesses(path, kept, keys)
    for name in (JOURNAL, WITNESSES):
        if (aside / name).exists():
            with replacing(aside / f"{name}{PACKED}") as file:
                file.write(lzma.compress(read_bytes(aside / name), preset=6))
            (aside / name).unlink()


def _copy_witnesses(path: Path, kept: WitnessFile, keys: Mapping[str, Key]) -> None:
    waiting: list[Witness] = []
    for said in read(path):
        if isinstance(said, QuestionLine) or said.question not in keys:
            continue
        if waiting and (waiting[0].question != said.question or len(waiting) >= _TOGETHER):
            kept.add(keys[waiting[0].question].spec, waiting)
            waiting = []
        waiting.append(said)
    if waiting:
        kept.add(keys[waiting[0].question].spec, waiting)


_TOGETHER = 1000
"""Witnesses that are written at once."""


def _keep(path: Path, tables: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(tables, indent=1) + "\n")
