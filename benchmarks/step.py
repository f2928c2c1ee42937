"""A training step of NCP's second stage beside the bare passes that it cannot do without.

Run as ``python benchmarks/step.py``. The peer is plain torch: on the same network (ResNet-18 for 32x32 images, batch
64, float32) it runs the attack's start, its forward passes and input gradients, the teacher's forward pass, one
training pass over clean and adversarial images, and the optimiser. We do the same through the whole machinery: plugins,
guard, mode lock, routes, keyed randomness, losses, logging of terms. Ours must keep 0.9 of the peer's speed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _bar import compare, report
from torch import Tensor, nn

from robustcl import api
from robustcl.data.held import Held
from robustcl.nn.encoder import Encoder, build_encoder
from robustcl.options.schedule import Progress
from robustcl.rng import Rng
from robustcl.train.encoders import Encoders
from robustcl.train.engine import Engine
from robustcl.train.log import Log
from robustcl.train.loop import StageRun
from robustcl.train.refresh import refresh
from robustcl.train.stage import Keeping
from robustcl.train.step import Moment

BATCH = 64
IMAGES = 128
STEPS = 5
REPEATS = 3
BAR = 0.9
TABLES: dict[str, Any] = {
    "name": "step",
    "data": {"use": "digits", "batch": BATCH},
    "encoder": {"use": "resnet-18"},
    "stage": [
        {
            "name": "pretrain",
            "epochs": 0,
            "views": {"a": "none", "b": "none"},
            "objective": "info-nce",
            "optimizer": "sgd",
        },
        {
            "name": "robust",
            "epochs": 1,
            "init": "stage:pretrain",
            "encoders": {"teacher": "stage:pretrain"},
            "views": {"w": "weak"},
            "targets": {"use": "spherical-kmeans", "clusters": 10},
            "generator": {"w_adv": {"use": "ncp", "reads": ["w"], "steps": STEPS}},
            "term": {
                "deacl": {"use": "deacl", "views": {"clean": "w", "adversarial": "w_adv", "teacher": "w@teacher"}}
            },
            "optimizer": {"use": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        },
    ],
}


class RandomImages:
    """A data set of seeded noise."""

    item = (3, 32, 32)
    labels = torch.zeros(IMAGES, dtype=torch.int64)

    def fetch(self, index: Tensor) -> Tensor:
        """Return images (B, 3, 32, 32) in [0, 1]."""
        return Rng(0, "images").for_rows(index).uniform((len(index), *self.item))


def main() -> int:
    """Measure, report, and return the exit code."""
    composition = api.from_tables(TABLES, "benchmarks/step.py")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mine, theirs = compare(our_step(composition, device), bare_step(composition, device), REPEATS)
    details = {
        "workload": f"NCP stage 2, resnet-18, batch {BATCH}, {STEPS} attack steps, float32, on {device}",
        "peer": "the bare passes in plain torch: attack, clean features, teacher, training pass, SGD",
        "robustcl seconds a step": mine,
        "bare seconds a step": theirs,
    }
    return report("step", [("bare_over_robustcl", theirs / mine, BAR)], details)


def encoder(composition: api.Composition, name: str) -> Encoder:
    """Return a fresh encoder with one batch-norm branch."""
    return build_encoder(
        composition.encoder.plugin, name="resnet-18", item=RandomImages.item, classes=0, mean=(0.5,), std=(0.25,),
        projector=composition.projector, routes=("clean",), rng=Rng(0, name),
    )  # fmt: skip


def our_step(composition: api.Composition, device: str) -> Any:
    """Return a function that takes one step of the training loop, views drawn and terms read for the log."""
    engine = Engine(device)
    plan = composition.stages[1]
    folder = Path(tempfile.mkdtemp())
    encoders = Encoders(encoder(composition, "online"), {"teacher": encoder(composition, "teacher")}, {})
    images = Held(RandomImages(), engine.device)
    keeping = Keeping(folder, "", None)
    run = StageRun(plan, encoders, images, engine, Rng(0, "stage"), keeping, Log(folder, "robust"), print)
    for module in (encoders.online, encoders["teacher"]):
        engine.place(module)
    assert plan.targets is not None
    refresh(run.clusters, plan.targets, encoders, images, 0.0, Rng(0, "clusters"))
    optimizer = plan.optimizer.plugin.make(run.parameters)
    rows = torch.arange(BATCH, device=device)

    def step() -> list[float]:
        rng = Rng(0, "step")
        run.step.moment = Moment(Progress(0, 1, 0.0, 1.0), rng, run.clusters.clustering)
        run.step.train()
        losses = run.step(**run.inputs(rows, images.fetch(rows), rng))
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        return [float(value.detach()) for value in losses.values()]

    return step


def bare_step(composition: api.Composition, device: str) -> Any:
    """Return a function that runs the same passes in plain torch, on networks without routes."""
    online, teacher = (plain(encoder(composition, name), device) for name in ("online", "teacher"))
    optimizer = torch.optim.SGD(online.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = RandomImages().fetch(torch.arange(BATCH)).to(device)
    centroids = F.normalize(torch.rand(2, BATCH, 512, device=device), dim=2)
    eps = 8 / 255

    def step() -> None:
        online.eval()
        with torch.no_grad():
            online(images)
            target = teacher(images)
        adv = (images + eps * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
        for _ in range(STEPS):
            leaf = adv.requires_grad_()
            features = online(leaf)
            loss = (F.cosine_similarity(features, centroids[0]) - F.cosine_similarity(features, centroids[1])).sum()
            moved = adv.detach() + 2 / 255 * torch.autograd.grad(loss, leaf)[0].sign()
            adv = torch.minimum(torch.maximum(moved, images - eps), images + eps).clamp(0, 1).detach()
        online.train()
        clean, attacked = online(torch.cat([images, adv])).chunk(2)
        loss = -(F.cosine_similarity(clean, target) + F.cosine_similarity(attacked, clean)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def plain(built: Encoder, device: str) -> nn.Module:
    """Return the backbone with torch's own batch norm, laid out as ours is."""
    backbone = built.backbone
    for module in list(backbone.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, nn.BatchNorm2d(child.num_features))
    return backbone.to(device, memory_format=torch.channels_last)


if __name__ == "__main__":
    sys.exit(main())
