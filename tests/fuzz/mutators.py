"""How often each mutation is drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tests.fuzz import mutate as ways
from tests.fuzz.artful import artful
from tests.fuzz.mutate import Mutator, Place

MUTATORS: Mapping[Mutator, int] = {
    ways.value: 40, ways.flip: 14, ways.splice: 6, ways.truncate: 5, ways.empty: 2, ways.delete: 3, ways.repeat: 2,
    ways.deep: 2, ways.huge: 2, ways.many_parts: 1, ways.not_text: 3, ways.link: 4, ways.plant_link: 4, ways.fifo: 2,
    ways.folder_for_file: 2, ways.file_for_folder: 2, ways.forbid: 2, ways.swap: 4, ways.swap_within: 2, ways.twice: 3,
}  # fmt: skip
_BINARY = (".npz", ".safetensors", ".pt")


def mutate(rng: random.Random, at: Place) -> tuple[str, bool]:
    """Mutate once; say how, and whether it is a checkpoint that only a resumed stage would read."""
    weights = dict(MUTATORS)
    if at.file.suffix in _BINARY:
        weights[artful] = weights.pop(ways.value)
    chosen = rng.choices(list(weights), list(weights.values()))[0]
    said = f"{at.file.relative_to(at.run)}: {chosen.__name__}, {chosen(rng, at)}"
    return said, chosen is artful and at.file.suffix == ".pt" and at.file.parent.parent.name == "checkpoints"
