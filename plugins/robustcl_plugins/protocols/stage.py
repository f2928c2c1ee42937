"""The stage that protocols share: SGD with a stepped rate on the weak view ``w`` of the labelled training images."""

from __future__ import annotations

from typing import Any, Protocol


class Tuning(Protocol):
    """The options that every protocol with a training stage has."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def decay_at(self) -> tuple[int, ...]: ...
    @property
    def decay(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def initial(self) -> str: ...
    @property
    def view(self) -> dict[str, Any] | str: ...


def tuning_stage(options: Tuning, name: str, route: str, *, trainable: str, mode: str) -> dict[str, Any]:
    """Return a stage table that trains one part by cross-entropy on the view ``w`` through ``route``.

    ``trainable`` is "classifier" or "online", the whole encoder; ``mode`` the batch-norm mode of its forward passes.
    """
    decays = [epoch for epoch in options.decay_at if epoch < options.epochs]
    rates = [options.lr * options.decay**number for number in range(len(decays) + 1)]
    return {
        "name": name,
        "epochs": options.epochs,
        "batch": options.batch,
        "drop_last": False,
        "split": "train",
        "trainable": [trainable],
        "classifier": options.initial,
        "mode": mode,
        "views": {"w": options.view},
        "routes": {"w": route},
        "term": {"ce": {"use": "cross-entropy", "views": ["w"]}},
        "optimizer": {
            "use": "sgd",
            "lr": {"piecewise": rates, "at": decays} if decays else options.lr,
            "momentum": options.momentum,
            "weight_decay": options.weight_decay,
        },
    }
