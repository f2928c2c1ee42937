"""An inspection in words for a terminal, and as tables for tools."""

from __future__ import annotations

from typing import Any

from robustcl.inspection.facts import DataFacts
from robustcl.inspection.findings import numbers
from robustcl.terminal import align

_LISTED = 30
"""Classes up to which each has its line; of more, the smallest ones and the largest are said."""


def to_text(found: DataFacts) -> str:
    """Return what a terminal shows."""
    parts = [[_headline(found)]]
    if found.splits:
        parts += [[_splits(found)], _validation(found), _classes(found)]
    for title, sentences in (("to know", found.remarks), ("stops a run", found.faults)):
        parts += [[f"{title}:", *(f"  {sentence}" for sentence in sentences)] if sentences else []]
    parts.append([_verdict(found)])
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def records(found: DataFacts) -> list[dict[str, Any]]:
    """Return one record per split."""
    return [
        {
            "split": name, "images": split.images, "shape": list(split.item), "dtype": split.dtype, "low": split.low,
            "high": split.high, "mean": list(split.mean), "std": list(split.std), "unlabelled": split.unlabelled,
            "classes": sum(count > 0 for count in split.counts(len(found.classes))),
            "copies": found.repeats[name].images, "label_conflicts": found.repeats[name].conflicts,
            "constant": len(split.constant), "unreadable": len(split.unreadable),
            "left_out": sum(int(entry["count"]) for entry in split.left_out.values()),
        }
        for name, split in found.splits.items()
    ]  # fmt: skip


def classes_records(found: DataFacts) -> list[dict[str, Any]]:
    """Return one record per class."""
    counts = {name: split.counts(len(found.classes)) for name, split in found.splits.items()}
    if found.validation is not None:
        counts["validation"] = list(found.validation)
    return [
        {"label": label, "class": name, **{split: values[label] for split, values in counts.items()}}
        for label, name in enumerate(found.classes)
    ]


def tables(found: DataFacts) -> dict[str, Any]:
    """Return everything as JSON can hold it."""
    details = {
        name: {
            "constant": list(split.constant),
            "unreadable": [{"image": split.named(row), "why": why} for row, why in split.unreadable.items()],
            "left_out": {why: dict(entry) for why, entry in split.left_out.items()},
            "copies": [[split.named(row) for row in rows] for rows in found.repeats[name].groups],
            "label_conflicts": [[split.named(row) for row in rows] for rows in found.repeats[name].contradictory],
        }
        for name, split in found.splits.items()
    }
    return {
        "schema": 1,
        "dataset": found.dataset,
        "ok": found.ok,
        "splits": records(found),
        "classes": classes_records(found),
        "details": details,
        "shared": [
            {
                "first": pair.first, "second": pair.second, "images": pair.images, "label_conflicts": pair.conflicts,
                "pairs": [
                    [found.splits[pair.first].named(there), found.splits[pair.second].named(here)]
                    for there, here in pair.pairs
                ],
            }
            for pair in found.shared
        ],
        "validation": None if found.validation is None else {
            "fraction": found.fraction, "seed": found.seed, "images": sum(found.validation[:-1]),
            "without_label": found.validation[-1],
        },
        "normalisation": None if found.statistics is None else {
            "mean": list(found.statistics[0]), "std": list(found.statistics[1]),
        },
        "pretrain_is_train": found.pretrain_is_train,
        "remarks": list(found.remarks),
        "faults": list(found.faults),
    }  # fmt: skip


def _headline(found: DataFacts) -> str:
    items = sorted({split.item for split in found.splits.values()})
    count = len(found.classes)
    classes = f"{count} {'class' if count == 1 else 'classes'}" if count else "classes unknown"
    return f"{found.dataset}: {classes}, images {' and '.join(map(str, items))}" if items else found.dataset


def _splits(found: DataFacts) -> str:
    rows = []
    for name, split in found.splits.items():
        span = "-" if split.low is None else f"{split.low:.4g} .. {split.high:.4g}"
        rows.append([
            name, f"{split.images}", split.dtype or "-", span, numbers(split.mean) or "-", numbers(split.std) or "-",
            f"{found.repeats[name].images}", f"{len(split.constant)}", f"{len(split.unreadable)}",
        ])  # fmt: skip
    head = ["SPLIT", "IMAGES", "DTYPE", "RANGE", "MEAN", "STD", "COPIES", "CONSTANT", "UNREADABLE"]
    table = align(head, rows)
    return table + ("\nthe images of train are those of pretrain too" if found.pretrain_is_train else "")


def _validation(found: DataFacts) -> list[str]:
    train = found.splits.get("train")
    if train is None:
        return []
    if found.validation is None:
        return ["no validation part would be held out (data.validation = 0)"]
    *each, unlabelled = found.validation
    least, most = (min(each), max(each)) if each else (0, 0)
    of_each = f"{least}" if least == most else f"{least} to {most}"
    beside = f", {unlabelled} more without a label would be left out" if unlabelled else ""
    return [
        f"{sum(each)} of the {train.images} training images would be held out for validation (data.validation = "
        f"{found.fraction:g}, seed {found.seed}), {of_each} of each class{beside}"
    ]


def _classes(found: DataFacts) -> list[str]:
    rows = classes_records(found)
    if not rows:
        return []
    head = list(rows[0])
    if len(rows) <= _LISTED:
        return [align([word.upper() for word in head], [[str(row[key]) for key in head] for row in rows])]
    lines = []
    for split in head[2:]:
        ordered = sorted(rows, key=lambda row: int(row[split]))
        few, most = ordered[0], ordered[-1]
        lines.append(
            f"{split}: {few[split]} ({few['class']}) to {most[split]} ({most['class']}) images of each of "
            f"{len(rows)} classes"
        )
    return [*lines, "--json has them all"]


def _verdict(found: DataFacts) -> str:
    if not found.ok:
        return f"a run could not start: {len(found.faults)} {'fault' if len(found.faults) == 1 else 'faults'}"
    return "a run can start" + (f", {len(found.remarks)} to know" if found.remarks else "")
