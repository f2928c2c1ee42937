"""Attacks of the library torchattacks as generators: ``torchattacks:PGD``, ``torchattacks:MIFGSM``."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from robustcl.errors import UsageError
from robustcl.protocols import Need
from robustcl.types import Attack
from robustcl_plugins.generators.foreign import AsModule, grown, isolated_randomness, numbers, radius, within


class Torchattacks:
    """One attack class of torchattacks, against the cross-entropy or whatever loss it brings.

    attack: the class, for example ``PGD`` or ``MIFGSM``. options: its arguments, ratios as "2/255" welcome;
    ``eps`` and ``norm`` come from the threat where the class takes them. Classes without ``eps`` look for the
    smallest move: rows in which it exceeds the threat's ball stay clean. Needs the range 0 .. 1, as the
    library does.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PREDICTIONS, Need.LABELS})
    citation: ClassVar[str] = "Kim, Torchattacks: A PyTorch Repository for Adversarial Attacks, arXiv:2010.01950, 2020"
    preset: ClassVar[str] = "attack"

    def __init__(self, *, attack: str, options: Mapping[str, Any] | None = None) -> None:
        self.attack = attack
        self.options = options

    @staticmethod
    def available() -> str | None:
        """Return nothing where the library is installed, else what to install."""
        if importlib.util.find_spec("torchattacks") is None:
            return "torchattacks is not installed: pip install --no-deps torchattacks (it pins old libraries)"
        return None

    def grow(self, times: float) -> Mapping[str, Any]:
        """Return the options for a ball ``times`` as large: the step, which the library calls alpha, grows with it."""
        return grown(self._method(), self.options, "alpha", times)

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        who, ball = f"torchattacks:{self.attack}", attack.ball
        if ball.range != (0.0, 1.0):
            raise UsageError(f"{who} works on pixels in 0 .. 1, but the threat's range is {ball.range}")
        method = self._method()
        taken = inspect.signature(method).parameters
        ours: dict[str, Any] = {"eps": radius(ball, who), "norm": ball.norm}
        arguments = {n: v for n, v in ours.items() if n in taken} | numbers(self.options)
        with isolated_randomness(attack.rng, x.device):
            try:
                made = method(AsModule(attack, x.device), **arguments)
            except (TypeError, ValueError) as error:
                raise UsageError(f"{who} refuses the options {arguments}: {error}") from error
            adv: Tensor = made(x.detach(), attack.label).detach().to(x.dtype)
        return adv if "eps" in taken else within(adv, x, ball)

    def _method(self) -> Any:
        missing = self.available()
        if missing is not None:
            raise UsageError(missing)
        import torchattacks

        method = getattr(torchattacks, self.attack, None)
        if not inspect.isclass(method):
            raise UsageError(f"torchattacks has no attack {self.attack!r}: write the class name, for example PGD")
        return method
