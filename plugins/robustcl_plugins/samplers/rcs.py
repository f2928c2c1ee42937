"""Robustness-aware coreset selection: train on the batches that bring clean and adversarial embeddings together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.options import Count, Length, Positive
from robustcl.protocols import Need, Survey
from robustcl.search import ascend
from robustcl_plugins.samplers.divergence import DISTANCES


class RCS:
    """Chooses greedily the batches whose gradient agrees best with that of the representational divergence.

    L_RD(U) = mean over held-out images u of d(adversarial projection of u', clean projection of u), where u' maximises
    d in the ball (PGD). Every batch b of a random pass has the gradient g_b of the stage's own mixed loss for the
    projection head, taken once. Then, until the coreset is full: take the batch of the largest <g_b, grad L_RD(U)>,
    move a copy of the head by -lr g_b, and attack U anew under that head. The encoder's batch norm is in eval mode
    throughout, and nothing of the encoder changes. Needs as much memory as heads there are batches.

    fraction: the coreset's share of the images that are not held out; at least one batch.
    granularity: "batches" are of the stage's size. A contrastive loss has no value on an image alone, so "samples"
        means small batches, of ``batch`` images; what does not fill a batch is left out of the pass.
    batch: images of such a small batch.
    held_out: share of U among all images; U is the same throughout the stage and never trained on.
    warmup: until this epoch (counted from 0) all images but U are returned. The sampler is asked as often as its table
        says, so ``every`` should divide it.
    distance: "kl" scales each row to [0, 1] by its smallest and largest entry, adds 1e-8, and takes the elements of
        KL(adversarial || clean), as released; "softmax-kl" takes it of softmaxes; "js" is Jensen and Shannon's
        divergence of softmaxes. All are means over images and elements.
    steps, step_size: of the attack on U, from a uniform start.
    lr: of the greedy steps of the head.
    units: the inner product runs over "each" parameter, or over those "averaged" over a layer's output units, which
        is what the released code does to save memory; of a last layer without norm these averages vanish, because
        the distances ignore shifts.
    clean, adversarial: the batch-norm routes of the two projections; the same where there is one.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PROJECTION, Need.INDEX})
    citation: ClassVar[str] = (
        "Xu, Zhang, Liu, Sugiyama and Kankanhalli, Efficient Adversarial Contrastive Learning via Robustness-Aware "
        "Coreset Selection, NeurIPS 2023, section 3 (representational divergence, greedy search)"
    )

    def __init__(
        self,
        *,
        fraction: Annotated[float, Gt(0), Le(1)] = 0.2,
        granularity: Literal["batches", "samples"] = "batches",
        batch: Annotated[int, Ge(2)] = 16,
        held_out: Annotated[float, Gt(0), Lt(1)] = 0.01,
        warmup: Annotated[int, Ge(0)] = 100,
        distance: Literal["kl", "softmax-kl", "js"] = "kl",
        steps: Count = 3,
        step_size: Length = 10 / 765,
        lr: Positive = 0.01,
        units: Literal["each", "averaged"] = "each",
        clean: str = "clean",
        adversarial: str = "adv",
    ) -> None:
        self.fraction = fraction
        self.granularity = granularity
        self.batch = batch
        self.held_out = held_out
        self.warmup = warmup
        self.distance = distance
        self.steps = steps
        self.step_size = step_size
        self.lr = lr
        self.units = units
        self.clean = clean
        self.adversarial = adversarial

    def select(self, survey: Survey, epoch: int) -> Tensor:
        """Return the indices (S,) int64 of the coming epochs; during the warm-up all but the held-out ones.

        Raises:
            UsageError: no batch can be filled, or the encoder has no projection head.
        """
        order = survey.lasting.child("held out").permutation(survey.samples)
        count = max(1, round(self.held_out * survey.samples))
        held, rows = order[:count], order[count:].sort().values
        if epoch < self.warmup:
            return rows
        batches = self._batches(rows, survey)
        head = survey.parameters(_HEAD)
        if not head:
            raise UsageError("rcs moves the projection head, and this encoder has none: set encoder.projector.widths")
        moves = [survey.gradient(batch, _HEAD, "eval") for batch in batches]
        keys, left, taken = [self._key(move) for move in moves], list(range(len(batches))), []
        share = int(self.fraction * len(rows) + _ROUNDING)
        for turn in range(max(1, share // len(batches[0]))):
            toward = self._key(self.divergence_gradient(survey, held, head, turn))
            gains = torch.stack([_dot(keys[number], toward) for number in left])
            best = left.pop(int(gains.argmax()))
            taken.append(batches[best])
            head = {
                name: (value.detach() - self.lr * move).requires_grad_()
                for (name, value), move in zip(head.items(), moves[best], strict=True)
            }
        return torch.cat(taken)

    def divergence_gradient(self, survey: Survey, held: Tensor, head: Mapping[str, Tensor], turn: int) -> list[Tensor]:
        """Return the gradient of L_RD(U) for the head's parameters, U attacked under this head."""
        leaves = list(head.values())
        total = [torch.zeros_like(leaf) for leaf in leaves]
        distance = DISTANCES[self.distance]
        rng = survey.rng.child("divergence", turn)

        def embed(x: Tensor, route: str) -> Tensor:
            return survey.encode(x, f"online:{route}", "z", head)

        for rows in torch.split(held, _CHUNK):
            x = survey.originals(rows)
            constant = embed(x, self.clean).detach()
            moved = ascend(
                x,
                lambda v, constant=constant: distance(embed(v, self.adversarial), constant),  # type: ignore[misc]
                survey.ball,
                steps=self.steps,
                step_size=self.step_size,
                rng=rng.for_rows(rows.to(x.device)),
            )
            loss = distance(embed(moved, self.adversarial), embed(x, self.clean)).sum() / len(held)
            found = torch.autograd.grad(loss, leaves, allow_unused=True)
            total = [t if g is None else t + g for t, g in zip(total, found, strict=True)]
        return total

    def _batches(self, rows: Tensor, survey: Survey) -> list[Tensor]:
        """Return the full batches of one random pass over the rows."""
        size = survey.batch if self.granularity == "batches" else self.batch
        shuffled = rows[survey.rng.child("batches").permutation(len(rows))]
        batches = [batch for batch in torch.split(shuffled, size) if len(batch) == size]
        if not batches:
            raise UsageError(f"rcs chooses among batches of {size} images, but only {len(rows)} are not held out")
        return batches

    def _key(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return what takes part in the inner product."""
        if self.units == "averaged":
            return [gradient.mean(dim=0) for gradient in gradients]
        return list(gradients)


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)]).sum()


_HEAD = "projector"
_ROUNDING = 1e-6
"""0.29 of 100 images are 29, and 0.29 * 100 is a little less."""
_CHUNK = 256
"""Held-out images embedded together."""
