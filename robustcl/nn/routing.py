"""Several batch-norm branches in one network, chosen by name; batch statistics over the rows of all ranks.

Each branch has affine parameters and running statistics of its own; all other weights are shared (Xie et al.,
"Adversarial Examples Improve Image Recognition", CVPR 2020). The first route is the main one: it keeps the
keys of the original network, the others live under ``others.<route>``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustcl.errors import UsageError
from robustcl.ranks import total_with_gradient, world


class Router:
    """Says which branch the norms of one network take; all of them share it, also in a deep copy."""

    __slots__ = ("current", "routes")

    def __init__(self, routes: Sequence[str]) -> None:
        for route in routes:
            if not re.fullmatch(r"[A-Za-z][\w-]*", route) or hasattr(nn.ModuleDict, route):
                raise UsageError(f"the route {route!r} cannot be used: write another name of letters, digits, - and _")
        if not routes or len(set(routes)) != len(routes):
            raise UsageError(f"the routes {list(routes)} must be at least one, each named once")
        self.routes = tuple(routes)
        self.current = self.routes[0]

    def choose(self, route: str) -> None:
        """Let the next forward passes take ``route``; raises UsageError where there is no such branch."""
        if route not in self.routes:
            near = difflib.get_close_matches(route, self.routes, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"the route {route!r} is unknown: this encoder has {', '.join(self.routes)}{hint}")
        self.current = route


class Norm(_BatchNorm):
    """torch's batch norm, bit for bit; its batch statistics are those of the rows of all ranks."""

    def __init__(self, like: _BatchNorm) -> None:
        """Copy the parameters, statistics and flags of ``like``."""
        reference = next((t for t in (like.weight, like.running_mean) if t is not None), None)
        super().__init__(
            like.num_features,
            like.eps,
            like.momentum,
            like.affine,
            like.running_mean is not None,  # the switch may have been turned off on a norm that has statistics
            device=None if reference is None else reference.device,
            dtype=None if reference is None else reference.dtype,
        )
        self.load_state_dict({k: v for k, v in like.state_dict().items() if not k.startswith("others.")})
        for name, parameter in self.named_parameters(recurse=False):
            parameter.requires_grad_(getattr(like, name).requires_grad)
        self.training, self.track_running_stats = like.training, like.track_running_stats
        self.axes: tuple[int, ...] = getattr(like, "axes", None) or _axes(like)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (R, C, ...) over all axes but the channels'."""
        uses_batch = self.training or self.running_mean is None
        if not uses_batch or world() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        return self._across_ranks(x)

    def _check_input_dim(self, input: Tensor) -> None:
        if self.axes and input.dim() not in self.axes:
            raise ValueError(f"expected {' or '.join(map(str, self.axes))} axes, got {input.dim()}")

    def _across_ranks(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        over = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        rows = wide.new_full((1,), x.numel() / x.shape[1])
        sums = total_with_gradient(torch.cat([wide.sum(over), rows]))
        count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
        # Two passes: the one-pass variance loses its digits where the mean is large.
        centred = wide - mean.view(shape)
        variance = total_with_gradient(centred.square().sum(over)) / count
        if self.training and self.track_running_stats:
            self._update(mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean.to(self.running_mean.dtype), alpha=share)
        self.running_var.mul_(1 - share).add_(variance.to(self.running_var.dtype), alpha=share)


class RoutedNorm(Norm):
    """One batch norm per route; the main route's parameters are its own, the others' stand in ``others``."""

    def __init__(self, branches: Sequence[_BatchNorm], router: Router) -> None:
        """Copy one norm per route of ``router``, in order."""
        super().__init__(branches[0])
        self.router = router
        self.others = nn.ModuleDict(
            {route: Norm(branch) for route, branch in zip(router.routes[1:], branches[1:], strict=True)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (R, C, ...) in the branch that the router has chosen."""
        route = self.router.current
        if route == self.router.routes[0]:
            return super().forward(x)
        routed: Tensor = self.others[route](x)
        return routed

    def branch(self, route: str) -> Norm:
        """Return the norm of one route."""
        if route == self.router.routes[0]:
            return self
        norm = self.others[route]
        assert isinstance(norm, Norm)
        return norm


def convert(module: nn.Module, router: Router) -> nn.Module:
    """Replace every batch norm by one branch per route, all starting from the original; returns the module.

    The module is changed in place, unless it is itself a batch norm. Raises UsageError where it is routed.
    """
    if any(isinstance(m, RoutedNorm) for m in module.modules()):
        raise UsageError("this network has routes already: convert it once, or use Encoder.rerouted")
    return _replaced(module, _BatchNorm, lambda norm: RoutedNorm([norm] * len(router.routes), router))


def reroute(module: nn.Module, origin: Mapping[str, str], router: Router) -> nn.Module:
    """Give a routed module the routes of ``router``; each starts from the old route named by ``origin``."""

    def rerouted(norm: _BatchNorm) -> RoutedNorm:
        assert isinstance(norm, RoutedNorm)
        return RoutedNorm([norm.branch(origin[route]) for route in router.routes], router)

    return _replaced(module, RoutedNorm, rerouted)


def _replaced(
    module: nn.Module,
    kind: type[_BatchNorm],
    change: Callable[[_BatchNorm], RoutedNorm],
    seen: dict[int, nn.Module] | None = None,
) -> nn.Module:
    """Change every norm of a kind, once each: a norm used in two places stays one norm."""
    seen = {} if seen is None else seen
    if id(module) not in seen:
        seen[id(module)] = change(module) if isinstance(module, kind) else module
        if not isinstance(module, kind):
            for name, child in list(module._modules.items()):  # named_children() leaves out the second name
                if child is not None:
                    setattr(module, name, _replaced(child, kind, change, seen))
    return seen[id(module)]


_AXES: Mapping[type[nn.Module], tuple[int, ...]] = {
    nn.BatchNorm1d: (2, 3),
    nn.BatchNorm2d: (4,),
    nn.BatchNorm3d: (5,),
}


def _axes(norm: _BatchNorm) -> tuple[int, ...]:
    """Return the numbers of axes that the original accepts; () for any."""
    return next((axes for kind, axes in _AXES.items() if isinstance(norm, kind)), ())
