"""Iterations over measured lines: MLEM, OSEM and MAP with a resolution model.

Expected counts of LOR i in the whole acquisition: y_i = T area_i att_i (P G x)_i + r_i with x the
activity (Bq/mm3), G the resolution (`psf`: finite crystals; without it, pixels smaller than the
distance of neighbouring lines turn that distance into rings), P Joseph's line integrals, T the
duration (s), r scatter and randoms. With m_i = T area_i att_i one update is

    x <- x / (G s) * G sum_events P_i^T 1 / ((P G x)_i + r_i / m_i),    s = T sum_LORs area att P

(Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558; list mode: Barrett, White and Parra 1997,
doi:10.1364/JOSAA.14.002914; subsets: Hudson and Larkin 1994, doi:10.1109/42.363108; resolution in
image space: Reader et al. 2003, doi:10.1109/TNS.2003.817327). The log-likelihood is
sum_events log y_i - sum_v (G s)_v x_v - sum_LORs r_i, over all LORs that meet the cylinder around
the image.

Activity is taken as constant during the acquisition, as GATE simulates it.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import Bar
from tubepet.reconstruct.algorithms import priors
from tubepet.reconstruct.projection import sparse
from tubepet.reconstruct.projection.blur import Kernel, blurred, gaussian
from tubepet.reconstruct.projection.lines import Lines, em_sums, forward_sums
from tubepet.types import Grid

MAX_HALVINGS = 6
SMALLEST_SHARE = 1e-4
Watch = Callable[[NDArray[np.float64]], bool]


def smoothed(image: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float64]:
    """Convolve with one Gaussian; 0: as it is."""
    return blurred(image, grid, gaussian(fwhm_mm))


def log_likelihood(
    image: NDArray[np.float64],
    image_seen: NDArray[np.float64],
    grid: Grid,
    lines: Lines,
    seen: NDArray[np.float64],
) -> float:
    """List-mode Poisson log-likelihood of an image x, without the terms that no image changes.

    `image_seen` is G x, `seen` is G s.
    """
    sums = forward_sums(image_seen, grid, lines)
    expected = float((seen * image).sum())
    return float(np.log(sums + lines.additive).sum()) - expected


def iterate(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
    num_subsets: int,
    psf: Kernel,
    algorithm: str = "mlem",
    prior_strength: float = 0.0,
    watch: Watch | None = None,
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Run MLEM (one subset), OSEM, or one of them with a prior.

    Parameters
    ----------
    lines : Lines
        Every line must be explained: its integral through `start` or its additive term is > 0.
    sensitivity_s : float64 array, shape (nz, ny, nx)
        s of the module's formula: expected counts per Bq/mm3 in the voxel, mm3 s.
    start : float64 array, shape (nz, ny, nx)
        First image, >= 0.
    psf : Kernel
        Of G; empty: no G.
    algorithm : str
        ``mlem``, ``map_rdp`` or ``tv`` (see `priors`).
    prior_strength : float
        Weight of the prior, in units of the mean of G s where it is not 0; 0: none.
    watch : function of an image, optional
        Called with every image; stops the iterations when it returns True.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; 0 where the sensitivity is 0.
    DataFrame
        iteration (0: first image), log_likelihood (as the function above), objective (that minus
        the prior), total_bq.

    Raises
    ------
    InputError
        If a prior is combined with subsets.
    """
    has_prior = algorithm != "mlem" and prior_strength > 0
    if has_prior and num_subsets > 1:
        raise InputError(
            f"reconstruct.num_subsets: got {num_subsets} with algorithm {algorithm}, expected 1"
        )
    is_few = len(lines.first) <= sparse.FEW_LINES and num_subsets == 1 and not psf
    if is_few and not has_prior and watch is None and lines.backend == "numba":
        return sparse.iterate(lines, grid, sensitivity_s, start, num_iterations)
    seen = blurred(sensitivity_s, grid, psf)
    is_seen = seen > 0
    strength = prior_strength * float(seen[is_seen].mean()) if has_prior else 0.0
    image, dual = np.where(is_seen, start, 0.0), np.zeros((3, *grid.shape))

    def fit_of(image: NDArray[np.float64]) -> tuple[float, float]:
        fit = log_likelihood(image, blurred(image, grid, psf), grid, lines, seen)
        return fit, fit - strength * _prior(image, grid, algorithm) if has_prior else fit

    fit, objective = fit_of(image)
    trace = [(0, fit, objective, float(image.sum()) * grid.voxel_volume_mm3)]
    for iteration in Bar(range(1, num_iterations + 1), desc=algorithm):
        if watch is not None and watch(image):
            break
        for subset in range(num_subsets):
            ratio = em_sums(blurred(image, grid, psf), grid, lines, subset, num_subsets)
            update = blurred(ratio, grid, psf) * num_subsets
            if algorithm == "map_rdp" and has_prior:
                way = _map_way(image, update, seen, is_seen, grid, strength)
                image, fit, objective = _climb(image, way, fit_of, fit, objective)
                continue
            image *= np.divide(update, seen, out=np.zeros(grid.shape), where=is_seen)
            if algorithm == "tv" and has_prior:
                # the image before the update in Sawatzky's weights; after it they are as good
                weights = np.divide(strength * image, seen, out=np.zeros(grid.shape), where=is_seen)
                image = priors.denoise(image, weights, grid, dual)
        if not (algorithm == "map_rdp" and has_prior):
            fit, objective = fit_of(image)
        trace.append((iteration, fit, objective, float(image.sum()) * grid.voxel_volume_mm3))
    columns = ["iteration", "log_likelihood", "objective", "total_bq"]
    return image, pd.DataFrame(trace, columns=columns)


def _prior(image: NDArray[np.float64], grid: Grid, algorithm: str) -> float:
    if algorithm == "map_rdp":
        return priors.relative_differences(image, grid)[0]
    return priors.total_variation(image, grid)


def _map_way(
    image: NDArray[np.float64],
    update: NDArray[np.float64],
    seen: NDArray[np.float64],
    is_seen: NDArray[np.bool_],
    grid: Grid,
    strength: float,
) -> NDArray[np.float64]:
    """Gradient of the objective, preconditioned so that without a prior it is the EM step.

    Nuyts et al. (2002), equation 16: x / (s + strength x R'') times the gradient.
    """
    _, slope, curvature = priors.relative_differences(image, grid)
    below = seen + strength * image * curvature
    gradient = update - seen - strength * slope
    return np.divide(image * gradient, below, out=np.zeros(grid.shape), where=is_seen)


def _climb(
    image: NDArray[np.float64],
    way: NDArray[np.float64],
    fit_of: Callable[[NDArray[np.float64]], tuple[float, float]],
    fit: float,
    objective: float,
) -> tuple[NDArray[np.float64], float, float]:
    """Go along `way`, half as far until the objective does not fall; stay where nothing helps."""
    for halvings in range(MAX_HALVINGS):
        # a step never takes a voxel to 0, from where it could not come back
        new = np.maximum(image + way / 2**halvings, SMALLEST_SHARE * image)
        new_fit, new_objective = fit_of(new)
        if new_objective >= objective:
            return new, new_fit, new_objective
    return image, fit, objective
