"""The devices that a training runs on (Lightning Fabric): one, or one for each of its processes.

What a step says to the others: `tubepet.training.processes`. This is a module of its own, for
importing Fabric takes seconds, and who has a trained network trains none.
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
    """Processes whose gradients `average_gradients` averages, not a wrapper around each network.

    A GAN's step calls a network several times, freezes it, and differentiates its gradients, none
    of which DistributedDataParallel takes (as in the code of Karras et al. 2020, arXiv:2006.06676).
    """

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Return the module as it is."""
        return module


def make_fabric(precision: str = "full", num_processes: int = 1) -> Fabric:
    """Return the runtime: GPUs if there are any, and only there another precision than float32.

    The processes are those of this machine, whoever started the training: without the environment
    given here, Fabric would take a job of SLURM, or a machine that merely has it, for a training on
    many nodes.
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
    """Call ``training(fabric, *args)`` in every process; return what the first one returns.

    Parameters
    ----------
    fabric : Fabric
        From `make_fabric`.
    training : function
        Returns a dict of what PyTorch saves without code: tensors, numbers, strings, and dicts,
        lists and tuples of them.

    Raises
    ------
    InputError
        If the training does, in all processes alike.
    """
    if fabric.world_size == 1:
        return training(fabric, *args)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"  # a pipe holds 64 KiB, and nobody reads it meanwhile
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
