"""Iterations over measured lines: MLEM, OSEM and MAP with a resolution model.

LOR i is expected to count y_i = T area_i att_i (P G x)_i + r_i in the whole acquisition. Here x is
the activity (Bq/mm3), G the resolution (`blur`), P Joseph's line integrals, T the duration (s), att
the attenuation, and r scatter and randoms. Without G, an image of pixels smaller than the distance
of neighbouring lines has rings. With m_i = T area_i att_i one update is

    x <- x / (G s) * G sum_events P_i^T 1 / ((P G x)_i + r_i / m_i),    s = T sum_LORs area att P

(Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558; list mode: Barrett, White and Parra 1997,
doi:10.1364/JOSAA.14.002914; subsets: Hudson and Larkin 1994, doi:10.1109/42.363108; resolution in
image space: Reader et al. 2003, doi:10.1109/TNS.2003.817327). The log-likelihood is
sum_events log y_i - sum_v (G s)_v x_v - sum_LORs r_i. Its sums run over all LORs that meet the
cylinder around the image.

Activity is taken as constant during the acquisition, as GATE simulates it.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import Bar
from tubepet.reconstruct.algorithms import priors
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.blur import blurred

Image = NDArray[np.float64]
Fits = tuple[float, float]  # log-likelihood and objective of an image

MAX_HALVINGS = 6
EARLY_ITERATIONS = 4  # of MLEM: kappa is smooth, so few settle it
EPSILON = 1e-3  # of the brightest voxel, as in PETRIC
# Smallest value of a voxel after a step, as a share of its value before and of the first image's: a
# voxel at 0 stays there.
SMALLEST_SHARE, SMALLEST_OF_START = 1e-4, 1e-9
COLUMNS = ["iteration", "log_likelihood", "objective", "total_bq"]  # of a trace


class Objective:
    """What the iterations climb: the list-mode Poisson log-likelihood, minus a prior.

    Attributes
    ----------
    seen : float64 array, shape (nz, ny, nx)
        G s.
    strength : float
        Strength of the prior; 0: none.
    """

    def __init__(self, model: Acquisition, settings: Settings) -> None:
        self.model, self.psf, self.algorithm = model, settings.psf, settings.algorithm
        self.seen = blurred(model.sensitivity_s, model.grid, settings.psf)
        self.is_seen = self.seen > 0
        self.strength = 0.0
        self._last: tuple[Any, Any] = (None, None)
        if settings.has_prior:
            self.strength = settings.prior_strength * float(self.seen[self.is_seen].mean())

    @cached_property
    def early(self) -> Image:
        """A few iterations of MLEM, from which the prior takes its weights."""
        return iterate(self.model, Settings(EARLY_ITERATIONS, psf=self.psf))[0]

    @cached_property
    def kappa(self) -> Image:
        """Root of the likelihood's curvature at the early image, for `priors`.

        kappa^2 = H 1 = G sum_events P_i^T (P G 1)_i / l_i^2 with l_i the expected counts over m_i.
        These are minus the Hessian's row sums, as in Tsai et al. (2020) and PETRIC (PET Rapid Image
        reconstruction Challenge). They are divided by their mean in the activity, so that the
        strength keeps its unit.
        """
        grid, lines, psf = self.model.grid, self.model.lines, self.psf
        expected = lines.forward(blurred(self.early, grid, psf)) + lines.additive
        through = lines.forward(blurred(np.ones(grid.shape), grid, psf))
        curvature = blurred(lines.back(through / expected**2), grid, psf)
        mean = float((self.early * curvature).sum() / self.early.sum())
        return np.asarray(np.sqrt(curvature / mean))

    def prior(self, image: Image) -> tuple[float, Image, Image]:
        """Return `priors.relative_differences` with the weights of this likelihood.

        The last result is kept, because a step starts at the image where the step before ended.
        """
        if image is not self._last[0]:
            epsilon = EPSILON * float(self.early.max())
            found = priors.relative_differences(image, self.model.grid, self.kappa, epsilon)
            self._last = image, found
        known: tuple[float, Image, Image] = self._last[1]
        return known

    def log_likelihood(self, image: Image, expected: Image | None = None) -> float:
        """Log-likelihood without the terms that no image changes.

        `expected` is (P G x)_i + additive_i of every line, if it is known.
        """
        if expected is None:
            lines = self.model.lines
            expected = lines.forward(blurred(image, lines.grid, self.psf)) + lines.additive
        total = float((self.seen * image).sum())
        return float(np.log(expected).sum()) - total

    def __call__(self, image: Image, expected: Image | None = None) -> Fits:
        """Log-likelihood and objective; parameters as `log_likelihood`."""
        fit = self.log_likelihood(image, expected)
        if self.strength == 0:
            return fit, fit
        if self.algorithm == "map_rdp":
            return fit, fit - self.strength * self.prior(image)[0]
        return fit, fit - self.strength * priors.total_variation(image, self.model.grid)

    def over_seen(self, image: Image) -> Image:
        """Divide by G s; 0 where that is 0."""
        return np.divide(image, self.seen, out=np.zeros(image.shape), where=self.is_seen)

    def way(self, image: Image, update: Image) -> Image:
        """Return the preconditioned gradient; without a prior it is the EM step.

        Nuyts et al. (2002), equation 16: x / (s + strength x R'') times the gradient.
        """
        _, slope, curvature = self.prior(image)
        below = self.seen + self.strength * image * curvature
        gradient = update - self.seen - self.strength * slope
        return np.divide(image * gradient, below, out=np.zeros(image.shape), where=self.is_seen)


def iterate(
    model: Acquisition, settings: Settings, watch: Callable[[Image], bool] | None = None
) -> tuple[Image, pd.DataFrame]:
    """Run MLEM (one subset), OSEM, or one of them with a prior.

    Parameters
    ----------
    model : Acquisition
    settings : Settings
    watch : function of an image, optional
        Called with every image; stops the iterations when it returns True.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; 0 where the sensitivity is 0.
    DataFrame
        iteration (0: first image), log_likelihood, objective, total_bq.

    Raises
    ------
    InputError
        If a prior is combined with subsets.
    """
    if settings.has_prior and settings.num_subsets > 1:
        raise InputError(
            f"reconstruct.num_subsets: got {settings.num_subsets} with algorithm "
            f"{settings.algorithm}, expected 1"
        )
    grid, psf, num_subsets = model.grid, settings.psf, settings.num_subsets
    objective = Objective(model, settings)
    climbs = settings.has_prior and settings.algorithm == "map_rdp"
    image, dual = np.where(objective.is_seen, model.start, 0.0), np.zeros((3, *grid.shape))
    fits: Fits | None = None  # of the image, once a pass has told them
    trace: list[tuple[float, ...]] = []

    def note(fits: Fits) -> None:
        trace.append((len(trace), *fits, float(image.sum()) * grid.voxel_volume_mm3))

    for _ in Bar(range(settings.num_iterations), desc=settings.algorithm):
        if watch is not None and watch(image):
            break
        for subset in range(num_subsets):
            sums, expected = model.lines.em_sums(blurred(image, grid, psf), subset, num_subsets)
            update = blurred(sums, grid, psf) * num_subsets
            if subset == 0:  # its expected values are those of all lines if there is one subset
                fits = fits or objective(image, expected if num_subsets == 1 else None)
                note(fits)
            if fits is not None and climbs:
                image, fits = _climb(image, objective.way(image, update), objective, fits)
                continue
            image *= objective.over_seen(update)
            if settings.has_prior:
                # Sawatzky's weights have the image before the update; this one does as well
                weights = objective.over_seen(objective.strength * image)
                image = priors.denoise(image, weights, grid, dual)
            fits = None
    note(fits or objective(image))
    return image, pd.DataFrame(trace, columns=COLUMNS)


def _climb(image: Image, way: Image, objective: Objective, fits: Fits) -> tuple[Image, Fits]:
    """Step along `way`, halving the step while the objective falls; stay if no step helps."""
    floor = np.minimum(image, SMALLEST_OF_START * objective.model.start)
    for halvings in range(MAX_HALVINGS):
        new = np.maximum(image + way / 2**halvings, np.maximum(SMALLEST_SHARE * image, floor))
        new_fits = objective(new)
        if new_fits[1] >= fits[1]:
            return new, new_fits
    return image, fits
