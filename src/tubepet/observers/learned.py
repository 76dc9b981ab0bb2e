"""The learned inspector: a small 3-D network that marks the cells of a part where a defect is.

Its training shows where the defects are. From one label per part it learns little with some hundred
parts (`study.detector`). The score of a part is the largest logit of its cells. Training parts are
turned around the axis, mirrored and shifted at random.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tubepet.errors import InputError
from tubepet.evaluate import network
from tubepet.observers.read import CHANNELS, Volumes

CELL = 2  # voxels along each side of the cells that are judged: about the resolution
WIDTH, NUM_LAYERS = 16, 4  # a cell sees 9 x 9 x 9 cells around it, 18 mm
DEFECT_WEIGHT = 10.0  # of a cell with a defect: most have none
PRIOR_LOGIT = -4.0  # of every cell at the start
LEAST_CHANGE = 0.1  # of the fluid fraction of a voxel, for its cell to have a defect


@dataclass(frozen=True)
class Arm:
    """The input of a network in one arm of the comparison.

    Attributes
    ----------
    has_drawing : bool
        Whether it sees the drawing beside the image.
    num_parts : int
        Number of training parts, the first ones; 0: all.
    has_generated : bool
        Whether generated images of the other parts are added (`generated.filled_up`).
    """

    has_drawing: bool = True
    num_parts: int = 0
    has_generated: bool = False


class Inspector(nn.Module):
    """Volumes -> a logit per cell that there is a defect.

    Parameters
    ----------
    num_channels : int
        1: the image; 2: with the drawing.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_channels = num_channels
        layers: list[nn.Module] = []
        narrow = num_channels * CELL**3
        for _ in range(NUM_LAYERS):
            layers += [
                nn.Conv3d(narrow, WIDTH, 3, padding=1),
                nn.GroupNorm(WIDTH // network.GROUP, WIDTH),
                nn.GELU(),
            ]
            narrow = WIDTH
        last = nn.Conv3d(WIDTH, 1, 1)
        nn.init.constant_(last.bias, PRIOR_LOGIT)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers, last)

    def forward(self, volumes: Tensor) -> Tensor:
        """(B, >= num_channels, nz, ny, nx) -> logits (B, 1, nz / 2, ny / 2, nx / 2)."""
        given = volumes[:, : self.num_channels]
        b, c, z, y, x = given.shape
        cut = given.reshape(b, c, z // CELL, CELL, y // CELL, CELL, x // CELL, CELL)
        cells = cut.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, -1, z // CELL, y // CELL, x // CELL)
        logits: Tensor = self.layers(cells)
        return logits


def scaled(volumes: Volumes) -> Volumes:
    """Return volumes with each image in units of its activity, the median of bright voxels."""
    result = np.array(volumes, np.float32)
    for image in result[:, 0]:
        bright = image[image > np.quantile(image, 0.99) / 2]
        image /= np.median(bright) if len(bright) else 1.0
    return result


def train(
    volumes: Volumes, arm: Arm, num_steps: int, seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Inspector:  # fmt: skip
    """Train a network.

    Parameters
    ----------
    volumes : float32 array, shape (parts, 4, nz, ny, nx)
        `read.CHANNELS`, of all training parts.
    seed : int
        Seed of weights, batches and augmentation.
    groups : int64 array, shape (parts,), optional
        Groups of parts that count alike, however many parts each has. One if not given.

    Raises
    ------
    InputError
        If clean parts or parts with a defect are missing, or there are fewer than asked for.
    """
    if arm.num_parts > len(volumes):
        raise InputError(
            f"observers.few_parts: got {arm.num_parts}, expected at most observers.train_parts, "
            f"{len(volumes)}"
        )
    chosen = scaled(volumes if arm.has_generated else volumes[: arm.num_parts or None])
    has_defect = np.abs(chosen[:, 2]).max(axis=(1, 2, 3)) >= LEAST_CHANGE
    if len(np.unique(has_defect)) < 2:
        raise InputError(
            f"observers: got {has_defect.sum()} training parts with a defect of {len(chosen)}, "
            "expected both kinds (more observers.train_parts, larger defects)"
        )
    mirrored = chosen[:, :, ::-1]  # at the middle plane of the scanner
    both = np.concatenate([chosen, mirrored])
    flat = both.reshape(len(both), -1, *both.shape[3:])  # `network.fit` turns and shifts slices
    kinds = has_defect + 2 * (np.zeros(len(chosen), np.int64) if groups is None else groups)
    weights = np.tile(1 / np.bincount(kinds)[kinds], 2)  # defects and clean parts count alike
    shape = chosen.shape[1:]

    def loss(net: Inspector, batch: Tensor, rows: Tensor) -> Tensor:
        part = batch.reshape(-1, *shape)
        cells = nn.functional.max_pool3d(part[:, 2:3].abs(), CELL) >= LEAST_CHANGE
        weight = torch.tensor(DEFECT_WEIGHT)
        return nn.functional.binary_cross_entropy_with_logits(
            net(part), cells.float(), pos_weight=weight
        )

    num_channels = 2 if arm.has_drawing else 1
    return network.fit(lambda: Inspector(num_channels), flat, loss, num_steps, seed, weights)


def scores(net: Inspector, volumes: Volumes) -> NDArray[np.float64]:
    """Return the largest logit of each part, shape (parts,)."""
    assert volumes.shape[1] == len(CHANNELS)
    return network.apply(lambda batch: net(batch[:, 0]).amax((1, 2, 3, 4)), scaled(volumes))
