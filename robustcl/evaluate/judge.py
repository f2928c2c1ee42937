"""A classifier under attack: clean and adversarial outcomes per sample, in fixed blocks, into the journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor

from robustcl import gradients, hooks, promises
from robustcl.data.subset import Images
from robustcl.errors import PluginMisbehaved, UsageError
from robustcl.evaluate import aim, soundness
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome, fingerprint
from robustcl.evaluate.witness import find_moves
from robustcl.evaluate.witnesses import WitnessFile
from robustcl.evaluate.work import Work
from robustcl.hooks import GeneratorHooks
from robustcl.protocols import PerturbationGenerator
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.types import Attack, Embedding, Oracle

Members = Sequence[tuple[str, PerturbationGenerator]]


def check_item(members: Members, item: tuple[int, ...]) -> None:
    """Raise ``UsageError`` where a member cannot take inputs of this shape, before an earlier one has spent a pass."""
    for _, generator in members:
        hooks.of(generator, GeneratorHooks).check_item(item)


class Judge:
    """Judges a classifier.

    Attacks run in the engine's precision; every verdict is taken in the model's own on the final input.
    """

    def __init__(
        self, classifier: Classifier, ball: Ball, rng: Rng, autocast: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self.classifier, self.ball = classifier, ball
        self.rng, self.autocast = rng, autocast
        self._attacked: set[int] = set()
        self._broken: set[int] = set()
        self._flat: set[int] = set()
        self._led: set[int] = set()
        self._unwritten: set[int] = set()

    def judge(
        self, images: Images, index: Tensor, key: Key, members: Members, journal: Journal, seed: int, work: Work,
        witnesses: WitnessFile | None = None,
    ) -> list[Outcome]:  # fmt: skip
        """Return what became of every sample that is judged by now, in the order of ``index``.

        Where the time is limited, only the blocks before the first unfinished one count: in a block that was left
        halfway the fooled samples are known and the others are not.

        Args:
            images: the split to judge on.
            index: (n,) int64, which of its images.
            key: the question, under which outcomes are kept in the journal.
            members: the attack, of which each member meets what the earlier ones left; none for clean accuracy.
            journal: what is known already is not computed again.
            seed: written into each outcome.
            work: which blocks, and until when.
            witnesses: where what fools is kept, as far as it is found here.
        """
        check_item(members, images.item)
        names = [name for name, _ in members]
        done, blocks = 0, work.blocks(index)
        what, share = (
            " ".join(f"{key.attack or CLEAN} {key.route} {key.split}".split()),
            torch.cat([*blocks, index[:0]]),
        )
        with contextlib.closing(journal.blocks(key, names, blocks, work.block)) as taken:
            for block, met in taken:
                if work.over and not journal.finished(key, names).keys() >= set(block.tolist()):
                    break
                done += len(block)
                if self._block(images, block, key, [m for m in members if m[0] in met], journal, seed, witnesses):
                    work.told(what, int(journal.progress(key, names, share)), len(share))
        finished = journal.finished(key, names)
        counted = index if work.deadline is None else torch.cat([index[:0], *blocks])[:done]
        return [finished[int(i)] for i in counted if int(i) in finished]

    def _block(
        self, images: Images, block: Tensor, key: Key, members: Members, journal: Journal, seed: int,
        witnesses: WitnessFile | None,
    ) -> bool:  # fmt: skip
        """Send a block through the members that it has not met; say whether there were any."""
        known, worked = journal.known(key), False
        x: Tensor | None = None
        for name, generator in [(CLEAN, None), *members]:
            met = [any(o.member == name or not o.correct for o in known.get(int(i), [])) for i in block]
            places = (~torch.tensor(met, dtype=torch.bool)).nonzero()[:, 0].to(images.device)
            if len(places) == 0:
                continue
            rows, worked = block.to(images.device)[places], True
            x = images.fetch(block.to(images.device)) if x is None else x
            clean, label = x[places], images.labels[rows]
            adversarial = clean if generator is None else self.perturb(clean, label, rows, key.attack, name, generator)
            prediction = self.classifier.predict(adversarial)
            self._led.update(rows[prediction != label].tolist())
            if generator is not None and witnesses is not None and len(fooled := (prediction != label).nonzero()[:, 0]):
                # Before its verdict: who is cut off between the two finds both again.
                moves = find_moves(self.classifier, self.ball, clean[fooled], label[fooled], adversarial[fooled])
                pairs = list(zip(rows[fooled].tolist(), moves, strict=True))
                witnesses.keep(key.spec, name, [(row, move) for row, move in pairs if move is not None])
                self._unwritten.update(row for row, move in pairs if move is None)
            lines = zip(rows, label, prediction, fingerprint(adversarial), strict=True)
            journal.append(key, [
                Outcome(int(i), int(y), int(p), bool(p == y), seed, digest, name) for i, y, p, digest in lines
            ])  # fmt: skip
        return worked

    def attack(
        self, x: Tensor, label: Tensor, index: Tensor, name: str, members: Members, target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the adversarial inputs and the predictions (R,) on them; fooled samples are not attacked again.

        Toward classes ``target`` (R,) every sample is attacked that is not predicted as its target yet.
        """
        check_item(members, tuple(x.shape[1:]))
        prediction = self.classifier.predict(x)
        adversarial = x.clone()
        for member, generator in members:
            standing = (prediction == label if target is None else prediction != target).nonzero()[:, 0]
            if len(standing) == 0:
                break
            toward = None if target is None else target[standing]
            moved = self.perturb(x[standing], label[standing], index[standing], name, member, generator, toward)
            adversarial[standing] = moved
            prediction[standing] = self.classifier.predict(moved)
            self._led.update(index[prediction != label].tolist())
        return adversarial, prediction

    def perturb(
        self, x: Tensor, label: Tensor, index: Tensor, name: str | None, member: str,
        generator: PerturbationGenerator, target: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Return what one generator makes of inputs x (R, *item), whose randomness is keyed by ``index`` (R,).

        Toward classes ``target`` (R,), or the one that the generator is set to; a row of that very class stays.
        """
        target = aim.everywhere(aim.of(generator), label) if target is None else target
        if target is None or bool((target != label).all()):
            return self._moved(x, label, index, name, member, generator, target)
        moved, going = x.clone(), (target != label).nonzero()[:, 0]
        if len(going):
            rows = x[going], label[going], index[going]
            moved[going] = self._moved(*rows, name, member, generator, target[going])
        return moved

    def _moved(
        self, x: Tensor, label: Tensor, index: Tensor, name: str | None, member: str,
        generator: PerturbationGenerator, target: Tensor | None,
    ) -> Tensor:  # fmt: skip
        # Whatever the target, an attack draws from its own stream: a row starts alike on its way to each class.
        stream = aim.split_aimed(name or CLEAN)[0], aim.split_aimed(member)[0]
        rng = self.rng.child("attack", *stream).for_rows(index)
        with self.autocast(), self.classifier.sparring(x) as attacked, gradients.listen(len(x)) as tally:
            task, modules = self.task(attacked, x, label, index, rng), [self.classifier.module, attacked.module]
            task = task if target is None else aim.aim_at(task, target, self.classifier.predict)
            try:
                moved = promises.perturb(generator, member, x, task, modules=modules)
            except PluginMisbehaved:
                soundness.check_backward(attacked, x)  # what the model does by itself is no plugin's mistake
                soundness.check_backward(self.classifier, x)
                raise
        rows = index.cpu()
        self._attacked.update(rows.tolist())
        self._broken.update(rows[tally.broken.cpu()].tolist())
        self._flat.update(rows[tally.flat.cpu()].tolist())
        self._led.update(rows.tolist() if not tally.asked else rows[~tally.flat.cpu()].tolist())
        return moved

    def remark(self) -> str | None:
        """Return what should be said of the attacks since this was asked last, if anything should."""
        attacked, broken, flat = len(self._attacked), len(self._broken), len(self._flat - self._led)
        unwritten = len(self._unwritten)
        for told in (self._attacked, self._broken, self._flat, self._led, self._unwritten):
            told.clear()
        said = []
        if broken:
            said.append(
                f"{broken} of {attacked} attacked samples had gradients with NaN or infinite entries, which count as 0:"
                " a square root or a norm at 0 does that; keep its argument above 0, or add the attack square"
            )
        if flat:
            said.append(
                f"{flat} of {attacked} attacked samples stand and had no gradient but 0, so that nothing could lead the"
                " attack: logits saturate, or something in the forward rounds or steps; add the attack square"
            )
        if unwritten:
            said.append(
                f"{unwritten} of {attacked} attacked samples were fooled, but not by inputs that could be written down "
                "and confirmed: their verdicts stand, and robustcl verify will call them unproven"
            )
        return "; ".join(said) or None

    def task(self, attacked: Classifier, x: Tensor, label: Tensor, index: Tensor, rng: Rng) -> Attack:
        """Return what a generator needs to attack inputs x (R, *item): by default, it maximises the cross-entropy.

        ``attacked`` is who is looked at on the way; a row that seems to be fooled is confirmed by this judge's own.
        """
        embed, layers = attacked.embed, attacked.layers

        def encode(candidates: Tensor, places: Tensor) -> Embedding:
            embedding = embed(candidates, layers)
            if candidates.requires_grad and torch.is_grad_enabled() and not embedding.logits.requires_grad:
                raise UsageError(
                    "the model's logits have no gradient toward its inputs: take torch.no_grad and detach out of its "
                    "forward, or choose an attack that needs none, square or rays"
                )
            return embedding

        def loss(embedding: Embedding, places: Tensor) -> Tensor:
            return F.cross_entropy(embedding.logits.float(), label[places], reduction="none")

        def clean(places: Tensor) -> Embedding:
            with torch.no_grad():
                return embed(x[places], layers)

        return Attack(
            oracle=Oracle(
                encode=encode,
                objective=loss,
                clean=clean,
                fooled=lambda embedding, places: embedding.logits.argmax(1) != label[places],
                breaks=lambda candidates, places: self.classifier.predict(candidates) != label[places],
            ),
            ball=self.ball,
            rng=rng,
            label=label,
            index=index,
            places=torch.arange(len(x), device=x.device),
            separable=True,
        )
