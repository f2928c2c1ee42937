"""Devices, precision and processes: the one place that knows Lightning Fabric."""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import DoublePrecision, MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.nn.encoder import Encoder
from robustcl.train import companions, world

_PATIENCE = datetime.timedelta(days=7)
"""How long the other ranks wait while the first one judges."""


_FEW = 8
"""Processes that any machine bears."""


class Engine:
    """Places a step on its device, wraps it for several processes, and runs it in the chosen precision.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        devices: the number of processes on each machine; ``"auto"``, one for each CUDA device; ``None``, those that
            torchrun, srun or Kubeflow has started, else one. With 1 this process works by itself.
        precision: Fabric's names: ``"32-true"``, ``"bf16-mixed"``, ``"64-true"``.
        num_nodes: the number of machines; ``None``, as many as processes were started on.
    """

    def __init__(
        self,
        device: str = "auto",
        devices: world.Devices = 1,
        precision: str = "32-true",
        num_nodes: int | None = None,
    ) -> None:
        accelerator, _, number = device.partition(":")
        if accelerator == "auto":
            accelerator = "cuda" if torch.cuda.is_available() else "cpu"
        if accelerator == "cuda" and not torch.cuda.is_available():
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device cpu")
        if accelerator == "mps" and not torch.backends.mps.is_available():
            raise UsageError("--device mps: torch sees no Apple GPU here; use --device cpu")
        self.world = world.find(
            devices, num_nodes, torch.cuda.device_count() if accelerator == "cuda" and not number else 1
        )
        if number and self.world.devices > 1:
            raise UsageError(f"--device {device} is one device, and {self.world.devices} processes want one each")
        _check_number(accelerator, self.world.devices)
        self.precision = precision
        self.fabric = Fabric(
            accelerator=accelerator,
            devices=[int(number)] if number else self.world.devices,
            num_nodes=self.world.nodes,
            # Statistics are synchronised exactly by our own batch norm; DDP's broadcast would hide a fault in it.
            strategy=DDPStrategy(broadcast_buffers=False, timeout=_PATIENCE) if self.world.size > 1 else "auto",
            plugins=[self.world.environment, _precision(precision, accelerator)],
        )
        self._launched = False

    @property
    def starts_processes(self) -> bool:
        """Whether the other processes are ours to start, and not those of torchrun, srun or Kubeflow."""
        return self.world.ours

    @property
    def starter(self) -> bool:
        """Whether this process is the one of ours that starts the others, all on its machine."""
        return self.starts_processes and os.environ.get("LOCAL_RANK", "0") == "0"

    def launch(self) -> None:
        """Start the other processes, once, which run the same command line; or meet those that others have started."""
        if self.world.size == 1 or self._launched:
            return
        self._launched = True
        companions.look_after(starts=self.starter)
        if self.starts_processes and not self.starter:
            companions.follow_parent()
        os.environ["WORLD_SIZE"] = str(self.world.size)  # srun says it otherwise
        self.fabric.launch()
        if not self.starts_processes:
            companions.listen()

    def release(self) -> None:
        """End the common work: what becomes of the other processes from now on ends this one no more."""
        companions.release()

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return self.fabric.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and inputs."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    def place(self, module: nn.Module, *, ours: bool = True) -> None:
        """Move a module to the device and type of this run; convolutions of ours channels-last where they bear it.

        A stranger's stays in its own type, in which its verdicts are given, unless the run is one of float64, and as it
        lies: what views a convolution's output runs in no other layout, and only a probe (``robustcl.evaluate.probe``)
        can tell.

        Raises:
            UsageError: a stranger's module that cannot be moved, such as one on the meta device.
        """
        if not ours:
            self._place_strangers(module)
            return
        module.to(self.device)
        # Not by module.to, which makes complex weights real.
        module._apply(lambda tensor: tensor.to(self.dtype) if tensor.is_floating_point() else tensor)  # type: ignore[no-untyped-call]
        encoders = [part for part in module.modules() if isinstance(part, Encoder)]
        plain = {part for encoder in encoders if not encoder.channels_last for part in encoder.modules()}
        for part in module.modules():
            if isinstance(part, nn.Conv2d) and part not in plain:
                part.to(memory_format=torch.channels_last)

    def _place_strangers(self, module: nn.Module) -> None:
        try:
            module.to(self.device)
            if self.dtype == torch.float64:
                module.to(self.dtype)
        except (NotImplementedError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise UsageError(f"the model cannot be moved to {self.device}, {said[:200]}: build it there") from error

    def wrap(self, step: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Return the step and the optimiser as the chosen strategy runs them."""
        wrapped, stepper = self.fabric.setup(step, optimizer)
        return wrapped, stepper

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients."""
        self.fabric.backward(loss)

    def autocast(self) -> Any:
        """Return the context in which encoders run outside a wrapped step (evaluation, clustering)."""
        return self.fabric.autocast()


def _precision(name: str, accelerator: str) -> Precision:
    """Return what Fabric makes of the name by itself, but without a line on the terminal for every engine."""
    if name == "bf16-mixed":
        return MixedPrecision("bf16-mixed", accelerator)
    if name == "64-true":
        return DoublePrecision()
    if name == "32-true":
        return Precision()
    raise UsageError(f"precision {name!r}: it is 32-true, bf16-mixed or 64-true")


def _check_number(accelerator: str, devices: int) -> None:
    """Refuse more processes than this machine can serve."""
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise UsageError(f"--devices {devices}: torch sees {torch.cuda.device_count()} CUDA devices here")
    cores = os.cpu_count() or 1
    if accelerator == "cpu" and devices > max(4 * cores, _FEW):
        raise UsageError(
            f"--devices {devices}: these are processes, and this machine has {cores} processor cores; ask for "
            f"{cores} at most, or for 1, which uses all of them"
        )
