"""The network that enhances single slices: a small U-Net.

The four pixels of each 2x2 square enter as channels (FFDNet, Zhang et al. 2018,
doi:10.1109/TIP.2018.2839891). This costs a quarter and loses nothing, as pixels are finer than the
resolution. With `use_memory` each block of the image attends to the features of all its blocks (the
paper's eq. 6 with a memory of one image: docs/model.md A4, A18).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tubepet.generate.layers.memory import SCORES

KAPPA = 10.0  # concentration of the cosine score, as generate.paper.kappa
NUM_GROUPS = 4  # of the group normalisation
PATCH = 2  # pixels along each side that become channels


def _convolutions(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [
            nn.Conv2d(channels, channels_out, 3, padding=1),
            nn.GroupNorm(NUM_GROUPS, channels_out),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)


class BlockMemory(nn.Module):
    """x + W_c [c; x]: every block (pixel of a coarse map) attends to all blocks of its image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alignment = nn.Linear(channels, channels, bias=False)  # W_a
        self.fuse = nn.Linear(2 * channels, channels)  # W_c
        nn.init.zeros_(self.fuse.weight)  # starts as the identity
        nn.init.zeros_(self.fuse.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        blocks = x.flatten(2).mT  # (B, S, C)
        attention = SCORES["cosine"](self.alignment(blocks), blocks, KAPPA).softmax(dim=-1)
        fused = self.fuse(torch.cat([attention @ blocks, blocks], dim=-1))
        return x + fused.mT.reshape(x.shape)


class Enhancer(nn.Module):
    """Short slice -> long slice.

    Parameters
    ----------
    channels : int
        Channels at half the size, a multiple of 4. A quarter has twice, an eighth four times as
        many.
    use_memory : bool
        Whether the coarsest maps pass a `BlockMemory`.
    """

    def __init__(self, channels: int, use_memory: bool) -> None:
        super().__init__()
        wide, wider = 2 * channels, 4 * channels
        self.fine = _convolutions(PATCH**2, channels)
        self.middle = _convolutions(channels, wide)
        self.coarse = _convolutions(wide, wider)
        self.memory = BlockMemory(wider) if use_memory else nn.Identity()
        self.middle_up = _convolutions(wider + wide, wide)
        self.fine_up = _convolutions(wide + channels, channels)
        self.change = nn.Conv2d(channels, PATCH**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.change.weight)  # starts as the identity

    def forward(self, short: Tensor) -> Tensor:
        """(B, 1, H, W) >= 0, H and W multiples of 8, in units of the scale -> the same."""
        fine = self.fine(functional.pixel_unshuffle(short, PATCH))
        middle = self.middle(functional.avg_pool2d(fine, 2))
        coarse = self.memory(self.coarse(functional.avg_pool2d(middle, 2)))
        middle = self.middle_up(torch.cat([_doubled(coarse), middle], dim=1))
        fine = self.fine_up(torch.cat([_doubled(middle), fine], dim=1))
        change = functional.pixel_shuffle(self.change(fine), PATCH)
        return torch.relu(short + change)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
