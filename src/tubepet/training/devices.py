"""Start a training on a device, or in several processes with a device each (Lightning Fabric).

How the processes exchange data stands in `tubepet.training.processes`. The modules are separate
because importing Fabric takes seconds, and programs that only use trained networks do not need it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from tubepet.errors import InputError
from tubepet.logs import log

State = dict[str, Any]


class Together(DDPStrategy):
    """Processes that average gradients by `average_gradients`, without DistributedDataParallel.

    A GAN's step calls a network several times, freezes it, and differentiates its gradients.
    DistributedDataParallel allows none of it. The code of Karras et al. 2020 (arXiv:2006.06676)
    does the same.
    """

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Return the module, not wrapped."""
        return module


def make_fabric(precision: str = "full", num_processes: int = 1) -> Fabric:
    """Return Fabric on GPUs if there are any, else on the CPU, which always has float32.

    `LightningEnvironment` keeps all processes on this machine. Without it, Fabric would take a
    machine with Slurm for a training on many nodes.
    """
    strategy: Any = "auto" if num_processes == 1 else Together(start_method="fork")
    settings = {"devices": num_processes, "strategy": strategy, "plugins": [LightningEnvironment()]}
    fabric = Fabric(accelerator="auto", **settings)
    if precision == "full":
        return fabric
    if fabric.device.type != "cuda":
        log.warning(
            "generate.precision: %s needs a GPU, there is none: float32 on the CPU", precision
        )
        return fabric
    return Fabric(accelerator="auto", **settings, precision="bf16-mixed")


def launch(fabric: Fabric, training: Callable[..., State], *args: Any) -> State:
    """Call ``training(fabric, *args)`` in every process; return the result of the first one.

    Parameters
    ----------
    fabric : Fabric
        From `make_fabric`.
    training : function
        Returns a dict of tensors, numbers, strings, and dicts, lists and tuples of them.

    Raises
    ------
    InputError
        If `training` raises it, which must then happen in all processes.
    """
    if fabric.world_size == 1:
        return training(fabric, *args)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"  # Fabric's pipe holds 64 KiB and is not read meanwhile
        fabric.launch(_keep, path, training, *args)
        state: State = torch.load(path, weights_only=True)
    if "refused" in state:
        raise InputError(state["refused"])
    return state


def _keep(fabric: Fabric, path: Path, training: Callable[..., State], *args: Any) -> None:
    log.disabled = not fabric.is_global_zero
    torch.set_num_threads(1)  # Fabric has given each process its part of the cores
    try:
        state = training(fabric, *args)
    except InputError as error:
        state = {"refused": str(error)}
    if fabric.is_global_zero:
        torch.save(state, path)
