"""The named encoders of a stage: the online one, its followers (EMA), and frozen ones.

Only the online encoder is part of the step that DDP wraps; the others stand beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_mode
from robustcl.nn.routing import RoutedNorm
from robustcl.options.duration import Progress
from robustcl.train import micro
from robustcl.train.passes import Passes
from robustcl.train.plan import EmaPlan, StagePlan, at
from robustcl.types import Embedding

ONLINE = "online"


class Encoders:
    """Embeds views through any of a stage's encoders, in a given batch-norm mode, and counts them in ``passes``.

    micro_batch: how many images are embedded at once, and with a graph only until the backward asks (``micro``);
    ``None``: all.
    """

    def __init__(
        self,
        online: Encoder,
        frozen: Mapping[str, Encoder],
        ema: Mapping[str, EmaPlan],
        micro_batch: int | None = None,
    ) -> None:
        self.online = online
        self.micro_batch = micro_batch
        self.frozen = dict(frozen)
        self.plans = dict(ema)
        self.passes = Passes()
        self.ema = {name: copy.deepcopy(online) for name in ema}
        for encoder in (*self.frozen.values(), *self.ema.values()):
            encoder.requires_grad_(False)
        for encoder in self.frozen.values():
            encoder.eval()

    def __getitem__(self, name: str) -> Encoder:
        if name == ONLINE:
            return self.online
        return self.ema[name] if name in self.ema else self.frozen[name]

    def embed(
        self,
        x: Tensor,
        encoder: str,
        route: str,
        layers: frozenset[str],
        mode: str,
        taps: frozenset[str] = frozenset(),
        blocks: int = 1,
    ) -> Embedding:
        """Embed inputs; a frozen encoder stays in eval mode, and on its main route where it lacks the one asked for.

        Axes between the rows and the item (patches of an image) are folded into the rows and unfolded afterwards.
        ``blocks``: how many views of the same images x holds, one after the other; they stay together.
        """
        module = self[encoder]
        if encoder in self.frozen:
            route, mode = (route if route in module.routes else module.routes[0]), "eval"

        def forward(x: Tensor) -> Embedding:
            folded = x.dim() - 1 - len(module.item)
            with hold_mode(module, mode):
                embedding: Embedding = module(x.flatten(0, folded), route, layers, taps)
            embedding = embedding.apply(at_least_float32)
            if not folded:
                return embedding
            return embedding.apply(lambda value: value.reshape(*x.shape[: folded + 1], *value.shape[1:]))

        pieces = micro.cut(x, blocks, self.micro_batch)
        if len(pieces) == 1:
            embedding = forward(x)
            self.passes.count(x, embedding.tensors(), module)
            return embedding
        return micro.join([micro.embed(forward, piece, module, self.passes) for piece in pieces], blocks)

    def embed_constant(
        self,
        x: Tensor,
        encoder: str,
        route: str,
        layers: frozenset[str],
        mode: str = "eval",
        taps: frozenset[str] = frozenset(),
    ) -> Embedding:
        """Embed inputs without a graph."""
        with torch.no_grad():
            return self.embed(x, encoder, route, layers, mode, taps)

    def training_context(self, encoder: str) -> torch.no_grad | nullcontext[None]:
        """Only the online encoder learns by gradient."""
        return nullcontext() if encoder == ONLINE else torch.no_grad()

    @torch.no_grad()
    def follow(self, progress: Progress, *, before_optimiser: bool) -> None:
        """Move the EMA encoders whose turn it is."""
        for name, plan in self.plans.items():
            if plan.before_optimiser != before_optimiser:
                continue
            momentum = at(plan.momentum, progress)
            leader = self[plan.of]
            for mine, other in zip(self.ema[name].parameters(), leader.parameters(), strict=True):
                mine.lerp_(other, 1.0 - momentum)
            if plan.copy_buffers:
                for own, theirs in zip(self.ema[name].buffers(), leader.buffers(), strict=True):
                    own.copy_(theirs)


def freeze_idle(plan: StagePlan, online: Encoder, main: str) -> None:
    """Leave gradient only where the stage's terms reach; DDP crashes on branches that a backward pass never meets."""
    layers = frozenset[str]().union(*(term.layers for term in plan.terms if _reads_online(term.roles)))
    used = {plan.route_of(ref.view, main) for term in plan.terms for _, ref in term.roles if ref.encoder == ONLINE}
    online.requires_grad_(ONLINE in plan.trainable)
    for part in plan.trainable:
        if part != ONLINE:
            _part(online, part).requires_grad_(True)
    for part in plan.freeze:
        _part(online, part).requires_grad_(False)
    if "z" not in layers:
        online.projector.requires_grad_(False)
    if "logits" not in layers and online.classifier is not None:
        online.classifier.requires_grad_(False)
    for norm in (module for module in online.modules() if isinstance(module, RoutedNorm)):
        for route in set(online.routes) - used:
            for parameter in norm.branch(route).parameters(recurse=False):
                parameter.requires_grad_(False)


def _part(online: Encoder, path: str) -> nn.Module:
    try:
        return online.get_submodule(path.removeprefix("online."))
    except AttributeError as error:
        raise UsageError(f"trainable or freeze: the encoder has no part {path!r}: {error}") from None


def at_least_float32(value: Tensor) -> Tensor:
    """Losses, softmax and verdicts are computed in float32 (float64 stays)."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _reads_online(roles: tuple[tuple[str, object], ...]) -> bool:
    return any(getattr(ref, "encoder", None) == ONLINE for _, ref in roles)
