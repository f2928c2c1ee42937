"""Each number of a folder held against its witnesses: what its model gets wrong, image by image, seen once more."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.data.subset import Images
from robustcl.errors import Contradiction, DataError, ProofFailed, UsageError
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.extras.evidence import Evidence, key_of
from robustcl.evaluate.journal import CLEAN, Key
from robustcl.evaluate.likeness import digest_images
from robustcl.evaluate.lines import QuestionLine
from robustcl.evaluate.points import Outcomes
from robustcl.evaluate.witnesses import PATTERN, read
from robustcl.proof.question import QuestionAgain

Row = Mapping[str, Any]

Model = tuple[Classifier, Images]
"""A classifier, and the test images of its data set."""


@dataclass(frozen=True, slots=True)
class ProvenRow:
    """A number, and how far it is proven.

    row: of results.json. mistakes: images that the model gets wrong as they are. witnesses: images that a witness
    fools it on. unproven: images that the number counts as wrong, and that nothing of the kind was seen of.
    faults: what is wrong with its witnesses, in sentences.
    """

    row: Row
    mistakes: int
    witnesses: int
    unproven: int
    faults: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """How many images the number counts."""
        return int(self.row["n"])

    @property
    def reported(self) -> float:
        """The accuracy that is reported."""
        return float(self.row["value"])

    @property
    def proven(self) -> float:
        """The accuracy that the model cannot exceed on these images."""
        return 1.0 - (self.mistakes + self.witnesses) / self.n

    @property
    def holds(self) -> bool:
        """Whether the reported number is proven."""
        return not self.unproven and not self.faults

    @property
    def name(self) -> str:
        """What it is of, in words."""
        parts = [self.row.get("protocol"), self.row.get("route")]
        attack = str(self.row.get("attack") or "no attack")
        threat = self.row.get("spec") or {}
        said = [f"{threat['norm']} {threat['eps']:.4g}"] if self.row.get("attack") else []
        return ", ".join([" ".join(str(part) for part in parts if part), attack, *said, f"{self.n} images"])


def proven_kinds(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that witnesses can prove: accuracies on the test images, alone and under attacks."""
    return [
        row for row in rows
        if row.get("split") == "test" and row.get("n") and row.get("question")
        and row.get("correct") is not None and "corruption" not in (row.get("spec") or {})
    ]  # fmt: skip


def check_rows(
    folder: Path, results: Mapping[str, Any], evidence: Evidence, model_of: Callable[[Row], Model]
) -> list[ProvenRow]:
    """Hold the numbers of a folder against its witnesses.

    Args:
        folder: where the witnesses lie. results, evidence: what is reported, and its journal.
        model_of: returns the model of a row; raises ``ProofFailed`` where it is another one than the row's.

    Raises:
        UsageError: there is no number that witnesses could prove, or there are no witnesses.
        ProofFailed: a file of witnesses is damaged, or of another model or data set; images are others than judged.
    """
    rows = proven_kinds(results["rows"])
    attacked = [row for row in rows if row.get("attack")]
    if not attacked:
        raise UsageError(f"{folder} holds no number under an attack, of test images, whose question is told")
    files = require_witnesses(folder, attacked, evidence)
    asked: dict[str, QuestionAgain] = {}
    for row in rows:
        key = key_of(row)
        if key.digest not in asked:
            classifier, images = model_of(row)
            _check_content(key, images)
            asked[key.digest] = QuestionAgain(key, evidence.known(key), classifier, images)
    for path in files:
        with failing():
            _take(path, asked, evidence)
    for question in asked.values():
        question.settle()
    return [_prove(row, asked[key_of(row).digest], evidence) for row in rows]


def require_witnesses(folder: Path, rows: Sequence[Row], evidence: Evidence) -> list[Path]:
    """Return the files of a folder's witnesses; ``UsageError`` where there are none, and rows that need some."""
    files = sorted(folder.glob(PATTERN))
    if not files and any(_broken(evidence, row) for row in rows):
        raise UsageError(
            f"{folder} keeps no witnesses: it was judged with --no-witnesses, or by an earlier version; judge it anew, "
            "without its journal"
        )
    return files


@contextlib.contextmanager
def failing() -> Iterator[None]:
    """Tell a damaged or contradicting part as a proof that fails."""
    try:
        yield
    except (DataError, Contradiction) as error:
        raise ProofFailed(str(error)) from None


def _take(path: Path, asked: Mapping[str, QuestionAgain], evidence: Evidence) -> None:
    for said in read(path):
        if isinstance(said, QuestionLine):
            if said.question not in evidence.questions:
                raise ProofFailed(f"{path} is not of these numbers: {_difference(said.spec, asked)}")
        elif said.question in asked:
            asked[said.question].take(said)


def _difference(spec: str, asked: Mapping[str, QuestionAgain]) -> str:
    """Say in what a question that the journal does not hold differs from those that it holds."""
    found = json.loads(spec or "{}")
    ours = [json.loads(each.key.spec) for each in asked.values()]
    for key, what in (("model", "another model"), ("content", "another data set"), ("data", "another data set")):
        mine = {str(each.get(key)) for each in ours}
        if str(found.get(key)) not in mine:
            return f"it is of {what}, {found.get(key)} instead of {' or '.join(sorted(mine))}"
    return "its question stands in no line of the journal"


def _check_content(key: Key, images: Images) -> None:
    said = json.loads(key.spec).get("content")
    if said is not None and said != (now := digest_images(images)):
        raise ProofFailed(
            f"the test images or labels are not those that were judged: their digest is {now}, and that of the numbers "
            f"{said}; give the same data"
        )


def _broken(evidence: Evidence, row: Row) -> bool:
    known = evidence.of(row)
    return not isinstance(known, str) and any(
        not each[-1].correct and each[-1].member != CLEAN for each in known.values()
    )


def _prove(row: Row, question: QuestionAgain, evidence: Evidence) -> ProvenRow:
    counted: Outcomes | str = evidence.of(row)
    if isinstance(counted, str):
        raise ProofFailed(counted)
    wrong = {index for index, outcomes in counted.items() if not outcomes[-1].correct}
    plain = {index for index in wrong if counted[index][-1].member == CLEAN}
    seen = wrong & question.proven
    return ProvenRow(row, len(seen & plain), len(seen - plain), len(wrong - seen), tuple(question.told()))
