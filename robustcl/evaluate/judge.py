"""A classifier under attack: clean and adversarial outcomes per sample, in fixed blocks, into the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import guard
from robustcl.data.subset import Images
from robustcl.evaluate.journal import Journal, Key, Outcome, fingerprint
from robustcl.nn.encoder import Encoder
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.modes import locked
from robustcl.protocols import PerturbationGenerator
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding

Members = Sequence[tuple[str, PerturbationGenerator]]


class Judge:
    """Judges an encoder and its classifier on one batch-norm route, in eval mode.

    Attacks run in the engine's precision; every verdict is taken in float32 on the final input.
    """

    def __init__(
        self,
        encoder: Encoder,
        route: str,
        ball: Ball,
        rng: Rng,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.encoder, self.route, self.ball = encoder, route, ball
        self.rng, self.autocast = rng, autocast

    def judge(
        self,
        images: Images,
        index: Tensor,
        key: Key,
        members: Members,
        journal: Journal,
        block: int,
        seed: int,
        progress: Callable[[int], None] = lambda done: None,
    ) -> list[Outcome]:
        """Return the outcome of every sample; members attack in turn what the earlier ones left standing.

        Args:
            images: the split to judge on.
            index: (n,) int64, which of its images.
            key: the question, under which outcomes are kept in the journal.
            members: the attack; none of them for clean accuracy.
            journal: what is known already is not computed again.
            block: how many samples are attacked together; never changes a sample's outcome.
            seed: written into each outcome.
            progress: called with the number of samples done.
        """
        for part in torch.split(index, block):
            rows = part.to(images.device)
            if not all(int(i) in journal.known(key) for i in rows):
                x = images.fetch(rows)
                label = images.labels[rows]
                adversarial, prediction = self.attack(x, label, rows, key.attack or "clean", members)
                hashes = fingerprint(adversarial)
                journal.append(
                    key,
                    [
                        Outcome(int(i), int(y), int(p), bool(p == y), seed, digest)
                        for i, y, p, digest in zip(rows, label, prediction, hashes, strict=True)
                    ],
                )
            progress(len(rows))
        known = journal.known(key)
        return [known[int(i)] for i in index]

    def attack(self, x: Tensor, label: Tensor, index: Tensor, name: str, members: Members) -> tuple[Tensor, Tensor]:
        """Return the adversarial inputs and the predictions (R,) on them; fooled samples are not attacked again."""
        prediction = self.predict(x)
        adversarial = x.clone()
        for member, generator in members:
            standing = (prediction == label).nonzero()[:, 0]
            if len(standing) == 0:
                break
            rng = self.rng.child("attack", name, member).for_rows(index)
            with self.autocast(), frozen_for_attack(self.encoder):
                moved = guard.perturb(
                    generator, member, x[standing], self._attack(x, label, index, rng).take(standing),
                    modules=[self.encoder],
                )  # fmt: skip
            adversarial[standing] = moved
            prediction[standing] = self.predict(moved)
        return adversarial, prediction

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the predicted classes (R,); logits that are not finite predict nothing (-1)."""
        logits = self._embed(x, frozenset({"logits"})).logits.float()
        return torch.where(logits.isfinite().all(1), logits.argmax(1), -1)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return features (R, F)."""
        return self._embed(x, frozenset({"h"})).h.float()

    def _embed(self, x: Tensor, layers: frozenset[str]) -> Embedding:
        with locked(self.encoder, "eval"):
            embedding: Embedding = self.encoder(x, self.route, layers)
        return embedding

    def _attack(self, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        layers = frozenset({"h", "logits"})

        def loss(embedding: Embedding, places: Tensor) -> Tensor:
            return F.cross_entropy(embedding.logits.float(), label[places], reduction="none")

        def clean(places: Tensor) -> Embedding:
            with torch.no_grad():
                return self._embed(x[places], layers)

        return Attack(
            encoder=lambda candidates, places: self._embed(candidates, layers),
            ball=self.ball,
            rng=rng,
            label=label,
            index=index,
            places=torch.arange(len(x), device=x.device),
            separable=True,
            loss=loss,
            unperturbed=clean,
            verdict=lambda embedding, places: embedding.logits.argmax(1) != label[places],
            confirmation=lambda candidates, places: self.predict(candidates) != label[places],
        )
