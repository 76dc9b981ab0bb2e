"""Training data of the generators: images in [-1, 1] with one channel, drawn batch by batch.

They are training slices only; the readers choose them by the column `split`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.dataset.drawing import Population
from tubepet.dataset.stack import Stack
from tubepet.pretrain.vae import ConvVAE


class Images(Stack):
    """Slices as networks see them: `low` becomes -1, `high` +1; values outside are clipped."""

    @property
    def image_size(self) -> int:
        """Side of the square slices in pixels."""
        return int(self.array.shape[-1])

    def batch(self, positions: Tensor) -> Tensor:
        """Return the slices at positions (B,) of `rows`: shape (B, 1, H, W), in [-1, 1]."""
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
        The tubes and slices that new ones are drawn from.
    model_mm : (float, float)
        FWHM, across and along the axis, of the resolution model of the reconstruction.
    """

    images: NDArray[np.float32]
    fluid: NDArray[np.float32]
    population: Population
    model_mm: tuple[float, float]


@dataclass(frozen=True)
class Data:
    """What a model may learn from. Every model has `real`; a part that it does not need is None.

    Attributes
    ----------
    real : Images
        Positron slices of the training tubes.
    ct : Images or None
        CT slices of the training patients.
    vae : ConvVAE or None
        The VAE pretrained on CT slices.
    features : mapping of tensor, or None
        The memory bank, and what made it (`features.bank.fit_bank`).
    volumes : Volumes or None
        Volumes of training tubes.
    """

    real: Images
    ct: Images | None = None
    vae: ConvVAE | None = None
    features: Mapping[str, Tensor] | None = None
    volumes: Volumes | None = None

    @property
    def bank(self) -> Tensor | None:
        """Features of the positron slices, (S, d_y). Row s describes slice s of `real`."""
        return None if self.features is None else self.features["bank"]

    @property
    def num_pca(self) -> int:
        """The first `num_pca` features are PCA scores; the others come from PCANet."""
        return 0 if self.features is None else len(self.features["pca_components"])


def positron_images(slices: NDArray[np.float32], is_used: NDArray, scale_bq_mm3: float) -> Images:
    """Return the chosen slices (N, H, W) in Bq/mm3, where the scale becomes +1."""
    return Images(slices, np.flatnonzero(is_used), 0.0, scale_bq_mm3)


def ct_images(
    slices: NDArray[np.float32], is_used: NDArray, window_hu: tuple[float, float]
) -> Images:
    """Return the chosen CT slices (N, H, W) in HU, where the ends of the window become -1 and 1."""
    return Images(slices, np.flatnonzero(is_used), window_hu[0], window_hu[1])


def take(queue: Tensor, size: int, num_rows: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take the next `size` positions from a shuffled queue; return them and the rest of the queue.

    A queue shorter than `size` is dropped, and a new permutation of all rows takes its place.
    """
    if len(queue) < size:
        queue = torch.randperm(num_rows, generator=rng)
    return queue[:size], queue[size:]
