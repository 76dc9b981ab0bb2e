"""Denoise the volume of a tube from this volume alone, with a deep decoder.

The decoder makes a volume of a few random numbers by mixing channels and doubling the size. It has
far fewer weights than the volume has voxels, so it fits the tube before it fits noise. How many
channels it has decides how much.

References
----------
Heckel and Hand 2019, arXiv:1810.03982. Ulyanov, Vedaldi and Lempitsky 2018, arXiv:1711.10925;
Hashimoto et al. 2019, doi:10.1109/ACCESS.2019.2929230 (the same idea in PET).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from tubepet.enhance.pairs import Pairs
from tubepet.logs import Bar
from tubepet.rng import derived_seed

Volume = NDArray[np.float32]

CHANNELS = (4, 8, 16, 32, 64)  # to choose from
COARSEST = 2  # pixels along each side of the first level; larger ones leave more noise
NUM_STEPS = 400
LEARNING_RATE = 0.01


class Decoder(nn.Module):
    """Fixed random numbers -> a volume of a given shape.

    Parameters
    ----------
    channels : int
        At every level.
    shape : sequence of int
        nz, ny, nx of the volume.
    """

    start: Tensor

    def __init__(self, channels: int, shape: Sequence[int]) -> None:
        super().__init__()
        num_levels = max(int(math.log2(min(shape[1:]) / COARSEST)), 1)
        # the last level has half the size of the volume: voxels are finer than the resolution
        self.sizes = [[-(-n // 2**k) for n in shape] for k in range(num_levels, -1, -1)]
        self.register_buffer("start", torch.rand(1, channels, *self.sizes[0]))
        self.mixes = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels, channels, 1, bias=False), nn.ReLU(),
                nn.GroupNorm(channels, channels),
            )
            for _ in range(num_levels)
        )  # fmt: skip
        self.last = nn.Conv3d(channels, 1, 1)

    def forward(self) -> Tensor:
        """Return the volume, shape (nz, ny, nx)."""
        x = self.start
        for i, mix in enumerate(self.mixes):
            x = mix(x if i == 0 else _resized(x, self.sizes[i]))
        made: Tensor = _resized(self.last(x), self.sizes[-1])[0, 0]
        return made


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)


def denoised(volume: Volume, channels: int, seed: int) -> Volume:
    """Fit a decoder to a volume.

    Parameters
    ----------
    volume : float32 array, shape (nz, ny, nx)
        Any unit.
    channels : int
        See `Decoder`.
    seed : int
        Decides start and weights.

    Returns
    -------
    float32 array, shape (nz, ny, nx)
        At least 0.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = Decoder(channels, volume.shape)
    unit = float(volume.max()) or 1.0
    wanted = torch.from_numpy(volume) / unit
    optimizer = Adam(decoder.parameters(), lr=LEARNING_RATE)
    for _ in range(NUM_STEPS):
        loss = functional.mse_loss(decoder(), wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return np.asarray(unit * decoder().clamp(min=0).numpy(), np.float32)


def all_denoised(pairs: Pairs, channels: float, seed: int) -> Volume:
    """Denoise the short slices (N, H, W) of pairs, each tube by itself."""
    made = np.empty_like(pairs.short)
    for tube in Bar(np.unique(pairs.tubes), desc=f"{channels:g} channels", unit="tube"):
        rows = pairs.tubes == tube
        own_seed = derived_seed(seed, "enhance", "zero_shot", str(tube))
        made[rows] = denoised(pairs.short[rows], int(channels), own_seed)
    return made
