"""A finished run with every part of a doubt-free evaluation: audit, corruptions, curves, members, and a journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from robustcl.audit import Audit, Finding, as_json
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.rows import per_member, row
from robustcl.rng import Rng
from tests.shared.compared_runs import digest
from tests.shared.finished_run import attacked, results, write_run

N = 120
MODEL = "0f1e2d3c4b5a6978"
BUDGETS = {"pgd-20": {"pgd": 0.05}, "autoattack": {"apgd-ce": 0.02, "apgd-t": 0.05, "square": 0.1}}
"""What stands for each member of an attack: the linear model's digits, moved by so much against its margin."""


def audit(route: str = "clean", verdict: str = "warn", **changes: Any) -> dict[str, Any]:
    """Return an audit of the protocol slf on a route as results.json holds it."""
    findings = (
        Finding("C1", "pass", "pgd-20 leaves 61.0%, one step 70.5%", attack={"pgd-20": {"steps": 20, "restarts": 1}}),
        Finding("C2", verdict, "40 steps break 3 more of 200 samples", samples=(4, 17, 120)),  # type: ignore[arg-type]
        Finding("C8", "not run", "RayS is part of --deep"),
    )
    made = as_json(Audit(findings, 200, 0.945, 0.565, {"norm": "Linf", "eps": 8 / 255, "range": [0.0, 1.0]}))
    return {"protocol": "slf", "route": route, **made} | changes


def judged(journal: Journal, route: str, *, asked: int = N, reached: int = N) -> list[dict[str, Any]]:
    """Write the journal of a route and return its rows; the ensemble is cut off after ``reached`` images."""
    made, names = attacked(), {name: list(members) for name, members in BUDGETS.items()}
    predicted = {eps: made["model"].predict(x) for eps, x in made["attacked"].items()}
    label = made["y"]
    found = []
    for attack in (None, *BUDGETS):
        spec: dict[str, Any] = {"protocol": {"use": "slf", "epochs": 25}, "encoder": "online"}
        spec |= {"attack": {"steps": 20}, "eps": 8 / 255} if attack else {}
        key = Key("slf", route, "test", attack, json.dumps(spec | {"model": MODEL}, sort_keys=True))
        last = []
        order = Rng(0, "evaluate", "order").permutation(asked).tolist()
        for index in order[:reached] if attack == "autoattack" and reached < asked else range(asked):
            lines = [_outcome(index, label, predicted[0.0], "clean")]
            for member, eps in BUDGETS.get(attack or "", {}).items():
                if lines[-1].correct:
                    lines.append(_outcome(index, label, predicted[eps], member))
            journal.append(key, lines)
            last.append(lines[-1])
        more: dict[str, Any] = {"spec": spec, "model": MODEL, "protocol_version": "slf-v1"}
        more["protocol_hash"] = "aaaabbbbcccc"
        if attack is not None and len(names[attack]) > 1:
            more["members"] = per_member(journal, key, last, names[attack])
        found.append(row(key, last, asked, **more))
    return found


def sections(**changes: Any) -> dict[str, Any]:
    """Return the parts of results.json beside the rows."""
    return {
        "audit": [audit(), audit("adv", "pass")],
        "corruptions": [
            {
                "protocol": "slf", "route": "clean", "severities": [1, 2, 3, 4, 5], "mean": 0.7,
                "accuracy": {
                    "gaussian_noise": [0.9, 0.8, 0.7, 0.6, 0.5],
                    "fog": [0.95, 0.9, 0.8, 0.7, 0.65],
                    "jpeg_compression": [0.8, 0.7, 0.6, 0.5, 0.4],
                },
                "source": "made here", "complete": False,
            }
        ],
        "convergence": [
            {
                "protocol": "slf", "route": "clean", "attack": "pgd-20", "n": 360,
                "steps": [0, 1, 2, 5, 10, 20, 50], "accuracy": [0.94, 0.8, 0.72, 0.66, 0.63, 0.62, 0.61],
            }
        ],
        "transfer": {
            "runs": ["ncp-deacl", "acl", "a-much-longer-name-of-a-run"], "attack": "pgd-20", "n": 200,
            "accuracy": [[0.61, 0.8, 0.85], [0.79, 0.58, 0.86], [0.9, 0.91, None]],
        },
    } | changes  # fmt: skip


def write_judged(path: Path, *, reached: int = N, **changes: Any) -> Path:
    """Write a run whose routes clean and adv were judged; on adv the ensemble was cut off after ``reached`` images."""
    write_run(path, images=60)
    journal = Journal(path / "journal.jsonl")
    rows = judged(journal, "clean") + judged(journal, "adv", reached=reached)
    made = results(rows=rows, **sections()) | changes
    (path / "results.json").write_text(json.dumps(made), encoding="utf-8")
    return path


def write_outside(path: Path) -> Path:
    """Write the run of a model that was trained elsewhere: no stages, no recipe, no metrics."""
    path.mkdir(parents=True)
    (path / "artifacts").mkdir()
    base = results()
    rows = [{**each, "protocol": "as-is", "route": ""} for each in base["rows"][:3]]
    made = {
        **{key: base[key] for key in ("schema", "seed", "finished", "threat", "environment")},
        "name": "their_models:build",
        "model": {"spec": "their_models:build", "weights": "weights.safetensors", "hash": MODEL},
        "data": {"use": "digits", "classes": base["data"]["classes"], "test": 360, "item": [1, 8, 8]},
        "rows": rows,
        "security": [],
        "corruptions": [],
        "silhouette": [],
        "timing": {"train_seconds": 0.0, "evaluate_seconds": 30.0},
    }
    (path / "results.json").write_text(json.dumps(made), encoding="utf-8")
    images = np.zeros((2, 1, 8, 8), np.float32)
    np.savez(path / "artifacts" / "strip.npz", clean=images, adversarial=images + 0.1, label=np.zeros(2, int))
    return path


def _outcome(index: int, label: Any, predicted: Any, member: str) -> Outcome:
    right = bool(predicted[index] == label[index])
    return Outcome(index, int(label[index]), int(predicted[index]), right, 0, digest(f"{index}-{member}"), member)
