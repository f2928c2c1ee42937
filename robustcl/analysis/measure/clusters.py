"""Clusters for attacks on test images: those of the training images under the judged encoder, the nearest of them."""

from __future__ import annotations

import torch
from torch import Tensor

from robustcl import contrast
from robustcl.composition import needs
from robustcl.composition.build import build_stage
from robustcl.composition.parts import Parts
from robustcl.composition.plan import RecipePlan
from robustcl.data.subset import Images
from robustcl.evaluate.classifier import Classifier
from robustcl.recipe import Stage, Targets
from robustcl.rng import Rng
from robustcl.run.subjects import RunSubject
from robustcl.train.encoders import Encoders
from robustcl.train.plan import TargetPlan
from robustcl.train.refresh import ClusterState, refresh
from robustcl.types import Clustering


def plan_targets(table: Targets, route: str, plan: RecipePlan) -> TargetPlan:
    """Return a table's plan, as a stage would have it, of the judged encoder on a route."""
    table = table.model_copy(update={"of": table.of.model_copy(update={"encoder": "online", "route": route})})
    stage = Stage(name="measure", epochs=0, targets=table)
    built = build_stage(stage, Parts(), plan.ball, plan.recipe.data.batch, "targets")
    needs.check(stage, built, "targets")
    assert built.targets is not None
    return built.targets


def cluster(subject: RunSubject, table: Targets, images: Images, index: Tensor, draws: Rng) -> Clustering:
    """Cluster the training images as a stage would, K chosen by silhouette where the table says so, for some images."""
    state, targets = ClusterState(), plan_targets(table, subject.route, subject.plan)
    refresh(state, targets, Encoders(subject.encoder, {}, {}), subject.splits.pretrain, 0.0, draws.child("clusters"))
    assert state.clustering is not None
    until = torch.arange(int(index.max()) + 1, device=index.device)  # an attack reads by the image's own number
    return nearest(state.clustering, subject.classifier, images, until, subject.asked.block)


@torch.no_grad()
def nearest(clusters: Clustering, classifier: Classifier, images: Images, index: Tensor, block: int) -> Clustering:
    """Return the same centroids with the images of ``index`` (n,) assigned to the nearest, by the cosine."""
    features = torch.cat([classifier.features(images.fetch(rows)) for rows in torch.split(index, block)])
    nearness = [contrast.cosine(features, centroids.to(features)) for centroids in clusters.centroids]
    return Clustering(
        centroids=clusters.centroids,
        assignment=torch.stack([table.argmax(1) for table in nearness]),
        confidence=torch.stack([table.amax(1) for table in nearness]),
        inertia=tuple(float((1 - table.amax(1)).sum()) for table in nearness),
        provenance={**clusters.provenance, "assigned": "test images, to the nearest centroid"},
    )
