"""The devices that a training runs on (Lightning Fabric): one, or one for each of its processes.

Several processes share each batch: all draw the whole of it from the same stream, each works on its
rows, and means over the batch are means over the processes' means. So the training is that of one
process but for rounding, on any number of them.
"""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

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


def stop_if_not_shared(section: str, batch_size: int, num_processes: int) -> None:
    """Refuse a number of processes that does not cut the batch into equal shares.

    Raises
    ------
    InputError
        If it is no divisor.
    """
    if batch_size % num_processes:
        raise InputError(
            f"{section}.num_processes: got {num_processes}, expected a divisor of "
            f"{section}.batch_size, {batch_size}"
        )


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


def share(fabric: Fabric, batch: Tensor) -> Tensor:
    """Return the rows of a batch that are this process's: every second one of two."""
    return batch[fabric.global_rank :: fabric.world_size]


class _MeanOfProcesses(torch.autograd.Function):
    """The mean over the processes of a tensor of each; so is its derivative, and that one's."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return mean_of_processes(gradient)


def mean_of_processes(x: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes, differentiable; alone, the tensor."""
    if not dist.is_initialized():
        return x
    mean: Tensor = _MeanOfProcesses.apply(x)
    return mean


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over the processes, in one message."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not dist.is_initialized() or not gradients:
        return
    means = mean_of_processes(torch.cat([g.flatten() for g in gradients]))
    for gradient, mean in zip(gradients, means.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation by the statistics of all processes.

    `nn.SyncBatchNorm` is for GPUs alone and has no second derivative, which R1 needs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # the layer that it was has checked

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C, ...)."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        axes = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        exact = x.float()
        mean = mean_of_processes(exact.mean(axes))
        centred = exact - mean.view(shape)
        variance = mean_of_processes(centred.square().mean(axes))
        num = dist.get_world_size() * x.numel() // x.shape[1]
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * num / (num - 1), self.momentum)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(x.dtype)


def share_batch_norms(network: nn.Module) -> None:
    """Make every batch normalisation of a network one over all processes; alone, do nothing."""
    if not dist.is_initialized():
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            # the same parameters, statistics and names
            module.__class__ = SharedBatchNorm  # type: ignore[assignment]
