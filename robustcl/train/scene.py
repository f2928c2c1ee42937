"""From embeddings to what one term sees: rows, the columns of all ranks, pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from robustcl import hooks, promises, ranks
from robustcl.hooks import ObjectiveHooks
from robustcl.protocols import Need
from robustcl.train.plan import TermPlan
from robustcl.types import Batch, Clustering, Embedding, Rows, Scene


def compose_scene(
    term: TermPlan,
    views: Mapping[str, Embedding],
    batch: Batch,
    clusters: Clustering | None,
    frozen: frozenset[str] = frozenset(),
    support: Sequence[Embedding] = (),
) -> Scene:
    """Return the scene of one term.

    Args:
        term: the term whose roles are bound.
        views: role -> (B, ...) embeddings, in the order of the roles.
        batch: the images of this rank.
        clusters: the newest clustering, where the stage has one.
        frozen: encoders whose views make no rows.
        support: embeddings of the support views, which are neither anchors nor columns.
    """
    scene = Scene(views=views, batch=batch)
    if clusters is not None:
        scene = scene.but(clusters=clusters)
    own_views = [views[role] for role in term.anchors(frozen)]
    if own_views and _wants_rows(term):
        rows = _stack(own_views, batch)
        columns, own = _of_all_ranks(rows)
        scene = scene.but(rows=rows, columns=columns, own=own)
    if support:
        scene = scene.but(support=_stack(list(support), batch))
    if term.selector is not None:
        scene = scene.but(pairs=promises.select(term.selector.plugin, term.selector.name, scene))
    return scene


def _wants_rows(term: TermPlan) -> bool:
    """Rows cost a gather: they are made where pairs are read, or where the objective asks (``rows = True``)."""
    return Need.PAIRS in term.objective.needs or bool(hooks.of(term.objective.plugin, ObjectiveHooks).rows)


def _stack(views: list[Embedding], batch: Batch) -> Rows:
    stacked = Embedding.cat(views)
    count, images = len(views), batch.index.shape[0]
    order = torch.arange(count, device=batch.index.device).repeat_interleave(images)
    layers = {name: getattr(stacked, name) for name in ("h", "z", "logits") if stacked.has(name)}
    return Rows(
        sample=batch.position.repeat(count),
        view=order,
        label=batch.label.repeat(count),
        index=batch.index.repeat(count),
        **layers,
    )


def _of_all_ranks(rows: Rows) -> tuple[Rows, torch.Tensor]:
    """Gather the rows of all ranks; each rank's anchors lie at its own place among the columns."""
    here = rows.sample.shape[0]
    own = torch.arange(here, device=rows.sample.device) + ranks.rank() * here
    if ranks.world() == 1:
        return rows, own
    layers = {name: ranks.gather(getattr(rows, name)) for name in ("h", "z", "logits") if rows.has(name)}
    columns = Rows(
        sample=ranks.gather(rows.sample),
        view=ranks.gather(rows.view),
        label=ranks.gather(rows.label),
        index=ranks.gather(rows.index),
        **layers,
    )
    return columns, own
