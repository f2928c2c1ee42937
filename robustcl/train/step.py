"""One training step, the module that DDP wraps: attack first, then all forwards, then the terms.

The order never changes; methods differ only by what is plugged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robustcl import promises, ranks
from robustcl.data.draw import draw_views, drawable
from robustcl.errors import NonFiniteLoss
from robustcl.options.duration import Progress
from robustcl.protocols import Need
from robustcl.recipe import MAIN_ROUTE
from robustcl.rng import Rng
from robustcl.train.adversary import Adversary
from robustcl.train.derived import resting_on
from robustcl.train.encoders import Encoders
from robustcl.train.plan import Ref, StagePlan, TermPlan, at
from robustcl.train.scene import compose_scene
from robustcl.types import Batch, Clustering, Embedding, Scene


@dataclass(slots=True)
class Moment:
    """What changes from step to step besides the batch."""

    progress: Progress
    rng: Rng
    clusters: Clustering | None


class Step(nn.Module):
    """Loss of a batch under a plan. ``forward`` returns the total and each weighted term, as scalars over all ranks.

    The total's value and gradient equal those of one process holding the whole batch, once DDP has averaged the
    gradients of all ranks.
    """

    moment: Moment

    def __init__(self, plan: StagePlan, encoders: Encoders) -> None:
        super().__init__()
        self.plan = plan
        self.online = encoders.online
        self.heads = nn.ModuleDict(
            {
                f"{term.name}-{kind}": part.plugin
                for term in plan.terms
                for kind, part in (("objective", term.objective), ("selector", term.selector))
                if part is not None and isinstance(part.plugin, nn.Module)
            }
        )
        object.__setattr__(self, "encoders", encoders)  # holds modules that DDP must not see
        self.scenes: list[tuple[TermPlan, Scene]] = []

    encoders: Encoders

    def forward(
        self,
        views: dict[str, Tensor],
        index: Tensor,
        label: Tensor,
        target: dict[str, Tensor],
        position: Tensor,
    ) -> dict[str, Tensor]:
        batch = Batch(views=views, index=index, label=label, target=target, position=position)
        weights = self._weights()
        batch = self._finished(self._attacked(batch, weights))
        embeddings = self._forwards(batch)
        frozen = frozenset(self.encoders.frozen)
        losses: dict[str, Tensor] = {}
        self.scenes = []
        with torch.autocast(index.device.type, enabled=False):
            earlier: dict[str, Tensor] = {}
            for term in self.plan.terms:
                roles = {role: embeddings[term.group, ref] for role, ref in term.roles}
                support = [embeddings[term.group, ref] for ref in term.support]
                scene = compose_scene(term, roles, batch, self.moment.clusters, frozen, support)
                if Need.VALUES in term.objective.needs:
                    scene = scene.but(values=dict(earlier))
                self.scenes.append((term, scene))
                values = promises.per_sample(term.objective.plugin, term.objective.name, scene)
                earlier |= {f"{term.name}/{name}": value for name, value in values.items()}
                for name, value in values.items():
                    losses[f"{term.name}/{name}"] = weights[term.name][name] * _mean_over_ranks(value)
            losses["total"] = torch.stack(list(losses.values())).sum()
        _refuse_non_finite(losses, self.moment.progress)
        return losses

    def _weights(self) -> dict[str, dict[str, float]]:
        """Resolve the weights of all terms, those of losses that are only maximised included."""
        terms = [*self.plan.terms, *(g.maximise for g in self.plan.generators if g.maximise is not None)]
        return {t.name: {n: at(w, self.moment.progress) for n, w in t.weights.items()} for t in terms}

    def _attacked(self, batch: Batch, weights: Mapping[str, Mapping[str, float]]) -> Batch:
        attacker = Adversary(self.plan, self.encoders, weights, self.moment.clusters, self.moment.rng)
        for generator in self.plan.generators:
            written = attacker.perturb(generator, batch)
            batch = _with_views(batch, {**batch.views, **written})
        return batch

    def _finished(self, batch: Batch) -> Batch:
        """Draw what is made of perturbed views, and make the differentiable views leaves of the graph.

        What is made of a leaf is drawn (again, from the same stream) inside the graph, so that a gradient reaches it.
        """
        specs, asked = self.plan.specs, self.plan.differentiable
        _, late = drawable(specs)
        again = {**late, **resting_on(specs, asked)}
        views = {name: _leaf(x) if name in asked else x for name, x in batch.views.items() if name not in again}
        images = next(iter(batch.views.values()))
        drawn = draw_views(images, batch.index, again, self.moment.rng, given=views, graph=True)
        views |= {name: _leaf(x) if name in asked else x for name, x in drawn.views.items()}
        return _with_views(batch, views, {**batch.target, **drawn.target})

    def _forwards(self, batch: Batch) -> dict[tuple[str | None, Ref], Embedding]:
        """Embed every view of which a term reads a layer, once per forward group."""
        done = {(term.group, ref): Embedding() for term in self.plan.terms for ref in term.refs}
        readers = [term for term in self.plan.terms if term.layers or term.taps]
        for group in sorted({term.group for term in readers}, key=str):
            terms = [term for term in readers if term.group == group]
            layers = frozenset[str]().union(*(term.layers for term in terms))
            taps = frozenset[str]().union(*(term.taps for term in terms))
            for refs in _together(self.plan, terms, group):
                path = refs[0].encoder, self.plan.route_of(refs[0].view, MAIN_ROUTE)
                x = torch.cat([batch.views[ref.view] for ref in refs])
                with self.encoders.training_context(refs[0].encoder):
                    stacked = self.encoders.embed(x, *path, layers, self.plan.mode, taps, blocks=len(refs))
                images = len(batch.index)
                for number, ref in enumerate(refs):
                    done[group, ref] = stacked.take(slice(number * images, (number + 1) * images))
        return done


def _together(plan: StagePlan, terms: list[TermPlan], group: str | None) -> list[list[Ref]]:
    """Return which views share a forward: always of one encoder and route, in the order in which terms name them."""
    refs = list(dict.fromkeys(ref for term in terms for ref in term.refs))
    if group is not None:
        blocks: list[list[Ref]] = [[ref for ref in refs if ref.view in plan.groups[group]]]
    elif plan.forward == "by-view":
        return [[ref] for ref in refs]
    elif plan.forward == "by-route":
        blocks = [refs]
    else:
        blocks = [[ref for name in names for ref in refs if ref.view == name] for names in plan.forward]
    blocks += [[ref] for ref in refs if not any(ref in block for block in blocks)]
    split: list[list[Ref]] = []
    for block in blocks:
        paths = dict.fromkeys((ref.encoder, plan.route_of(ref.view, MAIN_ROUTE)) for ref in block)
        split += [[r for r in block if (r.encoder, plan.route_of(r.view, MAIN_ROUTE)) == path] for path in paths]
    return split


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _with_views(batch: Batch, views: Mapping[str, Tensor], target: Mapping[str, Tensor] | None = None) -> Batch:
    return Batch(
        views=views,
        index=batch.index,
        label=batch.label,
        target=batch.target if target is None else target,
        position=batch.position,
    )


def _mean_over_ranks(value: Tensor) -> Tensor:
    """Return the mean over the rows of all ranks (a scalar of the batch: over ranks).

    The gradient is this rank's share times the number of ranks, because DDP averages over them.
    """
    world = ranks.world()
    count = ranks.total(torch.tensor(value.numel(), device=value.device, dtype=torch.float64))
    here = value.sum() / count.clamp(min=1).to(value.dtype)
    return here * world + (ranks.total(here.detach()) - (here * world).detach())


def _refuse_non_finite(losses: Mapping[str, Tensor], progress: Progress) -> None:
    for name, value in losses.items():
        if not bool(torch.isfinite(value.detach())):
            raise NonFiniteLoss(
                f"the term {name} became {float(value.detach())} at step {progress.step} "
                f"(epoch {progress.epoch:.2f}); the last good checkpoint is kept: go on from there with "
                "robustcl resume RUN --set stage.NAME.optimizer.lr=VALUE, a lower one, or start anew with a lower "
                "weight of this term"
            )
