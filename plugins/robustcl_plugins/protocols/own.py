"""The evaluation of supervised training: the classifier as the run left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from robustcl.protocols import Need


class Own:
    """Judge the classifier that the run trained itself; nothing is trained anew.

    For methods that learn from labels end to end. A run without such a classifier is refused: a linear one can be
    trained on its features with the protocol ``slf``.
    """

    version: ClassVar[str] = "own-v1"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.PREDICTIONS})
    citation: ClassVar[str] = (
        "Madry, Makelov, Schmidt, Tsipras and Vladu, Towards Deep Learning Models Resistant to Adversarial Attacks, "
        "ICLR 2018, section 5; Zhang et al., TRADES, ICML 2019, section 5"
    )

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return no stage: the classifier is there already."""
        return ()
