"""Reconstruct short acquisitions with a network inside the iterations.

The network sees an image and says what a long acquisition would show, p. Then some iterations climb

    log-likelihood(x) - weight / 2 sum_v (x_v - p_v)^2,

and the network sees the result. The next image is the largest x of a surrogate of this objective,
which separates the voxels: with the EM image x_EM and the sensitivity s it is the positive root of

    weight x^2 + (s - weight p) x - s x_EM = 0.

References
----------
De Pierro 1995, doi:10.1109/42.370409 (the surrogate). Gong et al. 2019,
doi:10.1109/TMI.2018.2869871 (a network in the iterations of PET).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tubepet.enhance.quality import enhanced
from tubepet.reconstruct.algorithms.em import Objective
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.blur import blurred, smoothed

Image = NDArray[np.float64]

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # weight, in units of the mean of s over the scale
NUM_ROUNDS = 3  # that the network is asked
ITERATIONS = 8  # of each round


@dataclass(frozen=True)
class InIterations:
    """A trained network that is asked between iterations, for `shorts.Again`.

    Attributes
    ----------
    network : nn.Module
        As `network.Enhancer`.
    settings : Settings
        Of the short images.
    scale_bq_mm3 : float
        The activity that is 1 for the network.
    """

    network: nn.Module
    settings: Settings
    scale_bq_mm3: float

    def __call__(self, model: Acquisition, strength: float) -> Image:
        """Return the image (nz, ny, nx) of an acquisition, Bq/mm3."""
        width_mm, scale = self.settings.filter_fwhm_mm, np.float32(self.scale_bq_mm3)
        objective, image = Objective(model, self.settings), model.start
        weight = strength * float(objective.seen[objective.is_seen].mean()) / float(scale)
        for _ in range(NUM_ROUNDS):
            seen = smoothed(image, model.grid, width_mm).astype(np.float32) / scale
            wanted = np.asarray(scale * enhanced(self.network, seen), np.float64)
            for _ in range(ITERATIONS):
                image = drawn_to(image, wanted, weight, objective)
        return smoothed(image, model.grid, width_mm)


def drawn_to(image: Image, wanted: Image, weight: float, objective: Objective) -> Image:
    """Return the image after one iteration that draws it to the wanted image.

    Parameters
    ----------
    image, wanted : float64 array, shape (nz, ny, nx)
        Bq/mm3, >= 0.
    weight : float
        > 0, (Bq/mm3)^-2.
    objective : Objective
        The likelihood.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        0 where the sensitivity is 0.
    """
    lines, grid, psf = objective.model.lines, objective.model.grid, objective.psf
    sums, _ = lines.em_sums(blurred(image, grid, psf), 0, 1)
    counts = image * blurred(sums, grid, psf)  # s x_EM
    below = objective.seen - weight * wanted
    root = np.sqrt(below**2 + 4 * weight * counts)
    # two forms of the same root: neither subtracts numbers that are nearly equal
    small = np.divide(2 * counts, below + root, out=np.zeros(image.shape), where=below > 0)
    return np.where(objective.is_seen, np.where(below > 0, small, (root - below) / (2 * weight)), 0)
