"""Attacks of the Adversarial Robustness Toolbox as generators: ``art:ProjectedGradientDescent`` and so on."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Attack
from robustcl_plugins.generators.foreign import AsModule, grown, isolated_randomness, numbers, radius, within

_NORMS: Mapping[str, float] = MappingProxyType({"Linf": math.inf, "L2": 2, "L1": 1})


class ART:
    """One class of ``art.attacks.evasion`` against the cross-entropy or whatever loss it brings.

    attack: the class, for example ``ProjectedGradientDescent``. options: its arguments, ratios as "2/255"
    welcome; ``eps`` and ``norm`` come from the threat and the batch stays whole, where the class takes them.
    The toolbox adds up float32 steps and may overshoot the ball by rounding, which is projected back; an
    attack that looks for the smallest move keeps rows clean in which it exceeds the ball.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = "Nicolae et al., Adversarial Robustness Toolbox v1.0.0, arXiv:1807.01069, 2018"
    preset: ClassVar[str] = "attack"

    def __init__(self, *, attack: str, options: Mapping[str, Any] | None = None) -> None:
        self.attack = attack
        self.options = options

    @staticmethod
    def available() -> str | None:
        """Return nothing where the library is installed, else what to install."""
        if importlib.util.find_spec("art") is None:
            return "the Adversarial Robustness Toolbox is not installed: pip install 'robustcl[art]'"
        return None

    def grow(self, times: float) -> Mapping[str, Any]:
        """Return the options for a ball ``times`` as large: the step, which the toolbox calls eps_step, grows too."""
        return grown(self._method(), self.options, "eps_step", times)

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        who, ball = f"art:{self.attack}", attack.ball
        method = self._method()
        taken = inspect.signature(method).parameters
        ours = {"eps": radius(ball, who), "norm": _NORMS[ball.norm], "batch_size": len(x), "verbose": False}
        arguments = {n: v for n, v in ours.items() if n in taken} | numbers(self.options)
        with isolated_randomness(attack.rng, x.device):
            try:
                made = method(self._classifier(x, attack), **arguments)
            except (TypeError, ValueError) as error:
                raise UsageError(f"{who} refuses the options {arguments}: {error}") from error
            found = made.generate(x=x.detach().cpu().numpy(), y=attack.label.cpu().numpy())
        adv = torch.as_tensor(found, dtype=x.dtype, device=x.device)
        if "eps" not in taken:
            adv = within(adv, x, ball)
        rounding = ball.distance(adv, x) <= torch.as_tensor(ball.eps, device=x.device) * (1 + 1e-5)
        return torch.where(rounding.reshape(-1, *[1] * (x.dim() - 1)), ball.project(adv, x), adv)

    def _method(self) -> Any:
        missing = self.available()
        if missing is not None:
            raise UsageError(missing)
        from art.attacks import evasion

        method = getattr(evasion, self.attack, None)
        if not inspect.isclass(method):
            raise UsageError(
                f"art.attacks.evasion has no attack {self.attack!r}: write the class name, for example"
                " ProjectedGradientDescent"
            )
        return method

    def _classifier(self, x: Tensor, attack: Attack) -> Any:
        from art.estimators.classification import PyTorchClassifier

        return PyTorchClassifier(
            model=AsModule(attack, x.device),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=attack.clean().logits.shape[1],
            clip_values=attack.ball.range,
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
