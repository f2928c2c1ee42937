"""What is asked of a classifier's images, as plain values: whoever asks the same gets the same answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from robustcl.composition.asked import attack_of
from robustcl.composition.parts import Parts
from robustcl.composition.plan import EvaluationPlan, RecipePlan
from robustcl.data.subset import Images
from robustcl.errors import UsageError
from robustcl.nn.weights import read_config
from robustcl.recipe import Targets, Use
from robustcl.registry.owners import Owners
from robustcl.rng import Rng
from robustcl.run.subjects import weights_of
from robustcl.threat import Ball
from robustcl.train.plan import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageQuestion:
    """Which images, and what moves them.

    attack: its table. ball: in which it moves them, ``times`` as large as the one that its steps are set for.
    targets: clusters for attacks that read them. first: so many images of the split, by default all.
    drawn: so many of its labelled images instead, drawn by the seed. options: of measures, by their names.
    """

    attack: Use
    ball: Ball
    times: float = 1.0
    targets: Targets | None = None
    split: str = "test"
    first: int | None = None
    drawn: int | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def table(self, classifier: Mapping[str, Any], whose: Owners | None = None) -> dict[str, Any]:
        """Return the question as it is kept; ``classifier`` says of which, ``whose`` whose plugins are meant."""
        parts = Parts(whose)
        self.part(parts)
        sample = "all" if self.first is None else f"first {self.first}"
        found = {
            **classifier, "split": self.split, "sample": sample if self.drawn is None else f"drawn {self.drawn}",
            "attack": {"use": self.attack.use, **parts.resolved(self.attack)},
            "norm": self.ball.norm, "eps": float(self.ball.eps),
        }  # fmt: skip
        found |= {} if self.times == 1.0 else {"times": self.times}
        found |= {} if self.targets is None else {"targets": self.targets.model_dump(mode="json")}
        found |= {"options": self.options} if self.options else {}
        return dict(json.loads(json.dumps(found)))  # as it will be read again

    def part(self, parts: Parts) -> Part:
        """Return the attack."""
        return attack_of(self.attack, parts, "--attack")

    def index(self, images: Images, seed: int) -> Tensor:
        """Return the images (n,) int64, in ascending order, so that blocks stay the same; only those with a label.

        Raises:
            UsageError: there are none, or fewer than are to be drawn.
        """
        labelled = (images.labels >= 0).nonzero()[:, 0].cpu()
        where = f"the {self.split} split"
        if len(labelled) == 0:
            raise UsageError(f"{where} has no labels: the measures compare classes; take another --split")
        if self.drawn is None:
            return labelled[labelled < (self.first or images.samples)].to(images.device)
        if self.drawn > len(labelled):
            raise UsageError(f"--samples {self.drawn}: {where} has {len(labelled)} labelled images; ask for fewer")
        order = Rng(seed, "measure", self.split).permutation(len(labelled))
        index = labelled[order[: self.drawn]].sort().values.to(images.device)
        if len(classes := set(images.labels[index].tolist())) < 2:
            raise UsageError(
                f"all {len(index)} sampled images of {where} are of class {min(classes)}: the measures compare "
                "classes; give more --samples, or another --split"
            )
        return index


def identify_run(folder: Path, plan: RecipePlan, evaluation: EvaluationPlan, route: str) -> dict[str, Any]:
    """Return what a classifier of a finished run and its randomness are known by, before it is opened."""
    weights = weights_of(evaluation.table, plan, folder)
    return {
        "protocol": evaluation.table.use, "route": route, "seed": plan.recipe.seed,
        "weights": {"folder": weights.relative_to(folder).as_posix(), "sha256": read_config(weights)["sha256"]},
    }  # fmt: skip
