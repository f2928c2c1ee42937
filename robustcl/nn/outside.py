"""Models that somebody else has built: found by name, their weights loaded strictly from safetensors."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import nn

from robustcl.disk import Limits, read_bytes
from robustcl.errors import UsageError, WeightsError, near
from robustcl.nn.files import check_whole
from robustcl.nn.modes import put_in_eval
from robustcl.nn.normalised import Normalised, find_statistics
from robustcl.nn.strict import fill
from robustcl.processes import signals

TORCHVISION = "torchvision"

FLAGS = ("--model", "--weights")
"""The flags by which a command takes a model and its weights, where it takes one only."""


Say = Callable[[str], None]


def build(
    spec: str,
    weights: Path | None,
    classes: int,
    flags: tuple[str, str] = FLAGS,
    say: Say = lambda sentence: None,
) -> nn.Module:
    """Return the model of ``module:function`` or ``torchvision:NAME``, in eval mode, with its weights.

    A function of one's own is called without arguments and imported from the working directory as well. A torchvision
    classifier gets as many outputs as the weights have, or else ``classes``; its images are normalised as its published
    weights ask, which ``say`` is told, or as ``torchvision:NAME:own`` and ``:plain`` (not at all) have it. Errors name
    the ``flags`` of the model and of its weights.

    Raises:
        UsageError: no such module, function or torchvision model, or no ``nn.Module`` comes back.
        WeightsError: the weights are no whole safetensors file, or of another model.
    """
    module, _, name = spec.partition(":")
    if not name or (module != TORCHVISION and not all(part.isidentifier() for part in module.split("."))):
        raise UsageError(
            f'{flags[0]} {spec}: write module:function, e.g. "my_module:build" for my_module.py in this folder, or '
            "torchvision:resnet18"
        )
    tensors = _tensors(weights, flags[1]) if weights is not None else None
    if module == TORCHVISION:
        assert weights is None or tensors is not None
        return _torchvision(name, tensors, weights, classes, flags, say).eval()
    model = _own(module, name, f"{flags[0]} {spec}")
    if tensors is not None and weights is not None:
        fill(model, tensors, weights, "model")
    return put_in_eval(model)


def _own(module: str, name: str, given: str) -> nn.Module:
    """Return what the function makes; ``given`` is how the command line names it."""
    with _from_here(module):
        found = _ran(lambda: importlib.import_module(module), f"{given}: importing it")
        for part in name.split("."):
            if not hasattr(found, part):
                raise UsageError(f"{given}: {module} has no {name!r}{near(name, dir(sys.modules[module]))}")
            found = getattr(found, part)
        if not callable(found):
            raise UsageError(f"{given} is a {type(found).__name__}: name a function that returns the model")
        model = _ran(found, f"{given}: calling it")
    if not isinstance(model, nn.Module):
        raise UsageError(f"{given} returned a {type(model).__name__}: return a torch.nn.Module")
    return model


def _ran(code: Callable[[], Any], what: str) -> Any:
    """Run a stranger's code, whose output must not mix with ours, and which must neither end nor double our process."""
    home = os.getpid()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = code()
    except ModuleNotFoundError as error:
        raise UsageError(f"{what.rpartition(':')[0]}: there is no module {error.name!r} here or installed") from None
    except BaseException as error:
        if _is_ours(error):
            raise
        raise UsageError(f"{what} failed with {type(error).__name__}: {error}") from error
    finally:
        if os.getpid() != home:  # it has forked, and this is the other one
            os._exit(2)
    return found


def _is_ours(error: BaseException) -> bool:
    """Say whether a person has pressed Ctrl-C, or a signal has come; code may raise the same by itself."""
    plain = type(error) is KeyboardInterrupt
    return isinstance(error, signals.Stopped) or (
        plain and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )


@contextlib.contextmanager
def _from_here(module: str) -> Iterator[None]:
    """Let the module be found in the working folder first, and what it imports from there after all that is installed.

    A file matplotlib.py of that folder never stands in for the library. The folder stays last on the path, because a
    model may import what lies beside it as late as in its forward.
    """
    here = str(Path.cwd())
    first = _First(module.partition(".")[0], here)
    sys.meta_path.insert(0, first)
    if here not in sys.path:
        sys.path.append(here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the module itself may have put the path in order
            sys.meta_path.remove(first)


class _First(MetaPathFinder):
    """Finds one top-level module in one folder."""

    def __init__(self, name: str, folder: str) -> None:
        self._name, self._folder = name, folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the one module is."""
        return PathFinder.find_spec(fullname, [self._folder]) if fullname == self._name else None


def _torchvision(
    spec: str,
    tensors: dict[str, torch.Tensor] | None,
    weights: Path | None,
    classes: int,
    flags: tuple[str, str],
    say: Say,
) -> nn.Module:
    """Return a model of torchvision, filled with weights, behind the normalisation that they were trained with."""
    from torchvision import models

    name, _, how = spec.partition(":")
    known = models.list_models()
    if name not in known:
        raise UsageError(f"{flags[0]} torchvision:{name}: torchvision has no model {name!r}{near(name, known)}")
    if how not in ("", *_HOW):
        raise UsageError(f"{flags[0]} torchvision:{spec}: write torchvision:{name}, with :own or :plain behind it")
    if tensors is None or weights is None:
        raise UsageError(f"{flags[0]} torchvision:{name}: give its weights with {flags[1]} FILE.safetensors")
    model = _sketched(name)
    heads = [f"{place}.weight" for place, part in model.named_modules() if isinstance(part, nn.Linear)]
    outputs = len(tensors[heads[-1]]) if heads and heads[-1] in tensors else classes
    sized = _sketched(name, num_classes=outputs)
    fill(sized, tensors, weights, "model")
    return _normalised(sized, name, how, outputs, flags[0], say)


def _sketched(name: str, **options: Any) -> nn.Module:
    """Return a model of torchvision without weights, and without its word on how they will begin one day."""
    from torchvision import models

    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        model: nn.Module = models.get_model(name, weights=None, **options)
    return model


_HOW = ("own", "plain")
"""How images are normalised: as the model's published weights ask, or not at all."""


def _normalised(model: nn.Module, name: str, how: str, outputs: int, flag: str, say: Say) -> nn.Module:
    """Put the published weights' normalisation before the model; ask where the weights are visibly others."""
    own = find_statistics(name)
    if how == "plain" or own is None:
        say(f"torchvision:{name}: images go in as they are, in [0, 1], without a normalisation")
        return model
    mean, std, classes = own
    if not how and outputs != classes:
        raise UsageError(
            f"{flag} torchvision:{name}: these weights tell {outputs} classes apart and the published ones {classes}, "
            f"so say how they were trained: torchvision:{name}:own normalises images by mean {mean} and std {std}, "
            f"torchvision:{name}:plain leaves them in [0, 1]"
        )
    say(f"torchvision:{name}: images are normalised by mean {mean} and std {std}, as its published weights ask")
    if isinstance(getattr(model, "transform_input", None), bool):
        # Published weights of Inception and GoogLeNet have a second step inside, which is off in a model without any.
        model.transform_input = True  # type: ignore[assignment]
    return Normalised(model, mean, std)


def _tensors(path: Path, flag: str) -> dict[str, torch.Tensor]:
    missing = f"{flag} {path} does not exist"
    data = read_bytes(path, error=WeightsError, missing=missing, limits=Limits(file=1 << 40))
    check_whole(data, path)
    try:
        return parse_tensors(data)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}; copy or download it again") from None
