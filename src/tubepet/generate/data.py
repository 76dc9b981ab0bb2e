"""Images as the networks see them: one channel, [-1, 1], drawn batch by batch.

Only training rows ever come here; the scripts choose them by the `split` column.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.dataset.drawing import Population
from tubepet.dataset.stack import Stack
from tubepet.pretrain.vae import ConvVAE


class Images(Stack):
    """Slices of which `low` becomes -1 and `high` +1; what lies outside is clipped."""

    @property
    def image_size(self) -> int:
        """Side of the square slices in pixels."""
        return int(self.array.shape[-1])

    def batch(self, positions: Tensor) -> Tensor:
        """Return the slices at these positions among `rows`, shape (B, 1, H, W), in [-1, 1]."""
        return torch.from_numpy(2 * self[positions.numpy()] - 1).unsqueeze(1)


@dataclass(frozen=True)
class Volumes:
    """Volumes of training tubes and their drawings, for the models that make volumes.

    Attributes
    ----------
    images : float32 array, shape (T, nz, ny, nx)
        Bq/mm3.
    fluid : float32 array, shape (T, nz, ny, nx)
        Fluid fraction of each voxel.
    population : Population
        What new tubes are drawn from.
    model_mm : (float, float)
        FWHM across and along the axis of the resolution that the reconstruction models.
    """

    images: NDArray[np.float32]
    fluid: NDArray[np.float32]
    population: Population
    model_mm: tuple[float, float]


@dataclass(frozen=True)
class Data:
    """What a model may learn from; all but `real` for the models that need it.

    Attributes
    ----------
    real : Images
        Positron slices of the training tubes.
    ct : Images or None
        CT slices of the training patients.
    vae : ConvVAE or None
        The encoder pretrained on them.
    bank : float32 tensor, shape (S, d_y), or None
        Features of the positron slices; row s describes row s of `real`.
    num_pca : int
        How many of them, the first, are PCA scores; the others come from PCANet.
    volumes : Volumes or None
        Of training tubes.
    """

    real: Images
    ct: Images | None = None
    vae: ConvVAE | None = None
    bank: Tensor | None = None
    num_pca: int = 0
    volumes: Volumes | None = None


def positron_images(slices: NDArray[np.float32], is_used: NDArray, scale_bq_mm3: float) -> Images:
    """Return the chosen positron slices, scaled as the dataset says (Bq/mm3 in)."""
    return Images(slices, np.flatnonzero(is_used), 0.0, scale_bq_mm3)


def ct_images(
    slices: NDArray[np.float32], is_used: NDArray, window_hu: tuple[float, float]
) -> Images:
    """Return the chosen CT slices, scaled by their window (HU in)."""
    return Images(slices, np.flatnonzero(is_used), window_hu[0], window_hu[1])


def take(queue: Tensor, size: int, num_rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take the next `size` positions of an endless shuffle; return them and the rest.

    Each pass over the rows is a new permutation; a rest too short for a batch is dropped.
    """
    if len(queue) < size:
        queue = torch.randperm(num_rows, generator=rng)
    return queue[:size], queue[size:]
