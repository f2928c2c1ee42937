"""Models that somebody else has built: found by name, their weights loaded strictly from safetensors."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_tensors
from torch import nn

from robustcl.errors import UsageError, WeightsError, near
from robustcl.nn.files import check_whole
from robustcl.nn.strict import fill

TORCHVISION = "torchvision"

FLAGS = ("--model", "--weights")
"""The flags by which a command takes a model and its weights, where it takes one only."""


def build(spec: str, weights: Path | None, classes: int, flags: tuple[str, str] = FLAGS) -> nn.Module:
    """Return the model of ``module:function`` or ``torchvision:NAME``, in eval mode, with its weights.

    A function of one's own is called without arguments and imported from the working directory as well. A torchvision
    classifier gets as many outputs as the weights have, or else ``classes``. Errors name the ``flags`` of the model and
    of its weights.

    Raises:
        UsageError: no such module, function or torchvision model, or no ``nn.Module`` comes back.
        WeightsError: the weights are no whole safetensors file, or of another model.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise UsageError(f'{flags[0]} {spec}: write module:function, e.g. "my_module:build", or torchvision:resnet18')
    tensors = _tensors(weights, flags[1]) if weights is not None else None
    if module == TORCHVISION:
        model = _torchvision(name, tensors, classes, flags)
    else:
        model = _own(module, name, f"{flags[0]} {spec}")
    if tensors is not None and weights is not None:
        fill(model, tensors, weights, "model")
    return model.eval()


def _own(module: str, name: str, given: str) -> nn.Module:
    """Return what the function makes; ``given`` is how the command line names it."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise UsageError(f"{given}: there is no module {error.name!r} here or installed") from None
    except AttributeError:
        known = dir(sys.modules[module])
        raise UsageError(f"{given}: {module} has no {name!r}{near(name, known)}") from None
    except Exception as error:
        raise UsageError(f"{given}: importing it failed with {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"{given} is a {type(found).__name__}: name a function that returns the model")
    try:
        model = found()
    except Exception as error:
        raise UsageError(f"{given}: calling it failed with {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{given} returned a {type(model).__name__}: return a torch.nn.Module")
    return model


def _torchvision(name: str, tensors: dict[str, torch.Tensor] | None, classes: int, flags: tuple[str, str]) -> nn.Module:
    from torchvision import models

    known = models.list_models()
    if name not in known:
        raise UsageError(f"{flags[0]} torchvision:{name}: torchvision has no model {name!r}{near(name, known)}")
    if tensors is None:
        raise UsageError(f"{flags[0]} torchvision:{name}: give its weights with {flags[1]} FILE.safetensors")
    model: nn.Module = models.get_model(name, weights=None)
    heads = [f"{place}.weight" for place, part in model.named_modules() if isinstance(part, nn.Linear)]
    outputs = len(tensors[heads[-1]]) if heads and heads[-1] in tensors else classes
    sized: nn.Module = models.get_model(name, weights=None, num_classes=outputs)
    return sized


def _tensors(path: Path, flag: str) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise WeightsError(f"{flag} {path} does not exist")
    data = path.read_bytes()
    check_whole(data, path)
    return parse_tensors(data)
