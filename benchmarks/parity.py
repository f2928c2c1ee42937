"""Robust accuracy beside the authors' AutoAttack: the same models, samples and budgets, per attack and norm.

Needs the reference, ``pip install pyautoattack==0.2.0``; ``--reference FOLDER`` finds it there instead. Each model and
norm is a cell of its own in ``results/parity.json``; what is there is not measured again. Exits with 1 where our robust
accuracy is more than 0.3 points above the reference's in any cell.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from _bar import RESULTS, version
from _pinned import accuracy, data, model
from torch import Tensor, nn

import robustcl

EPS = {
    "cnn": {"Linf": 0.06, "L2": 0.4, "L1": 1.0},
    "cnn-adversarial": {"Linf": 0.15, "L2": 0.6, "L1": 1.0},
    "resnet-adversarial": {"Linf": 0.15, "L2": 0.6, "L1": 1.0},
    "mlp-adversarial": {"Linf": 0.1, "L2": 0.6, "L1": 1.0},
    "cnn-l2": {"Linf": 0.1, "L2": 0.8, "L1": 2.0},
}
"""Where about half of the samples stand."""
SEEDS = {"apgd-ce": 3, "apgd-dlr": 3, "apgd-t": 3, "square": 2}
"""One run of these varies by about a point with its seed: their accuracies are means. The others run once."""
TOLERANCE = 0.003
ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square", "standard")


def main(models: list[str], norms: list[str], attacks: list[str], samples: int, file: Path) -> int:
    """Fill the cells that are asked for."""
    table: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"cells": {}}
    table["versions"] = {name: version(name) for name in ("robustcl", "torch")} | {"pyautoattack": "0.2.0"}
    x, label = (part[:samples] for part in data())
    for name in models:
        net, digest = model(name)
        for norm in norms:
            for attack in attacks:
                cell = f"{name} {norm} {EPS[name][norm]:g} {attack}"
                known = table["cells"].get(cell)
                if known and known["model"] == digest and known["n"] == samples:
                    continue
                table["cells"][cell] = _cell(net, norm, EPS[name][norm], attack, x, label) | {"model": digest}
                file.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                print(cell, {key: value for key, value in table["cells"][cell].items() if key != "model"}, flush=True)
    worst = max(cell["ours"] - cell["reference"] for cell in table["cells"].values())
    print(f"ours is at most {100 * worst:.2f} points above the reference, over {len(table['cells'])} cells")
    return int(worst > TOLERANCE + 1e-9)


def _cell(net: nn.Module, norm: str, eps: float, attack: str, x: Tensor, label: Tensor) -> dict[str, Any]:
    found: dict[str, list[float]] = {"ours": [], "reference": []}
    for seed in range(SEEDS.get(attack, 1)):
        for side, run in (("ours", _ours), ("reference", _theirs)):
            found[side].append(accuracy(net, run(net, norm, eps, attack, seed, x, label), label))
    means = {side: sum(values) / len(values) for side, values in found.items()}
    return {**means, "n": len(x), "seeds": found}


def _ours(net: nn.Module, norm: str, eps: float, attack: str, seed: int, x: Tensor, label: Tensor) -> Tensor:
    made: Any
    if attack == "apgd-dlr":
        made = robustcl.attacks.APGDDLR(net, norm=norm, eps=eps, seed=seed)
    else:
        members = None if attack == "standard" else [attack]
        made = robustcl.AutoAttack(net, norm=norm, eps=eps, seed=seed, attacks_to_run=members)
    adv: Tensor = made.run_standard_evaluation(x, label, bs=250)
    return adv


def _theirs(net: nn.Module, norm: str, eps: float, attack: str, seed: int, x: Tensor, label: Tensor) -> Tensor:
    from pyautoattack import AutoAttack

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = AutoAttack(net, norm=norm, eps=eps, version="standard", device="cpu", seed=seed)
        if attack != "standard":
            made.attacks_to_run = [attack]
        adv, _ = made.run_standard_evaluation(x, label, batch_size=250)
    found: Tensor = adv
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(EPS), choices=list(EPS))
    parser.add_argument("--norms", nargs="+", default=["Linf", "L2", "L1"])
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--reference", type=Path, help="folder that holds the package pyautoattack")
    parser.add_argument("--out", type=Path, default=RESULTS / "parity.json")
    given = parser.parse_args()
    if given.reference:
        sys.path.insert(0, str(given.reference))
    sys.exit(main(given.models, given.norms, given.attacks, given.samples, given.out))
