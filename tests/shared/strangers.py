"""Small models of the kinds that people have: each runs in plain torch, and says what may be expected of it here."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

IMAGE = (3, 8, 8)
CLASSES = 3


@dataclass(frozen=True)
class Case:
    """A model, and what every door says of it: nothing where it is to be judged like any other.

    item: the shape of one input. refused: what every attack and command says instead of a number. cut: what is said
    by whoever asks for a gradient. warned: what is said beside the number. draws: its passes differ.
    """

    build: Callable[[], nn.Module]
    item: tuple[int, ...] = IMAGE
    refused: str = ""
    cut: str = ""
    warned: str = ""
    draws: bool = False
    flat: bool = False
    """No gradient but 0 for all or some of its inputs."""


class Net(nn.Module):
    """A small convolutional network; kinds of models are made by what stands around it."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), norm(4), nn.Linear(256, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu().flatten(1)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.features(x))


class Views(Net):
    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu().view(-1, 256)


class InPlace(Net):
    def features(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return F.relu(y, inplace=True).flatten(1)


class WritesIntoInput(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.sub_(0.5))


class Out(Net):
    """Hands its logits out as ``change`` says."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(super().forward(x))


class In(Net):
    """Changes what it is given as ``change`` says."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return super().forward(self.change(x))


class NoGrad(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


class Numpy(Net):
    def forward(self, x: Tensor) -> Any:
        return torch.from_numpy(super().forward(x).numpy())


class ModelOutput(OrderedDict[str, Tensor]):
    """As the transformers library returns it: a dictionary whose entries are attributes as well."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


Pair = namedtuple("Pair", ["logits", "features"])


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.place = nn.Parameter(torch.randn(1, 5, 8) * 0.1)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.place
        logits: Tensor = self.fc(self.block(tokens)[:, 0])
        return logits


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(24, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x.permute(0, 2, 1, 3).reshape(len(x), 8, 24))
        logits: Tensor = self.fc(out[:, -1])
        return logits


class Checkpointed(Net):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(super().features, x, use_reentrant=self.reentrant)
        return found


class Counts(Net):
    """Counts its queries, ``where``: in a number, which changes no verdict, or in a buffer."""

    def __init__(self, buffer: bool, learning: bool = False) -> None:
        super().__init__()
        self.learning = learning
        if buffer:
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        else:
            self.calls = 0

    def forward(self, x: Tensor) -> Any:
        if torch.is_grad_enabled() or not self.learning:
            self.calls += 1
        return super().forward(x)


class OwnGenerator(Net):
    def __init__(self) -> None:
        super().__init__()
        self.seeds = 0

    def forward(self, x: Tensor) -> Any:
        self.seeds += 1
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(self.seeds))
        return super().forward(x + 0.5 * noise)


class FixedBatch(Net):
    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def features(self, x: Tensor) -> Tensor:
        return super().features(x).view(self.rows, 256)


class NeedsTwo(Net):
    def forward(self, x: Tensor) -> Any:
        assert len(x) > 1, "give more than one image"
        return super().forward(x)


class BatchStatistics(Net):
    def features(self, x: Tensor) -> Tensor:
        y = F.batch_norm(self.conv(x).mean((2, 3)), None, None, training=True)
        return torch.cat([y, y.new_zeros(len(y), 252)], 1)


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(3, 8, 5, dtype=torch.complex64))
        self.fc = nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.irfft2(torch.fft.rfft2(x) * self.filter, s=(8, 8))
        logits: Tensor = self.fc(y.flatten(1))
        return logits


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)
        self.register_buffer("mask", torch.rand(192) > 0.3)
        self.register_buffer("order", torch.randperm(192))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc((x.flatten(1) * self.mask)[:, self.order])
        return logits


class Keywords(Net):
    def forward(self, x: Tensor, scale: float = 1.0, *, training: bool = False, **more: Any) -> Any:
        assert not training
        assert not more
        return super().forward(x) * scale


class Purified(Net):
    """Takes a step against a loss of its own before it looks: a forward that differentiates."""

    def forward(self, x: Tensor) -> Any:
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.features(y).square().sum(), y, create_graph=True)
        return super().forward(x - 1e-3 * slope)


class Einops(nn.Module):
    """Patches as a mixer takes them: reshaped and permuted, never contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.fc = nn.Linear(4, 4), nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = x.view(-1, 3, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(len(x), 4, 48)
        y = self.tokens(y.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.fc(y.flatten(1))
        return logits


class Borders(nn.Module):
    """The infinite slope of a root at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc((x * (x > 0.1)).flatten(1).sqrt())
        return logits


class Autocast(Net):
    def forward(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().forward(x)


class KeywordOnly(Net):
    def forward(self, *, pixels: Tensor) -> Any:
        return super().forward(pixels)


class Slow(nn.Module):
    """One class only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :CLASSES]


def made(net: nn.Module) -> nn.Module:
    return net.eval()


def scripted(freeze: bool) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.jit.trace(Net().eval(), torch.rand(4, *IMAGE))
        return torch.jit.freeze(found) if freeze else found


def inference_built() -> nn.Module:
    with torch.inference_mode():
        return Net().eval()


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8)


def old_norm(kind: str) -> nn.Module:
    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "weight":
            nn.utils.weight_norm(net.fc)
        else:
            nn.utils.spectral_norm(net.fc)
    return net


def parametrised(kind: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = Net()
    kind(net.fc)
    kind(net.conv)
    return net.eval()


def pruned() -> nn.Module:
    net = Net().eval()
    prune.l1_unstructured(net.fc, "weight", amount=0.3)
    return net


def hooked() -> nn.Module:
    net = Net().eval()
    net.fc.register_forward_hook(lambda module, inputs, output: output * 2)
    net.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.9,))
    return net


def symbolic() -> nn.Module:
    return torch.fx.symbolic_trace(Net().eval())


def on_meta() -> nn.Module:
    net = Net().eval()
    net.fc = nn.Linear(256, CLASSES, device="meta")
    return net


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(CLASSES)).eval()


def confident(scale: float) -> nn.Module:
    net = Net().eval()
    with torch.no_grad():
        net.fc.weight.mul_(scale)
    return net


def exported() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(Net().eval(), (torch.rand(6, *IMAGE),)).module()


CUT = r"no gradient toward its inputs.*square or rays"

CASES: dict[str, Case] = {
    "plain": Case(Net),
    "views": Case(Views),
    "in-place": Case(InPlace),
    "writes-into-input": Case(WritesIntoInput, refused="writes into its input"),
    "traced": Case(lambda: scripted(False)),
    "frozen-script": Case(lambda: scripted(True)),
    "inference-built": Case(inference_built),
    "no-grad": Case(NoGrad, cut=CUT),
    "half": Case(lambda: Net().half()),
    "bfloat16": Case(lambda: Net().bfloat16()),
    "double": Case(lambda: Net().double()),
    "quantised": Case(quantised, cut=CUT),
    "model-output": Case(lambda: Out(lambda z: ModelOutput(logits=z, features=z[:, :1]))),
    "named-tuple": Case(lambda: Out(lambda z: Pair(z, z))),
    "tuple": Case(lambda: Out(lambda z: (z, 1)), refused=r"returned tuple.*returns out\[0\]"),
    "list": Case(lambda: Out(lambda z: [z, z]), refused=r"returned list.*returns out\[0\]"),
    "dict": Case(lambda: Out(lambda z: {"out": z, "aux": 0}), refused=r"returned dict.*returns out\['out'\]"),
    "none": Case(lambda: Out(lambda z: None), refused=r"returned NoneType"),
    "sigmoid": Case(lambda: Out(lambda z: (1e3 * z).sigmoid()), warned="as a sigmoid's do"),
    "softmax": Case(lambda: Out(lambda z: z.softmax(1)), refused="returns probabilities"),
    "log-softmax": Case(lambda: Out(lambda z: z.log_softmax(1))),
    "one-logit": Case(lambda: Out(lambda z: z[:, :1]), refused="two columns"),
    "flat-logit": Case(lambda: Out(lambda z: z[:, 0]), refused="two columns"),
    "map": Case(lambda: Out(lambda z: z[:, :, None, None]), refused=r"flatten\(1\)"),
    "vit": Case(ViT),
    "lstm": Case(Recurrent),
    "group-norm": Case(lambda: Net(lambda c: nn.GroupNorm(2, c))),
    "instance-norm": Case(lambda: Net(nn.InstanceNorm2d)),
    "weight-norm": Case(lambda: parametrised(parametrizations.weight_norm)),
    "old-weight-norm": Case(lambda: old_norm("weight")),
    "spectral-norm": Case(lambda: parametrised(parametrizations.spectral_norm)),
    "old-spectral-norm": Case(lambda: old_norm("spectral")),
    "orthogonal": Case(lambda: parametrised(parametrizations.orthogonal)),
    "pruned": Case(pruned),
    "checkpointed": Case(lambda: Checkpointed(False)),
    "reentrant": Case(lambda: Checkpointed(True), cut=CUT),
    "compiled": Case(lambda: torch.compile(Net().eval(), backend="aot_eager")),
    "data-parallel": Case(lambda: nn.DataParallel(Net())),
    "counts": Case(lambda: Counts(False)),
    "counts-in-buffer": Case(lambda: Counts(True), refused="forward pass in eval mode changes the model.*buffer calls"),
    "counts-gradients": Case(lambda: Counts(True, True), cut="changes the model.*buffer calls"),
    "random": Case(lambda: In(lambda x: x + 0.1 * torch.randn_like(x)), draws=True),
    "dropout": Case(lambda: In(lambda x: F.dropout(x, 0.2, training=True)), draws=True),
    "own-generator": Case(OwnGenerator, draws=True),
    "root": Case(Borders, warned="NaN or infinite entries"),
    "nan-logits": Case(lambda: Out(lambda z: z * torch.nan), refused="logits that are not finite"),
    "infinite-logits": Case(lambda: Out(lambda z: z / 0.0), refused="logits that are not finite"),
    "detached": Case(lambda: Out(Tensor.detach), cut=CUT),
    "numpy": Case(Numpy, cut=CUT),
    "integers": Case(lambda: Out(lambda z: (100 * z).long()), cut=CUT),
    "rounds": Case(lambda: In(lambda x: (x * 255).round() / 255), warned="no gradient but 0", flat=True),
    "fixed-batch": Case(lambda: FixedBatch(6)),
    "squeezes": Case(lambda: Out(lambda z: z.squeeze())),
    "needs-two": Case(NeedsTwo),
    "batch-statistics": Case(BatchStatistics),
    "offset": Case(lambda: Out(lambda z: z + 1e6)),
    "large": Case(lambda: confident(1e4), warned="no gradient but 0", flat=True),
    "channels-last": Case(lambda: Net().to(memory_format=torch.channels_last)),
    "lazy": Case(lazy, refused="lazy"),
    "complex": Case(Complex),
    "keywords": Case(Keywords),
    "keyword-only": Case(KeywordOnly, refused="the model fails on 6 inputs.*TypeError"),
    "hooked": Case(hooked),
    "symbolic": Case(symbolic),
    "exported": Case(exported),
    "on-meta": Case(on_meta, refused="meta"),
    "masks": Case(Masked),
    "einops": Case(Einops),
    "purified": Case(Purified),
    "autocast": Case(Autocast),
    "frozen": Case(lambda: Net().requires_grad_(False)),
    "transposed": Case(lambda: Out(lambda z: z.T.contiguous().T)),
    "identity": Case(Slow),
    "signals": Case(lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3)), (2, 12)),
    "videos": Case(
        lambda: nn.Sequential(nn.Conv3d(3, 2, 3), nn.BatchNorm3d(2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
        (3, 4, 6, 6),
    ),
    "flat": Case(lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3)), (12,)),
    "shapes-flat": Case(lambda: nn.Sequential(nn.Unflatten(1, IMAGE), Views()), (192,)),
    "scans": Case(lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), (2, 2, 2, 2, 3)),
}


def model(name: str) -> nn.Module:
    torch.manual_seed(1)
    case = CASES[name]
    found = case.build()
    try:
        return found.eval()
    except (NotImplementedError, AttributeError, RuntimeError):
        return found


def __getattr__(name: str) -> Callable[[], nn.Module]:
    """Return the function that builds a model: ``tests.shared.strangers:model_frozen_script`` on the command line."""
    known = {"model_" + label.replace("-", "_"): label for label in CASES}
    if name not in known:
        raise AttributeError(name)
    return lambda: model(known[name])
