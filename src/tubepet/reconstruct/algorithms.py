"""Iterations over measured lines: MLEM and OSEM with a resolution model.

Expected counts of LOR i in the whole acquisition: y_i = T area_i att_i (P G x)_i + r_i with x the
activity (Bq/mm3), G a Gaussian (finite crystals; without it, pixels smaller than the distance of
neighbouring lines turn that distance into rings), P Joseph's line integrals, T the duration (s),
r scatter and randoms. With m_i = T area_i att_i one update is

    x <- x / (G s) * G sum_events P_i^T 1 / ((P G x)_i + r_i / m_i),    s = T sum_LORs area att P

(Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558; list mode: Barrett, White and Parra 1997,
doi:10.1364/JOSAA.14.002914; subsets: Hudson and Larkin 1994, doi:10.1109/42.363108; resolution in
image space: Reader et al. 2003, doi:10.1109/TNS.2003.817327). The log-likelihood is
sum_events log y_i - sum_v (G s)_v x_v - sum_LORs r_i, over all LORs that meet the cylinder around
the image.

Activity is taken as constant during the acquisition, as GATE simulates it.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from tubepet.reconstruct import few
from tubepet.reconstruct.lines import Lines, em_sums, forward_sums
from tubepet.types import Grid

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


def smoothed(image: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian, mirrored at the borders.

    Mirroring makes the operator symmetric (its own adjoint) and keeps the total.
    """
    if fwhm_mm == 0:
        return np.asarray(image, dtype=np.float64)
    sigma = [fwhm_mm / FWHM_PER_SIGMA / size for size in grid.voxel_mm]
    return gaussian_filter(np.asarray(image, dtype=np.float64), sigma, mode="reflect")


def log_likelihood(
    image: NDArray[np.float64],
    blurred: NDArray[np.float64],
    grid: Grid,
    lines: Lines,
    blurred_sensitivity: NDArray[np.float64],
) -> float:
    """List-mode Poisson log-likelihood of an image, without the terms that no image changes."""
    sums = forward_sums(blurred, grid, lines)
    expected = float((blurred_sensitivity * image).sum())
    return float(np.log(sums + lines.additive).sum()) - expected


def iterate(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
    num_subsets: int,
    psf_fwhm_mm: float,
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Run MLEM (one subset) or OSEM.

    Parameters
    ----------
    lines : Lines
        Every line must be explained: its integral through `start` or its additive term is > 0.
    sensitivity_s : float64 array, shape (nz, ny, nx)
        s of the module's formula: expected counts per Bq/mm3 in the voxel, mm3 s.
    start : float64 array, shape (nz, ny, nx)
        First image, >= 0.
    psf_fwhm_mm : float
        Of G; 0: no G.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; 0 where the sensitivity is 0.
    DataFrame
        iteration (0: first image), log_likelihood (as the function above), total_bq.
    """
    if psf_fwhm_mm == 0 and num_subsets == 1 and len(lines.first) <= few.FEW_LINES:
        return few.iterate(lines, grid, sensitivity_s, start, num_iterations)
    blurred_sensitivity = smoothed(sensitivity_s, grid, psf_fwhm_mm)
    is_seen = blurred_sensitivity > 0
    image = np.where(is_seen, start, 0.0)
    trace = []
    for iteration in tqdm(range(num_iterations + 1), desc="MLEM", disable=None, mininterval=1):
        blurred = smoothed(image, grid, psf_fwhm_mm)
        fit = log_likelihood(image, blurred, grid, lines, blurred_sensitivity)
        trace.append((iteration, fit, float(image.sum()) * grid.voxel_volume_mm3))
        if iteration == num_iterations:
            break
        for subset in range(num_subsets):
            if subset > 0:
                blurred = smoothed(image, grid, psf_fwhm_mm)
            ratio = em_sums(blurred, grid, lines, subset, num_subsets)
            update = smoothed(ratio, grid, psf_fwhm_mm) * num_subsets
            image *= np.divide(update, blurred_sensitivity, out=np.zeros(grid.shape), where=is_seen)
    return image, pd.DataFrame(trace, columns=["iteration", "log_likelihood", "total_bq"])
