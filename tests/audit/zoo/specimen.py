"""All models of the zoo with the threat under which each is audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from robustcl.threat import Ball
from tests.audit.zoo import masked
from tests.audit.zoo.honest import HONEST, trained
from tests.audit.zoo.images import Tensors, digits

EPS = 0.1


@dataclass(frozen=True)
class Cage:
    """A model as it is handed to the audit: images in its units, and the threat."""

    model: nn.Module
    images: Tensors
    ball: Ball
    mode: str = "eval"


@dataclass(frozen=True)
class Specimen:
    """A model by name, and whether it is masked; ``open`` makes it."""

    name: str
    masked: bool
    open: Callable[[], Cage]


def specimens(shift: int = 0) -> list[Specimen]:
    """Return the zoo, honest models first; ``shift`` takes other seeds for all nets."""
    found = [Specimen(name, False, partial(_honest, name, shift)) for name in HONEST]
    balls = (Ball("L2", 0.6), Ball("L1", 2.0))
    found += [Specimen(f"MLP 64, {ball.norm}", False, partial(_within, ball, shift)) for ball in balls]
    return found + [Specimen(name, True, partial(make, shift)) for name, make in CAGES.items()]


def _honest(name: str, shift: int) -> Cage:
    test = digits()[1]
    return Cage(trained(name, shift), Tensors(test.x, test.labels % HONEST[name].classes), Ball("Linf", EPS))


def _within(ball: Ball, shift: int) -> Cage:
    return Cage(trained("MLP 64", shift), digits()[1], ball)


def _mask(wrap: Callable[[nn.Module], nn.Module], on: str = "MLP 64", mode: str = "eval") -> Callable[[int], Cage]:
    return lambda shift: Cage(wrap(trained(on, shift)).eval(), digits()[1], Ball("Linf", EPS), mode)


def _normalised(span: tuple[float, float] | None) -> Callable[[int], Cage]:
    """Hand normalised images to the attack and state eps in pixels: its true size is a quarter."""

    def make(shift: int) -> Cage:
        test, model = digits()[1], masked.Normalising(trained("MLP 64", shift))
        return Cage(model, Tensors((test.x - 0.5) / 0.25, test.labels), Ball("Linf", EPS, span))

    return make


CAGES: Mapping[str, Callable[[int], Cage]] = {
    "rounded to 4 levels": _mask(lambda net: masked.Quantised(net, 4)),
    "rounded to 16 levels": _mask(lambda net: masked.Quantised(net, 16)),
    "rounded, CNN": _mask(lambda net: masked.Quantised(net, 8), "CNN ReLU"),
    "thermometer": _mask(lambda net: masked.Thermometer(net, 16)),
    "staircase": _mask(lambda net: masked.Staircase(net, 16, 60.0)),
    "gentle staircase": _mask(lambda net: masked.Staircase(net, 16, 20.0)),
    "sawtooth": _mask(lambda net: masked.Sawtooth(net, 0.01, 2000.0)),
    "saturated pixels": _mask(masked.Flattened),
    "noisy input": _mask(lambda net: masked.NoisyInput(net, 0.15)),
    "faintly noisy input": _mask(lambda net: masked.NoisyInput(net, 0.01)),
    "random shift": _mask(masked.RandomShift),
    "dropout at evaluation": _mask(masked.AlwaysDropout),
    "dropout in train mode": _mask(lambda net: net, "CNN batch norm, dropout", "train"),
    "noise seeded by the input": _mask(lambda net: masked.HashedNoise(net, 0.4)),
    "logits x 1e4": _mask(lambda net: masked.Scaled(net, 1e4)),
    "logits x 1e6": _mask(lambda net: masked.Scaled(net, 1e6)),
    "logits x 100": _mask(lambda net: masked.Scaled(net, 100.0)),
    "logits / 1000": _mask(lambda net: masked.Scaled(net, 1e-3)),
    "squashed logits": _mask(masked.Squashed),
    "votes": _mask(masked.Votes),
    "clipped logits": _mask(masked.Clipped),
    "winners take all": _mask(lambda net: masked.winners(net, 6)),
    "detached": _mask(masked.Detached),
    "no gradient": _mask(masked.NoGrad),
    "hard vote": _mask(masked.HardVote),
    "negated gradient": _mask(lambda net: masked.Lying(net, "negated")),
    "shuffled gradient": _mask(lambda net: masked.Lying(net, "shuffled")),
    "constant gradient": _mask(lambda net: masked.Lying(net, "constant")),
    "NaN gradient": _mask(masked.NaNGradient),
    "batch statistics": _mask(masked.BatchStatistics),
    "batch norm in train mode": _mask(masked.TrainMode),
    "batch norm left training": _mask(lambda net: net, "CNN batch norm", "train"),
    "softmax outputs": _mask(masked.Softmax),
    "NaN logits": _mask(masked.SometimesNaN),
    "normalised inputs": _normalised((-2.0, 2.0)),
    "normalised inputs, no range": _normalised(None),
    "normalised inputs, wrong range": _normalised((0.0, 1.0)),
}
"""Masked model -> how it is made."""

CAUGHT: Mapping[str, set[str]] = {
    "rounded to 4 levels": {"C14", "C5", "C6"},
    "rounded to 16 levels": {"C14", "C5", "C6"},
    "rounded, CNN": {"C14", "C6"},
    "thermometer": {"C14", "C6"},
    "staircase": {"C14", "C1"},
    "gentle staircase": {"C14"},
    "sawtooth": {"C14", "C6"},
    "saturated pixels": {"C14"},
    "noisy input": {"C13"},
    "faintly noisy input": {"C13"},
    "random shift": {"C13"},
    "dropout at evaluation": {"C13"},
    "dropout in train mode": {"C13", "H2"},
    "noise seeded by the input": {"C14"},
    "logits x 1e4": {"C14", "C5"},
    "logits x 1e6": {"C14", "C5"},
    "logits x 100": {"C14"},
    "logits / 1000": {"C10", "C11"},
    "squashed logits": {"C11"},
    "votes": {"C14"},
    "clipped logits": {"C14", "C5"},
    "winners take all": {"C14"},
    "detached": {"C14", "C6"},
    "no gradient": {"C14", "C6"},
    "hard vote": {"C14", "H1"},
    "negated gradient": {"C14", "C5"},
    "shuffled gradient": {"C14"},
    "constant gradient": {"C14", "C6"},
    "NaN gradient": {"C14", "C6"},
    "batch statistics": {"H3"},
    "batch norm in train mode": {"H2", "H3"},
    "batch norm left training": {"H2", "H3"},
    "softmax outputs": {"H1"},
    "NaN logits": {"H1"},
    "normalised inputs": {"H4"},
    "normalised inputs, no range": {"H4"},
    "normalised inputs, wrong range": {"H4"},
}
"""Masked model -> the checks that must fail on it, others may."""
