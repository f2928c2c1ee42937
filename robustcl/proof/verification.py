"""``verify``: what a run, a judged model's folder or a published one reports, held against what it brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.errors import UsageError
from robustcl.proof.models import Here, Say, models_of_run, models_of_stranger, run_of
from robustcl.proof.published import lay_out, models_of_published
from robustcl.proof.publishing import PROOF
from robustcl.proof.rows import ProvenRow, check_rows, failing, proven_kinds
from robustcl.proof.sums import SUMS, check_seal
from robustcl.report.load import load_held


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of each number of a folder; ``digest`` is that of all of a published one, else ``None``."""

    rows: Sequence[ProvenRow]
    digest: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every number is proven."""
        return all(row.holds for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Return it in values that JSON can hold."""
        rows = [
            {
                "protocol": each.row.get("protocol"), "route": each.row.get("route"), "attack": each.row.get("attack"),
                "question": each.row.get("question"), "model": each.row.get("model"), "n": each.n,
                "reported": each.reported, "proven": each.proven, "mistakes": each.mistakes,
                "witnesses": each.witnesses, "unproven": each.unproven, "faults": list(each.faults),
                "holds": each.holds,
            }
            for each in self.rows
        ]  # fmt: skip
        return {"holds": self.holds, "sha256": self.digest, "rows": rows}


def verify(folder: Path | str, here: Here | None = None, say: Say = lambda sentence: None) -> Verification:
    """Hold the numbers of a folder against its witnesses, with a forward pass an image; nothing is written.

    folder: a finished run, a folder of ``robustcl evaluate``, or one that ``robustcl export --proof`` has made.

    Raises:
        UsageError: nothing that could be verified, or model or data that are not found on this machine.
        ProofFailed: a part was changed, or belongs to another model or data set.
    """
    folder, here = Path(folder), here or Here()
    if here.weights is not None and here.model is None:
        raise UsageError("--weights are those of --model: name the model as well")
    if (folder / PROOF).is_file() or (folder / SUMS).is_file():
        _refuse_model(folder, here)
        return _verify_published(folder, here)
    if not (folder / "results.json").is_file():
        raise UsageError(f"{folder} holds no numbers: results.json is missing; name the folder of an evaluation")
    with failing():
        results, evidence, _ = load_held(folder)
    run = run_of(folder, results)
    if run is not None:
        _refuse_model(folder, here)
        models = models_of_run(run, proven_kinds(results["rows"]), here, say)
    elif isinstance(results.get("model"), Mapping):
        models = models_of_stranger(folder, results, here, say)
    else:
        raise UsageError(f"{folder} names neither a run nor a model of its numbers: name the folder of an evaluation")
    return Verification(check_rows(folder, results, evidence, models))


def _refuse_model(folder: Path, here: Here) -> None:
    if here.model is not None:
        raise UsageError(f"{folder} holds numbers of classifiers that it has itself: leave --model and --weights out")


def _verify_published(folder: Path, here: Here) -> Verification:
    digest = check_seal(folder)
    with lay_out(folder) as place:
        with failing():
            results, evidence, _ = load_held(place)
        return Verification(check_rows(place, results, evidence, models_of_published(folder, here)), digest)
