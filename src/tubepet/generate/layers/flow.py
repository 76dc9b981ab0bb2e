"""Flow matching in three dimensions: a network moves volumes along straight lines.

A start x_0 and the image x_1 of the same drawing define x_t = (1 - t) x_0 + t x_1, which moves with
the velocity x_1 - x_0. The network learns this velocity from x_t, t and the drawing, by least
squares. Its mean over all pairs that pass x_t is a flow that takes starts to images of the drawing.

References
----------
Lipman et al. 2023, arXiv:2210.02747, eq. 21 to 23 with sigma_min = 0. Liu et al. 2023,
arXiv:2209.03003, eq. 1.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # volumes, drawings, times

CROP = (16, 32, 32)  # voxels along z, y, x
STRIDE = 4  # voxels; the lower level of the network has cells of this side
LEAST_LEFT = 0.15  # of the time; bounds the velocity near the end, where few steps never look
TINY = 1e-6  # keeps the norm of empty voxels finite
MAX_FREQUENCY = 64.0  # of the time embedding, radians


class VoxelNorm(nn.Module):
    """Divide the channels of each voxel by their root mean square (arXiv:1910.07467).

    Means over space would differ between crops, which the network learns from, and whole volumes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, nz, ny, nx) -> the same."""
        unit = x * (x.square().mean(1, keepdim=True) + TINY).rsqrt()
        return unit * self.weight[:, None, None, None]


class Block(nn.Module):
    """Two convolutions beside the identity. The time sets scale and shift between them."""

    def __init__(self, channels_in: int, channels_out: int, embedding_size: int) -> None:
        super().__init__()
        self.norm_in = VoxelNorm(channels_in)
        self.first = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.affine = nn.Linear(embedding_size, 2 * channels_out)
        self.norm = VoxelNorm(channels_out)
        self.second = nn.Conv3d(channels_out, channels_out, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # the block starts as the identity
        is_same = channels_in == channels_out
        self.skip = nn.Identity() if is_same else nn.Conv3d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, nz, ny, nx), (B, E) -> (B, C', nz, ny, nx)."""
        scale, shift = self.affine(embedding)[:, :, None, None, None].chunk(2, dim=1)
        h = self.first(functional.silu(self.norm_in(x)))
        h = self.second(functional.silu(self.norm(h) * (1 + scale) + shift))
        return self.skip(x) + h


class VelocityNet(nn.Module):
    """A U-Net of two levels: volumes, their drawings and times -> velocities.

    Cells of 2 x 2 x 2 voxels enter the upper level: the resolution of the images is coarser. So the
    network cannot carry the noise of single voxels. It guesses the end x_1, which is smooth, and
    the velocity that leads there is (x_1 - x_t) / (1 - t) (Li and He 2025, arXiv:2511.13720).

    Parameters
    ----------
    channels : int
        Channels of the upper level, a multiple of 8; the lower one has twice as many.
    """

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = 4 * channels
        frequencies = torch.linspace(0, math.log(MAX_FREQUENCY), channels // 2).exp()
        self.register_buffer("frequencies", frequencies)
        self.embed = nn.Sequential(nn.Linear(channels, size), nn.SiLU(), nn.Linear(size, size))
        self.enter = nn.Conv3d(2, channels, 4, stride=2, padding=1)
        self.down = Block(channels, channels, size)
        self.lower = nn.ModuleList(
            Block(width, 2 * channels, size) for width in (channels, 2 * channels)
        )
        self.up = Block(3 * channels, channels, size)
        self.norm = VoxelNorm(channels)
        self.leave = nn.ConvTranspose3d(channels, 1, 4, stride=2, padding=1)
        nn.init.zeros_(self.leave.weight)  # before the training every end is 0, the mean
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, volumes: Tensor, drawings: Tensor, time: Tensor) -> Tensor:
        """(B, 1, nz, ny, nx), the same, (B,) from 0 to 1 -> (B, 1, nz, ny, nx)."""
        shape = volumes.shape[2:]
        angle = time[:, None] * self.frequencies
        embedding = functional.silu(self.embed(torch.cat([angle.cos(), angle.sin()], dim=1)))
        fine = self.down(self.enter(_padded(torch.cat([volumes, drawings], dim=1))), embedding)
        x = functional.avg_pool3d(fine, 2)
        for block in self.lower:
            x = block(x, embedding)
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.up(torch.cat([x, fine], dim=1), embedding)
        end: Tensor = self.leave(functional.silu(self.norm(x)))
        end = end[..., : shape[0], : shape[1], : shape[2]]
        left = (1 - time).clamp(min=LEAST_LEFT)[:, None, None, None, None]
        return (end - volumes) / left


def _padded(volumes: Tensor) -> Tensor:
    """Repeat the last voxels until every side is a multiple of `STRIDE`."""
    missing = [-side % STRIDE for side in reversed(volumes.shape[2:])]
    ends = [number for more in missing for number in (0, more)]
    return functional.pad(volumes, ends, mode="replicate") if any(missing) else volumes


def cut_crops(
    volumes: Sequence[NDArray[np.float32]], num: int, rng: torch.Generator
) -> list[Tensor]:
    """Cut the same random crops from arrays of volumes.

    Parameters
    ----------
    volumes : sequence of float32 array, shape (n, nz, ny, nx)
        For instance images and their drawings.
    num : int
        Number of crops, of `CROP` voxels or the whole side.

    Returns
    -------
    list of tensor, shape (num, z, y, x)
        One for each array.
    """
    shape = volumes[0].shape
    sides = np.minimum(CROP, shape[1:])
    most = (shape[0], *(shape[1:] - sides + 1))
    drawn = np.stack([torch.randint(int(n), (num,), generator=rng) for n in most], axis=1)
    cuts = [
        (i, *(slice(first, first + side) for first, side in zip(corner, sides, strict=True)))
        for i, *corner in drawn
    ]
    return [torch.from_numpy(np.stack([array[cut] for cut in cuts])) for array in volumes]


def matching_error(
    velocity: Velocity, start: Tensor, end: Tensor, drawings: Tensor, time: Tensor
) -> Tensor:
    """Return the mean square error of the velocity at random places of the lines.

    Parameters
    ----------
    velocity : callable
        Volumes, drawings, times -> velocities, as `VelocityNet`.
    start, end, drawings : tensor, shape (B, 1, nz, ny, nx)
        x_0, x_1, and the fluid fractions of their part.
    time : tensor, shape (B,)
        0 to 1.
    """
    share = time[:, None, None, None, None]
    here = (1 - share) * start + share * end
    return (velocity(here, drawings, time) - (end - start)).square().mean()


@torch.no_grad()
def flowed(velocity: Velocity, start: Tensor, drawings: Tensor, num_steps: int) -> Tensor:
    """Move starts with the flow from time 0 to 1, in equal steps of Heun's method.

    The last step is Euler's: at time 1 no velocity is learnt.

    Parameters
    ----------
    velocity, start, drawings
        See `matching_error`.
    num_steps : int
        Each but the last costs two evaluations of the velocity.

    Returns
    -------
    tensor, shape (B, 1, nz, ny, nx)
    """
    x, step = start, 1 / num_steps
    for i in range(num_steps):
        now, then = (torch.full((len(x),), (i + k) * step, device=x.device) for k in (0, 1))
        slope = velocity(x, drawings, now)
        if i < num_steps - 1:
            slope = (slope + velocity(x + step * slope, drawings, then)) / 2
        x = x + step * slope
    return x
