"""AutoAttack beside the authors' code, and PGD-20 beside torchattacks: same model, same samples, in one process.

The model is a small ResNet for (3, 32, 32), trained adversarially here (``_pinned.py``). A ratio counts only where our
robust accuracy is the same or lower; otherwise it is reported as 0. Needs the peers: ``pip install pyautoattack==0.2.0
torchattacks==3.5.1``; ``--peers FOLDER`` finds them there instead. Exits with 1 where a ratio misses its bar.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from _bar import compare, report
from _pinned import accuracy, data, model
from torch import Tensor, nn

import robustcl

NAME, EPS = "resnet-32", 0.12
BARS = {"autoattack in bf16": 3.0, "pgd-20 in float32": 1.5}


def main(samples: int, pgd_samples: int, full_precision: bool) -> int:
    """Measure, keep and print."""
    net, digest = model(NAME)
    x, label = (part[:pgd_samples] for part in data(NAME))
    details: dict[str, Any] = {"model": f"{NAME} {digest}", "eps": f"Linf {EPS}"}
    ratios = [_pgd(net, x, label, details), *_autoattack(net, x[:samples], label[:samples], full_precision, details)]
    details["peers"] = "pyautoattack 0.2.0, torchattacks 3.5.1"
    return report("autoattack", ratios, details)


def _pgd(net: nn.Module, x: Tensor, label: Tensor, details: dict[str, Any]) -> tuple[str, float, float]:
    import torchattacks

    ours = robustcl.attacks.PGD(net, eps=EPS, steps=20, step_size=EPS / 4, stop_early=True)
    theirs = torchattacks.PGD(net, eps=EPS, alpha=EPS / 4, steps=20)
    mine, peer = accuracy(net, ours(x, label), label), accuracy(net, theirs(x, label), label)
    seconds = compare(lambda: ours(x, label), lambda: theirs(x, label), 3)
    details["pgd-20: samples, robust accuracy ours and torchattacks"] = (len(x), mine, peer)
    details["pgd-20: seconds ours and torchattacks"] = tuple(round(s, 3) for s in seconds)
    ratio = seconds[1] / seconds[0] if mine <= peer else 0.0
    return "pgd-20 in float32", ratio, BARS["pgd-20 in float32"]


def _autoattack(
    net: nn.Module, x: Tensor, label: Tensor, full_precision: bool, details: dict[str, Any]
) -> list[tuple[str, float, float]]:
    from pyautoattack import AutoAttack

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        made = AutoAttack(net, norm="Linf", eps=EPS, version="standard", device="cpu", seed=0)
        adv, _ = made.run_standard_evaluation(x, label, batch_size=250)
        theirs = time.perf_counter() - start
    peer = accuracy(net, adv, label)
    details["autoattack: samples, robust accuracy and seconds of the reference"] = (len(x), peer, round(theirs, 1))
    found = []
    for precision in ["bf16-mixed", *(["32-true"] if full_precision else [])]:
        start = time.perf_counter()
        made = robustcl.AutoAttack(net, eps=EPS, precision=precision)
        mine = accuracy(net, made.run_standard_evaluation(x, label, bs=250), label)
        ours = time.perf_counter() - start
        details[f"autoattack in {precision}: robust accuracy and seconds of ours"] = (mine, round(ours, 1))
        details[f"autoattack in {precision}: ratio"] = round(theirs / ours, 2)
        if precision == "bf16-mixed":
            ratio = theirs / ours if mine <= peer else 0.0
            found.append(("autoattack in bf16", ratio, BARS["autoattack in bf16"]))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64, help="for AutoAttack")
    parser.add_argument("--pgd-samples", type=int, default=256)
    parser.add_argument("--full-precision", action="store_true", help="measure AutoAttack in float32 too")
    parser.add_argument("--peers", type=Path, help="folder that holds the packages pyautoattack and torchattacks")
    given = parser.parse_args()
    if given.peers:
        sys.path.insert(0, str(given.peers))
    sys.exit(main(given.samples, given.pgd_samples, given.full_precision))
