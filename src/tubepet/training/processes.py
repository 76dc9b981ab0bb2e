"""Share the batches of one training among processes (`training.devices` starts them).

Every process draws the whole batch from the same random numbers and works on its own rows. Means
over the batch are means of the processes' means. So the number of processes changes the result by
rounding only.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from tubepet.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def stop_if_not_shared(section: str, batch_size: int, num_processes: int) -> None:
    """Raise `InputError` if the number of processes is no divisor of the size of the batch."""
    if batch_size % num_processes:
        raise InputError(
            f"{section}.num_processes: got {num_processes}, expected a divisor of "
            f"{section}.batch_size, {batch_size}"
        )


def share(fabric: "Fabric", batch: Tensor) -> Tensor:
    """Return this process's rows of a batch: of n processes, every n-th row."""
    return batch[fabric.global_rank :: fabric.world_size]


class _MeanOfProcesses(torch.autograd.Function):
    """The mean of a tensor over the processes. Derivatives of any order are such means too."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return mean_of_processes(gradient)


def mean_of_processes(x: Tensor) -> Tensor:
    """Return the differentiable mean of a tensor over the processes; of one, the tensor itself."""
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

    `nn.SyncBatchNorm` works on GPUs only and has no second derivative, which the R1 penalty needs.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # BatchNorm1d and BatchNorm2d differ in this check alone

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
    """Make every batch normalisation of a network use all processes; with one, change nothing."""
    if not dist.is_initialized():
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            # keeps parameters, statistics and names
            module.__class__ = SharedBatchNorm  # type: ignore[assignment]
