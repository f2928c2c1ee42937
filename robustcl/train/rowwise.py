"""Whether micro batches change what an encoder says of an image: it must read each image by itself, or be let."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcl import ranks
from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.nn.modes import hold_mode
from robustcl.nn.snapshot import Snapshot, differ, random_states
from robustcl.rng import Rng
from robustcl.train.plan import StagePlan

_IMAGES = 4
_NEAR = 1e-4
"""How far apart features of one image may be by rounding alone, relative to the largest."""


def require(plan: StagePlan, encoder: Encoder, where: str) -> None:
    """Refuse micro batches where statistics, or whatever else compares images, would be another than the batch's.

    The encoder is asked on four images of noise in every mode in which the stage uses it, and left as it was.

    Raises:
        UsageError: batch norm that reads the batch, unless the plan lets it (``micro_norm``); a part that remembers or
            compares what it has seen; a permission that nothing takes; one with several processes.
    """
    if plan.micro_batch is None or plan.micro_batch >= plan.batch or plan.epochs == 0:
        return
    key, size = (
        f"{where}.micro_batch = {plan.micro_batch}",
        f"{plan.micro_batch} images or less instead of {plan.batch}",
    )
    surveyed = {"batch"} if plan.sampler is not None else set()  # a sampler may ask for gradients in that mode
    modes = sorted({plan.mode, *(generator.mode for generator in plan.generators)} | surveyed)
    layers = _layers(plan)
    norms = {name: mode for mode in modes for name in _reading(encoder, mode, layers)}
    for mode in modes:
        if fault := _fault(encoder, mode, layers, compares=not norms):
            raise UsageError(
                f"{key}: the encoder {fault}, so that it would see {size}; remove the line, or take an encoder that "
                "reads each image by itself"
            )
    if norms and not plan.micro_norm:
        name, mode = next(iter(norms.items()))
        raise UsageError(
            f"{key}: the encoder's batch norm {name} in mode {mode} would take its statistics of {size}, and exact "
            "ones need the graph of the whole batch; take an encoder without batch norm (encoder.projector.norm = "
            f'false for that of the head), or let it with {where}.batch_norm = "micro"'
        )
    if plan.micro_norm and not norms:
        raise UsageError(f'{where}.batch_norm = "micro": no batch norm of the encoder reads the batch; remove the line')
    if norms and ranks.world() > 1:
        raise UsageError(
            f'{where}.batch_norm = "micro": statistics of micro batches are of one process alone, and this run has '
            f"{ranks.world()}; train it with --devices 1, or take an encoder without batch norm"
        )


def _layers(plan: StagePlan) -> frozenset[str]:
    """Return what is asked of the encoder; a classifier is of one layer that reads each image by itself."""
    terms = [*plan.terms, *(g.maximise for g in plan.generators if g.maximise is not None)]
    return frozenset({"h"} | ({"z"} if any("z" in term.layers for term in terms) else set()))


def _reading(encoder: Encoder, mode: str, layers: frozenset[str]) -> list[str]:
    """Return the batch norms on the way to some layers that take their statistics of the batch."""
    with hold_mode(encoder, mode):
        found = [
            name
            for name, part in encoder.named_modules()
            if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None)
        ]
    return [name for name in found if ".others." not in name and ("z" in layers or not name.startswith("projector."))]


def _fault(encoder: Encoder, mode: str, layers: frozenset[str], *, compares: bool) -> str | None:
    """Say what an encoder does in a mode that reaches from one image to another, beside batch norm; if anything."""
    x = Rng(0, "micro batches").uniform((_IMAGES, *encoder.item), device=encoder.mean.device).to(encoder.mean.dtype)
    kept = Snapshot(encoder, parameters=False)
    before = {name: value.clone() for name, value in _memory(encoder)}
    try:
        with hold_mode(encoder, mode), torch.no_grad():
            started = random_states()
            whole = encoder(x, encoder.routes[0], layers)
            draws = differ(started, random_states())
            for name, value in _memory(encoder):
                if name not in before or not torch.equal(value, before[name]):
                    return f"remembers in {name} what it sees in mode {mode}"
            if compares and not draws:
                apart = [encoder(part, encoder.routes[0], layers) for part in x.chunk(2)]
                for layer in sorted(layers):
                    one, other = getattr(whole, layer), torch.cat([getattr(part, layer) for part in apart])
                    if not bool((one - other).abs().max() <= _NEAR * one.abs().max().clamp(min=1e-12)):
                        return f"compares the images of a batch with each other in mode {mode}"
    finally:
        kept.restore()
    return None


def _memory(encoder: Encoder) -> Iterator[tuple[str, Tensor]]:
    """Go through the buffers of all but batch norms."""
    for prefix, part in encoder.named_modules():
        if not isinstance(part, _BatchNorm) and not isinstance(part, nn.ModuleDict):
            for name, value in part.named_buffers(recurse=False):
                yield f"{prefix}.{name}".removeprefix("."), value
