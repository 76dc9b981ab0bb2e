"""The network: a small U-Net that moves activity about and adds none.

Where `use_memory` is set, each block of the image looks up the features of all its blocks (the
paper's eq. 6 with a bank of one image: docs/model.md A4, A18).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tubepet.gan.memory import SCORES

KAPPA = 10.0  # concentration of the cosine score, as gan.paper.kappa
NUM_GROUPS = 4  # of the group normalisation


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
        nn.init.zeros_(self.fuse.weight)  # begins without a word
        nn.init.zeros_(self.fuse.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        blocks = x.flatten(2).mT  # (B, S, C)
        attention = SCORES["cosine"](self.alignment(blocks), blocks, KAPPA).softmax(dim=-1)
        fused = self.fuse(torch.cat([attention @ blocks, blocks], dim=-1))
        return x + fused.mT.reshape(x.shape)


class Enhancer(nn.Module):
    """Short slice -> long slice; what comes out has the total of what went in.

    Parameters
    ----------
    channels : int
        At full size, a multiple of 4; twice at half, four times at a quarter of the size.
    use_memory : bool
        Whether a `BlockMemory` stands at the coarsest maps.
    """

    def __init__(self, channels: int, use_memory: bool) -> None:
        super().__init__()
        wide, wider = 2 * channels, 4 * channels
        self.fine = _convolutions(1, channels)
        self.middle = _convolutions(channels, wide)
        self.coarse = _convolutions(wide, wider)
        self.memory = BlockMemory(wider) if use_memory else nn.Identity()
        self.middle_up = _convolutions(wider + wide, wide)
        self.fine_up = _convolutions(wide + channels, channels)
        self.change = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        nn.init.zeros_(self.change.weight)  # begins as the identity

    def forward(self, short: Tensor) -> Tensor:
        """(B, 1, H, W) >= 0, H and W multiples of 4, in units of the scale -> the same."""
        fine = self.fine(short)
        middle = self.middle(functional.avg_pool2d(fine, 2))
        coarse = self.memory(self.coarse(functional.avg_pool2d(middle, 2)))
        middle = self.middle_up(torch.cat([_doubled(coarse), middle], dim=1))
        fine = self.fine_up(torch.cat([_doubled(middle), fine], dim=1))
        return with_total_of(short, torch.relu(short + self.change(fine)))


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def with_total_of(measured: Tensor, image: Tensor) -> Tensor:
    """Scale images (B, 1, H, W) so that each has the total activity that was measured.

    An image without any activity stays as it is.
    """
    wanted, given = (x.sum((1, 2, 3), keepdim=True) for x in (measured, image))
    return image * torch.where(given > 0, wanted / given.clamp(min=1e-12), 1.0)
