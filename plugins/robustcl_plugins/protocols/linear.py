"""Linear evaluation of a frozen encoder at the optimum: what the features hold, whatever the schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustcl.data.split import holdout
from robustcl.errors import UsageError
from robustcl.options import Count, Positive
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl_plugins.protocols.regression import Fit, regressions

_ABSENT = 1e4
"""How far below every logit of a training image a class without an image lies: its bias would fall for ever."""


class Linear:
    """Fit a linear classifier to the features of the plain training images by L-BFGS until its gradient vanishes.

    f(W, b) = mean CE(W h + b, y) + weight_decay / 2 ||W||^2 in float64, each image once, as it is, in eval mode: the
    multinomial logistic regression of scikit-learn with C = 1 / (n weight_decay), to within ``gap`` of its optimum.

    Features are centred and divided by one number s, the root of their mean variance; each weight decay of the grid is
    in units of s^2. So an encoder whose features are all a hundred times smaller gets the same classifier, while no
    feature is weighed anew against another: it is the regression on the raw features with decay s^2 times as large,
    which is what results record. Of the grid, the decay is taken that is most accurate on the run's validation images,
    of equals that of the lower loss there. Without a validation split, a part of the training images, held out by the
    run's seed and equally of each class, takes its place, and the classifier is then fitted to all of them.

    weight_decay: the grid; of a single value, nothing is held out.
    holdout: the share of the training images that chooses where the run has no validation split.
    gap: how far above its optimum, in nats, the objective may lie: the gradient's norm bounds it.
    passes: over the features, after which a fit is given up and the results say so.
    """

    version: ClassVar[str] = "linear-v1"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS, Need.FEATURES})
    citation: ClassVar[str] = (
        "Kornblith, Shlens and Le, Do Better ImageNet Models Transfer Better?, CVPR 2019, appendix A.3 (logistic "
        "regression by L-BFGS on features of plain images, its decay chosen on validation from a logarithmic grid)"
    )

    def __init__(
        self,
        *,
        weight_decay: tuple[Positive, ...] = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        holdout: Positive = 0.1,
        gap: Positive = 1e-8,
        passes: Count = 5000,
    ) -> None:
        self.weight_decay = weight_decay
        self.holdout = holdout
        self.gap = gap
        self.passes = passes

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        """Return no stage: the head is made of features as they are."""
        return ()

    def head(
        self,
        features: Tensor,
        label: Tensor,
        classes: int,
        *,
        validation: tuple[Tensor, Tensor] | None = None,
        rng: Rng | None = None,
    ) -> nn.Module:
        """Return h (R, F) -> logits (R, L), fitted to features (n, F) with label (n,).

        validation: features (m, F) and label (m,) that choose the decay; without them ``rng`` holds a part out.

        Raises:
            UsageError: features that are not finite, fewer than two classes, an empty grid, nothing to hold out.
        """
        self._check(features, label)
        data = _Data.of(features, label)
        decays = sorted(set(self.weight_decay), reverse=True)
        tried: list[dict[str, float]] = []
        if len(decays) == 1:
            by = "the only one"
            (fit,) = self._fits(data, decays)
        elif validation is not None and len(validation[1]):
            by = "validation"
            fits = self._fits(data, decays)
            tried = [_judged(data.logits(fit, validation[0]), validation[1], data.present) for fit in fits]
            fit = fits[_best(tried)]
        else:
            by = "held-out training images"
            kept, held = self._held_out(label, rng or Rng(0, "head"))
            part = _Data.of(features[kept], label[kept])
            fits = self._fits(part, decays)
            tried = [_judged(part.logits(fit, features[held]), label[held], part.present) for fit in fits]
            # From the strongest decay down to the chosen one: the same path, so the same starts.
            fit = self._fits(data, decays[: _best(tried) + 1])[-1]
        chosen = decays[_best(tried)] if tried else decays[0]
        head = data.head(fit, classes, features.device)
        grid = [{"weight_decay": decay, **found} for decay, found in zip(decays, tried, strict=False)]
        head.outcome = _outcome(fit, chosen, data, len(label), by, grid)
        head.remarks = tuple(self._remarks(fit, chosen, decays))
        return head

    def _fits(self, data: _Data, decays: Sequence[float]) -> list[Fit]:
        return regressions(data.features, data.label, decays, gap=self.gap, most=self.passes)

    def _check(self, features: Tensor, label: Tensor) -> None:
        if not self.weight_decay:
            raise UsageError("evaluate.linear.weight_decay = []: write at least one number, e.g. [1e-4]")
        if not self.holdout < 1:
            raise UsageError(f"evaluate.linear.holdout = {self.holdout:g}: write a share below 1, e.g. 0.1")
        bad = int((~features.isfinite()).any(1).sum())
        if bad:
            raise UsageError(
                f"evaluate.linear: the features of {bad} of {len(features)} training images are not finite; the "
                "encoder diverged, judge an earlier stage or train it anew with a lower rate"
            )
        if len(there := torch.bincount(label).nonzero()) < 2:
            what = f"class {int(there[0])} alone" if len(there) else "no class"
            raise UsageError(f"evaluate.linear: the labelled training images are of {what}; it takes two classes")

    def _held_out(self, label: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        kept, held = holdout(label, self.holdout, rng.child("linear"))
        if not len(held):
            raise UsageError(
                f"evaluate.linear: {len(label)} labelled images with one of each class leave none to choose the weight "
                "decay on; give the decay itself, e.g. weight_decay = [1e-4]"
            )
        return kept.to(label.device), held.to(label.device)

    def _remarks(self, fit: Fit, chosen: float, decays: Sequence[float]) -> list[str]:
        said = []
        if not fit.converged:
            said.append(
                f"the fit ended after {fit.passes} passes with a gradient of {fit.gradient:.1e}, above the "
                f"{fit.tolerance:.1e} that its optimum asks for; raise evaluate.linear.passes"
            )
        if len(decays) > 1 and chosen in (decays[0], decays[-1]):
            said.append(
                f"the chosen weight decay {chosen:g} is the {'largest' if chosen == decays[0] else 'smallest'} of "
                "evaluate.linear.weight_decay; a wider grid may hold a better one"
            )
        return said


@dataclass(frozen=True, slots=True)
class _Data:
    """Features (n, F) float64, centred and of mean variance 1, and labels as places in ``present``."""

    features: Tensor
    label: Tensor
    present: Tensor
    mean: Tensor
    scale: float

    @classmethod
    def of(cls, features: Tensor, label: Tensor) -> _Data:
        where = torch.device("cpu") if features.device.type == "mps" else features.device  # which has no float64
        whole = features.to(where).double()
        mean = whole.mean(0)
        whole = whole - mean
        scale = float(whole.square().mean().sqrt()) or 1.0  # of a collapsed encoder only the biases are learnt
        present = torch.bincount(label.to(where)).nonzero()[:, 0]
        place = torch.searchsorted(present, label.to(where))
        return cls(whole / scale, place, present, mean, scale)

    def logits(self, fit: Fit, features: Tensor) -> Tensor:
        """Return (m, P)."""
        return (features.to(self.mean.device).double() - self.mean) / self.scale @ fit.weight.T + fit.bias

    def head(self, fit: Fit, classes: int, device: torch.device) -> Weights:
        """Return the classifier of raw features."""
        weight = torch.zeros(classes, len(self.mean), dtype=torch.double, device=self.mean.device)
        logits = self.features @ fit.weight.T + fit.bias
        raw = fit.weight / self.scale
        bias = torch.full((classes,), float(logits.min()) - _ABSENT, dtype=torch.double, device=self.mean.device)
        weight[self.present], bias[self.present] = raw, fit.bias - raw @ self.mean
        return Weights(weight.float().to(device), bias.float().to(device))


class Weights(nn.Module):
    """Features h (R, F) -> logits (R, L) = W h + b; nothing here learns any more.

    ``outcome`` says how the fit went, ``remarks`` what a reader of its numbers should know.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.outcome: dict[str, Any] = {}
        self.remarks: tuple[str, ...] = ()

    def forward(self, h: Tensor) -> Tensor:
        return nn.functional.linear(h, self.weight, self.bias)


def _judged(logits: Tensor, label: Tensor, present: Tensor) -> dict[str, float]:
    """Return accuracy, and mean cross-entropy over the images whose class was there to learn."""
    label = label.to(logits.device)
    known = (label[:, None] == present).int()
    right = present[logits.argmax(1)] == label
    losses = nn.functional.cross_entropy(logits, known.argmax(1), reduction="none")[known.any(1)]
    return {"accuracy": float(right.double().mean()), "loss": float(losses.mean()) if len(losses) else 0.0}


def _best(tried: Sequence[Mapping[str, float]]) -> int:
    return max(range(len(tried)), key=lambda place: (tried[place]["accuracy"], -tried[place]["loss"]))


def _outcome(
    fit: Fit, chosen: float, data: _Data, samples: int, by: str, grid: list[dict[str, float]]
) -> dict[str, Any]:
    return {
        "weight_decay": chosen, "chosen_by": by, "scale": data.scale, "raw_weight_decay": chosen * data.scale**2,
        "samples": samples, "loss": fit.loss, "objective": fit.objective, "gradient": fit.gradient,
        "tolerance": fit.tolerance, "converged": fit.converged, "passes": fit.passes, "grid": grid,
    }  # fmt: skip
