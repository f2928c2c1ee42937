"""One question asked again of its model: are these the images, and does each witness still fool?"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch

from robustcl.data.subset import Images
from robustcl.errors import ProofFailed, UsageError
from robustcl.evaluate.classifier import Classifier
from robustcl.evaluate.journal import CLEAN, Key, fingerprint
from robustcl.evaluate.points import Outcomes
from robustcl.evaluate.witness import Move, confirm, restore
from robustcl.evaluate.witnesses import Witness
from robustcl.threat import Ball

BLOCK = 250
"""Images that are looked at together."""

_TOLD = 3
"""Faults of one question that are told in full."""


class QuestionAgain:
    """What a model gets wrong of the images of a question, as far as that could be seen again.

    key: the question. known: what its journal says of each image. The faults are sentences.

    Raises:
        ProofFailed: an image or a label is another one than was judged.
    """

    def __init__(self, key: Key, known: Outcomes, classifier: Classifier, images: Images) -> None:
        self.key, self.known, self.classifier, self.images = key, known, classifier, images
        self.proven: set[int] = set()
        """Images that the model was seen to get wrong, as they are or by a witness."""
        self.faults: list[str] = []
        self._waiting: list[tuple[int, Move]] = []
        self._size = torch.Size(images.item).numel()
        self._ball = _ball_of(key)
        if lacking := [index for index in known if index >= images.samples]:
            raise ProofFailed(f"the data set has {images.samples} test images, and image {lacking[0]} was judged: "
                              "give the one that was judged")  # fmt: skip
        for block in _blocks(sorted(known)):
            self._look_at(block)

    def take(self, witness: Witness) -> None:
        """Take a witness; it is looked at together with others, by ``settle`` at the latest."""
        outcomes = self.known.get(witness.index)
        who = f"image {witness.index}"
        if not outcomes:
            return self._fault(f"{who} has a witness, and the journal holds no outcome of it")
        if outcomes[-1].correct:
            return self._fault(f"{who} has a witness, and the journal calls it robust")
        if outcomes[-1].member == CLEAN:
            return self._fault(f"{who} has a witness, and the journal says that it was wrong as it is")
        try:
            self._waiting.append((witness.index, witness.move(self._size)))
        except ValueError as error:
            return self._fault(f"the witness of {who} is none: {error}")
        if len(self._waiting) >= BLOCK:
            self.settle()
        return None

    def settle(self) -> None:
        """Look at the witnesses that were taken so far."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self._ball is None:
            return
        index = torch.tensor([index for index, _ in waiting], device=self.images.device)
        x, label = self.images.fetch(index), self.images.labels[index]
        moved = torch.cat([restore(move, x[row : row + 1], self._ball) for row, (_, move) in enumerate(waiting)])
        inside, fools = self._ball.contains(moved, x), confirm(self.classifier, moved, label)
        for row, (image, _) in enumerate(waiting):
            if not inside[row]:
                far = float(self._ball.distance(moved[row : row + 1], x[row : row + 1]))
                self._fault(f"the witness of image {image} lies outside the ball: its distance is {far:.6g}")
            elif not fools[row]:
                self._fault(f"the witness of image {image} does not fool the model")
            else:
                self.proven.add(image)

    def told(self) -> list[str]:
        """Return the faults, the first ones in full."""
        more = len(self.faults) - _TOLD
        return [*self.faults[:_TOLD], *([f"and {more} more of the kind"] if more > 0 else [])]

    def _look_at(self, block: Sequence[int]) -> None:
        """Hold some images against the journal, and see what is wrong as it is."""
        index = torch.tensor(block, device=self.images.device)
        x, label = self.images.fetch(index), self.images.labels[index]
        first = [self.known[image][0] for image in block]
        for image, digest, y, outcome in zip(block, fingerprint(x), label.tolist(), first, strict=True):
            if (outcome.hash, outcome.label) != (digest, y):
                what = "image" if outcome.hash != digest else "label of image"
                raise ProofFailed(
                    f"the {what} {image} of the data set is not the one that was judged: give the same data"
                )
        wrong = [row for row, outcome in enumerate(first) if not outcome.correct]
        if wrong:
            seen = confirm(self.classifier, x[wrong], label[wrong]).tolist()
            self.proven.update(block[row] for row, fools in zip(wrong, seen, strict=True) if fools)

    def _fault(self, sentence: str) -> None:
        self.faults.append(sentence)


def _blocks(images: Sequence[int]) -> list[Sequence[int]]:
    return [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]


def _ball_of(key: Key) -> Ball | None:
    """Return the ball of an attack; raises ``ProofFailed`` where its question tells none."""
    if key.attack is None:
        return None
    spec = json.loads(key.spec)
    try:
        return Ball(spec["norm"], spec["eps"])
    except (KeyError, TypeError, UsageError) as error:
        raise ProofFailed(
            f"the question {key.digest} tells no threat ({error}): judge again with this version"
        ) from None
