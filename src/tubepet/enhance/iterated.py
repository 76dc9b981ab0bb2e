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

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tubepet.dataset.slices import Slices
from tubepet.enhance.pairs import Pairs, planes
from tubepet.enhance.quality import enhanced
from tubepet.logs import Bar
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import Objective, iterate
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.blur import blurred, smoothed
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

Image = NDArray[np.float64]

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # weight, in units of the mean of s over the scale
NUM_ROUNDS = 3  # that the network is asked
ITERATIONS = 8  # of each round
MOST_KEPT = 100  # acquisitions, for the next strength; each has some 5 MB


@dataclass(frozen=True)
class Shorts:
    """The short acquisitions of all tubes.

    Attributes
    ----------
    paths : dict
        As for `read.read_acquisition`, what tubes share.
    own_paths : dict
        By tube, what they do not share.
    scanner, background, duration_s
        See `read.read_acquisition`.
    settings : Settings
        Of their images.
    """

    paths: dict[str, str]
    own_paths: dict[str, dict[str, str]]
    scanner: Scanner
    background: str
    duration_s: float
    settings: Settings

    def __call__(self, tube: str) -> Acquisition:
        """Read the acquisition of a tube, and model it."""
        both = self.paths | self.own_paths[tube]
        read = read_acquisition(both, self.scanner, self.background, self.duration_s)
        return model_acquisition(*read, self.settings)


class InIterations:
    """A trained network, and acquisitions to reconstruct with it.

    Parameters
    ----------
    network : nn.Module
        As `network.Enhancer`.
    acquisition : function
        The model of a tube's short acquisition, as `Shorts`.
    settings : Settings
        Of the short images.
    slices : Slices
        The data set. Its scale is the activity that is 1 for the network.
    """

    def __init__(
        self, network: nn.Module, acquisition: Callable[[str], Acquisition], settings: Settings,
        slices: Slices,
    ) -> None:  # fmt: skip
        self.network, self.slices = network, slices
        self.settings = replace(settings, algorithm="mlem", stopping="fixed")
        self.started = lru_cache(MOST_KEPT)(lambda tube: self._started(acquisition(tube)))

    def _started(self, model: Acquisition) -> tuple[Acquisition, Image]:
        return model, iterate(model, self.settings)[0]

    def __call__(self, pairs: Pairs, strength: float) -> NDArray[np.float32]:
        """Reconstruct the tubes of pairs; return their slices (N, H, W) in units of the scale."""
        made = np.empty_like(pairs.short)
        for tube in Bar(np.unique(pairs.tubes), desc=f"strength {strength:g}", unit="tube"):
            model, start = self.started(tube)
            image = self._reconstructed(model, start, strength)
            levels = planes(model.grid.axes_mm()[0], self.slices.volume(tube)[1])
            made[pairs.tubes == tube] = image[levels] / self.slices.scale_bq_mm3
        return made

    def _reconstructed(self, model: Acquisition, image: Image, strength: float) -> Image:
        width_mm, scale = self.settings.filter_fwhm_mm, np.float32(self.slices.scale_bq_mm3)
        objective = Objective(model, self.settings)
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
