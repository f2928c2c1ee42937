"""Plugins that break one promise each, and the check that must find it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.types import Attack, Clustering, Pairs, Scene
from robustcl_plugins.launchers.local import Local
from robustcl_plugins.objectives.info_nce import InfoNCE
from robustcl_plugins.selectors.all import All


class Good:
    """One signed step within the ball."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.OBJECTIVE})
    citation: ClassVar[str] = "Goodfellow, Shlens and Szegedy, ICLR 2015"

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        candidate = x.detach().requires_grad_()
        gradient = torch.autograd.grad(attack.objective(attack.encode(candidate)).sum(), candidate)[0]
        return self.finish(x, attack.ball.ascend(x, gradient, self.scale * attack.ball.eps), attack)

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(adv, x)


class Undated(Good):
    """Cites nobody."""

    citation = "me"


class Positional(Good):
    """Takes an option by position."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale


class Converting(Good):
    """Does more than store."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale / 255


class Undocumented(Good):
    pass


class OutOfBounds(Good):
    """Its own default is not allowed."""

    def __init__(self, *, scale: int = "eight") -> None:  # type: ignore[assignment]
        self.scale = scale


class Leaving(Good):
    """Steps out of the ball."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return (x + 3 * (adv - x)).clamp(0, 1)


class Attached(Good):
    """Returns a tensor with a graph."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(adv, x).requires_grad_()


class Mixing(Good):
    """Sends every row in the direction of the batch's mean."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(x + (adv - x).mean(dim=0), x)


class Stirring(Good):
    """Draws from torch's global generator."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(x + 0.01 * torch.randn_like(x), x)


class Overwriting(Good):
    """Writes into x."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return x.copy_(attack.ball.project(adv, x))


class Curious(Good):
    """Reads a teacher without saying so."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(adv + 0 * attack.teacher.h.sum(), x)


class Polluting(Good):
    """Derives for the encoder's parameters as well."""

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        candidate = x.detach().requires_grad_()
        attack.objective(attack.encode(candidate)).sum().backward()
        assert candidate.grad is not None
        return attack.ball.project(attack.ball.ascend(x, candidate.grad, attack.ball.eps), x)


class Stale(Good):
    """Starts at the same noise whatever stream it is given."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        noise = Rng(0, "noise").for_rows(attack.index).uniform(x.shape, -0.001, 0.001)
        return attack.ball.project(adv + noise, x)


class Restarting(Good):
    """Every restart begins where the first one did."""

    def __init__(self, *, restarts: int = 1) -> None:
        self.restarts = restarts

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        for _ in range(self.restarts):
            adv = attack.ball.sample(x, attack.rng.child("start"))
        return adv


class Alike(Good):
    """Draws one noise for all rows."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        one = attack.rng.for_rows(torch.zeros(len(x), dtype=torch.int64))
        return attack.ball.project(adv + one.uniform(x.shape, -0.001, 0.001), x)


class FlatOnly(Good):
    """Knows images only."""

    def finish(self, x: Tensor, adv: Tensor, attack: Attack) -> Tensor:
        return attack.ball.project(adv + 0 * F.avg_pool2d(x, 1), x)


GENERATORS = [
    (Undated, "cites_its_source"),
    (Undocumented, "is_documented"),
    (Positional, "options_are_keyword_only_and_annotated"),
    (OutOfBounds, "builds_from_defaults"),
    (Converting, "init_only_stores"),
    (Leaving, "stays_in_the_ball"),
    (Attached, "stays_in_the_ball"),
    (Mixing, "rows_are_independent"),
    (Stirring, "leaves_no_trace"),
    (Stirring, "repeats_itself"),
    (Overwriting, "repeats_itself"),
    (Curious, "needs_only_what_it_declares"),
    (Polluting, "leaves_no_trace"),
    (Stale, "draws_from_the_stream_it_is_given"),
    (Restarting, "draws_from_the_stream_it_is_given"),
    (Alike, "draws_from_the_stream_it_is_given"),
    (FlatOnly, "takes_items_of_any_shape"),
]


class Naive(InfoNCE):
    """Exponentials without the maximum taken out, divided by the number of positives."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        z = F.normalize(scene.rows.z)
        exps = (z @ z.T / self.temperature).exp()
        own = (exps * scene.pairs.positive).sum(dim=1)
        return {"contrast": -(own / (exps * (scene.pairs.positive | scene.pairs.negative)).sum(dim=1)).log()}


class Misnamed(InfoNCE):
    """Returns a term it does not declare."""

    terms = ("loss",)


class Reduced(InfoNCE):
    """Claims rows that stand alone, and averages them."""

    separable: ClassVar[bool] = True


class Ordered(InfoNCE):
    """Depends on the place of an image in the batch."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        loss = super().per_sample(scene)["contrast"]
        return {"contrast": loss * torch.arange(len(loss))}


class Single(InfoNCE):
    """Computes in single precision whatever it is given."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        return {"contrast": super().per_sample(scene)["contrast"].float()}


class Gatecrasher(InfoNCE):
    """Reads features without saying so."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        return {"contrast": super().per_sample(scene)["contrast"] + 0 * scene.rows.h.sum()}


class Dropping(InfoNCE):
    """Draws its dropout from the global generator."""

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        return {"contrast": F.dropout(super().per_sample(scene)["contrast"])}


OBJECTIVES = [
    (Naive, "is_finite_at_the_edges"),
    (Naive, "an_anchor_without_pairs_is_harmless"),
    (Misnamed, "returns_its_terms"),
    (Reduced, "separable_rows_stand_alone"),
    (Ordered, "follows_a_permutation"),
    (Single, "computes_in_float64"),
    (Gatecrasher, "needs_only_what_it_declares"),
    (Dropping, "repeats_itself"),
]


class Selfish(All):
    """Is positive to itself."""

    def select(self, scene: Scene) -> Pairs:
        same = scene.rows.sample[:, None] == scene.columns.sample
        return Pairs(positive=same, negative=~same)


class Torn(All):
    """Everything both attracts and repels."""

    def select(self, scene: Scene) -> Pairs:
        pairs = super().select(scene)
        return Pairs(positive=pairs.positive, negative=pairs.positive | pairs.negative)


class Repelled(All):
    """Negative weights."""

    def select(self, scene: Scene) -> Pairs:
        pairs = super().select(scene)
        return Pairs(positive=pairs.positive, negative=-pairs.negative.float())


class Whimsical(All):
    """Drops negatives at random."""

    def select(self, scene: Scene) -> Pairs:
        pairs = super().select(scene)
        keep = torch.tensor([random.random() < 0.5 for _ in range(len(pairs.negative))])
        return Pairs(positive=pairs.positive, negative=pairs.negative & keep)


class Forgetful(All):
    """Reads projections without saying so, and looks at neighbours by place."""

    def select(self, scene: Scene) -> Pairs:
        pairs = super().select(scene)
        return Pairs(positive=pairs.positive, negative=pairs.negative.roll(1, 0) & ~pairs.positive)


SELECTORS = [
    (Selfish, "leaves_the_own_column_out"),
    (Torn, "masks_are_disjoint"),
    (Repelled, "chooses_pairs_of_the_right_shape"),
    (Whimsical, "repeats_itself"),
    (Forgetful, "follows_a_permutation"),
]


class Undefined:
    """Centroids that are no numbers."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "MacQueen, 1967"

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        centroids = tuple(features[:k] * torch.nan for k in clusters)
        own = torch.stack([(features @ c.T).argmax(dim=1) for c in centroids])
        return Clustering(centroids, own, torch.ones(own.shape), (0.0,) * len(clusters), {})


class Jumbled:
    """Rolls the batch by a number of NumPy's."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        np.random.rand()  # noqa: NPY002
        return 255 * x.roll(1, 0)


class SameEveryEpoch:
    """A view that is keyed by nothing but the image's place."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        assert rng.rows is not None
        return x + Rng(0, "view").for_rows(rng.rows).uniform(x.shape, 0.0, 0.1)


class SameForAll:
    """A view that is drawn once for the batch."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        one = rng.take(torch.zeros(1, dtype=torch.int64))
        return x + one.uniform((1, *x.shape[1:]), 0.0, 0.1)


class OneSeeding:
    """Seeds every number of clusters by the same draw."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "MacQueen, 1967"

    def fit(self, features: Tensor, clusters: tuple[int, ...], rng: Rng) -> Clustering:
        centroids = tuple(features[rng.child("seed").integers(len(features), (k,))] for k in clusters)
        own = torch.stack([(features @ c.T).argmax(dim=1) for c in centroids])
        return Clustering(centroids, own, torch.ones(own.shape), (0.0,) * len(clusters), {})


class OneChoice:
    """A sampler that chooses the same images in every epoch."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def select(self, survey: Any, epoch: int) -> Tensor:
        return Rng(0, "sampler").permutation(survey.samples)[:10]


class BatchBound:
    """An encoder whose rows see each other."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def backbone(self, item: tuple[int, ...]) -> tuple[nn.Module, int]:
        class Centred(nn.Flatten):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) - super().forward(x).mean(dim=0)

        return Centred(), 3


class Uphill:
    """An optimizer that forgets its rate and climbs."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def __init__(self, *, lr: float = 0.1) -> None:
        self.lr = lr

    def make(self, parameters: list[nn.Parameter]) -> Any:
        return torch.optim.SGD(parameters, lr=0.3, maximize=True)


class Empty:
    """An attack without members, a protocol without stages."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def members(self, classes: int, ball: Any) -> list[Any]:
        return []

    def stages(self, route: str) -> list[Any]:
        return []


class Overreaching:
    """A sampler whose indices leave the data set, and depend on Python's generator."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def select(self, survey: Any, epoch: int) -> Tensor:
        return torch.tensor([random.randrange(10**6), survey.samples])


class Colourless:
    """A data set whose statistics are of [0, 255]."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"
    encoder: ClassVar[str] = "no-such-encoder"

    def open(self, split: str) -> Any:
        raise AssertionError("checks must not open a data set")

    def classes(self) -> tuple[str, ...]:
        return ("cat", "dog")

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (125.0,), (60.0,)


class Hasty(Local):
    """A launcher that waits for nothing."""

    def launch(self, tasks: Any, folder: Any) -> Any:
        return super().launch([dataclasses.replace(task, after=()) for task in tasks], folder)


class Brittle(Local):
    """A launcher that gives up what a signal has ended."""

    def launch(self, tasks: Any, folder: Any) -> Any:
        return Local(slots=self.slots, retries=0).launch(tasks, folder)


OTHERS = [
    ("launcher", Hasty, "begins_no_task_before_those_that_it_waits_for"),
    ("launcher", Brittle, "begins_again_what_a_signal_has_ended"),
    ("target", Undefined, "fits_every_number_of_clusters"),
    ("target", Undefined, "confidence_is_the_cosine_to_the_own_centroid"),
    ("view", Jumbled, "is_random_only_through_the_rng"),
    ("view", Jumbled, "rows_are_independent"),
    ("view", Jumbled, "keeps_its_range"),
    ("view", SameEveryEpoch, "draws_from_the_stream_it_is_given"),
    ("view", SameForAll, "draws_from_the_stream_it_is_given"),
    ("target", OneSeeding, "draws_from_the_stream_it_is_given"),
    ("sampler", OneChoice, "draws_from_the_survey_s_stream"),
    ("encoder", BatchBound, "builds_a_backbone"),
    ("encoder", BatchBound, "rows_are_independent_in_eval"),
    ("optimizer", Uphill, "makes_an_optimizer"),
    ("optimizer", Uphill, "lowers_a_quadratic"),
    ("attack", Empty, "has_members"),
    ("protocol", Empty, "has_stages"),
    ("sampler", Overreaching, "selects_indices"),
    ("sampler", Overreaching, "selects_by_the_rng"),
    ("dataset", Colourless, "describes_itself"),
]

BAD = [
    *[("generator", cls, check) for cls, check in GENERATORS],
    *[("objective", cls, check) for cls, check in OBJECTIVES],
    *[("selector", cls, check) for cls, check in SELECTORS],
    *OTHERS,
]
