"""From a generator in a step to the ``Attack`` that it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from robustcl import hooks, promises, ranks
from robustcl.errors import PluginMisbehaved, UsageError
from robustcl.hooks import ObjectiveHooks
from robustcl.nn.fast import frozen_for_attack
from robustcl.nn.modes import hold_mode
from robustcl.protocols import Need
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.train.derived import Lenses
from robustcl.train.encoders import Encoders
from robustcl.train.plan import GeneratorPlan, Ref, StagePlan, TermPlan, layers_of
from robustcl.train.scene import compose_scene
from robustcl.types import ABSENT, Attack, Batch, Clustering, Embedding, Oracle

_BLOCK = 1 << 40
"""Blocks of a joint perturbation draw from streams of their own, farther apart than any data set is large."""


class Adversary:
    """Runs a stage's generators on one batch, in attack mode, before any training forward."""

    def __init__(
        self,
        plan: StagePlan,
        encoders: Encoders,
        weights: Mapping[str, Mapping[str, float]],
        clusters: Clustering | None,
        rng: Rng,
    ) -> None:
        self.plan, self.encoders, self.weights = plan, encoders, weights
        self.clusters, self.rng = clusters, rng

    def perturb(self, generator: GeneratorPlan, batch: Batch) -> dict[str, Tensor]:
        """Return the views that the generator writes, each (B, *item), detached."""
        x = torch.cat([batch.views[name] for name in generator.reads])
        attack = self._attack(generator, x, batch)
        online = self.encoders.online
        # Held to the end: what is checkpointed runs once more when the gradient is taken, and must be in the same mode.
        with frozen_for_attack(online, online.channels_last), hold_mode(online, generator.mode):
            try:
                adversarial = promises.perturb(
                    generator.part.plugin,
                    generator.part.name,
                    x,
                    attack,
                    modules=[online, *self.encoders.ema.values()],
                    statistics_may_change=generator.mode == "train",
                )
            except PluginMisbehaved:
                online.require_steady()
                raise
        return dict(zip(generator.writes, adversarial.chunk(len(generator.writes)), strict=True))

    def _attack(self, generator: GeneratorPlan, x: Tensor, batch: Batch) -> Attack:
        blocks = len(generator.writes)
        needs = generator.part.needs
        index = batch.index.repeat(blocks)
        streams = index + torch.arange(blocks, device=x.device).repeat_interleave(len(batch.index)) * _BLOCK
        layers = layers_of(needs) | (generator.maximise.layers if generator.maximise else frozenset())
        own = [self._path(name) for name in generator.reads]
        reads_teacher = Need.TEACHER in needs
        lenses = Lenses(self.plan, generator, self.rng)
        loss, separable = self._loss(generator, batch, lenses)
        return Attack(
            oracle=Oracle(
                encode=self._encoder(generator, layers, batch.index, lenses),
                objective=loss,
                clean=self._clean(
                    _looked(x, generator, batch, lenses), own, layers or frozenset({"h"}), generator.mode
                ),
            ),
            ball=generator.ball,
            rng=self.rng.child("generator", generator.name).for_rows(streams),
            label=batch.label.repeat(blocks),
            index=index,
            places=torch.arange(len(x), device=x.device),
            separable=separable,
            teacher=self._stacked(x.chunk(blocks), [("teacher", MAIN_ROUTE)] * blocks) if reads_teacher else ABSENT,
            constants=self._constants(generator, batch) if generator.constants else ABSENT,
            clusters=self.clusters if self.clusters is not None else ABSENT,
        )

    def _path(self, view: str) -> tuple[str, str]:
        return self.plan.encode.get(view, "online"), self.plan.route_of(view, MAIN_ROUTE)

    def _encoder(
        self, generator: GeneratorPlan, layers: frozenset[str], index: Tensor, lenses: Lenses
    ) -> Callable[[Tensor, Tensor], Embedding]:
        """Return what embeds candidates: each block as the term sees it, through that view's encoder and route."""
        paths = [self._path(lenses.seen[name]) for name in generator.writes]
        taps = generator.maximise.taps if generator.maximise else frozenset[str]()
        together = len(set(paths)) == 1

        def embed(x: Tensor, path: tuple[str, str], blocks: int = 1) -> Embedding:
            return self.encoders.embed(x, *path, layers, generator.mode, taps, blocks)

        def encode(x: Tensor, places: Tensor) -> Embedding:
            blocks = len(paths) if len(places) == len(paths) * len(index) else 1  # of some rows each stands alone
            if together and lenses.clear:
                return embed(x, paths[0], blocks)
            block = places.div(len(index), rounding_mode="floor")
            order = [(block == number).nonzero()[:, 0] for number in range(len(paths))]
            inputs = [
                lenses.look(name, x[rows], index[places[rows] % len(index)])
                for name, rows in zip(generator.writes, order, strict=True)
            ]
            if together:
                whole = embed(_joined(inputs, generator), paths[0], blocks)
            else:
                whole = Embedding.cat([embed(x, path) for x, path in zip(inputs, paths, strict=True)])
            return whole.take(torch.argsort(torch.cat(order)))

        return encode

    def _clean(
        self, blocks: Sequence[Tensor], paths: list[tuple[str, str]], layers: frozenset[str], mode: str
    ) -> Callable[[Tensor], Embedding]:
        kept: list[Embedding] = []

        def clean(places: Tensor) -> Embedding:
            if not kept:
                kept.append(self._stacked(blocks, paths, layers, "eval" if mode == "train" else mode))
            return kept[0].take(places)

        return clean

    def _stacked(
        self,
        blocks: Sequence[Tensor],
        paths: list[tuple[str, str]],
        layers: frozenset[str] = frozenset({"h"}),
        mode: str = "eval",
    ) -> Embedding:
        """Embed each block through its own path, without a graph."""
        return Embedding.cat(
            [self.encoders.embed_constant(b, *path, layers, mode) for b, path in zip(blocks, paths, strict=True)]
        )

    def _constants(self, generator: GeneratorPlan, batch: Batch) -> dict[str, Embedding]:
        layers = layers_of(generator.part.needs) or frozenset({"h"})
        blocks = len(generator.writes)
        return {
            name: Embedding.cat([self._constant(ref, batch, layers, "eval")] * blocks)
            for name, ref in generator.constants.items()
        }

    def _constant(
        self, ref: Ref, batch: Batch, layers: frozenset[str], mode: str, taps: frozenset[str] = frozenset()
    ) -> Embedding:
        route = self.plan.route_of(ref.view, MAIN_ROUTE)
        return self.encoders.embed_constant(batch.views[ref.view], ref.encoder, route, layers, mode, taps)

    def _loss(
        self, generator: GeneratorPlan, batch: Batch, lenses: Lenses
    ) -> tuple[Callable[[Embedding, Tensor], Tensor], bool]:
        """Return what a borrowing generator maximises, and whether its rows are independent of each other.

        A pretext target that a derived view makes is that of the unperturbed image: no candidate moves it.
        """
        term = generator.maximise
        if term is None:
            return ABSENT, True
        batch = _with_targets(generator, batch, lenses)
        seen_as = [lenses.seen[name] for name in generator.writes]
        frozen = frozenset(self.encoders.frozen)
        mode = "eval" if generator.mode == "train" else generator.mode
        constants = {
            role: self._constant(ref, batch, term.layers, mode, term.taps)
            for role, ref in term.roles
            if ref.view not in seen_as
        }
        support = [self._constant(ref, batch, term.layers, mode) for ref in term.support]
        separable = _is_separable(term, generator, batch)
        weights = self.weights[term.name]

        def loss(embedding: Embedding, places: Tensor) -> Tensor:
            whole = len(places) == len(generator.writes) * len(batch.index)
            if not whole and not separable:
                raise ValueError(f"{term.objective.name} has no value on some rows alone: it compares rows")
            seen = batch if whole else _rows_of(batch, places)
            fixed = constants if whole else {role: value.take(places) for role, value in constants.items()}
            block = {name: embedding.take(slice(i * len(seen.index), (i + 1) * len(seen.index)))
                     for i, name in enumerate(seen_as)}  # fmt: skip
            views = {role: fixed[role] if role in fixed else block[ref.view] for role, ref in term.roles}
            with torch.autocast(places.device.type, enabled=False):
                scene = compose_scene(term, views, seen, self.clusters, frozen, support)
                values = promises.per_sample(term.objective.plugin, term.objective.name, scene)
            if separable:
                return torch.stack([weights[name] * value for name, value in values.items()]).sum(0)
            return _over_ranks(values, weights)

        return loss, separable


def _looked(x: Tensor, generator: GeneratorPlan, batch: Batch, lenses: Lenses) -> list[Tensor]:
    """Return the blocks of x as the term sees them."""
    blocks = x.chunk(len(generator.writes))
    return [lenses.look(name, block, batch.index) for name, block in zip(generator.writes, blocks, strict=True)]


def _joined(inputs: list[Tensor], generator: GeneratorPlan) -> Tensor:
    if len({x.shape[1:] for x in inputs}) > 1:
        raise UsageError(
            f"the generator {generator.name!r} writes views that are seen in different shapes, "
            f"{' and '.join(str(tuple(x.shape[1:])) for x in inputs)}: give each a generator of its own"
        )
    return torch.cat(inputs)


def _with_targets(generator: GeneratorPlan, batch: Batch, lenses: Lenses) -> Batch:
    """Return the batch with the pretext targets of the views that the term looks through."""
    made = dict(batch.target)
    for read, name in zip(generator.reads, generator.writes, strict=True):
        if lenses.seen[name] != name:
            made |= lenses.draw(name, batch.views[read], batch.index).target
    return Batch(views=batch.views, index=batch.index, label=batch.label, target=made, position=batch.position)


def _is_separable(term: TermPlan, generator: GeneratorPlan, batch: Batch) -> bool:
    independent = bool(hooks.of(term.objective.plugin, ObjectiveHooks).separable) and len(generator.writes) == 1
    if not independent or Need.LABELS not in term.objective.needs:
        return independent
    # Over all ranks: were they of different minds, some would wait for a sum that the others never form.
    unlabelled = ranks.total((batch.label < 0).sum())
    return not bool(unlabelled)


def _over_ranks(values: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the value over all ranks; its gradient is this rank's part (the gather's backward brings the rest)."""
    here = torch.stack([weights[n] * v.sum() / (ranks.world() if v.dim() == 0 else 1) for n, v in values.items()]).sum()
    return here + (ranks.total(here.detach()) - here.detach())


def _rows_of(batch: Batch, places: Tensor) -> Batch:
    return Batch(
        views={name: value[places] for name, value in batch.views.items()},
        index=batch.index[places],
        label=batch.label[places],
        target={name: value[places] for name, value in batch.target.items()},
        position=batch.position[places],
    )
