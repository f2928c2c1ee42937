"""Linear evaluation with few labels: the classifier of a frozen encoder sees 1 % or 10 % of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import annotated_types

from robustcl_plugins.protocols.stage import LinearTuning


@dataclass(kw_only=True, eq=False)
class SemiSupervisedLinear(LinearTuning):
    """Train a linear classifier on the clean weak views of a few labelled images; the encoder is frozen.

    The labels are drawn by the run's seed, equally many of each class as far as the classes allow; a smaller fraction
    keeps a part of what a larger one does. An epoch goes through the labelled images alone.

    fraction: the share of the labelled training images that keep their label, usually 0.01 or 0.1.
    epochs, batch, lr, momentum, weight_decay: of the classifier's SGD; an epoch is as short as there are few labels.
    decay_at: epochs at which the rate is multiplied by ``decay``.
    decay: that factor.
    mode: batch-norm mode of the frozen encoder.
    initial: the classifier starts at zero or at torch's default.
    view: the view plugin, with its options.
    """

    version: ClassVar[str] = "semi-supervised-v1"
    citation: ClassVar[str] = (
        "Chen, Kornblith, Norouzi and Hinton, SimCLR, ICML 2020, section 6 (1 % and 10 % of the labels, balanced); "
        "here for the linear classifier of slf, not for the whole encoder"
    )

    fraction: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.1

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return the one stage that trains the classifier on the labelled images through ``route``."""
        stage = self.linear_stage("semi-supervised", route)
        return [{**stage, "labelled": float(self.fraction), "sampler": "labelled"}]
