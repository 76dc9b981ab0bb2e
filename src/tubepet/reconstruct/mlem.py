"""List-mode MLEM and OSEM with attenuation, efficiency, resolution and background in the model.

Expected counts of LOR i in the whole acquisition: y_i = T area_i att_i (P G x)_i + r_i with x the
activity (Bq/mm3), G a Gaussian (finite crystals: the paper's images have pixels much smaller than
the distance of LORs), P Joseph's line integrals, T the duration (s), r scatter and randoms. With
m_i = T area_i att_i one update is

    x <- x / (G s) * G sum_events P_i^T 1 / ((P G x)_i + r_i / m_i),    s = T sum_LORs area att P

(Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558; list mode: Barrett, White and Parra 1997,
doi:10.1364/JOSAA.14.002914; subsets: Hudson and Larkin 1994, doi:10.1109/42.363108). The log-likelihood
is sum_events log y_i - sum_v (G s)_v x_v - sum_LORs r_i.

Activity is taken as constant during the acquisition, as GATE simulates it.
"""

from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from tubepet.logs import log
from tubepet.reconstruct import background, geometry, projector, sensitivity
from tubepet.reconstruct.projector import NUM_CHUNKS, gather, ray, scatter
from tubepet.types import Grid, Listmode, Scanner, Volume

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Lines:
    """Measured LORs, one per event, as `em_sums` takes them.

    Attributes
    ----------
    points : float64 array, shape (m, 3)
        Possible end points (x, y, z), mm.
    first, second : int64 array, shape (n,)
        Rows of `points`.
    additive : float64 array, shape (n,)
        r_i / m_i, Bq/mm2.
    """

    points: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    additive: NDArray[np.float64]


@numba.njit(cache=True, parallel=True)
def _em_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, additive, grid, subset, num_subsets, chunk_images, log_sums
):
    num = (len(first) - subset + num_subsets - 1) // num_subsets
    for chunk in numba.prange(NUM_CHUNKS):
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            n = subset + i * num_subsets
            walk = ray(points, first[n], second[n], grid)
            total = gather(flat, walk) + additive[n]
            if total > 0.0:
                scatter(chunk_images[chunk], walk, 1.0 / total)
                log_sums[chunk] += np.log(total)
            else:
                log_sums[chunk] = -np.inf


def em_sums(
    image: NDArray[np.float64], grid: Grid, lines: Lines, subset: int, num_subsets: int
) -> tuple[NDArray[np.float64], float]:
    """Project, divide and backproject in one pass over events subset, subset + num_subsets, ...

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        sum P_i^T 1 / ((P x)_i + additive_i).
    float
        sum log((P x)_i + additive_i); -inf if the image cannot explain an event.
    """
    chunk_images, log_sums = projector.empty_chunks(grid), np.zeros(NUM_CHUNKS)
    _em_sums(
        projector.padded(image).ravel(),
        lines.points,
        lines.first,
        lines.second,
        lines.additive,
        projector.grid_numbers(grid),
        subset,
        num_subsets,
        chunk_images,
        log_sums,
    )
    return projector.joined(chunk_images, grid), float(log_sums.sum())


def smoothed(image: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian, mirrored at the borders.

    Mirroring makes the operator symmetric (its own adjoint) and keeps the total.
    """
    if fwhm_mm == 0:
        return np.asarray(image, dtype=np.float64)
    sigma = [fwhm_mm / FWHM_PER_SIGMA / size for size in grid.voxel_mm]
    return gaussian_filter(np.asarray(image, dtype=np.float64), sigma, mode="reflect")


def iterate(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
    num_subsets: int,
    psf_fwhm_mm: float,
) -> tuple[NDArray[np.float64], list[float]]:
    """Run MLEM (one subset) or OSEM.

    Parameters
    ----------
    lines : Lines
    sensitivity_s : float64 array, shape (nz, ny, nx)
        s above: expected counts per Bq/mm3 in the voxel during the acquisition.
    start : float64 array, shape (nz, ny, nx)
        First image, >= 0.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; 0 where the sensitivity is 0.
    list of float, length num_iterations + 1
        Log-likelihood of the first image and after every iteration, up to a constant.
    """
    blurred_sensitivity = smoothed(sensitivity_s, grid, psf_fwhm_mm)
    is_seen = blurred_sensitivity > 0
    image = np.where(is_seen, start, 0.0)
    trace = []
    for _ in tqdm(range(num_iterations), desc="MLEM", disable=None, mininterval=1):
        log_sum = 0.0
        for subset in range(num_subsets):
            ratio, part = em_sums(
                smoothed(image, grid, psf_fwhm_mm), grid, lines, subset, num_subsets
            )
            if subset == 0:
                before = float((blurred_sensitivity * image).sum())
            log_sum += part
            update = smoothed(ratio, grid, psf_fwhm_mm) * num_subsets
            image *= np.divide(update, blurred_sensitivity, out=np.zeros(grid.shape), where=is_seen)
        trace.append(log_sum - before)
    _, log_sum = em_sums(smoothed(image, grid, psf_fwhm_mm), grid, lines, 0, 1)
    trace.append(log_sum - float((blurred_sensitivity * image).sum()))
    return image, trace


def event_lines(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    mu: Volume,
    grid: Grid,
    duration_s: float,
) -> tuple[Lines, NDArray[np.float64], float]:
    """Lines, scales and background of all events whose LOR crosses the image.

    Parameters
    ----------
    events : Listmode
    efficiency : float64 array, shape (num_rings,)
        Pair efficiency by ring difference (`calibrate`).
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    duration_s : float

    Returns
    -------
    Lines
        Sorted by column and column step: neighbours touch the same voxels.
    float64 array, shape (n,)
        m_i = T area att, mm2 s.
    float
        Sum of r over all LORs that cross the image, counts.
    """
    points = geometry.crystal_points_mm(scanner)
    areas_mm2 = geometry.lor_areas_mm2(scanner, efficiency)
    cylinder = background.enclosing_cylinder(mu)
    floor = background.fit_background(events, scanner, areas_mm2, cylinder)
    crosses = projector.crosses(grid, points, events.crystal1, events.crystal2)
    return events, floor, crosses
