"""PGD-10 on a ResNet-18 for CIFAR, batch 64, beside torchattacks, ART, foolbox and its own bare passes, on the CPU.

Needs the peers: ``pip install torchattacks adversarial-robustness-toolbox foolbox``, best in an environment apart.
Exits with 1 where a ratio misses its bar.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from _bar import compare, report, version
from torch import Tensor, nn

from robustcl import search
from robustcl.nn.fast import frozen_for_attack
from robustcl.rng import Rng
from robustcl.threat import Ball

EPS, STEP, STEPS, BATCH = 8 / 255, 2 / 255, 10, 64
BARS = {"torchattacks": 1.0, "art": 1.5, "foolbox": 1.25, "bare passes": 0.95, "bf16 torchattacks": 3.0}


def main(repeats: int) -> int:
    torch.manual_seed(0)
    net, x, label = resnet(), torch.rand(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    ours, peers = pgd(net, x, label), {"torchattacks": torchattacks_pgd, "art": art_pgd, "foolbox": foolbox_pgd}
    ratios, details = [], {}
    for name, make in {**peers, "bare passes": bare_passes}.items():
        mine, theirs = compare(ours, make(net, x, label), repeats)
        ratios.append((name, theirs / mine, BARS[name]))
        details[f"seconds: ours, {name}"] = (round(mine, 3), round(theirs, 3))
    if reduced_precision_is_native():
        mine, theirs = compare(pgd(net, x, label, bf16=True), torchattacks_pgd(net, x, label), repeats)
        ratios.append(("bf16 torchattacks", theirs / mine, BARS["bf16 torchattacks"]))
        details["seconds: ours in bf16, torchattacks"] = (round(mine, 3), round(theirs, 3))
    else:
        details["bf16"] = "skipped: this CPU has neither AMX nor AVX512-BF16, where bfloat16 is not faster"
    details["mean cross-entropy, ours and torchattacks"] = strengths(net, x, label)
    details["peers"] = ", ".join(
        f"{p} {version(p)}" for p in ("torchattacks", "adversarial-robustness-toolbox", "foolbox")
    )
    return report("pgd", ratios, details)


def resnet() -> nn.Module:
    """Return torchvision's ResNet-18 with the field's stem for 32 pixels: 3x3, stride 1, no pooling."""
    net = torchvision.models.resnet18(num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net.eval()


def pgd(net: nn.Module, x: Tensor, label: Tensor, bf16: bool = False) -> Callable[[], Tensor]:
    def objective(v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net(v)
        return nn.functional.cross_entropy(logits.float(), label, reduction="none")

    def attack() -> Tensor:
        rng = Rng(0, "benchmark").for_rows(torch.arange(len(x)))
        with frozen_for_attack(net):
            return search.ascend(x, objective, Ball("Linf", EPS), steps=STEPS, step_size=STEP, rng=rng)

    return attack


def bare_passes(net: nn.Module, x: Tensor, label: Tensor) -> Callable[[], None]:
    """The forward and input-gradient passes alone, on the same module in the same state as during our attack."""

    def passes() -> None:
        with frozen_for_attack(net):
            for _ in range(STEPS):
                leaf = x.clone().requires_grad_()
                torch.autograd.grad(nn.functional.cross_entropy(net(leaf), label), leaf)

    return passes


def torchattacks_pgd(net: nn.Module, x: Tensor, label: Tensor) -> Callable[[], Tensor]:
    import torchattacks

    attack = torchattacks.PGD(net, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)
    return lambda: attack(x, label)


def art_pgd(net: nn.Module, x: Tensor, label: Tensor) -> Callable[[], object]:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    loss, item = nn.CrossEntropyLoss(), tuple(x.shape[1:])
    classifier = PyTorchClassifier(net, loss, item, 10, clip_values=(0.0, 1.0), device_type="cpu")
    attack = ProjectedGradientDescent(
        classifier, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=BATCH, verbose=False
    )
    images, labels = x.numpy(), label.numpy()
    return lambda: attack.generate(x=images, y=labels)


def foolbox_pgd(net: nn.Module, x: Tensor, label: Tensor) -> Callable[[], object]:
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=True)
    return lambda: attack(model, x, label, epsilons=EPS)


def strengths(net: nn.Module, x: Tensor, label: Tensor) -> tuple[float, float]:
    """Return what both attacks reach: a fast attack that is weaker would prove nothing."""
    found = pgd(net, x, label)(), torchattacks_pgd(net, x, label)()
    with torch.no_grad():
        ours, theirs = (float(nn.functional.cross_entropy(net(adv), label)) for adv in found)
    return round(ours, 4), round(theirs, 4)


def reduced_precision_is_native() -> bool:
    """Say whether the CPU multiplies bfloat16 natively."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # the peers', not ours
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    sys.exit(main(parser.parse_args().repeats))
