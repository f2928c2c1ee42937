"""The encoder: normalisation, backbone, projector and classifier in one module."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.backbone import features_of, keep_to_one_device, require_trainable
from robustcl.nn.layout import bears_channels_last, channels_last, lay_out_contiguous
from robustcl.nn.modes import hold_mode
from robustcl.nn.projector import Projector
from robustcl.nn.routing import Router, convert, reroute
from robustcl.nn.snapshot import Snapshot
from robustcl.protocols import EncoderPlugin
from robustcl.rng import Rng
from robustcl.types import Embedding

LAYERS = ("h", "z", "logits")


def build_encoder(
    plugin: EncoderPlugin,
    *,
    name: str,
    item: tuple[int, ...],
    classes: int,
    projector: Projector,
    mean: Sequence[float],
    std: Sequence[float],
    routes: Sequence[str],
    rng: Rng,
) -> Encoder:
    """Build an encoder whose initial weights depend on ``rng`` alone; torch's global generator is untouched.

    name: the plugin's, kept beside the weights; item: the shape of one input; classes: 0 for no classifier;
    mean, std: per channel, of images in [0, 1]; routes: the batch-norm branches, the main one first.
    """
    # Not torch.manual_seed: it would also seed the generators of the accelerators.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng.seed())
        backbone, features = plugin.backbone(item)
        require_trainable(backbone, name)
        keep_to_one_device(backbone)
        head, projection = projector.make(features)
    config = {
        "encoder": {"use": name, **options_of(plugin)},
        "geometry": dict(getattr(backbone, "geometry", {})),
        "projector": options_of(projector),
    }
    encoder = Encoder(
        backbone,
        features,
        item=item,
        projector=head,
        projection=projection,
        classes=0,
        mean=mean,
        std=std,
        routes=tuple(routes),
        config=config,
    )
    if classes:
        encoder.reset_classifier(classes, init="default", rng=rng.child("classifier"))
    return encoder


class Encoder(nn.Module):
    """Images in [0, 1] -> features h (R, F), projections z (R, D), logits (R, L), by one batch-norm branch.

    item: the shape of one input, (C,H,W) or (C,T,H,W); features F; projection D; classes L, 0 for none.
    routes: the branches, the main one first. mean and std are buffers: attacks live in pixels.
    ``config`` says how the encoder was built, for the file beside its weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        *,
        item: tuple[int, ...],
        projector: nn.Module | None = None,
        projection: int | None = None,
        classes: int = 0,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        routes: tuple[str, ...] = ("main",),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.item = tuple(item)
        self.router = Router(routes)
        self.register_buffer("mean", self._per_channel(mean, "mean"))
        self.register_buffer("std", self._per_channel(std, "standard deviation"))
        if not bool((self.std > 0).all()):
            raise UsageError(f"the normalisation's standard deviation {list(std)} must be positive")
        self.backbone = convert(backbone, self.router)
        self.projector = convert(projector if projector is not None else nn.Sequential(), self.router)
        self.classifier = nn.Linear(features, classes) if classes else None
        self.features = features
        self.projection = projection if projection is not None else features
        self._config = dict(config or {})
        self._layout: bool | None = None
        self._restless: list[str] = []

    def forward(self, x: Tensor, route: str, layers: frozenset[str], taps: frozenset[str] = frozenset()) -> Embedding:
        """Embed x (R, *item), computing only the ``layers`` asked for, of "h", "z" and "logits".

        ``taps`` names submodules of the backbone whose outputs are returned as ``maps``.
        Raises UsageError for an unknown route, layer or tap, another shape of input, or a missing classifier.
        """
        self._check(x, layers, taps)
        self.router.choose(route)
        found: dict[str, Any] = {}
        if not layers and not taps:
            return Embedding()
        x, plain = (x - self.mean) / self.std, not self.channels_last  # tried before anything is tapped
        with self._tapped(taps) as maps:
            h = features_of(self.backbone, x if plain else channels_last(x), self.features, self._name)
        if not torch.is_autocast_enabled(x.device.type):
            h = h.to(self.mean.dtype)  # of a backbone that casts by itself
        if "h" in layers:
            found["h"] = h
        if "z" in layers:
            found["z"] = self.projector(h)
        if "logits" in layers and self.classifier is not None:
            found["logits"] = self.classifier(h)
        if taps:
            found["maps"] = maps
        return Embedding(**found)

    @property
    def channels_last(self) -> bool:
        """Whether the backbone takes images and weights channels last; tried once, on inputs of no meaning.

        One that views a convolution's output cannot: it is laid out contiguous, and stays so.
        """
        if self._layout is None:
            kept = Snapshot(self, parameters=False)
            x = Rng(0, "encoder", "layout").uniform((2, *self.item), device=self.mean.device).to(self.mean.dtype)
            with hold_mode(self, "eval"), torch.inference_mode(False), torch.autocast(x.device.type, enabled=False):
                x = (x - self.mean) / self.std
                self._layout = bears_channels_last(lambda module, x: module(x), self.backbone, x)
            self._restless = kept.restore()
            if not self._layout:
                lay_out_contiguous(self.backbone)
        return self._layout

    def require_steady(self) -> None:
        """Raise ``UsageError`` if the backbone was seen to change or to draw at random in eval mode.

        An attack looks at it in that mode, and would be blamed for what the backbone does by itself.
        """
        if self.channels_last is not None and self._restless:
            raise UsageError(
                f"the encoder {self._name!r} does not hold still in eval mode, {self._restless[0]}: no attack can be "
                "judged on it; let its forward count, remember and draw in train mode alone"
            )

    @property
    def routes(self) -> tuple[str, ...]:
        """The batch-norm branches, the main one first."""
        return self.router.routes

    @property
    def classes(self) -> int:
        """The classifier's outputs, 0 where there is none."""
        return 0 if self.classifier is None else self.classifier.out_features

    @property
    def config(self) -> dict[str, Any]:
        """How this encoder was built, in values that JSON can hold."""
        return {
            **self._config,
            "item": list(self.item),
            "features": self.features,
            "projection": self.projection,
            "classes": self.classes,
            "routes": list(self.routes),
        }

    def reset_classifier(self, classes: int, *, init: Literal["zero", "default"] = "zero", rng: Rng) -> None:
        """Put a fresh linear classifier (F -> classes) in place.

        "zero" as ACL, DynACL and AIR fine-tune: the first batch's attack then has a gradient of exactly 0.
        "default" is torch's own: uniform within 1/sqrt(F).
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(rng.seed())
            classifier = nn.Linear(self.features, classes)
        if init == "zero":
            nn.init.zeros_(classifier.weight)
            nn.init.zeros_(classifier.bias)
        self.classifier = classifier.to(self.mean.device, self.mean.dtype).train(self.training)

    def rerouted(self, origin: Mapping[str, str]) -> Encoder:
        """Return an independent copy with the routes that ``origin`` names, the main one first.

        ``origin`` says from which of this encoder's routes each new one starts: ``{"main": "adv"}`` keeps
        one branch, ``{"clean": "main", "adv": "main"}`` doubles it.
        Raises UsageError for a route that this encoder lacks.
        """
        for route in origin.values():
            self.router.choose(route)
        other = copy.deepcopy(self)
        other.router = Router(tuple(origin))
        other.backbone = reroute(other.backbone, origin, other.router)
        other.projector = reroute(other.projector, origin, other.router)
        return other

    @property
    def _name(self) -> str:
        return str(dict(self._config.get("encoder", {})).get("use", type(self.backbone).__name__))

    def _per_channel(self, values: Sequence[float], what: str) -> Tensor:
        if len(values) not in (1, self.item[0]):
            raise UsageError(f"the normalisation's {what} {list(values)} must have 1 or {self.item[0]} numbers")
        each = torch.tensor(values, dtype=torch.get_default_dtype()).expand(self.item[0])
        return each.reshape(1, -1, *[1] * (len(self.item) - 1)).clone()

    def _check(self, x: Tensor, layers: frozenset[str], taps: frozenset[str]) -> None:
        if x.dim() != len(self.item) + 1 or x.shape[1] != self.item[0]:
            raise UsageError(f"the encoder takes inputs (R, {', '.join(map(str, self.item))}), not {tuple(x.shape)}")
        if unknown := layers - set(LAYERS):
            raise UsageError(f"the layer {min(unknown)!r} is unknown: an encoder has {', '.join(LAYERS)}")
        if "logits" in layers and self.classifier is None:
            raise UsageError("logits are asked of an encoder without a classifier: give it one with reset_classifier")
        for tap in taps:
            names = [name for name, _ in self.backbone.named_modules() if name]
            if tap not in names:
                near = difflib.get_close_matches(tap, names, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"the backbone has no submodule {tap!r} to tap{hint}")

    @contextmanager
    def _tapped(self, taps: frozenset[str]) -> Iterator[dict[str, Tensor]]:
        maps: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                maps[name] = output

            return hook

        handles = [self.backbone.get_submodule(tap).register_forward_hook(keep(tap)) for tap in sorted(taps)]
        try:
            yield maps
        finally:
            for handle in handles:
                handle.remove()


def options_of(plugin: object) -> dict[str, Any]:
    """Return a plugin's options, which its ``__init__`` stored under their own names."""
    names = [
        parameter.name
        for parameter in inspect.signature(type(plugin).__init__).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return {name: getattr(plugin, name) for name in names}
