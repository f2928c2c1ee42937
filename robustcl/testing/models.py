"""What every encoder and optimizer must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from robustcl import hooks
from robustcl.errors import UsageError
from robustcl.hooks import PluginHooks
from robustcl.testing.builders import make_images
from robustcl.testing.subject import Check, PluginSubject, Skip

ITEMS: dict[int, tuple[tuple[int, ...], ...]] = {3: ((3, 32, 32), (1, 8, 8)), 4: ((3, 4, 16, 16),)}
"""What an encoder is tried on: images, or clips where its ``item_dim`` is 4."""


def builds_a_backbone(subject: PluginSubject) -> None:
    """``backbone(item)`` gives (module, F) and the module maps (R, *item) to (R, F), in train and eval mode.

    An item that the architecture cannot take is refused with ``UsageError``; at least one must be taken.
    """
    plugin, taken = subject.make(), 0
    for item in ITEMS[hooks.of(subject.cls, PluginHooks).item_dim]:
        try:
            module, features = _backbone(plugin, item)
        except UsageError:
            continue
        taken += 1
        for training in (True, False):
            out = module.train(training)(make_images(3, item))
            assert out.shape == (3, features), f"items {item} gave {tuple(out.shape)} instead of {(3, features)}"
            assert bool(out.isfinite().all()), f"items {item} gave features that are not finite"
    assert taken, "takes no item at all"


def rows_are_independent_in_eval(subject: PluginSubject) -> None:
    """In eval mode a row's features do not depend on the rest of the batch."""
    module, item = _first(subject)
    x = make_images(3, item)
    module.eval()
    with torch.no_grad():
        whole, part = module(x), module(x[1:2])
    assert torch.allclose(whole[1:2], part, rtol=1e-3, atol=1e-4), "a row's features depend on the other rows"


def passes_gradients(subject: PluginSubject) -> None:
    """The input and the parameters receive a finite gradient."""
    module, item = _first(subject)
    x = make_images(2, item).requires_grad_()
    inputs = [x, *(p for p in module.parameters() if p.requires_grad)]
    found = torch.autograd.grad(module.train()(x).square().sum(), inputs, allow_unused=True)
    assert found[0] is not None, "the input received no gradient"
    assert any(gradient is not None for gradient in found[1:]), "no parameter received a gradient"
    assert all(g is None or bool(g.isfinite().all()) for g in found), "a gradient is not finite"


def makes_an_optimizer(subject: PluginSubject) -> None:
    """``make`` gives a ``torch.optim.Optimizer`` over all parameters, at the rate of its option ``lr``."""
    plugin, parameters = subject.make(), _parameters()
    optimizer = plugin.make(parameters)
    assert isinstance(optimizer, torch.optim.Optimizer), f"made a {type(optimizer).__name__}"
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in parameters}, "does not hold exactly the parameters given"
    rates = {group["lr"] for group in optimizer.param_groups}
    assert plugin.lr in rates, f"lr is {plugin.lr} but the groups have {sorted(rates)}"


def lowers_a_quadratic(subject: PluginSubject) -> None:
    """One step on a bowl of small curvature lowers it."""
    parameters = _parameters()
    optimizer = subject.make().make(parameters)
    before = _bowl(parameters).item()
    _step(optimizer, parameters)
    after = _bowl(parameters).item()
    assert after < before, f"one step took a quadratic from {before:g} to {after:g}"


def resumes_from_its_state(subject: PluginSubject) -> None:
    """Two steps, a ``state_dict`` round trip, and one step equal three steps."""
    plugin, parameters = subject.make(), _parameters()
    optimizer = plugin.make(parameters)
    for _ in range(2):
        _step(optimizer, parameters)
    others = [nn.Parameter(p.detach().clone()) for p in parameters]
    resumed = plugin.make(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _step(optimizer, parameters)
    _step(resumed, others)
    assert all(torch.equal(a, b) for a, b in zip(parameters, others, strict=True)), "a resumed step differs"


ENCODER: tuple[Check, ...] = (builds_a_backbone, rows_are_independent_in_eval, passes_gradients)
OPTIMIZER: tuple[Check, ...] = (makes_an_optimizer, lowers_a_quadratic, resumes_from_its_state)


def _backbone(plugin: Any, item: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Build under a fixed seed: encoders are initialised from torch's global generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, features = plugin.backbone(item)
    assert isinstance(module, nn.Module), f"the backbone is a {type(module).__name__}"
    assert isinstance(features, int), f"the number of features is a {type(features).__name__}"
    return module, features


def _first(subject: PluginSubject) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the backbone for the smallest item it takes."""
    plugin = subject.make()
    for item in reversed(ITEMS[hooks.of(subject.cls, PluginHooks).item_dim]):
        try:
            return _backbone(plugin, item)[0], item
        except UsageError:
            continue
    raise Skip("takes none of the items tried")


def _parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.full((3, 2), 1.0)), nn.Parameter(torch.tensor([1.0, -0.5]))]


def _bowl(parameters: list[nn.Parameter]) -> Tensor:
    return torch.stack([0.05 * p.square().sum() for p in parameters]).sum()


def _step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    optimizer.zero_grad()
    loss = _bowl(parameters)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
